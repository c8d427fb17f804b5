"""Whether one system is better than another on the same rows, or only seems so. No model, no data, no file.

Of two single runs the rows alone decide (`nlpipe.significance` has the tests). Where a recipe was run with several
seeds, what is compared is the mean over its runs, and the seeds' scatter counts beside the rows': another seed gives
another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from nlpipe.batching import rng
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.significance import (
    bootstrap_p,
    effect,
    holm,
    mcnemar,
    of_rows,
    over_seeds,
    randomisation_p,
    resampled,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.measured import Group
    from nlpipe.metrics import Metric

ALPHA = 0.05  # a difference is called real where chance gives one as large less often than this

Chosen = Literal["auto", "bootstrap", "randomisation"]
Verdict = Literal["better", "worse", "not distinguishable"]


def chosen(test: str) -> Chosen:
    """The name of a test. Raises UnsupportedError where there is none of that name."""
    if test not in get_args(Chosen):
        raise UnsupportedError(f"unknown test {test!r}; {suggest(test, get_args(Chosen))}")
    return cast(Chosen, test)


@dataclass(frozen=True, slots=True)
class Difference:
    """One score of `other` against that of `base`; of several seeds each is the mean over its runs.

    `difference` is other - base, and `low` to `high` its 95 % interval. `p` is two-sided: how often chance alone gives
    a difference as large; `p_adjusted` allows for as many comparisons with one base as were made at once (Holm 1979).
    `test` names how `p` was found; `effect` is the mean of the rows' differences over their standard deviation (Cohen's
    d for pairs), None where the score is no mean over rows; of several seeds the difference over the runs' standard
    deviation. `verdict` says which is better by the metric's direction, as far as the data can tell. The
    deviations are those over seeds (of a sample: n - 1), None for a single run.
    """

    score: str
    base: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    test: Literal["paired bootstrap", "approximate randomisation", "McNemar", "seeds and rows"]
    effect: float | None
    verdict: Verdict
    p_adjusted: float
    base_deviation: float | None = None
    other_deviation: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`other` against `base` on the same `n` rows, a Difference per score; `runs` are the numbers of their seeds."""

    task: str
    n: int
    base: str
    other: str
    differences: tuple[Difference, ...]
    runs: tuple[int, int] = (1, 1)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def compare(
    base: Group,
    others: Sequence[Group],
    metrics: Mapping[str, Metric],
    *,
    resamples: int = 1000,
    test: Chosen = "auto",
    seed: int = 13,
) -> list[Comparison]:
    """Each of `others` against `base`, by every metric that both have with one signature, and that has a better side.

    The verdict goes by the adjusted p: of many others one seems to differ by chance. Raises DataError where the
    measurements are of different tasks or rows, or have no score in common.
    """
    found = [_compared(base, other, metrics, resamples, test, seed) for other in others]
    ps: dict[str, list[float]] = {}
    for comparison in found:
        for one in comparison.differences:
            ps.setdefault(one.score, []).append(one.p)
    adjusted = {score: iter(holm(values)) for score, values in ps.items()}
    return [
        replace(c, differences=tuple(_judged(one, next(adjusted[one.score]), metrics) for one in c.differences))
        for c in found
    ]


def _judged(one: Difference, p: float, metrics: Mapping[str, Metric]) -> Difference:
    return replace(one, p_adjusted=p, verdict=_verdict(metrics[one.score], one.difference, p))


def _verdict(metric: Metric, difference: float, p: float) -> Verdict:
    gain = difference if metric.direction == "maximize" else -difference
    return "not distinguishable" if not p < ALPHA else "better" if gain > 0 else "worse"


def _compared(
    base: Group, other: Group, metrics: Mapping[str, Metric], resamples: int, test: Chosen, seed: int
) -> Comparison:
    one, two = base.first, other.first
    if one.task != two.task:
        raise DataError(f"{base.name} is of {one.task} and {other.name} of {two.task}: they have no score in common")
    if one.data != two.data:
        raise DataError(
            f"{base.name} ({one.n:,} rows of {one.split}) and {other.name} ({two.n:,} rows of {two.split}) were "
            "measured on different rows; measure both on the same file: nlpipe evaluate MODEL --data FILE --output DIR"
        )
    shared = [name for name, signature in one.signatures.items() if two.signatures.get(name) == signature]
    known = [
        name
        for name in shared
        if name in metrics
        and metrics[name].direction != "neither"
        and _owner(metrics[name].signature) == _owner(one.signatures[name])
    ]
    if not known:
        raise DataError(
            f"{base.name} and {other.name} have no score of one signature: {', '.join(one.signatures.values())} "
            f"against {', '.join(two.signatures.values())}. Measure both anew with this version"
        )
    found = tuple(
        difference(
            metrics[name],
            [run.statistics[name] for run in base.runs],
            [run.statistics[name] for run in other.runs],
            resamples=resamples,
            test=test,
            seed=seed,
        )
        for name in known
    )
    return Comparison(one.task, one.n, base.name, other.name, found, (len(base.runs), len(other.runs)))


def _owner(signature: str) -> str:
    """Who counted, and in which version: what a signature ends in. Data and options decide the rest of it."""
    return signature.rpartition("|")[2]


def difference(
    metric: Metric,
    base: Sequence[NDArray[Any]],
    other: Sequence[NDArray[Any]],
    *,
    resamples: int = 1000,
    test: Chosen = "auto",
    seed: int = 13,
) -> Difference:
    """Two systems by one metric, from each of their runs' statistics of the same rows.

    Where both ran once, by `test`; `auto` is McNemar's exact test where every row is right or wrong by itself and the
    score is their share, else the paired bootstrap, as in place of the randomisation where rows cannot be swapped.
    Where either ran with several seeds, by seeds and rows.
    """
    draw = rng(seed, "compare")
    drawn = resampled(metric, (*base, *other), resamples, draw)
    if len(base) > 1 or len(other) > 1:
        return _of_many(metric, base, other, drawn)
    one, two = float(metric.value(base[0])), float(metric.value(other[0]))
    gaps = drawn[:, 1] - drawn[:, 0]
    low, high = (float(bound) for bound in np.nanquantile(gaps, [0.025, 0.975]))
    pairs = of_rows(metric, base[0], other[0])
    used: Literal["paired bootstrap", "approximate randomisation", "McNemar"]
    if test == "randomisation" and metric.swappable:
        used, p = "approximate randomisation", randomisation_p(metric, base[0], other[0], resamples, draw)
    elif test == "auto" and pairs is not None and np.isin(pairs, (0.0, 1.0)).all():
        used, p = "McNemar", mcnemar(*pairs)
    else:
        used, p = "paired bootstrap", bootstrap_p(gaps)
    size = None if pairs is None else effect(*pairs)
    return Difference(
        metric.name, one, two, two - one, low, high, p, used, size, _verdict(metric, two - one, p), p_adjusted=p
    )


def _of_many(
    metric: Metric, base: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]], drawn: NDArray[Any]
) -> Difference:
    one, two = (np.array([metric.value(rows) for rows in runs], dtype=float) for runs in (base, other))
    found = over_seeds(one, two, drawn[:, : len(base)], drawn[:, len(base) :])
    gap = float(two.mean() - one.mean())
    deviations = [float(scores.std(ddof=1)) if len(scores) > 1 else None for scores in (one, two)]
    return Difference(
        metric.name,
        float(one.mean()),
        float(two.mean()),
        gap,
        gap - found.reach,
        gap + found.reach,
        found.p,
        "seeds and rows",
        gap / found.deviation if found.deviation else None,
        _verdict(metric, gap, found.p),
        p_adjusted=found.p,
        base_deviation=deviations[0],
        other_deviation=deviations[1],
    )
