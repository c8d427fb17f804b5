"""The one door to pandas and `datasets`: sources → tables → the records of each split.

Knows no task: what a row means is the Record's own business, and what its classes are comes in as a callable.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pydantic import BaseModel

from nlpipe import beir
from nlpipe.errors import DataError, PluginError, Problem, nearest, suggest
from nlpipe.events import RowsNoted
from nlpipe.parsers import Faults, Row, check_columns
from nlpipe.readers import (
    FORMATS,
    TEXT_FORMATS,
    Own,
    as_rows,
    check_file,
    format_of,
    iter_rows,
    numbered_rows,
    read_faults,
)
from nlpipe.rows import to_record
from nlpipe.shares import share_out
from nlpipe.task import Record
from nlpipe.writers import WRITABLE, Writer, open_writer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FORMATS",
    "WRITABLE",
    "Split",
    "Writer",
    "iter_rows",
    "load_splits",
    "open_writer",
    "read_table",
    "records",
    "sift",
]

log = logging.getLogger("nlpipe")

RecordT = TypeVar("RecordT", bound=Record)


class DatasetHook(Protocol):
    """`plugins.dataset`: a plugin's answer to a source it knows, None from all others."""

    def __call__(self, *, source: str) -> Any: ...


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split, as records and as they came.

    `source` is the file's or data set's name as messages show it. `examples[i]`, `frame.iloc[i]` and
    `rows[i]` are one row: the record, all its original columns, and its number in the source, from 1. `items` is
    the collection that came with them, empty for most; `notes` is what was left out in reading them.
    """

    name: str
    source: str
    examples: list[Record]
    frame: pd.DataFrame
    rows: list[int]
    items: list[Record] = field(default_factory=list)
    notes: list[RowsNoted] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Table:
    """A source as read: `lines` has the line of each row by its number where the format knows it."""

    name: str
    frame: pd.DataFrame
    lines: Mapping[int, int]


def read_table(
    source: Any, *, split: str = "train", hook: DatasetHook | None = None, own: Own | None = None
) -> pd.DataFrame:
    """Read a source into a DataFrame of all its columns, its cells as they are written.

    `source` is a path; {"path", "format"}; {"hub", "config", "split", "revision"}; a DataFrame, a
    `datasets.Dataset` or a list of mappings; or a string that a plugin knows, which `hook` is asked for
    first. `split` is the part to take of a source that has several, `own` the formats of the task's own.

    The index, named `row`, holds row numbers from 1: of the line in JSON lines and plain text, of the row
    of data elsewhere. Cells of csv, tsv and txt are text (`NA` and `007` stay so), and
    `frame.attrs["text_cells"]` says it. Values of other formats are Python's own; None where there is none.
    Raises DataError for whatever cannot be read, PluginError where a plugin's answer is no table.
    """
    return _read(source, split, hook, own).frame


def records(frame: pd.DataFrame, record: type[RecordT], columns: Mapping[str, str], source: str) -> list[RecordT]:
    """The frame's rows as records; `columns` maps the record's fields to the frame's columns (ours: theirs).

    A field without an entry takes the column of its own name; other columns are left alone. Rows are
    numbered by an index named `row`, as `read_table` makes it, else from 1; `source` is what messages call
    the frame. Raises DataError for missing columns, an unknown field, and rows that
    do not fit, of which the first five are shown by number and the rest counted.
    """
    return _records(_Table(source, frame, {}), record, columns)


def load_splits(
    sources: Mapping[str, Any],
    record: type[Record],
    columns: Mapping[str, str],
    *,
    item: type[Record] | None = None,
    seed: int,
    stratify: Callable[[Any], str | None] | None = None,
    hook: DatasetHook | None = None,
    own: Own | None = None,
) -> dict[str, Split]:
    """Read each split; None leaves one out, and a number is a share of `train`, which keeps the rest.

    Which rows a share takes is drawn by `seed`, the same for the same file and seed; with `stratify`, which
    names a row's class, the same share of every class (`nlpipe.shares`), each keeping a row in train. `own` are the
    formats of the task's own.
    Raises DataError as `read_table` and `records` do, and where a share is not between 0 and 1 or too
    small to give a row.
    """
    hook = functools.cache(hook) if hook else None  # a plugin may fetch all splits at once: ask it once
    shares = {name: source for name, source in sources.items() if isinstance(source, int | float)}
    splits = {}
    for name, source in sources.items():
        if source is None or name in shares:
            continue
        if (found := beir.of(source, name)) is not None:
            splits[name] = _collection(name, found, record, item, columns)
            continue
        table = _read(source, name, hook, own)
        examples = cast(list[Record], _records(table, record, columns, _readable(own)))
        splits[name] = _spoken(Split(name, table.name, examples, table.frame, table.frame.index.tolist()))
    _check_shares(shares, splits)
    if shares:
        splits = _share_out(splits, shares, seed, stratify)
    return {name: splits[name] for name in sources if name in splits}


def sift(
    source: Any,
    record: type[Record],
    columns: Mapping[str, str],
    *,
    split: str,
    hook: DatasetHook | None = None,
    own: Own | None = None,
) -> tuple[Split, dict[int, DataError]]:
    """The rows of one source that fit, and what is wrong with each of the others by its number.

    Raises DataError where the source cannot be read at all, or lacks a column.
    """
    table = _read(source, split, hook, own)
    sifted = list(_sifted(table, record, columns, _readable(own)))
    fine = [at for at, (_, one) in enumerate(sifted) if not isinstance(one, DataError)]
    examples = [cast(Record, sifted[at][1]) for at in fine]
    bad = {number: one for number, one in sifted if isinstance(one, DataError)}
    return Split(split, table.name, examples, table.frame.iloc[fine], [sifted[at][0] for at in fine]), bad


def _spoken(split: Split) -> Split:
    """The split without rows that say nothing, counted in a warning. Raises DataError where no row is left."""
    kept = [at for at, example in enumerate(split.examples) if not example.says_nothing]
    if not kept:
        raise DataError(f"{split.source} ({split.name}) has empty rows alone")
    left = [split.rows[at] for at, example in enumerate(split.examples) if example.says_nothing]
    if not left:
        return split
    what = f"{len(left):,} empty row{'' if len(left) == 1 else 's'} left out"
    return replace(_part(split, split.name, kept), notes=[_noted(split.source, split.name, what, left)])


def _noted(source: str, split: str, what: str, rows: Sequence[int]) -> RowsNoted:
    """What is told of rows, in the log too."""
    note = RowsNoted.of(split, source, what, rows)
    log.warning("%s", note.sentence)
    return note


def _collection(
    name: str, source: Mapping[str, str], record: type[Record], item: type[Record] | None, columns: Mapping[str, str]
) -> Split:
    """Queries as rows, with the documents that they are answered from as items."""
    if item is None:
        raise DataError(f"{name}: this task answers from no collection of documents; name a file of rows")
    rows, documents, unjudged = beir.read(source, lambda file: list(iter_rows(file)))
    queries, corpus = source["queries"], source["corpus"]
    left_out = set(unjudged)
    numbers = (number for number in range(1, len(rows) + len(unjudged) + 1) if number not in left_out)
    judged = (Row(number, None, cells) for number, cells in zip(numbers, rows, strict=True))
    table = _table(judged, queries, read_faults(queries))
    examples = cast(list[Record], _records(table, record, columns))
    held = _table(as_rows(documents, corpus, read_faults(corpus)), corpus, read_faults(corpus))
    items = cast(list[Record], _records(held, item, {}))
    what = f"{len(unjudged):,} of {len(unjudged) + len(rows):,} queries have no judgement and are left out"
    notes = [_noted(queries, name, what, unjudged)] if unjudged else []
    return Split(name, queries, examples, table.frame, table.frame.index.tolist(), items, notes)


# ---- sources to tables


def _read(source: Any, split: str, hook: DatasetHook | None, own: Own | None) -> _Table:
    if isinstance(source, str) and hook is not None and (answer := hook(source=source)) is not None:
        return _from_plugin(answer, source, split)
    if isinstance(source, str | Path):
        return _from_file(str(source), None, own)
    if isinstance(source, BaseModel):  # as a recipe holds it
        source = source.model_dump()
    if isinstance(source, Mapping):
        return _from_mapping(source, split, own)
    if isinstance(source, Sequence):
        name = f"the {split} list"
        faults = read_faults(name)
        return _table(as_rows(source, name, faults), name, faults)
    return _from_object(source, f"the {split} data")


def _from_mapping(source: Mapping[str, Any], split: str, own: Own | None) -> _Table:
    known = ("hub", "config", "split", "revision") if "hub" in source else ("path", "format")
    if unknown := [key for key in source if key not in known]:
        raise DataError(f"{split}: unknown key '{unknown[0]}'; {suggest(unknown[0], known)}")
    if "hub" in source:
        from nlpipe.hub import load

        name = source["hub"]
        dataset = load(name, source.get("config"), source.get("split") or split, source.get("revision"))
        return _from_object(dataset, name)
    if "path" not in source:
        raise DataError(f"{split}: a source is {{path: …, format: …}} or {{hub: …}}; this one names neither")
    return _from_file(str(source["path"]), source.get("format"), own)


def _from_file(name: str, format: str | None, own: Own | None) -> _Table:
    check_file(name)
    kind, zipped = format_of(name, format, own or ())
    faults = read_faults(name)
    return _table(numbered_rows(name, kind, zipped, faults, own), name, faults, text_cells=kind in TEXT_FORMATS)


def _from_plugin(answer: Any, source: str, split: str) -> _Table:
    if not isinstance(answer, Mapping):
        raise PluginError(
            f"a plugin answered '{source}' with a {type(answer).__name__}; "
            "nlpipe_dataset gives a mapping from split names to DataFrames, or a DatasetDict"
        )
    if split not in answer:
        raise DataError(f"{source} has no split '{split}'; {suggest(split, map(str, answer))}")
    return _from_object(answer[split], source)


def _from_object(source: Any, name: str) -> _Table:
    """A DataFrame, or a Dataset with its class numbers turned into names."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        frame = source.copy(deep=False)
        frame.columns = pd.Index([str(column) for column in frame.columns])
    elif hasattr(source, "features") and hasattr(source, "with_format"):
        from nlpipe.hub import columns_of

        frame = pd.DataFrame({n: pd.Series(c, dtype=object) for n, c in columns_of(source).items()})
    else:
        raise DataError(
            f"{name}: a {type(source).__name__} is no data; give a path, {{path: …}}, {{hub: …}}, "
            "a DataFrame or a list of mappings"
        )
    check_columns(frame.columns, name)
    if frame.empty:
        raise DataError(f"{name} has no rows")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return _Table(name, frame, {})


def _table(rows: Iterator[Row], name: str, faults: Faults, *, text_cells: bool = False) -> _Table:
    import pandas as pd

    numbers: list[int] = []
    lines: dict[int, int] = {}
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for column in row.cells:
            if column not in columns:
                columns[column] = [None] * len(numbers)
        for column, cells in columns.items():
            cells.append(row.cells.get(column))
        numbers.append(row.number)
        if row.line is not None:
            lines[row.number] = row.line
    faults.check()
    index = pd.Index(numbers, name="row")
    # As objects: left to guess, pandas makes floats of whole numbers where one cell is empty.
    frame = pd.DataFrame({c: pd.Series(cells, dtype=object, index=index) for c, cells in columns.items()}, index=index)
    frame.attrs["text_cells"] = text_cells
    return _Table(name, frame, lines)


# ---- tables to records


def _records(
    table: _Table, record: type[RecordT], columns: Mapping[str, str], own: Iterable[str] = ()
) -> list[RecordT]:
    faults = Faults(f"{table.name}: {{rows}} cannot be used")
    found = []
    for number, one in _sifted(table, record, columns, own):
        if isinstance(one, DataError):
            line = f" (line {table.lines[number]})" if number in table.lines else ""
            faults.add(f"row {number}{line}", *one.problems)
        else:
            found.append(one)
    faults.check()
    return found


def _sifted(
    table: _Table, record: type[RecordT], columns: Mapping[str, str], own: Iterable[str]
) -> Iterator[tuple[int, RecordT | DataError]]:
    """Each row's number, and its record or what is wrong with it."""
    frame = table.frame
    theirs = _columns(frame, record, columns, table.name, own)
    numbers = frame.index if frame.index.name == "row" else range(1, len(frame) + 1)
    cells = {ours: frame[column].tolist() for ours, column in theirs.items()}
    text_cells = bool(frame.attrs.get("text_cells"))
    for position, number in enumerate(numbers):
        row = {ours: column[position] for ours, column in cells.items()}
        try:
            yield number, to_record(row, record, text_cells=text_cells)
        except DataError as error:
            yield number, DataError(error.message, [_with_column(p, theirs) for p in error.problems])


def _with_column(problem: Problem, theirs: Mapping[str, str]) -> Problem:
    """`text (column review)` where the column is not called as we call it."""
    ours = problem.key.split(".")[0].split("[")[0]
    renamed = f" (column {theirs[ours]})" if theirs.get(ours, ours) != ours else ""
    return Problem("", problem.key + renamed, problem.message)


def _readable(own: Own | None) -> list[str]:
    return [name for name, form in (own or {}).items() if form.rows]


def _columns(
    frame: pd.DataFrame, record: type[Record], columns: Mapping[str, str], source: str, own: Iterable[str]
) -> dict[str, str]:
    """The column of each field that has one, ours: theirs. All that is wrong is said at once."""
    fields, there = record.model_fields, list(frame.columns)
    check_columns(there, source)
    problems = [
        Problem("columns", ours, f"is no field of this task; {suggest(ours, fields)}")
        for ours in columns
        if ours not in fields
    ]
    for ours, known in fields.items():
        theirs = columns.get(ours, ours)
        if theirs in there or (ours not in columns and not known.is_required()):
            continue
        free = [column for column in there if column not in columns.values() and column not in fields]
        near = nearest(theirs, free) or (free[0] if len(free) == 1 else None)
        say = f"say columns: {{{ours}: {near or '<theirs>'}}}"
        problems.append(Problem("columns", ours, f"there is no column '{theirs}'; {say}"))
    if problems:
        if formats := ", ".join(own):
            problems.append(Problem("format", "", f"a file of the task's own kind is named so: format: {formats}"))
        raise DataError(f"{source} does not fit the task; its columns are: {', '.join(there) or 'none'}", problems)
    return {ours: columns.get(ours, ours) for ours in fields if columns.get(ours, ours) in there}


# ---- shares of train


def _check_shares(shares: Mapping[str, float], splits: Mapping[str, Split]) -> None:
    for name, share in shares.items():
        if name == "train":
            raise DataError(f"train: must be data, is {share}; only other splits can be a share of it")
        if "train" not in splits:
            raise DataError(f"{name}: {share} is a share of train, and there is no train")
        if isinstance(share, bool) or not 0 < share < 1:
            raise DataError(f"{name}: a share of train must lie between 0 and 1, is {share}")
    if sum(shares.values()) >= 1:
        raise DataError(f"{' and '.join(shares)}: shares of {sum(shares.values()):g} together leave no train")


def _share_out(
    splits: Mapping[str, Split],
    shares: Mapping[str, float],
    seed: int,
    stratify: Callable[[Any], str | None] | None,
) -> dict[str, Split]:
    train = splits["train"]
    taken = share_out([stratify(row) if stratify else None for row in train.examples], shares, seed)
    if none := [name for name, positions in taken.items() if not positions]:
        raise DataError(
            f"{none[0]}: a share of {shares[none[0]]:g} of {train.source} takes no row, because it has only "
            f"{len(train.examples)} and the last one of each class stays in train; give a larger share, or a file"
        )
    given = {position for positions in taken.values() for position in positions}
    taken["train"] = [position for position in range(len(train.examples)) if position not in given]
    return {**splits, **{name: _part(train, name, positions) for name, positions in taken.items()}}


def _part(whole: Split, name: str, positions: list[int]) -> Split:
    return Split(
        name,
        whole.source,
        [whole.examples[position] for position in positions],
        whole.frame.iloc[positions],
        [whole.rows[position] for position in positions],
        whole.items,
        whole.notes if name == whole.name else [],
    )
