"""Rows → a file or an open stream, as JSON lines, CSV, TSV or Parquet; a file appears whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from nlpipe.errors import DataError, suggest
from nlpipe.files import TEMPORARY, sync
from nlpipe.readers import format_of, source_name
from nlpipe.rows import to_plain

WRITABLE = ("jsonl", "csv", "tsv", "parquet")
"""The formats that `open_writer` writes."""


class Writer(ABC):
    """Takes rows one by one; `open_writer` makes one."""

    def __init__(self, sink: IO[bytes], name: str) -> None:
        self._sink, self._name, self._rows = sink, name, 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row: JSON-like values, NumPy ones included. Raises DataError where the format cannot hold it."""
        self._rows += 1
        try:
            self._write({str(key): to_plain(cell) for key, cell in row.items()})
        except UnicodeEncodeError:
            raise self._fault("holds half a character (a lone surrogate), which only jsonl can") from None
        except ValueError as error:
            raise self._fault(str(error)) from None
        except BrokenPipeError:  # whoever reads has had enough, as in `| head`; for the command line to judge
            raise
        except OSError as error:
            raise self._fault(f"cannot be written: {error.strerror or error}") from error

    @abstractmethod
    def _write(self, row: dict[str, Any]) -> None: ...

    def finish(self) -> None:  # noqa: B027  (most formats are done with their last row)
        """Write what remains; `open_writer` calls it where its block ended well."""

    def close(self) -> None:  # noqa: B027
        """Let go of temporary files; `open_writer` calls it in any case."""

    def _fault(self, message: str) -> DataError:
        return DataError(f"{self._name}: row {self._rows} {message}")


class _JsonLines(Writer):
    def _write(self, row: dict[str, Any]) -> None:
        try:
            line = json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a character can be escaped, not encoded
            line = json.dumps(row).encode()
        self._sink.write(line + b"\n")


class _Csv(Writer):
    def __init__(
        self, sink: IO[bytes], name: str, columns: Sequence[str] | None, delimiter: str, *, begun: bool = False
    ) -> None:
        super().__init__(sink, name)
        self._columns, self._delimiter = columns, delimiter
        if columns is not None and not begun:
            self._line(list(columns))

    def _write(self, row: dict[str, Any]) -> None:
        if self._columns is None:
            self._columns = list(row)
            self._line(self._columns)
        if unknown := [key for key in row if key not in self._columns]:
            raise ValueError(f"has the column '{unknown[0]}', which the first row has not; write jsonl")
        self._line([_cell(row.get(column)) for column in self._columns])

    def _line(self, cells: list[str]) -> None:
        text = io.StringIO()
        if any("\r" in cell for cell in cells):
            # A bare carriage return would end the row for a reader, and Python 3.11 does not quote it by itself.
            out = csv.writer(text, delimiter=self._delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        else:
            out = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        out.writerow(cells)
        self._sink.write(text.getvalue().encode())


def _cell(value: Any) -> str:
    """Text as it is, nothing for None, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


class _Parquet(Writer):
    """Parquet wants every column's type before its first row, so the rows wait in a temporary file."""

    def __init__(self, sink: IO[bytes], name: str) -> None:
        super().__init__(sink, name)
        self._spool = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115  (close() closes it)

    def _write(self, row: dict[str, Any]) -> None:
        self._spool.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def finish(self) -> None:
        parquet_of(self._spool, self._sink, self._name)

    def close(self) -> None:
        self._spool.close()


def parquet_of(lines: IO[bytes], sink: IO[bytes], name: str) -> None:
    """JSON lines as Parquet, a column for each key in the order of their first rows.

    Raises DataError where a column's values are not of one type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, None] = {}
    lines.seek(0)
    for line in lines:
        columns.update(dict.fromkeys(json.loads(line)))
    try:
        parts = _parts(lines, list(columns))
        kinds = [pa.schema([(c, pa.array(cells).type) for c, cells in part.items()]) for part in parts]
        schema = pa.unify_schemas(kinds, promote_options="permissive") if kinds else pa.schema([])
        with pq.ParquetWriter(sink, schema) as out:
            for part in _parts(lines, list(columns)):
                arrays = [pa.array(cells, schema.field(c).type) for c, cells in part.items()]
                out.write_table(pa.Table.from_arrays(arrays, schema=schema))
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(
            f"{name}: a column holds values that Parquet cannot hold in one column "
            f"({str(error).splitlines()[0]}); write jsonl"
        ) from None


def _parts(lines: IO[bytes], columns: Sequence[str], rows: int = 8192) -> Iterator[dict[str, list[Any]]]:
    lines.seek(0)
    part: dict[str, list[Any]] = {column: [] for column in columns}
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        for column, cells in part.items():
            cells.append(row.get(column))
        if number % rows == 0:
            yield part
            part = {column: [] for column in columns}
    if any(part.values()):
        yield part


@contextmanager
def open_writer(
    target: str | Path | IO[Any], format: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[Writer]:
    """A writer of rows to a file or an open stream; the format is told by the file's name, else by `format`.

    A file is written beside its place and moved there when the block ends without an exception, so a
    run that dies leaves what stood there before. CSV and TSV take their header from `columns`, or else from
    the first row's keys; a missing cell is empty, a nested value is JSON. In Parquet, objects in one
    column share one set of keys. Raises DataError for an unknown format, a missing folder, and a row that
    the format cannot hold.
    """
    name = source_name(target)
    if not isinstance(target, str | Path) and format is None:
        raise DataError(f"{name}: say the format, one of {', '.join(WRITABLE)}")
    kind, zipped = written_as(name, format)
    with _sink(target, name) as raw:
        sink = cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0)) if zipped else raw
        writer = _writer(kind, sink, name, columns)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        if zipped:
            sink.close()


def written_as(name: str, format: str | None = None) -> tuple[str, bool]:
    """The format of a file to be written, and whether it is gzipped. Raises DataError for one that is not WRITABLE."""
    kind, zipped = format_of(name, format)
    if kind not in WRITABLE:
        raise DataError(f"{name}: predictions cannot be written as {kind}; {suggest(kind, WRITABLE)}")
    return kind, zipped


def line_writer(
    kind: str, sink: IO[bytes], name: str, columns: Sequence[str] | None = None, *, begun: bool = False
) -> Writer:
    """A writer that puts each row into `sink` at once: of Parquet as JSON lines, for `parquet_of`.

    `begun` says that the header of CSV and TSV, `columns`, stands there already.
    """
    if kind in ("jsonl", "parquet"):
        return _JsonLines(sink, name)
    return _Csv(sink, name, columns, "\t" if kind == "tsv" else ",", begun=begun)


def _writer(kind: str, sink: IO[bytes], name: str, columns: Sequence[str] | None) -> Writer:
    if kind == "jsonl":
        return _JsonLines(sink, name)
    if kind == "parquet":
        return _Parquet(sink, name)
    return _Csv(sink, name, columns, "\t" if kind == "tsv" else ",")


@contextmanager
def open_sink(target: str | Path | IO[Any]) -> Iterator[IO[bytes]]:
    """Bytes to a file or an open stream; a file appears whole or not at all, as with `open_writer`."""
    with _sink(target, source_name(target)) as sink:
        yield sink


@contextmanager
def _sink(target: str | Path | IO[Any], name: str) -> Iterator[IO[bytes]]:
    if not isinstance(target, str | Path):
        yield from _stream(target)
        return
    path = Path(os.path.realpath(target))  # a link stays a link: what it points to is replaced
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}; make it first"
        raise DataError(f"{name} cannot be written: {what}")
    if path.exists() and not path.is_file():  # a pipe or a device, which must not be replaced
        with _create(path, name, "wb") as out:
            yield out
        return
    sibling = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        with _create(sibling, name, "xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        sibling.replace(path)
    finally:
        sibling.unlink(missing_ok=True)
    sync(path.parent)


def _create(path: Path, name: str, mode: str) -> IO[bytes]:
    try:
        return cast(IO[bytes], path.open(mode))
    except OSError as error:
        raise DataError(f"{name} cannot be written: {error.strerror or error}") from None


def _stream(target: IO[Any]) -> Iterator[IO[bytes]]:
    """The bytes below a text stream; text that knows no bytes (StringIO) takes them decoded."""
    if isinstance(target, io.StringIO):
        held = io.BytesIO()
        yield held
        target.write(held.getvalue().decode())
        return
    target.flush()
    raw = cast(IO[bytes], getattr(target, "buffer", target))
    yield raw
    raw.flush()
