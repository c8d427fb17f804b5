"""A file or an open stream → rows, one mapping each: CSV, TSV, JSON, JSON lines, Parquet and plain text.

Cells stay as they are written. Knows nothing of tasks, tables or splits; imports no pandas.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from nlpipe.errors import DataError, Problem, nearest, suggest
from nlpipe.parsers import PARSERS, Faults, Row, lines_of, read_json_answers
from nlpipe.rows import show
from nlpipe.task import Format, FormatRow

Own = Mapping[str, Format]
"""The formats of a task's own, by name."""

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt")
"""What can be read and written; the name of a file may end in `.gz` after any of them."""

TEXT_FORMATS = frozenset({"csv", "tsv", "txt"})
"""The formats whose cells are all text."""

Part = Literal["rows", "answers", "pairs"]
"""What a file of a task's own format is read for (`nlpipe.task.Format`)."""

_ALIASES = {"ndjson": "jsonl"}


def format_of(name: str, given: str | None = None, own: Iterable[str] = ()) -> tuple[str, bool]:
    """The format of a file and whether it is gzipped, by `given` or else by the end of its name.

    `own` names formats that are known beside FORMATS. Raises DataError where neither names a known format.
    """
    known = (*FORMATS, *own)
    word = (given or name).lower()
    zipped = word.endswith(".gz") or name.lower().endswith(".gz")
    word = word.removesuffix(".gz")
    ending = word if given else Path(word).suffix.removeprefix(".")
    ending = _ALIASES.get(ending, ending)
    if ending in known:
        return ending, zipped
    if given:
        raise DataError(f"{name}: unknown format '{given}'; {suggest(given, known)}")
    what = f"ends in '.{ending}', which is no format nlpipe reads" if ending else "has no ending that tells its format"
    raise DataError(f"{name} {what}; say `format:`, one of {', '.join(known)}")


def sniff(name: str, given: str | None, own: Own, part: Part, otherwise: str | None = None) -> str | None:
    """The format of a file that may be named anyhow: as given, by its name where that decides, else by its beginning.

    `otherwise` is that of a file of text whose name ends in nothing known. None where nothing tells.
    """
    ending = Path(name.lower().removesuffix(".gz")).suffix.removeprefix(".")
    ending = _ALIASES.get(ending, ending)
    if given or ending in own or ending in {"jsonl", "csv", "parquet"}:
        return given or ending
    head = _head(name)
    for known, form in own.items():
        if getattr(form, part) and form.looks is not None and form.looks(head):
            return known
    if ending in FORMATS:
        return ending
    if head.lstrip()[:1] in {"{", "["}:
        first, _, more = head.strip().partition("\n")
        return "jsonl" if more and _is_object(first) else "json"
    return otherwise


def _head(name: str, size: int = 1 << 16) -> str:
    """The first lines of a file, those that are whole."""
    try:
        with _opened(name, name.lower().endswith(".gz")) as handle:
            text = cast(bytes, handle.read(size)).decode(errors="ignore").removeprefix("\ufeff")
    except (OSError, EOFError, zlib.error):
        return ""  # what is wrong with it is said where it is read
    return text if len(text) < size // 4 else text[: text.rfind("\n") + 1] or text


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def iter_rows(
    source: str | Path | IO[Any], format: str | None = None, own: Own | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a file or an open stream, one at a time, as mappings from column to cell.

    Memory stays constant, but for `json`, which is read whole. A stream needs `format`; a Parquet stream
    is copied to a temporary file first. Cells of csv, tsv and txt are text; txt has one column, `text`. `own` are a
    task's own formats.
    Raises DataError at the call for a missing file or an unknown format, else at the first bad row.
    """
    name = source_name(source)
    if not isinstance(source, str | Path) and format is None:
        raise DataError(f"{name}: say `format:`, one of {', '.join((*FORMATS, *(own or ())))}")
    if isinstance(source, str | Path):
        check_file(source)
    kind, zipped = format_of(name, format, own or ())
    faults = Faults(_HEADING.format(name), at_once=True)
    return (row.cells for row in numbered_rows(source, kind, zipped, faults, own))


def read_faults(name: str) -> Faults:
    """Where to collect the rows of `name` that cannot be read."""
    return Faults(_HEADING.format(name))


_HEADING = "{}: {{rows}} cannot be read"


def source_name(source: str | Path | IO[Any]) -> str:
    """What messages call a source: the path as given, or a stream's own name."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)  # a number for a stream that was opened by its descriptor
    return name.strip("<>") if isinstance(name, str) else "the input"


def check_file(path: str | Path) -> None:
    """Raises DataError unless there is such a file with something in it; names the nearest file there is."""
    if "://" in str(path):
        raise DataError(f"no plugin knows {path}, and nlpipe opens no addresses; fetch it and name the file")
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it{_files_in(path, path.name)}")
    if not path.exists():
        if not folder.is_dir():
            raise DataError(f"there is no file {path}: there is no folder {folder}")
        hub = "" if path.suffix else f"; a data set on the Hub is {{hub: {path}}}"
        raise DataError(f"there is no file {path}{_files_in(folder, path.name)}{hub}")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path} is empty")


def _files_in(folder: Path, name: str) -> str:
    files = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    near = nearest(name, files)
    hint = f"did you mean '{near}'? " if near else ""
    place = "this folder" if folder == Path() else folder
    shown = ", ".join(files[:10]) + (f" and {len(files) - 10} more" if len(files) > 10 else "")
    return f"; {hint}{place} holds: {shown}" if files else f"; {place} holds no files"


def numbered_rows(
    source: str | Path | IO[Any],
    format: str,
    zipped: bool,
    faults: Faults,
    own: Own | None = None,
    *,
    part: Part = "rows",
) -> Iterator[Row]:
    """The rows of a source with their numbers. Bad ones go to `faults` and are left out.

    `part` says what a file of one of the task's `own` formats is read for. Raises DataError where nothing more can be
    read, and where there was no row at all.
    """
    name, none = source_name(source), True
    parse: Callable[[IO[Any], str, Faults], Iterator[Row]]
    if format == "json" and part == "answers":
        parse = read_json_answers
    else:
        parse = PARSERS[format] if format in PARSERS else _parser((own or {})[format], format, part)
    try:
        with _opened(source, zipped) as handle:
            for row in parse(handle, name, faults):
                none = False
                yield row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name} is cut off or no gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from None
    if none and not faults.rows:
        raise DataError(f"{name} has no rows")


def _parser(form: Format, format: str, part: Part) -> Callable[[IO[Any], str, Faults], Iterator[Row]]:
    """A task's own format as a parser. Raises DataError where it holds nothing of the kind."""
    read: Callable[[Iterable[str]], Iterator[FormatRow]] | None = getattr(form, part)
    if read is None:
        what = "rows with their answers" if part == "pairs" else part
        raise DataError(f"the format {format} ({form.summary}) holds no {what} to be read")

    def parse(handle: IO[Any], name: str, faults: Faults) -> Iterator[Row]:
        try:
            for number, row in enumerate(read(lines_of(handle, name)), 1):
                line = "" if row.line is None else f" (line {row.line})"
                if row.fault:
                    faults.add(f"row {number}{line}", Problem("", "", row.fault))
                else:
                    yield Row(number, row.line, dict(row.cells))
        except DataError as error:
            # Of the file as a whole; what lines_of says names it already.
            raise error if str(error).startswith(name) else DataError(f"{name}: {error}") from None

    return parse


@contextmanager
def _opened(source: str | Path | IO[Any], zipped: bool) -> Iterator[IO[Any]]:
    if isinstance(source, str | Path):
        with gzip.open(source) if zipped else Path(source).open("rb") as handle:
            yield cast(IO[bytes], handle)
    else:
        # The bytes below a text stream, so that its encoding is ours to judge.
        raw = getattr(source, "buffer", source)
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw


def as_rows(items: Sequence[Any], name: str, faults: Faults) -> Iterator[Row]:
    """The rows of a list of mappings, numbered from 1. Raises DataError where it is empty."""
    if not items:
        raise DataError(f"{name} has no rows")
    for number, cells in enumerate(items, 1):
        if isinstance(cells, Mapping):
            yield Row(number, None, {str(key): cell for key, cell in cells.items()})
        else:
            faults.add(f"row {number}", Problem("", "", f"must be a mapping, is {show(cells)}"))
