"""Rows from a file or a stream to answers in another, in constant memory. What `nlpipe predict` calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

from nlpipe.errors import DataError, suggest
from nlpipe.pipelines import Pipeline
from nlpipe.readers import iter_rows
from nlpipe.writers import open_writer

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
    if source == STREAM:
        rows = iter_rows(sys.stdin.buffer, format=source_format or "txt")
    else:
        rows = iter_rows(Path(source), format=source_format)
    fields, known = dict(columns or {}), pipe.task.Input.model_fields
    if unknown := [name for name in fields if name not in known]:
        raise DataError(f"--columns: {pipe.card.task} has no field {unknown[0]!r}; {suggest(unknown[0], known)}")
    kept, asked = tee(rows)
    results = pipe.map(_inputs(asked, pipe, fields, source), first=1)
    count = truncated = 0
    writing = target_format or ("jsonl" if target == STREAM else None)
    with open_writer(sys.stdout.buffer if target == STREAM else Path(target), format=writing) as writer:
        for row, result in zip(kept, results, strict=True):
            assert result is not None
            writer.write(_merged(row, result.to_dict()))
            count += 1
            truncated += bool(result.seen and result.seen[0] < result.seen[1])
    return Predicted(count, truncated)


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
