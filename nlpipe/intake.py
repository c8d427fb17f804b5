"""The rows of a file or a stream, good and bad, in their order; and how far through it they are.

Knows no task and no model: what a bad row means is the caller's to decide.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nlpipe.errors import DataError, Problem
from nlpipe.parsers import Faults, Row
from nlpipe.readers import Own, check_file, format_of, numbered_rows, source_name

if TYPE_CHECKING:
    import hashlib

STREAM = "-"
"""What standard input and output are called."""

BY_BYTES = frozenset({"csv", "tsv", "jsonl", "txt"})
"""Formats that are read from their beginning to their end, so that the bytes read tell how much is left."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be read: its number, its line where that is known, and why."""

    number: int
    line: int | None
    reason: str


Item = Row | Bad


@dataclass(slots=True)
class _Waiting(Faults):
    """Faults that wait to be taken in the order of the rows."""

    found: list[Bad] = field(default_factory=list)

    def add(self, where: str, *problems: Problem) -> None:
        """One more bad row; its number stands in `where`."""
        self.rows += 1
        number = re.search(r"\d+", where)
        line = re.search(r"line (\d+)", where)
        reason = "; ".join(f"{problem.key} {problem.message}".strip() for problem in problems)
        self.found.append(Bad(int(number[0]) if number else self.rows, int(line[1]) if line else None, reason))

    def taken(self) -> Iterator[Bad]:
        """Those that nobody has taken yet."""
        found, self.found = self.found, []
        yield from found


@dataclass(frozen=True, slots=True)
class Source:
    """A file by its name, or `-` for standard input (text lines unless `format` says else), and what formats it may be.

    `own` are formats of the task's own.
    """

    name: str
    format: str | None = None
    own: Own | None = None

    @property
    def called(self) -> str:
        """What messages call it."""
        return "standard input" if self.name == STREAM else self.name

    @property
    def kind(self) -> tuple[str, bool]:
        """Its format, and whether it is gzipped. Raises DataError where nothing says it."""
        return format_of(self.name, self.format or ("txt" if self.name == STREAM else None), self.own or ())

    def check(self) -> None:
        """Raises DataError where there is nothing to be read, before a model is loaded for it."""
        if self.name != STREAM:
            check_file(self.name)
        self.kind  # noqa: B018  (asked for its error)


class Intake:
    """The items of a source, one by one, in constant memory (`json` is read whole).

    `read` counts those given; `share` is how much of the source that is, None where it cannot be known. A source that
    breaks off ends the items, and `broken` is why: what came before it is not lost.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.read = 0
        self.broken: DataError | None = None
        self._handle: IO[bytes] | None = None
        self._size = 0
        self._rows = 0

    @property
    def share(self) -> float | None:
        """How much of the source is read, in (0, 1]."""
        if self._rows:
            return min(self.read / self._rows, 1.0)
        if self._handle is None or not self._size or self.source.kind[0] not in BY_BYTES:
            return None
        try:
            return min(self._handle.tell() / self._size, 1.0) or None
        except (OSError, ValueError):  # it is closed: all is read
            return 1.0

    def skip(self, count: int) -> Iterator[Item]:
        """The items behind the first `count`. Shorter sources give none."""
        items = iter(self)
        for _ in range(count):
            if next(items, None) is None:
                break
        return items

    def __iter__(self) -> Iterator[Item]:
        """All items. Raises DataError where there is none at all, or nothing can be read."""
        try:
            for item in self._items():
                self.read += 1
                yield item
        except DataError as error:
            if not self.read:
                raise
            self.broken = error

    def _items(self) -> Iterator[Item]:
        source = self.source
        kind, zipped = source.kind
        with ExitStack() as closing:
            handle: Any = sys.stdin.buffer
            if source.name != STREAM:
                check_file(source.name)
                handle = closing.enter_context(Path(source.name).open("rb"))
                self._handle, self._size = handle, Path(source.name).stat().st_size
                if kind == "parquet" and not zipped:
                    self._rows = _rows_of(handle)
            faults = _Waiting(f"{source_name(handle)}: {{rows}} cannot be read", lenient=True)
            for row in numbered_rows(handle, kind, zipped, faults, source.own):
                yield from faults.taken()
                yield row
            yield from faults.taken()


def _rows_of(handle: IO[bytes]) -> int:
    """How many rows a Parquet file says it has; 0 where it cannot be read, which the reader will say."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.ParquetFile(handle).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return 0
    finally:
        handle.seek(0)


def digested(digest: hashlib._Hash, item: Item) -> None:
    """Add an item to a digest: its number, and its cells or what is wrong with it."""
    content = [item.number, item.cells if isinstance(item, Row) else item.reason]
    digest.update(json.dumps(content, default=str).encode() + b"\n")
