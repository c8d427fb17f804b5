"""An open stream → numbered rows, for each format. Knows no paths: `readers.py` opens and names the sources."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from nlpipe.errors import DataError, Problem
from nlpipe.rows import show

# A document may be longer than the 131,072 characters that csv takes in one cell. The limit is the
# process's own, so it is raised once here rather than around each read.
csv.field_size_limit(2**31 - 1)

BARE = "prediction"
"""The column of an answer that came without a name of its own."""

# How files begin that are often taken for text.
_SIGNATURES = {
    b"\x1f\x8b": "gzip: let its name end in .gz",
    b"PAR1\x15": "Parquet: say format: parquet",
    b"PK\x03\x04": "a zip archive or an Excel file: export it as CSV (UTF-8)",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in its source.

    `number` counts from 1: lines in JSON lines and plain text, rows of data elsewhere. `line` is the line on which a
    row of CSV, TSV or a task's own format begins, None elsewhere.
    """

    number: int
    line: int | None
    cells: dict[str, Any]


# How Python keeps bytes that are no UTF-8 in a text (PEP 383).
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(slots=True)
class Faults:
    """What is wrong with the rows of one source: the first five are kept and the rest counted.

    With `lenient` a row of a text format is bad by itself where its bytes are no UTF-8 or its quotes are broken;
    without, the source is.
    """

    heading: str
    at_once: bool = False
    lenient: bool = False
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, where: str, *problems: Problem) -> None:
        """One more bad row. Raises DataError for it where faults are not collected (`at_once`)."""
        self.rows += 1
        if self.rows <= 5:
            self.problems += [Problem(where, p.key, p.message) for p in problems]
        if self.at_once:
            self.check()

    def check(self) -> None:
        """Raises DataError where there was a bad row; `{rows}` in the heading becomes `3 rows`."""
        if not self.rows:
            return
        more = self.rows - 5
        rest = [Problem("…", "", f"and {more} more row{'s' if more > 1 else ''}")] if more > 0 else []
        rows = f"{self.rows} row{'s' if self.rows > 1 else ''}"
        raise DataError(self.heading.replace("{rows}", rows), [*self.problems, *rest])


def lines_of(handle: IO[Any], name: str, *, lenient: bool = False) -> Iterator[str]:
    """The lines of a UTF-8 stream, line ends kept; only `\\n` ends a line.

    Raises DataError for other encodings; with `lenient` bytes that are no UTF-8 stay in the line, for `undecoded`.
    """
    seen = 0
    for number, raw in enumerate(handle, 1):
        if isinstance(raw, str):
            yield raw.removeprefix("\ufeff") if number == 1 else raw
            continue
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if number == 1:
            for start, meaning in _SIGNATURES.items():
                if line.startswith(start):
                    raise DataError(f"{name} is no text; it looks like {meaning}")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            if lenient:
                yield line.decode(errors="surrogateescape")
                seen += len(raw)
                continue
            at = seen + len(raw) - len(line) + error.start + 1
            raise DataError(
                f"{name} is not UTF-8: line {number} has the byte 0x{line[error.start]:02x} "
                f"(byte {at} of the file) after {show(line[: error.start].decode()[-20:])}; save it as UTF-8"
            ) from None
        seen += len(raw)


def undecoded(*texts: str) -> str:
    """What is wrong with texts that hold bytes which are no UTF-8; empty where none does."""
    for text in texts:
        if found := _UNDECODED.search(text):
            before = text[: found.start()][-20:]
            return f"is not UTF-8: it has the byte 0x{ord(found[0]) - 0xDC00:02x} after {show(before)}"
    return ""


def _read_csv(handle: IO[Any], name: str, faults: Faults, delimiter: str = ",") -> Iterator[Row]:
    reader = csv.reader(lines_of(handle, name, lenient=faults.lenient), delimiter=delimiter, strict=True)
    header: list[str] = []
    number = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"row {number + 1} (line {line})" if header else "its header"
            if faults.lenient and header and "end of data" not in str(error):  # what follows can still be told apart
                number += 1
                faults.add(where, Problem("", "", _csv_reason(str(error))))
                continue
            raise DataError(f"{name}: {where} {_csv_reason(str(error))}") from None
        if not cells:  # a blank line
            continue
        if not header:
            header = cells
            if wrong := undecoded(*header) if faults.lenient else "":
                raise DataError(f"{name}: its header {wrong}")
            check_columns(header, name)
            continue
        number += 1
        if wrong := undecoded(*cells) if faults.lenient else "":
            faults.add(f"row {number} (line {line})", Problem("", "", wrong))
        elif len(cells) == len(header):
            yield Row(number, line, dict(zip(header, cells, strict=True)))
        else:
            fields = f"{len(cells)} field{'s' if len(cells) > 1 else ''}"
            message = f"has {fields}, the header has {len(header)}"
            faults.add(f"row {number} (line {line})", Problem("", "", message))


def _csv_reason(error: str) -> str:
    if "unexpected end of data" in error:
        return 'opens a quote (") that is never closed; inside quotes, write a quote as ""'
    if "expected after" in error:
        return 'has text behind a closing quote ("); put the whole cell in quotes, each quote in it as ""'
    if "new-line character" in error:
        return "has a bare carriage return outside quotes; save the file with ordinary line ends"
    return f"is broken: {error}"


def _read_tsv(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    return _read_csv(handle, name, faults, delimiter="\t")


def _read_txt(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    for number, line in enumerate(lines_of(handle, name, lenient=faults.lenient), 1):
        if wrong := undecoded(line) if faults.lenient else "":
            faults.add(f"line {number}", Problem("", "", wrong))
        else:
            yield Row(number, None, {"text": line.removesuffix("\n").removesuffix("\r")})


def _read_jsonl(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    for number, line in enumerate(lines_of(handle, name, lenient=faults.lenient), 1):
        if line.isspace():
            continue
        if wrong := undecoded(line) if faults.lenient else "":
            faults.add(f"line {number}", Problem("", "", wrong))
            continue
        try:
            cells = _loads(line.rstrip())
        except _JsonError as error:
            faults.add(f"line {number}", Problem("", "", f"is no JSON: {error.reason}{error.column}"))
            continue
        if isinstance(cells, dict):
            yield Row(number, None, cells)
        else:
            hint = "; for one array of objects say format: json" if isinstance(cells, list) else ""
            faults.add(f"line {number}", Problem("", "", f"must be an object, is {show(cells)}{hint}"))


def _read_json(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    text = "".join(lines_of(handle, name))
    if text.strip():
        yield from _json_rows(_json(text, name), name, faults)


def read_json_answers(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    """The same, and what files of answers are besides: an object with one by each `id`, or a list of bare ones."""
    text = "".join(lines_of(handle, name))
    value = _json(text, name) if text.strip() else []
    if isinstance(value, dict) and [isinstance(item, list) for item in value.values()].count(True) != 1:
        cells: Iterator[dict[str, Any]] = ({"id": key, BARE: answer} for key, answer in value.items())
    elif isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        cells = ({BARE: answer} for answer in value)
    else:
        yield from _json_rows(value, name, faults)
        return
    yield from (Row(number, None, row) for number, row in enumerate(cells, 1))


def _json(text: str, name: str) -> Any:
    try:
        return _loads(text)
    except _JsonError as error:
        hint = "; for one object per line say format: jsonl" if error.reason == "extra data" else ""
        place = f"line {error.line}: " if error.line else ""
        raise DataError(f"{name} is no JSON: {place}{error.reason}{error.column}{hint}") from None


def _json_rows(value: Any, name: str, faults: Faults) -> Iterator[Row]:
    for number, cells in enumerate(_list_in(value, name), 1):
        if isinstance(cells, dict):
            yield Row(number, None, cells)
        else:
            faults.add(f"row {number}", Problem("", "", f"must be an object, is {show(cells)}"))


def _list_in(value: Any, name: str) -> list[Any]:
    if isinstance(value, list):
        return value
    lists = [key for key, item in value.items() if isinstance(item, list)] if isinstance(value, dict) else []
    if len(lists) == 1:
        found: list[Any] = value[lists[0]]
        return found
    there = f"an object with {len(lists)} lists in it ({', '.join(lists)})" if lists else show(value)
    raise DataError(f"{name} must hold an array of objects, or an object with one such array; it holds {there}")


class _JsonError(ValueError):
    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        self.reason, self.line = reason, line
        self.column = f" at column {column}" if column else ""


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_no_key_twice)
    except json.JSONDecodeError as error:
        reason = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
        raise _JsonError(reason, error.lineno, error.colno) from None
    except RecursionError:
        raise _JsonError("it is nested too deeply") from None
    except _JsonError:
        raise
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise _JsonError("it has a whole number of more than 4,300 digits") from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _JsonError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' stands twice in one object")
    return found


def _read_parquet(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as copy:
        file = handle
        # Parquet is read from its end, where a pipe cannot start and gzip would begin anew at each step back.
        if isinstance(cast(object, handle), gzip.GzipFile) or not handle.seekable():
            shutil.copyfileobj(handle, copy)
            file = copy
        number = 0
        try:
            table = pq.ParquetFile(file)
            check_columns(table.schema_arrow.names, name)
            for batch in table.iter_batches(batch_size=1024):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, None, cells)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            after = f" after row {number}" if number else ""
            raise DataError(f"{name} is cut off or no Parquet file: it cannot be read{after} ({reason})") from None


def check_columns(columns: Iterable[str], name: str) -> None:
    """Raises DataError where two columns have one name."""
    seen: set[str] = set()
    twice = [c for c in columns if c in seen or seen.add(c)]  # type: ignore[func-returns-value]
    if twice:
        raise DataError(f"{name} has two columns named '{twice[0]}'; rename one")


PARSERS: Mapping[str, Callable[[IO[Any], str, Faults], Iterator[Row]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "txt": _read_txt,
}
