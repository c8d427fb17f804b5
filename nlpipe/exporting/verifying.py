"""Whether an exported model answers as PyTorch does, how much of its score is lost, and how much faster it is."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlpipe import batching
from nlpipe.errors import ArtifactError
from nlpipe.exporting.rows import Rows
from nlpipe.objectives.base import Batch
from nlpipe.pipelines import Pipeline
from nlpipe.runners.base import Runner

SAME = 1e-3
"""How far an unquantised graph's outputs may lie from PyTorch's, relative to the largest of them: they are sums of the
same numbers in another order, and differ by 1e-6 to 1e-5 in practice."""

MOVED = 0.05
"""How far a number in an answer may move before the answer counts as another one."""

ROUNDS = 5
TIMED = 64  # rows


@dataclass(frozen=True, slots=True)
class Verified:
    """What answering the same rows with both gave; milliseconds are medians."""

    rows: int
    changed: float
    metric: str | None
    score: float | None
    lost: float | None
    faster: float
    milliseconds: Mapping[str, tuple[float, float]]  # by what is asked: (PyTorch's, the export's)

    @property
    def loss(self) -> float:
        """The share that is lost: of the score where rows were labelled, else of the answers."""
        if self.lost is None or self.score is None:
            return self.changed
        return self.lost / abs(self.score) if self.score else float(self.lost > 0)


def require_same(one: Pipeline, other: Runner, batches: Sequence[Batch]) -> None:
    """Raise ArtifactError where a graph that is not quantised gives other outputs than PyTorch."""
    for batch in batches:
        ours, theirs = one.runner.compute(one.objective, batch), other.compute(one.objective, batch)
        real = batch.inputs["attention_mask"].astype(bool)
        for name, values in ours.items():
            if name not in theirs or theirs[name].shape != values.shape:
                raise ArtifactError(f"the exported graph gives no {name} of the form that PyTorch gives")
            by_token = values.shape[:2] == real.shape and values.ndim > 1 and values.shape[1] != 1
            mine, its = (values[real], theirs[name][real]) if by_token else (values, theirs[name])
            apart = float(np.abs(mine - its).max(initial=0.0))
            if not apart <= SAME * max(1.0, float(np.abs(mine).max(initial=0.0))):
                raise ArtifactError(
                    f"the exported graph gives other {name} than PyTorch, by up to {apart:.2g}: it was not written. "
                    "This model's architecture is not traced rightly; please report it"
                )


def verify(one: Pipeline, other: Pipeline, rows: Rows) -> Verified:
    """Both pipelines' answers to the same rows, and the time each takes."""
    pipes = [pipe.index(rows.items) if rows.items else pipe for pipe in (one, other)]
    given = [pipes[0].given(_input(pipes[0], row)) for row in rows.asked]
    ours, theirs = (list(pipe.map(given)) for pipe in pipes)
    changed = sum(differ(a.to_dict(), b.to_dict()) for a, b in zip(ours, theirs, strict=True)) / len(ours)
    metric = score = lost = None
    if rows.examples:
        first = one.task.metrics[0]
        score, found = (float(first.score(results, rows.examples)) for results in (ours, theirs))
        metric, lost = first.name, (score - found) * (1 if first.direction == "maximize" else -1)
    timed = {"one short text": [min(given, key=lambda row: len(str(row)))] * 1, "rows in batches": given[:TIMED]}
    times = {what: _paired(pipes[0], pipes[1], some) for what, some in timed.items()}
    milliseconds = {what: (statistics.median(a), statistics.median(b)) for what, (a, b) in times.items()}
    ratios = [a / b for a, b in zip(*times["rows in batches"], strict=True)]
    return Verified(len(given), changed, metric, score, lost, statistics.median(ratios), milliseconds)


def _input(pipe: Pipeline, row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in pipe.task.Input.model_fields}


def _paired(one: Pipeline, other: Pipeline, given: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Milliseconds of each in turn, so that both meet the same hindrances."""

    def timed(answer: Callable[[], Any]) -> float:
        start = time.perf_counter()
        answer()
        return 1000 * (time.perf_counter() - start)

    pairs = []
    for _ in range(ROUNDS + 1):  # the first warms up
        pairs.append([timed(lambda pipe=pipe: list(pipe.map(given))) for pipe in (one, other)])  # type: ignore[misc]
    return [pair[0] for pair in pairs[1:]], [pair[1] for pair in pairs[1:]]


def differ(one: Any, other: Any) -> bool:
    """Whether two answers say something else: another text, label or place, or a number that has moved by MOVED."""
    if isinstance(one, bool | str) or one is None or type(one) is not type(other):
        return bool(one != other)
    if isinstance(one, Mapping):
        return one.keys() != other.keys() or any(differ(one[key], other[key]) for key in one)
    if isinstance(one, Sequence):
        return len(one) != len(other) or any(differ(a, b) for a, b in zip(one, other, strict=True))
    return not math.isclose(one, other, rel_tol=MOVED, abs_tol=MOVED)


def batches(pipe: Pipeline, examples: Sequence[Any], size: int = 8) -> list[Batch]:
    """Rows as the model reads them, of like length together."""
    from nlpipe import plugin_calls

    rows = []
    for example in examples:
        query = plugin_calls.query(pipe.task, pipe.given(_input(pipe, example)), pipe.objective)
        rows += pipe.objective.encode(query, None, pipe.tokenizers)
    rows.sort(key=lambda row: row.length)
    draw = batching.rng(0, "answer")
    return [
        pipe.objective.collate(rows[at : at + size], pipe.tokenizers, answering=True, rng=draw)
        for at in range(0, len(rows), size)
    ]
