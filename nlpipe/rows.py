"""One row of data → one Record, and in plain words what does not fit.

Knows no files and no tables: `data.py` reads those, and a pipeline hands its inputs over as they came.
"""

from __future__ import annotations

import functools
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nlpipe.errors import DataError, Problem, suggest
from nlpipe.task import Record

RecordT = TypeVar("RecordT", bound=Record)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# pydantic's error types in a user's words; anything else keeps pydantic's sentence.
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "dataclass_type": "an object",
    "none_required": "empty",
}


class _OddValueError(ValueError):
    """A value that has no counterpart in JSON, such as a date or bytes."""


def to_record(cells: Mapping[str, Any], kind: type[RecordT], *, text_cells: bool = False) -> RecordT:
    """The record of one row; `cells` maps the record's own field names to values.

    Nothing is coerced except that a list serves as a tuple, a mapping as a nested record, a whole number
    as a float and a NumPy value as the Python value it holds. None, NaN and NaT mean "empty": an optional
    field takes its default, a required one is an error. With `text_cells` all values are text, as in a CSV
    file: a field that cannot hold text is read from its text (`0.5`, `true`, or a list as JSON).

    Raises DataError with one problem for each field that does not fit.
    """
    plain: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in cells.items():
        try:
            cell = to_plain(value)
            if text_cells and isinstance(cell, str) and name in _not_text(kind):
                cell = _from_text(cell)
            json.dumps(cell, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            message = "holds half a character (a lone surrogate); such text cannot be read by any tokenizer"
            problems.append(Problem("", name, message))
        except (_OddValueError, RecursionError) as error:
            nested = isinstance(error, RecursionError)
            problems.append(Problem("", name, "is nested too deeply" if nested else str(error)))
        else:
            # An empty cell of an optional column is no value; the field's default says what that means.
            if cell is not None or name not in kind.model_fields or kind.model_fields[name].is_required():
                plain[name] = cell
    if problems:
        raise DataError(f"this row does not fit {kind.__name__}", problems)
    try:
        # Through JSON, where strict mode takes an array for a tuple and still makes no text of numbers.
        return kind.model_validate_json(json.dumps(plain, ensure_ascii=False).encode())
    except ValidationError as error:
        found = _problems(error.errors(include_url=False), plain, kind, text_cells)
        raise DataError(f"this row does not fit {kind.__name__}", found) from None


def to_plain(value: Any) -> Any:
    """The value in JSON's types: NumPy values become Python's, tuples lists, NaN and NaT None.

    Raises ValueError for what JSON has no word for (dates, bytes, decimals).
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy scalar or array; NumPy itself need not be imported here
        return to_plain(value.tolist())
    return _plain_number(value)


def _plain_number(value: Any) -> int | float | None:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, int):
        if value.bit_length() > 10_000:  # Python writes no whole number above 4,300 digits
            raise _OddValueError("is a whole number of more than 3,000 digits")
        return value
    kind = type(value).__name__
    if kind in {"NaTType", "NAType"}:  # pandas' words for "empty"
        return None
    raise _OddValueError(f"is {_shorten(str(value))} ({kind}); turn it into text or a number first")


def show(value: Any) -> str:
    """The value as a message names it: `3.5 (a number)`, `'a long te…' (text)`."""
    if value is None:
        return "empty"
    for kind, name in (
        (bool, "a truth value"),
        (int | float, "a number"),
        (str, "text"),
        (list | tuple, "a list"),
        (Mapping, "an object"),
    ):
        if isinstance(value, kind):
            written = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            return f"{_shorten(written)} ({name})"
    return f"{_shorten(str(value))} ({type(value).__name__})"


def _shorten(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


@functools.cache
def _not_text(kind: type[Record]) -> frozenset[str]:
    """The fields that cannot hold text, and so are read from theirs in a file of text cells."""
    return frozenset(name for name, field in kind.model_fields.items() if not _takes_text(field.annotation))


def _takes_text(annotation: Any) -> bool:
    if annotation is Any:
        return True
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        return issubclass(annotation, str)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _takes_text(inner[0])
    if origin is typing.Literal:
        return any(isinstance(item, str) for item in inner)
    return origin in {typing.Union, types.UnionType} and any(map(_takes_text, inner))


def _from_text(cell: str) -> Any:
    """A number, truth value, list or object written as text; what is none of them stays text."""
    text = cell.strip()
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdecimal() and len(text) < 3000 else float(text)
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return to_plain(json.loads(text)) if text[0] in "[{" else cell
    except ValueError:
        return cell


def _problems(
    errors: Iterable[ErrorDetails], cells: Mapping[str, Any], kind: type[Record], text_cells: bool
) -> list[Problem]:
    """One problem for each place; a union's several complaints about one value become one."""
    places: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        places.setdefault(_place(error, cells), []).append(error)
    # A union also complains of the whole where one of its members got as far as an item.
    inner = {place: found for place, found in places.items() if not any(_within(other, place) for other in places)}
    return [Problem("", place, _say(found, kind, text_cells)) for place, found in inner.items()]


def _within(inner: str, outer: str) -> bool:
    return inner != outer and inner.startswith((f"{outer}[", f"{outer}."))


def _place(error: ErrorDetails, cells: Mapping[str, Any]) -> str:
    """`answers.text[0]`: the error's path, without the names that pydantic gives to a union's members."""
    place, value = "", typing.cast(Any, cells)
    for step in error["loc"]:
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            place, value = f"{place}[{step}]", value[step]
        elif isinstance(value, Mapping) and (step in value or error["type"] == "missing"):
            place, value = f"{place}.{step}".lstrip("."), value.get(str(step))
    return place


def _say(errors: list[ErrorDetails], kind: type[Record], text_cells: bool) -> str:
    first = errors[0]
    value = first["input"]
    if first["type"] == "missing":
        return "is missing"
    if first["type"] == "extra_forbidden":
        own = f"; {suggest(str(first['loc'][0]), kind.model_fields)}" if len(first["loc"]) == 1 else ""
        return f"is no field here{own}"
    if value is None:
        return "is empty"
    wanted = list(dict.fromkeys(_WANTED[e["type"]] for e in errors if e["type"] in _WANTED))
    others = [e for e in errors if e["type"] not in _WANTED]
    if not wanted or others:
        # A rule that the record's author wrote, or one of pydantic's: their words.
        told = others[0]
        cause = told.get("ctx", {}).get("error")
        told_so = told["msg"].replace("Input should be", "must be")
        return str(cause) if cause else f"{told_so[:1].lower()}{told_so[1:]}, is {show(value)}"
    hint = ""
    if "text" in wanted and isinstance(value, int):
        hint = f'; write it in quotes, "{json.dumps(value)}"'
    elif "a list" in wanted and text_cells:
        hint = '; in a cell of text a list is written as JSON, ["a", "b"]'
    return f"must be {' or '.join(wanted)}, is {show(value)}{hint}"
