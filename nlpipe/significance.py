"""The statistics behind comparisons and slices: resampling rows, tests of a difference, many looks at once.

Numbers in, numbers out. A metric comes in as its `value` of any set of rows; the rows' statistics are arrays [n, k].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.metrics import Metric

TRIED = 50  # rows by which it is seen in a moment that a score is no mean over rows


def resampled(
    metric: Metric, systems: Sequence[NDArray[Any]], resamples: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Scores of all systems on the same rows drawn with replacement, [resamples, systems].

    Paired bootstrap: Efron and Tibshirani 1993, section 16.4; Koehn 2004 for BLEU.
    """
    n = len(systems[0])
    found = np.empty((resamples, len(systems)))
    for at in range(resamples):
        chosen = draw.integers(0, n, n)
        found[at] = [metric.value(rows[chosen]) for rows in systems]
    return found


def bootstrap_p(gaps: NDArray[Any]) -> float:
    """How often the resampled difference is not on the side of the most of them, twice.

    One is added to the counts, so that p is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    below, above, of = int((gaps <= 0).sum()), int((gaps >= 0).sum()), len(gaps)
    return min(1.0, 2 * (1 + min(below, above)) / (1 + of))


def randomisation_p(
    metric: Metric, base: NDArray[Any], other: NDArray[Any], rounds: int, draw: np.random.Generator
) -> float:
    """How often a difference as large comes of swapping the two systems' answers to each row by the toss of a coin.

    Approximate randomisation (Noreen 1989; Riezler and Maxwell 2005). Raises UnsupportedError where the two count in
    unlike columns.
    """
    if base.shape != other.shape:
        raise UnsupportedError(
            f"{metric.name}: rows of the two cannot be swapped, as one has labels (or longer texts) that the other "
            "lacks; leave out --test randomisation"
        )
    there = abs(metric.value(other) - metric.value(base))
    hit = 0
    for _ in range(rounds):
        swap = draw.random(len(base))[:, None] < 0.5
        one, two = np.where(swap, other, base), np.where(swap, base, other)
        hit += abs(metric.value(two) - metric.value(one)) >= there - 1e-12
    return (1 + hit) / (1 + rounds)


def mcnemar(base: NDArray[Any], other: NDArray[Any]) -> float:
    """The exact two-sided p of as unequal a split of the rows that only one of the two has right.

    McNemar 1947, by the binomial distribution; Dietterich 1998 for two classifiers.
    """
    from scipy.stats import binomtest

    won, lost = int((other > base).sum()), int((other < base).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def of_rows(metric: Metric, base: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Each row's own score by both systems, [n] each, where the score of all is their mean; else None."""
    if not _is_mean(metric, base[:TRIED]) or not _is_mean(metric, other[:TRIED]):
        return None
    one, two = (_single(metric, rows) for rows in (base, other))
    mean = np.isclose(one.mean(), metric.value(base)) and np.isclose(two.mean(), metric.value(other))
    return (one, two) if mean else None


def _is_mean(metric: Metric, rows: NDArray[Any]) -> bool:
    return bool(np.isclose(_single(metric, rows).mean(), metric.value(rows)))


def _single(metric: Metric, rows: NDArray[Any]) -> NDArray[Any]:
    return np.array([metric.value(rows[at : at + 1]) for at in range(len(rows))], dtype=float)


def effect(base: NDArray[Any], other: NDArray[Any]) -> float | None:
    """The mean of the rows' differences over their standard deviation: Cohen's d for pairs. None if all are alike."""
    gaps = other - base
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    return float(gaps.mean()) / spread if spread else None


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """The two-sided p of a difference of means, how far its 95 % interval reaches, and the runs' pooled deviation."""

    p: float
    reach: float
    deviation: float


def over_seeds(
    base: NDArray[Any], other: NDArray[Any], base_drawn: NDArray[Any], other_drawn: NDArray[Any]
) -> OverSeeds:
    """The difference between the mean scores of two recipes, each run with several seeds and measured on the same rows.

    `base` and `other` are the runs' scores, the others the same on resampled rows [resamples, runs]. Its variance
    has two parts: that of the mean difference over resampled rows, and over seeds s² / runs of each side. What the rows
    make the runs of one side differ by is in both, and taken off the second: the variance of a run's distance
    from the mean of its side over resampled rows (a random-effects model of rows by seeds). Degrees of freedom as
    Welch 1947. A side of one run takes the other's variance.
    """
    from scipy.stats import t as student

    rows = float((other_drawn.mean(axis=1) - base_drawn.mean(axis=1)).var(ddof=1))
    sides = [(base, base_drawn), (other, other_drawn)]
    spread = [float(scores.var(ddof=1)) if len(scores) > 1 else None for scores, _ in sides]
    shared = [_by_rows(drawn) for _, drawn in sides]
    known = [at for at in (0, 1) if spread[at] is not None]
    whole, weight = rows, 0.0
    for at in known:
        share = sum(1 / len(scores) for place, (scores, _) in enumerate(sides) if place == at or place not in known)
        variance = spread[at] or 0.0
        whole += max(0.0, variance - shared[at]) * share
        weight += (variance * share) ** 2 / (len(sides[at][0]) - 1)
    deviation = float(np.sqrt(np.mean([spread[at] for at in known])))
    gap = abs(float(other.mean() - base.mean()))
    error = float(np.sqrt(whole))
    if not error:
        return OverSeeds(0.0 if gap else 1.0, 0.0, deviation)
    freedom = whole**2 / weight if weight else np.inf
    return OverSeeds(float(2 * student.sf(gap / error, freedom)), float(student.ppf(0.975, freedom)) * error, deviation)


def _by_rows(drawn: NDArray[Any]) -> float:
    """How much the rows make one run differ from another: the variance, for a single run."""
    runs = drawn.shape[1]
    if runs < 2:
        return 0.0
    apart = drawn - drawn.mean(axis=1, keepdims=True)
    return float(apart.var(axis=0, ddof=1).sum() / (runs - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """Each p allowing for all of them: the chance of any false finding stays below the level (Holm 1979)."""
    found, least = [1.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[at]))
        found[at] = least
    return found
