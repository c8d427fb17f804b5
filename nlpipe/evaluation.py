"""Labelled rows and answers to scores with intervals. No model and no file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe import metrics_evaluate
from nlpipe.batching import rng
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.metrics_evaluate import Foreign
    from nlpipe.task import Task


@dataclass(frozen=True, slots=True)
class Scores:
    """Every score of one set of answers.

    `intervals` has (low, high) of the 95 % percentile bootstrap (Efron and Tibshirani 1993) by score name,
    empty where it was switched off; `baselines` the same scores of trivial answers, by the baseline's name, as far as
    they can have them.
    `statistics` are what each metric counted in each row, [n, k], by score name.
    """

    task: str
    n: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    statistics: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it: all but the rows' statistics. None for a score that is no number (nan, infinite)."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "statistics"}


def evaluate(
    task: Task[Any, Any, Any, Any],
    results: Sequence[Any],
    examples: Sequence[Any],
    *,
    train: Sequence[Any] = (),
    metrics: Sequence[str] = (),
    bootstrap: int = 1000,
    seed: int = 13,
) -> Scores:
    """The task's metrics of `results` against `examples`; baselines where there are training rows.

    `metrics` names further ones (`chosen`). A trivial answer has only the scores that it can have: one without
    probabilities has no calibration. Raises DataError where there is nothing to score.
    """
    if not examples:
        raise DataError("there are no rows to score")
    named = [one if isinstance(one, Metric) else one.of(task) for one in chosen(task, metrics, examples)]
    always = (*task.metrics, *task.besides(results, examples))
    measured = (*always, *(one for one in named if one.name not in {other.name for other in always}))
    statistics = {metric: metric.rows(results, examples) for metric in measured}
    answers = task.baselines(train, examples) if train else {}
    return Scores(
        task=task.name,
        n=len(examples),
        scores={metric.name: float(metric.value(rows)) for metric, rows in statistics.items()},
        intervals=intervals(statistics, bootstrap, seed) if bootstrap else {},
        signatures={metric.name: metric.signature_of(examples) for metric in measured},
        baselines={name: _possible(measured, trivial, examples) for name, trivial in answers.items()},
        statistics={metric.name: rows for metric, rows in statistics.items()},
    )


def chosen(
    task: Task[Any, Any, Any, Any] | type[Task[Any, Any, Any, Any]], names: Sequence[str], examples: Sequence[Any] = ()
) -> tuple[Metric | Foreign, ...]:
    """Metrics by name: the task's further ones, or one of the library `evaluate` as `evaluate:NAME` or a path to it.

    Those that are always measured are left out. `examples` are what a name such as `f1:each` is spelt out by. Raises
    UnsupportedError with the names there are.
    """
    usual = {metric.name for metric in task.metrics}
    found: dict[str, Metric | Foreign] = {}
    for name in names:
        if name in usual:
            continue
        if metrics_evaluate.named(name):
            found[name] = metrics_evaluate.load(name)
            continue
        several = _further(task, name, examples)
        if several is None:
            known = [*usual, *(metric.name for metric in task.further)]
            raise UnsupportedError(
                f"unknown metric {name!r} for {task.name}; {suggest(name, known)}. Those of the library "
                "evaluate are named evaluate:NAME, or by the path of a folder with one"
            )
        found.update((metric.name, metric) for metric in several if metric.name not in usual)
    return tuple(found.values())


def _further(task: Any, name: str, examples: Sequence[Any] = ()) -> Sequence[Metric] | None:
    fixed = [metric for metric in task.further if metric.name == name]
    return fixed or task.named(name, examples)


def metric(kind: type[Task[Any, Any, Any, Any]], name: str) -> Metric | None:
    """The task's metric of this name, wherever it has it; None for one of the library `evaluate`."""
    found = [metric for metric in kind.metrics if metric.name == name] or _further(kind, name)
    return found[0] if found else None


def quick(task: Task[Any, Any, Any, Any], results: Sequence[Any], examples: Sequence[Any]) -> dict[str, float]:
    """The scores alone, as evaluation during training needs them."""
    return _scores(task.metrics, results, examples)


def _scores(metrics: Sequence[Metric], results: Sequence[Any], examples: Sequence[Any]) -> dict[str, float]:
    return {metric.name: metric.score(results, examples) for metric in metrics}


def _possible(metrics: Sequence[Metric], results: Sequence[Any], examples: Sequence[Any]) -> dict[str, float]:
    """The scores of those metrics that such answers can be measured by."""
    found = {}
    for metric in metrics:
        with suppress(DataError):
            found[metric.name] = metric.score(results, examples)
    return found


def intervals(statistics: Mapping[Metric, Any], resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap over rows; every metric sees the same resamples."""
    n = len(next(iter(statistics.values())))
    values: dict[str, list[float]] = {metric.name: [] for metric in statistics}
    draw = rng(seed, "bootstrap")
    for _ in range(resamples):
        chosen = draw.integers(0, n, n)
        for metric, rows in statistics.items():
            values[metric.name].append(metric.value(rows[chosen]))
    bounds = {name: np.nanquantile(found, [0.025, 0.975]) for name, found in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
