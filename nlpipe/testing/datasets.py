"""Checks of a data reader: a plugin's `nlpipe_dataset`, which reads a source that nlpipe's own readers do not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpipe.errors import NlpipeError
from nlpipe.testing.cases import Check, CheckFailed, require
from nlpipe.testing.meaning import light_import

if TYPE_CHECKING:
    from nlpipe.task import Task

FOREIGN: tuple[str, ...] = (
    "data/train.jsonl",
    "rows.csv",
    "no-such-scheme:x",
    "no-such-scheme://x",
    "somebody/some-data",
)
"""Sources that other readers are asked next."""


@dataclass(frozen=True, eq=False)
class DatasetSubject:
    """A reader with sources of its own, and the task whose rows it reads, if it is one's."""

    read: Callable[[str], Any]
    sources: Sequence[str]
    task: type[Task[Any, Any, Any, Any]] | None = None


def imports_lightly(subject: DatasetSubject) -> None:
    """Import the reader's module by itself."""
    light_import(subject.read.__module__)


def leaves_other_sources_alone(subject: DatasetSubject) -> None:
    """A source that is not its own gives None, without an exception: the next reader is asked."""
    for source in FOREIGN:
        try:
            found = subject.read(source)
        except Exception as error:
            raise CheckFailed(f"asked about {source!r} it raises {type(error).__name__}: {error}") from error
        require(found is None, f"it takes {source!r}, which is not its own")


def gives_tables_by_split(subject: DatasetSubject) -> None:
    """Its own sources give tables by the names of their splits, none empty, and twice the same."""
    for source in subject.sources:
        found = subject.read(source)
        require(found is not None, f"it does not take {source!r}, which is its own")
        require(isinstance(found, Mapping) and found, f"{source!r} gives a {type(found).__name__}, not tables by split")
        for name, table in found.items():
            require(isinstance(name, str), f"{source!r} has a split called {name!r}")
            require(len(rows_of(table)), f"the split '{name}' of {source!r} has no rows")
        again = {name: rows_of(table) for name, table in subject.read(source).items()}
        require(again == {name: rows_of(table) for name, table in found.items()}, f"read twice, {source!r} differs")


def rows_fit_the_task(subject: DatasetSubject) -> None:
    """Each row is an Example of the task, as `data:` of a recipe would take it."""
    from nlpipe.rows import to_record

    assert subject.task is not None
    for source in subject.sources:
        for name, table in subject.read(source).items():
            for number, row in enumerate(rows_of(table)[:100]):
                try:
                    to_record(row, subject.task.Example)
                except NlpipeError as error:
                    raise CheckFailed(f"{source!r}, split '{name}', row {number}: {error}") from error


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a DataFrame or of a table of datasets. Raises CheckFailed for anything else."""
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        rows: list[dict[str, Any]] = table.to_dict("records")
        return rows
    if hasattr(table, "to_list"):
        return list(table.to_list())
    raise CheckFailed(f"a split is a {type(table).__name__}; give a pandas DataFrame or a Dataset of datasets")


def _check(run: Callable[[Any], None], look_at: str, when: Callable[[Any], bool] = lambda subject: True) -> Check:
    return Check(run.__name__, inspect.getdoc(run) or "", look_at, run, on="alone", when=when)


DATASET_CHECKS: tuple[Check, ...] = (
    _check(imports_lightly, "imports of pandas and datasets at the top of the module."),
    _check(leaves_other_sources_alone, "the test at the reader's beginning: look at the source's form before it."),
    _check(gives_tables_by_split, "what the reader returns: {'train': DataFrame, …}."),
    _check(
        rows_fit_the_task, "the columns' names: those of the task's Example.", lambda subject: subject.task is not None
    ),
)
