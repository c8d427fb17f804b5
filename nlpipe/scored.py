"""Answers made elsewhere, and the rows that they are held against, from whatever files they come in.

A file's format is told by its name or, where that says nothing (`hyp.de`, `output.txt`, `dev.json`), by how it begins.
Rows need no more than their right answers: a model would be asked the rest, and there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, create_model

from nlpipe import data, predictions
from nlpipe.errors import DataError
from nlpipe.parsers import BARE, Faults, Row
from nlpipe.readers import TEXT_FORMATS, Part, check_file, format_of, numbered_rows, sniff

if TYPE_CHECKING:
    from nlpipe.data import DatasetHook, Split
    from nlpipe.results import Result
    from nlpipe.task import Record, Task

SEED = 0  # no share is ever drawn of rows to score


def read(
    task: Task[Any, Any, Any, Any],
    answers: Sequence[str],
    source: Any,
    columns: Mapping[str, str],
    *,
    format: str | None = None,
    further: Sequence[str] = (),
    hook: DatasetHook | None = None,
) -> tuple[Split, list[Result]]:
    """The rows of `source` and a Result for each from the files `answers`, whose format is `format` if it must be said.

    `source` is whatever `data:` takes, `further` more files of right answers, one a line. Without a source, or with
    one of the answers' files, the first of these has the rows as well. Raises DataError for rows and answers that do
    not fit.
    """
    for file in answers:
        check_file(file)
    path, kind = _place(source)
    if source is None or (path is not None and _same(path, answers[0])):
        split, found = _both(task, answers[0], format or kind, columns)
        return split, predictions.results(task, {answers[0]: found} | _files(task, answers[1:], None), split)
    split = _rows(task, source, columns, further, hook)
    return split, predictions.results(task, _files(task, answers, format), split)


def _same(one: str, other: str) -> bool:
    return Path(one).exists() and Path(one).samefile(other)


def _place(source: Any) -> tuple[str | None, str | None]:
    """The path and format of a source that is a file."""
    if isinstance(source, BaseModel):
        source = source.model_dump()
    if isinstance(source, str | Path):
        return str(source), None
    if isinstance(source, Mapping) and "path" in source:
        return str(source["path"]), source.get("format")
    return None, None


def _files(task: Any, paths: Sequence[str], format: str | None) -> dict[str, list[Row]]:
    return {path: _answers(task, path, format) for path in paths}


def _answers(task: Any, path: str, format: str | None, part: Part = "answers") -> list[Row]:
    kind, zipped = format_of(path, sniff(path, format, task.formats, part, "txt"), task.formats)
    faults = Faults(f"{path}: {{rows}} cannot be used")
    try:
        found = list(numbered_rows(path, kind, zipped, faults, task.formats, part=part))
    except DataError as error:
        own = [name for name, form in task.formats.items() if getattr(form, part) and name != kind]
        hint = f"; answers of the task's own kind are named so: --predictions-format {own[0]}" if own else ""
        raise DataError(f"{error.message}{hint}", error.problems) from None
    faults.check()
    if kind == "txt":
        found = [replace(row, cells={BARE: row.cells["text"]}) for row in found]
    if kind in TEXT_FORMATS:
        found = [replace(row, cells=predictions.from_text(row.cells, task)) for row in found]
    if part == "answers" and task.Item is not None:
        cells_of = [row.cells for row in found]
        if (gathered := task.gathered(cells_of)) is not cells_of:
            found = [Row(number, None, dict(cells)) for number, cells in enumerate(gathered, 1)]
    return found


def _both(task: Any, path: str, format: str | None, columns: Mapping[str, str]) -> tuple[Split, list[Row]]:
    """Rows with their answers beside them, from one file."""
    kind = sniff(path, format, task.formats, "pairs", None) or "jsonl"
    if kind in {"txt", "squad"}:
        raise DataError(f"{path} has either right answers or those to be scored; name a file of each")
    found = _answers(task, path, kind, "pairs" if kind in task.formats else "answers")
    split = data.load_splits(
        {"test": [row.cells for row in found]}, _lenient(task.Judged or task.Example, task.Input), columns, seed=SEED
    )
    return replace(split["test"], source=path), found


def _rows(task: Any, source: Any, columns: Mapping[str, str], further: Sequence[str], hook: Any) -> Split:
    path, kind = _place(source)
    if path is not None and Path(path).is_file():
        kind = sniff(path, kind, task.formats, "rows", "txt" if task.right_lines else None)
        if kind == "txt" and task.right_lines:
            source = _lines(task, [path, *further])
        elif further:
            raise DataError(f"{further[0]}: of several files of right answers, each has one a line; {path} is {kind}")
        elif task.Item is not None:
            source = task.gathered(list(data.iter_rows(path, kind, task.formats)))
        else:
            source = {"path": path, "format": kind}
    record = _lenient(task.Judged or task.Example, task.Input)
    found = data.load_splits({"test": source}, record, columns, item=task.Item, seed=SEED, hook=hook, own=task.formats)[
        "test"
    ]
    return found if path is None else replace(found, source=path)


def _lines(task: Any, paths: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each line: the field of right answers, with that of every file where it takes several."""
    name = task.right_lines
    texts = [[row.cells["text"] for row in _lines_of(path)] for path in paths]
    for path, one in zip(paths, texts, strict=True):
        if len(one) != len(texts[0]):
            raise DataError(f"{path} has {len(one):,} lines, and {paths[0]} {len(texts[0]):,}; each is of one row")
    kinds = {part for part in _parts(task.Example.model_fields[name].annotation) if part is not type(None)}
    if not kinds & {str, float}:
        return [{name: list(row)} for row in zip(*texts, strict=True)]
    if len(paths) > 1:
        raise DataError(f"{paths[1]}: a row of {task.name} has one {name}; name one file of them")
    return [{name: text if str in kinds else _number(text, at, paths[0])} for at, text in enumerate(texts[0], 1)]


def _parts(annotation: Any) -> tuple[Any, ...]:
    """What a field may hold: the members of a union, else the one type."""
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def _number(text: str, line: int, path: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}, line {line}: {text[:40]!r} is no number") from None


def _lines_of(path: str) -> list[Row]:
    check_file(path)
    kind, zipped = format_of(path, "txt")
    return list(numbered_rows(path, kind, zipped, Faults(path)))


@cache
def _lenient(example: type[Record], given: type[Record]) -> type[Record]:
    """The Example without the texts that only a model needs, where they are missing."""
    free: dict[str, Any] = {
        name: (str, "") for name, field in given.model_fields.items() if field.is_required() and field.annotation is str
    }
    made: Any = create_model(example.__name__, __base__=example, **free)
    return made  # type: ignore[no-any-return]
