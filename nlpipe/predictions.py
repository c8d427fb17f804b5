"""Answers made elsewhere: a file of them → a task's Results, each beside the row that it answers. No model.

Files are JSON lines, any other format of rows, or one of the task's own. A column `predicted_x` counts before `x`: so
`nlpipe predict` writes a result beside the columns of its input.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from nlpipe.errors import DataError, Problem
from nlpipe.parsers import Faults, Row
from nlpipe.readers import TEXT_FORMATS, check_file, format_of, numbered_rows
from nlpipe.rows import show, to_plain

if TYPE_CHECKING:
    from nlpipe.data import Split
    from nlpipe.results import Result
    from nlpipe.task import Task

log = logging.getLogger("nlpipe")

_PREFIX = "predicted_"


def read(task: Task[Any, Any, Any, Any], path: str, split: Split, format: str | None = None) -> list[Result]:
    """The Result of each example of `split`, in its order.

    Answers are found by `id` where both sides have it, by the `row` that a run's own predictions name, else by their
    order. Answers to ids that the rows do not have are left out, and counted in a warning. Raises DataError where a
    row has none, where two answer one row, and for answers that are none of the task's.
    """
    check_file(path)
    kind, zipped = format_of(path, format, task.formats)
    faults = Faults(f"{path}: {{rows}} cannot be used")
    try:
        there = list(numbered_rows(path, kind, zipped, faults, task.formats, answers=True))
    except DataError as error:
        own = [name for name, form in task.formats.items() if form.answers and name != kind]
        hint = f"; answers of the task's own kind are named so: --predictions-format {own[0]}" if own else ""
        raise DataError(f"{error.message}{hint}", error.problems) from None
    faults.check()
    if kind in TEXT_FORMATS:
        there = [replace(row, cells=_from_text(row.cells, task.Result)) for row in there]
    if not split.examples:
        raise DataError("there are no rows to score")
    matched = _matched(there, split, path)
    results = []
    for row, example in zip(matched, split.examples, strict=True):
        try:
            results.append(_result(task, row.cells, example))
        except DataError as error:
            where = f"row {row.number}" + ("" if row.line is None else f" (line {row.line})")
            faults.add(where, *(error.problems or [Problem("", "", str(error))]))
    faults.check()
    return results


def _from_text(cells: Mapping[str, Any], result: Any) -> dict[str, Any]:
    """Cells of a file of text: what a result has as text stays, the rest is read as JSON where it is."""
    texts = {"id", "row"} | {field.name for field in fields(result) if str(field.type).startswith("str")}

    def value(name: str, cell: str) -> Any:
        if name.removeprefix(_PREFIX) in texts:
            return cell
        try:
            return json.loads(cell) if cell.strip() else None
        except ValueError:
            return cell

    return {name: value(name, cell) for name, cell in cells.items()}


def _matched(rows: list[Row], split: Split, path: str) -> list[Row]:
    """The answer to each example."""
    if all("id" in row.cells for row in rows) and "id" in split.frame.columns:
        return _by_key(rows, "id", split.frame["id"].tolist(), path, split.source)
    if all("row" in row.cells for row in rows) and "row" not in split.frame.columns:
        return _by_key(rows, "row", split.rows, path, split.source)
    if len(rows) != len(split.examples):
        raise DataError(
            f"{path} has {len(rows):,} answers, and {split.source} {len(split.examples):,} rows; each row needs one. "
            "With an `id` on both sides the order does not matter"
        )
    return rows


def _by_key(rows: list[Row], key: str, wanted: Sequence[Any], path: str, source: str) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        name = str(row.cells[key])
        if name in found:
            raise DataError(f"{path}, row {row.number}: there is an answer to the {key} {name!r} already")
        found[name] = row
    names = [str(name) for name in wanted]
    lacking = [name for name in names if name not in found]
    if lacking:
        raise DataError(
            f"{path} has no answer to {len(lacking):,} of the {len(names):,} rows of {source}, the first of them with "
            f"the {key} {lacking[0]!r}"
        )
    if unasked := len(found.keys() - set(names)):
        log.warning("%s: %d answers are to no row of %s and are left out", path, unasked, source)
    return [found[name] for name in names]


def _result(task: Task[Any, Any, Any, Any], cells: Mapping[str, Any], example: Any) -> Any:
    said = {name.removeprefix(_PREFIX): cell for name, cell in cells.items() if name.startswith(_PREFIX)}
    told = task.told({**cells, **said}, example)
    names = [field.name for field in fields(task.Result)]
    given = {name: to_plain(told[name]) for name in names if name in told}
    try:
        # Through JSON, where strict mode takes an array for a tuple and still makes no text of numbers.
        return _adapter(cast(Any, task.Result)).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        problems = list(_problems(error, set(told)))
        raise DataError(f"this is no answer of {task.name}", problems) from None


def _problems(error: ValidationError, there: set[str]) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        place = ".".join(map(str, one["loc"]))
        if one["type"] in {"missing", "missing_argument"}:
            yield Problem("", place, f"is missing; there are: {', '.join(sorted(there)) or 'none'}")
        else:
            said = one["msg"].replace("Input should be", "must be")
            yield Problem("", place, f"{said[:1].lower()}{said[1:]}, is {show(one['input'])}")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
