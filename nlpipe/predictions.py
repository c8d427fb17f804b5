"""Answers made elsewhere: files of them → a task's Results, each beside the row that it answers. No model.

Files are JSON lines, any other format of rows, one answer a line, or of the task's own kind (`nlpipe.scored` finds
out). A column `predicted_x` counts before `x`, so that `nlpipe predict` writes a result beside the columns of its
input; so does `prediction`, and what else an answer is usually called.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from nlpipe.errors import DataError, Problem
from nlpipe.parsers import BARE, Faults, Row
from nlpipe.rows import show, to_plain

if TYPE_CHECKING:
    from nlpipe.data import Split
    from nlpipe.results import Result
    from nlpipe.task import Task

log = logging.getLogger("nlpipe")

AnyTask = Any

PREFIX = "predicted_"

BARE_NAMES = (BARE, "predictions", "predicted", "pred", "hypothesis", "output", "response", "generated_text")
"""What a column with an answer is called by those who have but one kind of answers."""

_IDS = ("id", "_id", "qid", "query_id", "question_id", "guid")


def results(task: Task[Any, Any, Any, Any], files: Mapping[str, Sequence[Row]], split: Split) -> list[Result]:
    """The Result of each example of `split`, in its order, from the rows of one file of answers or several.

    Answers are found by `id` where both sides have it, by the `row` that a run's own predictions name, else by their
    order. Further files add to the answers of the first. Answers to ids that the rows do not have are left out, and
    counted in a warning; so are rows without an answer, where the task knows what that means. Raises DataError where
    a row has none, where two answer one row, and for answers that are none of the task's.
    """
    if not split.examples:
        raise DataError("there are no rows to score")
    matched = [_matched(rows, split, path, optional=task.unanswered is not None) for path, rows in files.items()]
    path, beside = next(iter(files)), next(iter(files)) == split.source
    faults = Faults(f"{path}: {{rows}} cannot be used")
    found: list[Any] = []
    for rows, example in zip(zip(*matched, strict=True), split.examples, strict=True):
        first = rows[0]
        if first is None:
            found.append(task.unanswered)
            continue
        cells: dict[str, Any] = {}
        for row in rows:
            cells |= row.cells if row is not None else {}
        try:
            found.append(_result(task, cells, example, beside=beside))
        except DataError as error:
            where = f"row {first.number}" + ("" if first.line is None else f" (line {first.line})")
            faults.add(where, *(error.problems or [Problem("", "", str(error))]))
    faults.check()
    return found


def from_text(cells: Mapping[str, Any], task: AnyTask) -> dict[str, Any]:
    """Cells of a file of text: what a result has as text stays, the rest is read as JSON where it is."""
    texts = {"row", *_IDS}
    for at, (name, kind) in enumerate(_kinds(task)):
        if kind.startswith("str"):
            texts |= {name, *task.said_as.get(name, ()), *(BARE_NAMES if at == 0 else ())}

    def value(name: str, cell: str) -> Any:
        if name.removeprefix(PREFIX) in texts:
            return cell
        try:
            return json.loads(cell) if cell.strip() else None
        except ValueError:
            return cell

    return {name: value(name, cell) for name, cell in cells.items()}


def _kinds(task: AnyTask) -> list[tuple[str, str]]:
    """The Result's fields and their types, the one that a bare answer is first."""
    kinds = {field.name: str(field.type) for field in fields(task.Result)}
    order = [*(name for name in task.said_as if name in kinds), *kinds]
    return [(name, kinds[name]) for name in dict.fromkeys(order)]


def _matched(rows: Sequence[Row], split: Split, path: str, *, optional: bool) -> Sequence[Row | None]:
    """The answer to each example."""
    key = next((name for name in _IDS if all(name in row.cells for row in rows)), None)
    theirs = next((name for name in _IDS if name in split.frame.columns), None)
    if key is not None and theirs is not None:
        return _by_key(rows, key, split.frame[theirs].tolist(), path, split.source, optional=optional)
    if all("row" in row.cells for row in rows) and "row" not in split.frame.columns:
        return _by_key(rows, "row", split.rows, path, split.source, optional=optional)
    if len(rows) != len(split.examples):
        raise DataError(
            f"{path} has {len(rows):,} answers, and {split.source} {len(split.examples):,} rows; each row needs one. "
            "With an `id` on both sides the order does not matter"
        )
    return rows


def _by_key(
    rows: Sequence[Row], key: str, wanted: Sequence[Any], path: str, source: str, *, optional: bool
) -> list[Row | None]:
    found: dict[str, Row] = {}
    for row in rows:
        name = str(row.cells[key])
        if name in found:
            raise DataError(f"{path}, row {row.number}: there is an answer to the {key} {name!r} already")
        found[name] = row
    names = [str(name) for name in wanted]
    lacking = [name for name in names if name not in found]
    if lacking and not (optional and len(lacking) < len(names)):
        raise DataError(
            f"{path} has no answer to {len(lacking):,} of the {len(names):,} rows of {source}, the first of them with "
            f"the {key} {lacking[0]!r}; add an empty answer where there is none"
        )
    if lacking:
        log.warning("%s: no answer to %d of %d rows of %s; they count as wrong", path, len(lacking), len(names), source)
    if unasked := len(found.keys() - set(names)):
        log.warning("%s: %d answers are to no row of %s and are left out", path, unasked, source)
    return [found.get(name) for name in names]


def _result(task: AnyTask, cells: Mapping[str, Any], example: Any, *, beside: bool) -> Any:
    told = task.told(_said(task, cells, beside=beside), example)
    names = [field.name for field in fields(task.Result)]
    given = {name: to_plain(told[name]) for name in names if name in told}
    try:
        # Through JSON, where strict mode takes an array for a tuple and still makes no text of numbers.
        return _adapter(cast(Any, task.Result)).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        problems = list(_problems(error, set(cells), task))
        raise DataError(f"this is no answer of {task.name}", problems) from None


def _said(task: AnyTask, cells: Mapping[str, Any], *, beside: bool) -> dict[str, Any]:
    """The cells of an answer under the Result's names.

    What names itself an answer (`predicted_x`, `prediction`) counts before `x`, which then is the row's own: where both
    stand in one file (`beside`), nothing else counts.
    """
    named = {name.removeprefix(PREFIX): cell for name, cell in cells.items() if name.startswith(PREFIX)}
    main = next(iter(task.said_as), None)
    bare = next((name for name in BARE_NAMES if name in cells), None)
    if bare is not None and main is not None and not named:
        value = cells[bare]
        known = {name for name, _ in _kinds(task)} | {other for names in task.said_as.values() for other in names}
        named = dict(value) if isinstance(value, Mapping) and known & set(value) else {main: value}
    if beside and not named:
        raise DataError(
            f"has no answer beside the row, called predicted_{main or 'x'} or {BARE}; there are: {', '.join(cells)}"
        )
    fields_of_rows = task.Example.model_fields if named else ()
    found = {
        name: cell for name, cell in cells.items() if name not in fields_of_rows and name not in BARE_NAMES
    } | named
    for name, others in task.said_as.items():
        if name not in found and (other := next((one for one in others if one in found), None)):
            found[name] = found[other]
    return found


def _problems(error: ValidationError, there: set[str], task: AnyTask) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        place = ".".join(map(str, one["loc"]))
        if one["type"] in {"missing", "missing_argument"}:
            others = [BARE] if place == next(iter(task.said_as), None) else []
            also = ", ".join([*others, *task.said_as.get(place, ())])
            hint = f" (it may be called {also})" if also else ""
            yield Problem("", place, f"is missing; there are: {', '.join(sorted(there)) or 'none'}{hint}")
        else:
            said = one["msg"].replace("Input should be", "must be")
            yield Problem("", place, f"{said[:1].lower()}{said[1:]}, is {show(one['input'])}")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
