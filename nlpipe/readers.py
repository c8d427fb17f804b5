"""A file or an open stream → rows, one mapping each: CSV, TSV, JSON, JSON lines, Parquet and plain text.

Cells stay as they are written. Knows nothing of tasks, tables or splits; imports no pandas.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from nlpipe.errors import DataError, Problem, nearest, suggest
from nlpipe.parsers import PARSERS, Faults, Row
from nlpipe.rows import show

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt")
"""What can be read and written; the name of a file may end in `.gz` after any of them."""

TEXT_FORMATS = frozenset({"csv", "tsv", "txt"})
"""The formats whose cells are all text."""

_ALIASES = {"ndjson": "jsonl"}


def format_of(name: str, given: str | None = None) -> tuple[str, bool]:
    """The format of a file and whether it is gzipped, by `given` or else by the end of its name.

    Raises DataError where neither names a known format.
    """
    word = (given or name).lower()
    zipped = word.endswith(".gz") or name.lower().endswith(".gz")
    word = word.removesuffix(".gz")
    ending = word if given else Path(word).suffix.removeprefix(".")
    ending = _ALIASES.get(ending, ending)
    if ending in FORMATS:
        return ending, zipped
    if given:
        raise DataError(f"{name}: unknown format '{given}'; {suggest(given, FORMATS)}")
    what = f"ends in '.{ending}', which is no format nlpipe reads" if ending else "has no ending that tells its format"
    raise DataError(f"{name} {what}; say `format:`, one of {', '.join(FORMATS)}")


def iter_rows(source: str | Path | IO[Any], format: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file or an open stream, one at a time, as mappings from column to cell.

    Memory stays constant, but for `json`, which is read whole. A stream needs `format`; a Parquet stream
    is copied to a temporary file first. Cells of csv, tsv and txt are text; txt has one column, `text`.
    Raises DataError at the call for a missing file or an unknown format, else at the first bad row.
    """
    name = source_name(source)
    if not isinstance(source, str | Path) and format is None:
        raise DataError(f"{name}: say `format:`, one of {', '.join(FORMATS)}")
    if isinstance(source, str | Path):
        check_file(source)
    kind, zipped = format_of(name, format)
    return (row.cells for row in numbered_rows(source, kind, zipped, Faults(_HEADING.format(name), at_once=True)))


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


def numbered_rows(source: str | Path | IO[Any], format: str, zipped: bool, faults: Faults) -> Iterator[Row]:
    """The rows of a source with their numbers. Bad ones go to `faults` and are left out.

    Raises DataError where nothing more can be read, and where there was no row at all.
    """
    name, none = source_name(source), True
    try:
        with _opened(source, zipped) as handle:
            for row in PARSERS[format](handle, name, faults):
                none = False
                yield row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name} is cut off or no gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from None
    if none and not faults.rows:
        raise DataError(f"{name} has no rows")


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
