"""What a difference between two systems is worth, and what is written down to find out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from nlpipe import comparing, measured
from nlpipe.data import Split
from nlpipe.errors import ArtifactError, DataError
from nlpipe.evaluation import evaluate
from nlpipe.metrics import Metric
from nlpipe.plugins import Plugins
from nlpipe.results import Label

TASK = Plugins.discover().task("classification")
LABELS = ("a", "b")


def mean(rows: Any) -> float:
    return float(rows.mean())


HITS = Metric("hits", "hits|test", lambda results, examples: np.array(results, dtype=float).reshape(-1, 1), mean)
ERRORS = Metric("errors", "errors|test", HITS.rows, mean, direction="minimize", perfect=0.0)


def column(*values: float) -> Any:
    return np.array(values, dtype=float).reshape(-1, 1)


def label(name: str) -> Label:
    return Label(name, 1.0, {}, (name,))


def measurement(folder: Path, said: list[str], gold: list[str], texts: str = "t") -> measured.Measured:
    examples = [TASK.Example(text=f"{texts}{at}", label=name) for at, name in enumerate(gold)]
    results = [label(name) for name in said]
    scores = evaluate(TASK(LABELS), results, examples, bootstrap=0)
    split = Split("test", "test.jsonl", examples, None, list(range(1, len(gold) + 1)))  # type: ignore[arg-type]
    measured.write(folder, split, scores, results)
    return measured.read(folder)


def test_mcnemar_is_the_binomial_test_of_the_rows_that_one_alone_has_right() -> None:
    base, other = column(1, 1, 0, 0, 0, 0, 0, 0), column(1, 0, 1, 1, 1, 1, 1, 0)
    found = comparing.difference(HITS, base, other, resamples=200)
    assert found.test == "McNemar"
    assert found.p == pytest.approx(binomtest(5, 6).pvalue)
    assert found.difference == pytest.approx(0.5)
    gaps = (other - base).ravel()
    assert found.effect == pytest.approx(gaps.mean() / gaps.std(ddof=1))


def test_mcnemar_s_published_example() -> None:
    """Agresti 2002, table 10.1: 1,600 ratings of a prime minister, 86 lost and 150 won: z² = 17.36, p = 3.1e-5."""
    base = column(*[1] * 794, *[1] * 150, *[0] * 86, *[0] * 570)
    other = column(*[1] * 794, *[0] * 150, *[1] * 86, *[0] * 570)
    assert comparing.mcnemar(base.ravel(), other.ravel()) == pytest.approx(3.1e-5, rel=0.3)


def test_equal_systems_are_not_distinguishable() -> None:
    rows = column(*[1, 0] * 50)
    found = comparing.difference(HITS, rows, rows, resamples=200)
    assert (found.p, found.verdict, found.difference) == (1.0, "not distinguishable", 0.0)


@pytest.mark.parametrize(("metric", "verdict"), [(HITS, "better"), (ERRORS, "worse")])
def test_the_verdict_goes_by_the_metric_s_direction(metric: Metric, verdict: str) -> None:
    draw = np.random.default_rng(1)
    base = draw.normal(0.4, 0.1, (200, 1))
    found = comparing.difference(metric, base, base + draw.normal(0.05, 0.02, (200, 1)), resamples=500)
    assert (found.verdict, found.test) == (verdict, "paired bootstrap")
    assert 0 < found.low < found.difference < found.high


def test_chance_is_called_a_difference_in_one_case_of_twenty() -> None:
    """300 pairs of equally good systems: the bootstrap's p is below 0.05 about 15 times."""
    draw = np.random.default_rng(2)
    small = 0
    for _ in range(300):
        base, other = draw.normal(size=(60, 1)), draw.normal(size=(60, 1))
        small += comparing.difference(HITS, base, other, resamples=300).p < comparing.ALPHA
    assert 5 <= small <= 32


def test_a_measurement_is_read_as_it_was_written_and_compared(tmp_path: Path) -> None:
    gold = [*"ab" * 50]
    poor = measurement(tmp_path / "poor", [*"aa" * 50], gold)
    good = measurement(tmp_path / "good", gold, gold)
    metrics = {metric.name: metric for metric in TASK.metrics}
    for metric in TASK.metrics:
        assert metric.value(poor.statistics[metric.name]) == poor.scores[metric.name]
    (found,) = comparing.compare(poor, [good], metrics, resamples=200)
    assert [one.score for one in found.differences] == ["accuracy", "macro_f1", "mcc"]
    assert {one.verdict for one in found.differences} == {"better"}
    assert json.loads(json.dumps(found.to_dict()))["n"] == 100


def test_other_rows_or_another_task_are_refused(tmp_path: Path) -> None:
    one = measurement(tmp_path / "one", ["a", "b"], ["a", "b"])
    other = measurement(tmp_path / "other", ["a", "b"], ["a", "b"], texts="u")
    metrics = {metric.name: metric for metric in TASK.metrics}
    with pytest.raises(DataError, match="different rows"):
        comparing.compare(one, [other], metrics)


def test_unlike_signatures_are_never_compared(tmp_path: Path) -> None:
    one = measurement(tmp_path / "one", ["a", "b"], ["a", "b"])
    measurement(tmp_path / "two", ["a", "b"], ["a", "b"])
    content = json.loads((tmp_path / "two" / "metrics.json").read_text())
    content["signatures"]["accuracy"] = "accuracy|of-old"
    (tmp_path / "two" / "metrics.json").write_text(json.dumps(content))
    (found,) = comparing.compare(one, [measured.read(tmp_path / "two")], {m.name: m for m in TASK.metrics})
    assert [d.score for d in found.differences] == ["macro_f1", "mcc"]


def test_what_is_no_measurement_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no finished run"):
        measured.read(tmp_path)
    measurement(tmp_path / "one", ["a"], ["a"])
    (tmp_path / "one" / "statistics.npz").write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match="measure it again"):
        measured.read(tmp_path / "one")
    with pytest.raises(ArtifactError, match="in use"):
        measured.claim(tmp_path / "one")
