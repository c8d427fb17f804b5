"""Intervals that hold what they promise, and scores that depend on the rows alone."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpipe import significance
from nlpipe.errors import DataError
from nlpipe.evaluation import intervals
from nlpipe.metrics import Metric
from nlpipe.plugins import Plugins

PLUGINS = Plugins.discover()
# No means: of no match at all BLEU makes a little one, which is less the more rows there are; what is said twice is not
# distinct.
NO_MEANS = {"bleu", *(f"distinct-{size}" for size in (1, 2, 3))}


def metric(value: Any) -> Metric:
    return Metric("m", "m|test", lambda results, examples: np.array(results), value)


MEAN = metric(lambda rows: float(rows.mean()))
F1 = metric(lambda rows: 2 * rows[:, 0].sum() / max(1.0, rows[:, 1:].sum()))  # hits, right, answered


def drawn(kind: str, rows: int, draw: np.random.Generator) -> Any:
    """Rows of a world whose true score is known."""
    if kind == "share":
        return (draw.random((rows, 1)) < 0.8).astype(float)
    if kind == "skewed mean":
        return draw.exponential(1.0, (rows, 1))
    right, answered = draw.poisson(3, rows) + 1, draw.poisson(3, rows) + 1  # each with a mean of 4
    return np.stack([draw.binomial(np.minimum(right, answered), 0.6), right, answered], axis=1).astype(float)


@pytest.mark.parametrize("kind", ["share", "skewed mean", "ratio of sums"])
def test_an_interval_holds_the_true_score_in_nineteen_of_twenty_cases(kind: str) -> None:
    """250 rows, 400 worlds: 95 % within what 400 draws of 0.95 give (3.5 standard errors), skewness costs a little."""
    draw = np.random.default_rng(11)
    measure = F1 if kind == "ratio of sums" else MEAN
    truth = {"share": 0.8, "skewed mean": 1.0}.get(kind) or measure.value(drawn(kind, 1_000_000, draw))
    held, below, above = 0, 0, 0
    for world in range(400):
        low, high = intervals({measure: drawn(kind, 250, draw)}, 200, world)["m"]
        held += low <= truth <= high
        below, above = below + (high < truth), above + (low > truth)
    assert 0.91 <= held / 400 <= 0.985
    assert below and above  # it errs on both sides


def counted(name: str) -> dict[str, tuple[Metric, Any]]:
    """What each metric counts in the task's own samples, answered by the task's baselines; {} without any."""
    kind = PLUGINS.tasks[name]
    rows = list(kind.samples())
    try:
        labels = kind.labels_in(rows, kind.Options())
    except DataError:  # the samples are too few to learn from, and not to score
        labels = ()
    answers = list(itertools.chain.from_iterable(kind(labels, kind.Options()).baselines(rows, rows).values()))
    asked = rows * (len(answers) // len(rows))
    found = {}
    for one in (*kind.metrics, *kind.further) if answers else ():
        with suppress(DataError):  # best thresholds want a score of "no answer", which a trivial answer has not
            found[one.name] = (one, one.rows(answers, asked))
    return found


@pytest.mark.parametrize("name", sorted(PLUGINS.tasks))
def test_a_score_knows_no_order_and_rows_twice_are_rows_once(name: str) -> None:
    for one, rows in counted(name).values():
        whole = one.value(rows)
        shuffled = rows[np.random.default_rng(1).permutation(len(rows))]
        assert one.value(shuffled) == pytest.approx(whole, nan_ok=True), one.name
        if one.name not in NO_MEANS:
            assert one.value(np.concatenate([rows, rows])) == pytest.approx(whole, nan_ok=True), one.name


def test_the_property_is_seen_of_nearly_every_score() -> None:
    assert sum(len(counted(name)) for name in PLUGINS.tasks) >= 20


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_duplicates_leave_the_mean_and_narrow_the_interval(values: list[float], times: int, seed: int) -> None:
    rows = np.array(values).reshape(-1, 1)
    many = np.tile(rows, (times, 1))
    assert MEAN.value(many) == pytest.approx(MEAN.value(rows))
    low, high = intervals({MEAN: rows}, 60, seed)["m"]
    narrow_low, narrow_high = intervals({MEAN: np.tile(rows, (60, 1))}, 60, seed)["m"]
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert narrow_high - narrow_low <= (high - low) * 0.6 + 1e-9 or len(set(values)) < 3


@given(st.permutations(range(40)))
@settings(max_examples=20, deadline=None)
def test_what_two_systems_differ_by_depends_on_no_order(order: list[int]) -> None:
    draw = np.random.default_rng(5)
    base, other = draw.random((40, 1)) < 0.5, draw.random((40, 1)) < 0.7
    one = significance.mcnemar(base.ravel(), other.ravel())
    assert significance.mcnemar(base[order].ravel(), other[order].ravel()) == one
