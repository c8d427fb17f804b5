"""Rows from a file or a stream to answers in another, in constant memory. What `nlpipe predict` calls."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import IO, Any

from nlpipe.errors import DataError, suggest
from nlpipe.pipelines import Pipeline
from nlpipe.readers import FORMATS, format_of, iter_rows
from nlpipe.task import Format
from nlpipe.writers import open_sink, open_writer

STREAM = "-"


@dataclass(frozen=True, slots=True)
class Predicted:
    """How many rows were answered, and how many of them were cut because `long: truncate` asked for it."""

    rows: int
    truncated: int


def predict(
    pipe: Pipeline,
    source: str,
    target: str,
    *,
    columns: Mapping[str, str] | None = None,
    source_format: str | None = None,
    target_format: str | None = None,
) -> Predicted:
    """Answer each row of `source` (a file, or `-` for standard input) into `target` (a file, or `-`).

    Input columns are kept; the result's fields follow, with `predicted_` before a name that is taken. `columns`
    maps the task's field names to the file's. Standard input is text lines unless `source_format` says else,
    standard output JSON lines. Raises DataError for rows that cannot be answered, with their number.
    """
    own = pipe.task.formats
    if source == STREAM:
        rows = iter_rows(sys.stdin.buffer, format=source_format or "txt", own=own)
    else:
        rows = iter_rows(Path(source), format=source_format, own=own)
    fields, known = dict(columns or {}), pipe.task.Input.model_fields
    if unknown := [name for name in fields if name not in known]:
        raise DataError(f"--columns: {pipe.card.task} has no field {unknown[0]!r}; {suggest(unknown[0], known)}")
    kept, asked = tee(rows)
    results = pipe.map(_inputs(asked, pipe, fields, source), first=1)
    tally = _Tally()
    pairs = tally.over(zip(kept, results, strict=True))
    sink = sys.stdout.buffer if target == STREAM else Path(target)
    writing = target_format or ("jsonl" if target == STREAM else None)
    kind = format_of(target, writing, own)[0]
    if kind in own and kind not in FORMATS:
        named = (({**row, **{ours: row[theirs] for ours, theirs in fields.items()}}, found) for row, found in pairs)
        _write_own(own[kind], kind, sink, named)
    else:
        with open_writer(sink, format=writing) as writer:
            for row, result in pairs:
                writer.write(_merged(row, result.to_dict()))
    return Predicted(tally.rows, tally.truncated)


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    truncated: int = 0

    def over(self, pairs: Iterable[tuple[dict[str, Any], Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
        """The same pairs, counted as they pass."""
        for row, result in pairs:
            self.rows += 1
            self.truncated += bool(result.seen and result.seen[0] < result.seen[1])
            yield row, result


def _write_own(form: Format, name: str, sink: Path | IO[bytes], pairs: Iterable[tuple[dict[str, Any], Any]]) -> None:
    if form.write is None:
        raise DataError(f"answers cannot be written as {name} ({form.summary}); take jsonl")
    with open_sink(sink) as stream:
        for piece in form.write(pairs):
            stream.write(piece.encode())


def _inputs(
    rows: Iterator[dict[str, Any]], pipe: Pipeline, columns: Mapping[str, str], source: str
) -> Iterator[dict[str, Any]]:
    """Each row's cells under the task's own names."""
    fields = pipe.task.Input.model_fields
    for row in rows:
        found = {name: row[columns.get(name, name)] for name in fields if columns.get(name, name) in row}
        lacking = [name for name, field in fields.items() if field.is_required() and name not in found]
        if lacking:
            raise DataError(
                f"{source} has no column {columns.get(lacking[0], lacking[0])!r}; "
                f"{suggest(lacking[0], row)}; say --columns {lacking[0]}=THEIRS"
            )
        yield found


def _merged(row: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"predicted_{key}" if key in row else key: value for key, value in answer.items()}
    return {**row, **named}
