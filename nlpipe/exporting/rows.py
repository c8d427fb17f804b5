"""The rows that an export is calibrated and verified on: a user's, else the task's own samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlpipe import data
from nlpipe.errors import DataError
from nlpipe.pipelines import Pipeline

CALIBRATED = 96
"""Rows whose activations decide scales; more changed none of those measured."""

VERIFIED = 400
"""Rows answered by both back ends."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What both back ends are asked: `calibration` to choose scales by, `asked` to compare answers on.

    `examples` are labelled, as `asked` are, or empty; `items` is the collection that a task answers from.
    """

    calibration: Sequence[Any]
    asked: Sequence[Any]
    examples: Sequence[Any]
    items: Sequence[Any]


def gather(pipe: Pipeline, source: str | None, columns: Mapping[str, str] | None) -> Rows:
    """Rows of a file, labelled or not, in two parts that share none where there are 40 or more."""
    kind = type(pipe.task)
    if source is None:
        samples = list(kind.samples())
        return Rows(samples, samples, (), ())
    labelled = True
    try:
        split = _read(pipe, source, kind.Example, columns)
    except DataError:
        labelled = False
        split = _read(pipe, source, kind.Input, columns)
    if not split.examples:
        raise DataError(f"{source} has no rows to verify the export on")
    everything = split.examples
    gold = set(kind.Example.model_fields) - set(kind.Input.model_fields)
    labelled = labelled and (
        not gold or all(any(getattr(row, name) is not None for name in gold) for row in everything)
    )
    apart = len(everything) >= 40
    asked = _spread(everything[1::2] if apart else everything, VERIFIED)
    calibration = _spread(everything[::2] if apart else everything, CALIBRATED)
    return Rows(calibration, asked, asked if labelled else (), split.items)


def _read(pipe: Pipeline, source: str, record: Any, columns: Mapping[str, str] | None) -> data.Split:
    kind = type(pipe.task)
    return data.load_splits(
        {"test": source}, record, columns or {}, item=kind.Item, seed=13, hook=pipe.plugins.dataset, own=kind.formats
    )["test"]


def _spread(rows: Sequence[Any], most: int) -> list[Any]:
    """At most so many rows, evenly over all."""
    step = max(1.0, len(rows) / most)
    return [rows[int(at * step)] for at in range(min(most, len(rows)))]
