"""A run's `events.jsonl`: a line per event, which after a resume reads as the log of an unbroken run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlpipe import files
from nlpipe.events import Event, RowsNoted, RunFailed, RunFinished, RunInterrupted, RunResumed, RunStarted, Saved

_ENDS = {kind.__name__ for kind in (RunFailed, RunFinished, RunInterrupted)}


class EventLog:
    """The log at a path. Raises ArtifactError where the disk does not take a line; no half line is left then."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, event: Event) -> None:
        """Append an event. `RunResumed` first takes out what came after its checkpoint: it happens again."""
        if isinstance(event, RunResumed):
            files.atomic_write(self.path, "".join(map(_line, self._up_to(event))))
        try:
            self._append(_line(event.to_dict()).encode())
        except OSError as error:
            raise files.unwritable(self.path, error) from error

    def flush(self) -> None:
        """Have every line on the disk itself, so that no checkpoint outlives the events before it."""
        try:
            files.sync(self.path)
        except OSError as error:
            raise files.unwritable(self.path, error) from error

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return any(entry["event"] == RunFinished.__name__ for entry in self.entries())

    def _append(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as stream:
            start = stream.tell()
            try:
                while line:  # a disk that fills up takes a part first
                    line = line[stream.write(line) :]
            except OSError:
                stream.truncate(start)
                raise

    def entries(self) -> Iterator[dict[str, Any]]:
        """The events so far. A torn line, which a killed machine can leave, is passed over."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                yield entry

    def _up_to(self, resumed: RunResumed) -> list[dict[str, Any]]:
        """The events that the checkpoint knows of: one start, each note once, and what has a step up to its own."""
        kept: list[dict[str, Any]] = []
        for entry in self.entries():
            name = entry["event"]
            if name == RunStarted.__name__:
                again = any(other["event"] == name for other in kept)
            else:
                again = name == RowsNoted.__name__ and entry in kept
            over = name in _ENDS or entry.get("what") == "model" or entry.get("step", 0) > resumed.step
            if not again and not over:
                kept.append(entry)
        saved = Saved(resumed.step, resumed.checkpoint or "", "checkpoint").to_dict()
        if resumed.checkpoint and not any(_same(entry, saved) for entry in kept):
            kept.append(saved)  # the run was killed between writing the checkpoint and saying so
        return kept


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["event"], one.get("step")) == (other["event"], other["step"])


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
