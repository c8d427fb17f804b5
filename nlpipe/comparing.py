"""Whether one system is better than another on the same rows, or only seems so. No model, no data, no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nlpipe.batching import rng
from nlpipe.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.measured import Measured
    from nlpipe.metrics import Metric


ALPHA = 0.05  # a difference is called real where chance gives one as large less often than this


@dataclass(frozen=True, slots=True)
class Difference:
    """One score of `other` against that of `base`.

    `difference` is other - base, and `low` to `high` its 95 % interval. `p` is two-sided: how often chance alone gives
    a difference as large. `test` names how `p` was found; `effect` is the mean of the rows' differences over
    their standard deviation (Cohen's d for pairs), None where the score is no mean over rows. `verdict` says which is
    better by the metric's direction, as far as the rows can tell.
    """

    score: str
    base: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    test: Literal["paired bootstrap", "McNemar"]
    effect: float | None
    verdict: Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`other` against `base` on the same `n` rows, a Difference per score."""

    task: str
    n: int
    base: str
    other: str
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def compare(
    base: Measured,
    others: Sequence[Measured],
    metrics: Mapping[str, Metric],
    *,
    resamples: int = 1000,
    seed: int = 13,
) -> list[Comparison]:
    """Each of `others` against `base`, by every metric that both have with one signature.

    Raises DataError where the measurements are of different tasks or rows, or have no score in common.
    """
    return [_compared(base, other, metrics, resamples, seed) for other in others]


def _compared(base: Measured, other: Measured, metrics: Mapping[str, Metric], resamples: int, seed: int) -> Comparison:
    if base.task != other.task:
        raise DataError(f"{base.name} is of {base.task} and {other.name} of {other.task}: they have no score in common")
    if base.data != other.data:
        raise DataError(
            f"{base.name} ({base.n:,} rows of {base.split}) and {other.name} ({other.n:,} rows of {other.split}) were "
            "measured on different rows; measure both on the same file: nlpipe evaluate MODEL --data FILE --output DIR"
        )
    shared = [name for name, signature in base.signatures.items() if other.signatures.get(name) == signature]
    known = [
        name for name in shared if name in metrics and _owner(metrics[name].signature) == _owner(base.signatures[name])
    ]
    if not known:
        raise DataError(
            f"{base.name} and {other.name} have no score of one signature: {_signatures(base)} against "
            f"{_signatures(other)}. Measure both anew with this version"
        )
    found = tuple(
        difference(metrics[name], base.statistics[name], other.statistics[name], resamples=resamples, seed=seed)
        for name in known
    )
    return Comparison(base.task, base.n, base.name, other.name, found)


def _owner(signature: str) -> str:
    """Who counted, and in which version: what a signature ends in. Data and options decide the rest of it."""
    return signature.rpartition("|")[2]


def _signatures(measured: Measured) -> str:
    return ", ".join(measured.signatures.values())


def difference(
    metric: Metric, base: NDArray[Any], other: NDArray[Any], *, resamples: int = 1000, seed: int = 13
) -> Difference:
    """Two systems by one metric, from their statistics of the same rows.

    Where every row is right or wrong by itself and the score is their share, by McNemar's exact test (McNemar 1947;
    Dietterich 1998); else by the paired bootstrap (Efron and Tibshirani 1993, section 16.4; Koehn 2004 for BLEU),
    with one added to the counts, so that p is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    one, two = float(metric.value(base)), float(metric.value(other))
    drawn = _resampled(metric, base, other, resamples, seed)
    low, high = (float(bound) for bound in np.nanquantile(drawn, [0.025, 0.975]))
    pairs = _row_values(metric, base, other)
    binary = pairs is not None and bool(np.isin(pairs, (0.0, 1.0)).all())
    p = mcnemar(*pairs) if binary and pairs is not None else _bootstrap_p(drawn)
    gain = two - one if metric.direction == "maximize" else one - two
    return Difference(
        score=metric.name,
        base=one,
        other=two,
        difference=two - one,
        low=low,
        high=high,
        p=p,
        test="McNemar" if binary else "paired bootstrap",
        effect=None if pairs is None else _effect(*pairs),
        verdict="not distinguishable" if not p < ALPHA else "better" if gain > 0 else "worse",
    )


def _resampled(metric: Metric, base: NDArray[Any], other: NDArray[Any], resamples: int, seed: int) -> NDArray[Any]:
    """Differences of the two scores on the same resampled rows, [resamples]."""
    draw, n = rng(seed, "compare"), len(base)
    found = np.empty(resamples)
    for at in range(resamples):
        chosen = draw.integers(0, n, n)
        found[at] = metric.value(other[chosen]) - metric.value(base[chosen])
    return found


def _bootstrap_p(drawn: NDArray[Any]) -> float:
    """How often the resampled difference is not on the side of the most of them, twice."""
    below, above, of = int((drawn <= 0).sum()), int((drawn >= 0).sum()), len(drawn)
    return min(1.0, 2 * (1 + min(below, above)) / (1 + of))


def mcnemar(base: NDArray[Any], other: NDArray[Any]) -> float:
    """The exact two-sided p of as unequal a split of the rows that only one of the two has right."""
    from scipy.stats import binomtest

    won, lost = int((other > base).sum()), int((other < base).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def _row_values(metric: Metric, base: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Each row's own score by both systems, where the score of all is their mean; else None."""
    one, two = (np.array([metric.value(rows[at : at + 1]) for at in range(len(rows))]) for rows in (base, other))
    mean = np.isclose(one.mean(), metric.value(base)) and np.isclose(two.mean(), metric.value(other))
    return (one, two) if mean else None


def _effect(base: NDArray[Any], other: NDArray[Any]) -> float | None:
    gaps = other - base
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    return float(gaps.mean()) / spread if spread else None
