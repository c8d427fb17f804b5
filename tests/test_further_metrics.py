"""Further scores against the libraries that own them, and the library `evaluate` in both directions."""

from __future__ import annotations

import json
import random
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from nlpipe import evaluation
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.plugins import Plugins
from nlpipe.results import Entities, Label, Similarity, Span
from nlpipe.rows import to_record

PLUGINS = Plugins.discover()
CLASSIFICATION, NER = PLUGINS.task("classification"), PLUGINS.task("ner")
NAMES = ("a", "b", "c")


def answers(rows: int, seed: int) -> tuple[list[Label], list[Any]]:
    draw = random.Random(seed)
    results, examples = [], []
    for _ in range(rows):
        weights = [draw.random() ** 2 for _ in NAMES]
        scores = {name: weight / sum(weights) for name, weight in zip(NAMES, weights, strict=True)}
        best = max(scores, key=scores.__getitem__)
        results.append(Label(best, scores[best], scores, (best,)))
        gold = best if draw.random() < 0.6 else draw.choice("aab")
        examples.append(CLASSIFICATION.Example(text="t", label=gold))
    return results, examples


@pytest.mark.parametrize("seed", range(5))
def test_micro_and_weighted_f1_are_scikit_learn_s(seed: int) -> None:
    from sklearn.metrics import f1_score

    results, examples = answers(200, seed)
    gold, said = [e.label for e in examples], [r.label for r in results]
    found = {metric.name: metric.score(results, examples) for metric in CLASSIFICATION.further}
    assert found["micro_f1"] == pytest.approx(f1_score(gold, said, average="micro"))
    assert found["weighted_f1"] == pytest.approx(f1_score(gold, said, average="weighted"))


def test_brier_of_two_labels_is_twice_scikit_learn_s() -> None:
    from sklearn.metrics import brier_score_loss

    draw = np.random.default_rng(1)
    chances, held = draw.random(100), draw.random(100) < 0.5
    results = [Label("a", float(max(p, 1 - p)), {"a": float(p), "b": float(1 - p)}, ("a",)) for p in chances]
    examples = [CLASSIFICATION.Example(text="t", label="a" if h else "b") for h in held]
    found = next(metric for metric in CLASSIFICATION.further if metric.name == "brier").score(results, examples)
    assert found == pytest.approx(2 * brier_score_loss(held, chances))


def test_calibration_of_answers_without_probabilities_is_refused() -> None:
    examples = [CLASSIFICATION.Example(text="t", label="a")]
    for name in ("ece", "brier"):
        metric = next(metric for metric in CLASSIFICATION.further if metric.name == name)
        with pytest.raises(DataError, match="has no probabilit"):
            metric.score([Label("a", None, {}, ("a",))], examples)


def test_borders_alone() -> None:
    example = to_record({"text": "Ada in Rome", "spans": [{"start": 0, "end": 3, "label": "person"}]}, NER.Example)
    result = Entities((Span(0, 3, "place"), Span(7, 11, "place")))
    borders = next(metric for metric in NER.further if metric.name == "borders_f1")
    assert borders.score([result], [example]) == pytest.approx(2 / 3)
    assert NER.metrics[0].score([result], [example]) == 0.0


def test_a_named_metric_is_measured_beside_the_task_s_own() -> None:
    results, examples = answers(100, 1)
    scores = evaluation.evaluate(CLASSIFICATION(NAMES), results, examples, metrics=["ece", "accuracy"], bootstrap=50)
    assert list(scores.scores) == ["accuracy", "macro_f1", "mcc", "ece"]
    low, high = scores.intervals["ece"]
    assert 0 <= low <= high <= 1
    with pytest.raises(UnsupportedError, match="did you mean 'weighted_f1'"):
        evaluation.chosen(CLASSIFICATION, ["wieghted_f1"])


@pytest.fixture
def local_metric(tmp_path: Path) -> Path:
    """A metric script of the library `evaluate`, as somebody may have written it."""
    folder = tmp_path / "share_right"
    folder.mkdir()
    (folder / "share_right.py").write_text(
        dedent(
            """
            import datasets
            import evaluate


            class ShareRight(evaluate.Metric):
                def _info(self):
                    features = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
                    return evaluate.MetricInfo(
                        description="", citation="", inputs_description="", features=datasets.Features(features)
                    )

                def _compute(self, predictions, references):
                    pairs = list(zip(predictions, references))
                    return {"share": sum(p == r for p, r in pairs) / len(pairs)}
            """
        )
    )
    return folder


def test_a_local_metric_of_evaluate_is_measured(
    local_metric: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    results, examples = answers(40, 2)
    task = CLASSIFICATION(NAMES)
    scores = evaluation.evaluate(task, results, examples, metrics=[str(local_metric)], bootstrap=20)
    name = str(local_metric)
    assert scores.scores[name] == pytest.approx(scores.scores["accuracy"])
    assert scores.intervals[name][0] <= scores.scores[name] <= scores.intervals[name][1]
    with pytest.raises(UnsupportedError, match="there is no metric at"):
        evaluation.chosen(CLASSIFICATION, ["./nowhere/metric"])
    monkeypatch.chdir(local_metric.parent)
    with pytest.raises(UnsupportedError, match=r"say \./share_right"):
        evaluation.chosen(CLASSIFICATION, ["evaluate:share_right"])


def test_ours_as_a_metric_of_evaluate() -> None:
    from nlpipe.metrics_evaluate import as_evaluate

    results, examples = answers(30, 3)
    accuracy = CLASSIFICATION.metrics[0]
    ours = as_evaluate(accuracy, CLASSIFICATION(NAMES))
    found = ours.compute(
        predictions=[{"label": result.label} for result in results],
        references=[{"text": "t", "label": example.label} for example in examples],
    )
    assert found == {"accuracy": pytest.approx(accuracy.score(results, examples))}


@pytest.mark.parametrize("several", [False, True])
def test_labels_at_random_score_as_in_scikit_learn(several: bool) -> None:
    """Of one label each rows are kept as two numbers, of several as indicators; one label alone may be everywhere."""
    from sklearn import metrics as sk
    from sklearn.preprocessing import MultiLabelBinarizer

    task = CLASSIFICATION(options=CLASSIFICATION.Options(multi_label=several))
    draw = random.Random(7)
    for size in (1, 2, 5, 40):
        gold, said = (
            [tuple(draw.sample("abcd", draw.randint(0, 3) if several else 1)) for _ in range(size)] for _ in range(2)
        )
        rows = [task.Example(text="t", labels=names) for names in gold]
        results = [Label(names[0] if names else None, None, {}, names) for names in said]
        found = evaluation.evaluate(
            task, results, rows, metrics=["micro_f1", "weighted_f1", "hamming_loss"], bootstrap=0
        ).scores
        binary = MultiLabelBinarizer().fit([*gold, *said])
        right, answered = binary.transform(gold), binary.transform(said)
        if not np.asarray(right).any() or not np.asarray(answered).any():
            continue
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(right, answered))
        assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(right, answered))
        for name in ("macro", "micro", "weighted"):
            assert found[f"{name}_f1"] == pytest.approx(sk.f1_score(right, answered, average=name, zero_division=0))
        one = (right.ravel(), answered.ravel()) if several else ([g for (g,) in gold], [s for (s,) in said])
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(*one))


def test_a_score_that_is_no_number_is_none_in_json() -> None:
    task = PLUGINS.task("similarity")()
    rows = [task.Example(text_a="a", text_b="b", score=1.0)] * 3
    scores = evaluation.evaluate(task, [Similarity(0.5, "cosine")] * 3, rows, bootstrap=10)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["scores"] == {"spearman": None, "pearson": None}
