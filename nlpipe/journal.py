"""An output that grows row by row, can be interrupted at any moment, and is whole when it appears under its name.

While it grows, `NAME.partial` has the rows written so far and `NAME.partial.json` says how much of it counts: what was
flushed to the disk, and how many rows of the input it answers. Whoever takes it up again cuts off what came after that.
Knows rows and files; no task and no model.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

from nlpipe.errors import DataError
from nlpipe.files import TEMPORARY, atomic_write, remove, sha256, sync
from nlpipe.intake import Item, digested
from nlpipe.writers import line_writer, parquet_of, written_as

EVERY = 5.0
"""Seconds between two moments from which a killed run can be taken up."""

_FORMAT = 1


@dataclass(slots=True)
class State:
    """What counts of an unfinished output.

    `rows` of the input are dealt with, `answered` of them by a row of the output and `bad` by one of the errors, of
    which `bytes` and `error_bytes` count; `truncated` were read in part, as asked. `read` and `written` are the digests
    of both sides; `columns` those of a table; `run` says what is answered with what.
    """

    run: dict[str, Any]
    rows: int = 0
    answered: int = 0
    bad: int = 0
    truncated: int = 0
    bytes: int = 0
    error_bytes: int = 0
    read: str = ""
    written: str = ""
    columns: list[str] | None = None
    format: int = _FORMAT


class _Mark(NamedTuple):
    """What is written whole: replaced in one step, so that an interruption finds the one before or the one after."""

    rows: int
    answered: int
    bad: int
    truncated: int
    bytes: int
    error_bytes: int
    read: hashlib._Hash
    written: hashlib._Hash


class Journal:
    """An output and its file of errors (None: bad rows are not kept), to which rows are added; `open` makes one."""

    def __init__(self, target: Path, errors: Path | None, kind: str, zipped: bool, state: State) -> None:
        self.target, self.errors, self.kind, self.zipped, self.state = target, errors, kind, zipped, state
        self._sinks: list[IO[bytes]] = []
        self._line, self._fault = bytearray(), bytearray()
        self._truncated = False
        self._columns = state.columns
        self._mark = _Mark(
            state.rows,
            state.answered,
            state.bad,
            state.truncated,
            state.bytes,
            state.error_bytes,
            hashlib.sha256(),
            hashlib.sha256(),
        )

    @classmethod
    def open(
        cls, target: Path, errors: Path | None, run: Mapping[str, Any], *, format: str | None, resume: bool
    ) -> Self:
        """An output to be begun, or with `resume` to be taken up where there is an unfinished one.

        Raises DataError where there is one and `resume` is not said, and where it is of another run.
        """
        name = str(target)
        kind, zipped = written_as(name, format)
        path = Path(os.path.realpath(target))  # a link stays a link: what it points to is replaced
        if path.is_dir() or not path.parent.is_dir():
            what = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}; make it first"
            raise DataError(f"{name} cannot be written: {what}")
        note = _note(path)
        if resume:
            _put_back(note, path, errors, whole=kind != "parquet" and not zipped)
        # A note without its rows is of a run that was killed after its last row: the output is whole.
        unfinished = note.exists() and _partial(path).exists()
        state = _taken_up(note, path, dict(run), resume=resume) if unfinished else State(dict(run))
        made = cls(path, errors, kind, zipped, state)
        try:
            made._open()
        except DataError:
            made.close()
            if not state.rows:  # nothing is lost with it
                remove(made.partial)
            raise
        return made

    @property
    def partial(self) -> Path:
        """Where the rows stand until there are all."""
        return _partial(self.target)

    @property
    def note(self) -> Path:
        """Where the state stands."""
        return _note(self.target)

    @property
    def partial_errors(self) -> Path | None:
        """Where the errors stand until the run is over."""
        return None if self.errors is None else self.errors.with_name(f"{self.errors.name}.partial")

    def _open(self) -> None:
        """The partial files at the length that counts."""
        sizes = [(self.partial, self.state.bytes)]
        if self.partial_errors is not None:
            sizes.append((self.partial_errors, self.state.error_bytes))
        for path, size in sizes:
            there = path.stat().st_size if path.exists() else 0
            if there < size:
                raise self._changed(f"{path} has {there:,} bytes, and {size:,} were written")
            try:
                sink = path.open("r+b" if path.exists() else "w+b")
            except OSError as error:
                raise DataError(f"{path} cannot be written: {error.strerror or error}") from None
            self._sinks.append(sink)
            if path == self.partial:
                _digest(sink, size, self._mark.written)
            sink.truncate(size)
            sink.seek(size)
        if self.state.bytes and self._mark.written.hexdigest() != self.state.written:
            raise self._changed(f"{self.partial} is not what was written")
        begun = self._columns is not None
        self._writer = line_writer(self.kind, cast(Any, self), str(self.target), self._columns, begun=begun)
        self._committed = time.monotonic()

    def _changed(self, what: str) -> DataError:
        return DataError(f"--resume: {what}: it was changed. Remove it and {self.note} to begin anew")

    @property
    def answered(self) -> int:
        """How many answers there are."""
        return self._mark.answered

    def read_again(self, items: Iterable[Item], called: str) -> None:
        """Look at the rows that are dealt with. Raises DataError where they are others than those that were."""
        for item in items:
            digested(self._mark.read, item)
        if self._mark.read.hexdigest() != self.state.read:
            raise DataError(
                f"--resume: the first {self.state.rows:,} rows of {called} are not those that were answered: the file "
                f"was changed. Give the rows as they were, or remove {self.partial} and {self.note.name} to begin anew"
            )

    def write(self, data: bytes) -> None:
        """Bytes of a row, from the writer."""
        self._line += data

    def add(self, row: Mapping[str, Any], *, truncated: bool) -> None:
        """One more answer. Raises DataError where the format cannot hold the row, which then is not written."""
        try:
            self._writer.write(row)
        except DataError:
            self._line.clear()
            raise
        if self._columns is None and self.kind in ("csv", "tsv"):
            self._columns = [str(key) for key in row]
        self._truncated = truncated

    def fault(self, row: Mapping[str, Any]) -> None:
        """One more row that could not be answered."""
        self._fault += json.dumps(row, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n"

    def mark(self, item: Item) -> None:
        """The row `item` is dealt with: it was added, or put to the faults."""
        line, fault, now = bytes(self._line), bytes(self._fault), self._mark
        with self._disk():
            self._sinks[0].write(line)
            if len(self._sinks) > 1:
                self._sinks[1].write(fault)
        read, written = now.read.copy(), now.written.copy()
        digested(read, item)
        written.update(line)
        self._mark = _Mark(
            now.rows + 1,
            now.answered + (not fault),
            now.bad + bool(fault),
            now.truncated + self._truncated,
            now.bytes + len(line),
            now.error_bytes + (len(fault) if len(self._sinks) > 1 else 0),
            read,
            written,
        )
        self._line.clear()
        self._fault.clear()
        self._truncated = False

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return time.monotonic() - self._committed >= EVERY

    def commit(self) -> None:
        """Put on the disk what was marked."""
        mark = self._mark
        with self._disk():
            for sink, size in zip(self._sinks, (mark.bytes, mark.error_bytes), strict=False):
                sink.flush()
                if sink.tell() != size:  # a row that an interruption cut
                    sink.truncate(size)
                    sink.seek(size)
                os.fsync(sink.fileno())
        self.state = State(
            self.state.run,
            mark.rows,
            mark.answered,
            mark.bad,
            mark.truncated,
            mark.bytes,
            mark.error_bytes,
            mark.read.hexdigest(),
            mark.written.hexdigest(),
            self._columns,
        )
        atomic_write(self.note, json.dumps(asdict(self.state), indent=2, default=str))
        self._committed = time.monotonic()

    def finish(self) -> None:
        """The whole output under its name; errors under theirs, and none there where there were none.

        A process killed between the steps leaves a note of all rows, from which `open` goes on.
        """
        self.commit()
        with self._disk():
            self._finish()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """What the disk refuses is the user's to mend."""
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.target} cannot be written: {error.strerror or error}") from error

    def _finish(self) -> None:
        self._sinks[0].flush()
        if self.kind == "parquet" or self.zipped:
            self._converted()
        else:
            os.fsync(self._sinks[0].fileno())
            self.partial.replace(self.target)
        if self.errors is not None and self.partial_errors is not None:
            self._sinks[1].flush()
            if self._mark.bad:
                self.partial_errors.replace(self.errors)
            else:
                self.partial_errors.unlink()
                self.errors.unlink(missing_ok=True)  # an earlier run's
        self.discard()
        sync(self.target.parent)

    def _converted(self) -> None:
        """The rows as Parquet, or compressed."""
        whole = self.target.with_name(f"{TEMPORARY}{self.target.name}")
        try:
            with whole.open("wb") as raw:
                sink: Any = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if self.zipped else raw
                if self.kind == "parquet":
                    parquet_of(self._sinks[0], sink, str(self.target))
                else:
                    self._sinks[0].seek(0)
                    shutil.copyfileobj(self._sinks[0], sink)
                if self.zipped:
                    sink.close()
                raw.flush()
                os.fsync(raw.fileno())
            whole.replace(self.target)
        finally:
            whole.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files; what was committed stays."""
        for sink in self._sinks:
            with suppress(OSError):  # of a full disk: what was committed stands there
                sink.close()

    def discard(self) -> None:
        """Remove what is unfinished."""
        self.close()
        for path in (self.partial, self.note, self.partial_errors):
            if path is not None:
                remove(path)


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial.json")


def _put_back(note: Path, target: Path, errors: Path | None, *, whole: bool) -> None:
    """Make an output unfinished again whose run was killed in its last steps, so that it can be finished.

    `whole` says whether the rows themselves take the output's name: else they stay where they are till the end.
    """
    partial = _partial(target)
    try:
        state = State(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return
    same = whole and target.is_file() and target.stat().st_size == state.bytes and sha256(target) == state.written
    if same and not partial.exists():
        target.replace(partial)
    if errors is not None and partial.exists() and state.bad and errors.is_file():
        there = errors.with_name(f"{errors.name}.partial")
        if not there.exists() and errors.stat().st_size == state.error_bytes:
            errors.replace(there)


def _taken_up(note: Path, target: Path, run: dict[str, Any], *, resume: bool) -> State:
    """The state of an unfinished output. Raises DataError where it is not to be taken up, or is another run's."""
    partial = _partial(target)
    try:
        state = State(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{note} is damaged ({error}); remove it to begin anew") from None
    if not resume:
        raise DataError(
            f"{partial} has {state.answered:,} answers of an unfinished run: go on with --resume, or remove it and "
            f"{note.name} to begin anew"
        )
    if state.format != _FORMAT:
        raise DataError(f"{note} was written by another version of nlpipe; remove it to begin anew")
    for name in {**run, **state.run}:
        if run.get(name) != state.run.get(name):
            raise DataError(
                f"--resume: {partial} was begun with {name} {_show(state.run.get(name))}, this is "
                f"{_show(run.get(name))}. Go on with the same, or remove it and {note.name} to begin anew"
            )
    return state


def _digest(stream: IO[bytes], size: int, into: Any) -> None:
    left = size
    while left and (data := stream.read(min(left, 1 << 20))):
        into.update(data)
        left -= len(data)


def _show(value: Any) -> str:
    return "none" if value in (None, {}, []) else json.dumps(value, ensure_ascii=False, default=str)
