"""What a difference between two systems is worth, and what is written down to find out."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from nlpipe import comparing, measured, reporting, significance, tables
from nlpipe.data import Split
from nlpipe.errors import ArtifactError, DataError, UnsupportedError
from nlpipe.evaluation import evaluate
from nlpipe.metrics import Metric
from nlpipe.plugins import Plugins
from nlpipe.results import Label, Text
from nlpipe_classification.examples import Labelled

TASK = Plugins.discover().task("classification")
LABELS = ("a", "b")


def mean(rows: Any) -> float:
    return float(rows.mean())


HITS = Metric("hits", "hits|test", lambda results, examples: np.array(results, dtype=float).reshape(-1, 1), mean)
ERRORS = Metric("errors", "errors|test", HITS.rows, mean, direction="minimize", perfect=0.0)


def column(*values: float) -> Any:
    return np.array(values, dtype=float).reshape(-1, 1)


def differing(metric: Metric, base: Any, other: Any, **settings: Any) -> comparing.Difference:
    """Two single runs."""
    return comparing.difference(metric, [base], [other], **settings)


def alone(run: measured.Measured) -> measured.Group:
    return measured.Group(run.name, (run,))


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
    found = differing(HITS, base, other, resamples=200)
    assert found.test == "McNemar"
    assert found.p == pytest.approx(binomtest(5, 6).pvalue)
    assert found.difference == pytest.approx(0.5)
    gaps = (other - base).ravel()
    assert found.effect == pytest.approx(gaps.mean() / gaps.std(ddof=1))


def test_mcnemar_s_published_example() -> None:
    """Agresti 2002, table 10.1: 1,600 ratings of a prime minister, 86 lost and 150 won: z² = 17.36, p = 3.1e-5."""
    base = column(*[1] * 794, *[1] * 150, *[0] * 86, *[0] * 570)
    other = column(*[1] * 794, *[0] * 150, *[1] * 86, *[0] * 570)
    assert significance.mcnemar(base.ravel(), other.ravel()) == pytest.approx(3.1e-5, rel=0.3)


def test_equal_systems_are_not_distinguishable() -> None:
    rows = column(*[1, 0] * 50)
    found = differing(HITS, rows, rows, resamples=200)
    assert (found.p, found.verdict, found.difference) == (1.0, "not distinguishable", 0.0)


@pytest.mark.parametrize(("metric", "verdict"), [(HITS, "better"), (ERRORS, "worse")])
def test_the_verdict_goes_by_the_metric_s_direction(metric: Metric, verdict: str) -> None:
    draw = np.random.default_rng(1)
    base = draw.normal(0.4, 0.1, (200, 1))
    found = differing(metric, base, base + draw.normal(0.05, 0.02, (200, 1)), resamples=500)
    assert (found.verdict, found.test) == (verdict, "paired bootstrap")
    assert 0 < found.low < found.difference < found.high


def test_chance_is_called_a_difference_in_one_case_of_twenty() -> None:
    """300 pairs of equally good systems: the bootstrap's p is below 0.05 about 15 times."""
    draw = np.random.default_rng(2)
    small = 0
    for _ in range(300):
        base, other = draw.normal(size=(60, 1)), draw.normal(size=(60, 1))
        small += differing(HITS, base, other, resamples=300).p < comparing.ALPHA
    assert 5 <= small <= 32


def test_approximate_randomisation_is_the_share_of_all_swaps() -> None:
    """Of eight rows all 256 swaps can be counted: those with a difference at least as large."""
    draw = np.random.default_rng(3)
    base, other = draw.normal(size=(8, 1)), draw.normal(0.6, 1, size=(8, 1))
    gaps = (other - base).ravel()
    signs = np.array([[1 if at >> bit & 1 else -1 for bit in range(8)] for at in range(256)])
    exact = float((np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12).mean())
    found = differing(HITS, base, other, resamples=5000, test="randomisation")
    assert (found.p, found.test) == (pytest.approx(exact, abs=0.02), "approximate randomisation")


def test_rows_numbered_anew_by_each_system_are_not_swapped() -> None:
    """The numbers of one system's n-grams mean nothing among the other's."""
    metric = next(m for m in Plugins.discover().task("generation").further if m.name == "distinct-1")
    results = [[Text(text) for text in ("a a b", "c c")], [Text(text) for text in ("d e f", "g h")]]
    base, other = (metric.rows(found, found) for found in results)
    found = differing(metric, base, other, resamples=200, test="randomisation")
    assert (found.base, found.other, found.test) == (0.6, 1.0, "paired bootstrap")


def test_labels_that_are_right_have_one_column_whatever_else_is_answered() -> None:
    """So that rows can be swapped: 0.5 of two rows right, and a label of no gold row sorts before all others."""
    metric = next(m for m in TASK.metrics if m.name == "macro_f1")
    gold = [Labelled(text="x", label=label) for label in LABELS]
    systems = [
        [Label(label=label, score=1.0, scores={label: 1.0}, labels=(label,)) for label in said]
        for said in (("a", "a"), ("a", "Z"))
    ]
    base, other = (metric.rows(results, gold) for results in systems)
    assert (base[:, 0] == other[:, 0]).all()
    assert metric.value(np.concatenate([base[:1], other[1:]])) == pytest.approx(1 / 3)


def test_an_unknown_test_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'randomisation'"):
        comparing.chosen("randomization")


@pytest.mark.parametrize(("runs", "other_runs"), [(3, 3), (1, 5), (2, 4)])
@pytest.mark.parametrize(("of_seeds", "of_both"), [(0.05, 0.01), (0.05, 0.5)])
def test_seeds_and_rows_call_chance_a_difference_in_one_case_of_twenty(
    runs: int, other_runs: int, of_seeds: float, of_both: float
) -> None:
    """400 pairs of equally good recipes on 100 rows: seeds scatter, rows scatter, and seeds scatter by rows."""
    draw, small, gaps = np.random.default_rng(4), 0, []
    for _ in range(400):
        rows = draw.normal(0, 0.5, (100, 1))
        base, other = (
            rows + draw.normal(0, of_seeds, (1, n)) + draw.normal(0, of_both, (100, n)) for n in (runs, other_runs)
        )
        weights = draw.multinomial(100, np.full(100, 0.01), size=100) / 100
        found = significance.over_seeds(base.mean(0), other.mean(0), weights @ base, weights @ other)
        small += found.p < comparing.ALPHA
        gaps.append(found.reach)
    assert 4 <= small <= 34
    assert min(gaps) > 0


def test_holm_by_hand() -> None:
    """Holm 1979: 0.01 x 3, 0.02 x 2 (raised to what stands before it if need be), 0.04 x 1."""
    assert significance.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]


def test_of_many_others_none_is_called_better_by_chance(tmp_path: Path) -> None:
    """One of six others has p = 0.031 by itself (six rows won, none lost): among six looks that is no finding."""
    gold = [*"ab" * 20]
    base = measurement(tmp_path / "base", ["a"] * 12 + gold[12:], gold)
    others = [measurement(tmp_path / f"o{at}", ["a"] * 12 + gold[12:], gold) for at in range(5)]
    winner = measurement(tmp_path / "winner", gold, gold)
    metrics = {"accuracy": TASK.metrics[0]}
    (single,) = comparing.compare(alone(base), [alone(winner)], metrics)
    found = comparing.compare(alone(base), [alone(winner), *map(alone, others)], metrics)[0].differences[0]
    assert (single.differences[0].p, single.differences[0].verdict) == (pytest.approx(0.03125), "better")
    assert (found.p_adjusted, found.verdict) == (pytest.approx(6 * 0.03125), "not distinguishable")


def many_seeds(folder: Path, right: list[int]) -> measured.Group:
    """Runs with seeds 0, 1, …, each with so many of 100 rows right."""
    gold = [*"ab" * 50]
    for seed, count in enumerate(right):
        said = gold[:count] + ["b" if name == "a" else "a" for name in gold[count:]]
        measurement(measured.seed_folder(folder, seed), said, gold)
    runs = [{"seed": seed} for seed in range(len(right))]
    (folder / measured.SEEDS).write_text(json.dumps({"runs": runs}))
    return measured.read_group(folder)


def test_runs_with_several_seeds_are_compared_by_their_means(tmp_path: Path) -> None:
    base, other = many_seeds(tmp_path / "base", [60, 64, 62]), many_seeds(tmp_path / "other", [90, 92, 88])
    metrics = {metric.name: metric for metric in TASK.metrics}
    found = comparing.compare(base, [other, base], metrics, resamples=200)
    accuracy = found[0].differences[0]
    assert (found[0].runs, accuracy.test, accuracy.verdict) == ((3, 3), "seeds and rows", "better")
    assert (accuracy.base, accuracy.other) == (pytest.approx(0.62), pytest.approx(0.9))
    assert accuracy.base_deviation == pytest.approx(0.02)
    assert accuracy.effect == pytest.approx(0.28 / 0.02)
    assert 0 < accuracy.low < 0.28 < accuracy.high
    assert found[1].differences[0].verdict == "not distinguishable"
    page = reporting.comparison(tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "0.9000 ± 0.0200 (3 runs)" in page
    assert "http" not in page
    table = str_of(tables.comparison(found[0], several=True))
    assert "62.00 % ± 2.00 %" in table
    assert "3 runs against 3" in table


def str_of(table: Any) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=StringIO())
    console.print(table)
    return " ".join(console.export_text().split())


def test_seeds_that_are_not_there_yet_are_said(tmp_path: Path) -> None:
    (tmp_path / measured.SEEDS).write_text("{}")
    with pytest.raises(ArtifactError, match="no finished run of any seed"):
        measured.read_group(tmp_path)
    (tmp_path / measured.SEEDS).write_text("[")
    with pytest.raises(ArtifactError, match="cannot be read"):
        measured.read_group(tmp_path)


def test_a_measurement_is_read_as_it_was_written_and_compared(tmp_path: Path) -> None:
    gold = [*"ab" * 50]
    poor = measurement(tmp_path / "poor", [*"aa" * 50], gold)
    good = measurement(tmp_path / "good", gold, gold)
    metrics = {metric.name: metric for metric in TASK.metrics}
    for metric in TASK.metrics:
        assert metric.value(poor.statistics[metric.name]) == poor.scores[metric.name]
    (found,) = comparing.compare(alone(poor), [alone(good)], metrics, resamples=200)
    assert [one.score for one in found.differences] == ["accuracy", "macro_f1", "mcc"]
    assert {one.verdict for one in found.differences} == {"better"}
    assert json.loads(json.dumps(found.to_dict()))["n"] == 100


def test_other_rows_or_another_task_are_refused(tmp_path: Path) -> None:
    one = measurement(tmp_path / "one", ["a", "b"], ["a", "b"])
    other = measurement(tmp_path / "other", ["a", "b"], ["a", "b"], texts="u")
    metrics = {metric.name: metric for metric in TASK.metrics}
    with pytest.raises(DataError, match="different rows"):
        comparing.compare(alone(one), [alone(other)], metrics)


def test_unlike_signatures_are_never_compared(tmp_path: Path) -> None:
    one = measurement(tmp_path / "one", ["a", "b"], ["a", "b"])
    measurement(tmp_path / "two", ["a", "b"], ["a", "b"])
    content = json.loads((tmp_path / "two" / "metrics.json").read_text())
    content["signatures"]["accuracy"] = "accuracy|of-old"
    (tmp_path / "two" / "metrics.json").write_text(json.dumps(content))
    (found,) = comparing.compare(
        alone(one), [alone(measured.read(tmp_path / "two"))], {m.name: m for m in TASK.metrics}
    )
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
