"""The classification plugin: labels and their order, several labels, pairs, and scores as scikit-learn has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpipe import DataError, Label, evaluation
from nlpipe.objectives import SequenceLabel
from nlpipe.objectives.base import Probabilities, Text
from nlpipe.running import run
from nlpipe_classification import Classification, Sentiment
from nlpipe_classification.examples import Labelled
from nlpipe_classification.options import Settings
from nlpipe_classification.scores import ACCURACY, MACRO_F1, MCC
from tests.support import TRAIN, Trainings, recipe, tiny


def answers(labels: list[Any]) -> list[Label]:
    return [Label(str(label), 1.0, {}, (str(label),)) for label in labels]


def examples(labels: list[Any]) -> list[Labelled]:
    return [Labelled(text="a", label=label) for label in labels]


PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40)


@given(PAIRS)
def test_scores_equal_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    from sklearn import metrics

    gold, said = [list(side) for side in zip(*pairs, strict=True)]
    results, rows = answers(said), examples(gold)
    assert ACCURACY.score(results, rows) == pytest.approx(metrics.accuracy_score(gold, said))
    assert MACRO_F1.score(results, rows) == pytest.approx(metrics.f1_score(gold, said, average="macro"))
    assert MCC.score(results, rows) == pytest.approx(metrics.matthews_corrcoef(gold, said))


MANY = st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), min_size=1, max_size=30)


@given(MANY)
def test_scores_of_several_labels_equal_scikit_learns(pairs: list[tuple[set[str], set[str]]]) -> None:
    from sklearn import metrics

    rows = [Labelled(text="t", labels=tuple(sorted(gold))) for gold, _ in pairs]
    results = [Label(None, None, {}, tuple(sorted(said))) for _, said in pairs]
    present = sorted({label for gold, said in pairs for label in gold | said})
    matrices = [np.array([[label in side[i] for label in present] for side in pairs]) for i in (0, 1)]
    assert ACCURACY.score(results, rows) == pytest.approx(np.mean([g == s for g, s in pairs]))
    if present:
        # Label by label: given one label alone, scikit-learn would average over its presence and its absence.
        columns = zip(*(matrix.T for matrix in matrices), strict=True)
        f1 = [metrics.f1_score(gold, said, zero_division=0) for gold, said in columns]
        assert MACRO_F1.score(results, rows) == pytest.approx(np.mean(f1))


def test_a_score_of_a_resample_is_the_score_of_its_rows() -> None:
    gold, said = list("aabbcc"), list("abbbca")
    chosen = [0, 0, 3, 5, 2]
    for metric in (ACCURACY, MACRO_F1, MCC):
        rows = metric.rows(answers(said), examples(gold))
        direct = metric.score(answers([said[i] for i in chosen]), examples([gold[i] for i in chosen]))
        assert metric.value(rows[chosen]) == pytest.approx(direct)


@pytest.mark.slow  # through the whole evaluation; tests/test_uncertainty.py has the intervals themselves in every run
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95 % of 200 intervals over simulated answers of known accuracy; 90 to 99 % is within chance."""
    draw = np.random.default_rng(1)
    task, held = Classification(("a", "b")), 0
    for trial in range(200):
        gold = draw.choice(["a", "b"], 80).tolist()
        said = [g if draw.random() < 0.8 else "ab"[g == "a"] for g in gold]
        low, high = evaluation.evaluate(task, answers(said), examples(gold), bootstrap=200, seed=trial).intervals[
            "accuracy"
        ]
        held += low <= 0.8 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_labels_do_not_depend_on_the_order_of_rows() -> None:
    rows = examples([10, 9, 2, 10])
    assert Classification.labels_in(rows, Settings()) == ("2", "9", "10")
    assert Classification.labels_in(rows[::-1], Settings()) == ("2", "9", "10")
    assert Classification.labels_in(examples(["b", "a", "B"]), Settings()) == ("B", "a", "b")
    with pytest.raises(DataError, match="only 'a'"):
        Classification.labels_in(examples(["a", "a"]), Settings())


def test_sentiment_has_one_spelling() -> None:
    rows = [Sentiment.Example(text="t", label=label) for label in ("POS", "neg", "Neutral", "positive")]
    labels = Sentiment.labels_in(rows, Settings())
    assert labels == ("negative", "neutral", "positive")
    task = Sentiment(labels)
    objective = task.objective(SequenceLabel)
    assert [task.gold(row, objective) for row in rows] == [2, 0, 1, 2]
    results = answers(["positive", "negative", "neutral", "positive"])
    assert evaluation.quick(task, results, rows)["accuracy"] == 1.0
    other = [Sentiment.Example(text="t", label=label) for label in ("mixed", "pos")]
    assert Sentiment.labels_in(other, Settings()) == ("positive", "mixed")


def test_gold_and_result_are_each_others_inverse() -> None:
    task = Classification(("a", "b", "c"))
    objective = task.objective(SequenceLabel)
    for index, label in enumerate("abc"):
        assert task.gold(Labelled(text="t", label=label), objective) == index
        found = task.result(Probabilities(np.eye(3)[index]), task.given(Labelled(text="t", label=label)))
        assert (found.label, found.score, found.labels) == (label, 1.0, (label,))
    with pytest.raises(DataError, match="'d' does not occur in training"):
        task.gold(Labelled(text="t", label="d"), objective)
    with pytest.raises(DataError, match="multi_label"):
        task.gold(Labelled(text="t", labels=("a",)), objective)


def test_several_labels_and_their_threshold() -> None:
    task = Classification(("a", "b"), Settings(multi_label=True, threshold=0.4))
    given = Classification.Input(text="t")
    assert task.result(Probabilities(np.array([0.41, 0.9])), given).labels == ("a", "b")
    none = task.result(Probabilities(np.array([0.1, 0.39])), given)
    assert (none.label, none.score, none.labels) == (None, None, ())
    rows = [Labelled(text="t", labels=labels) for labels in ((), ("a",), ("a", "b"))]
    said = [Label(None, None, {"a": a, "b": b}, ()) for a, b in ((0.2, 0.1), (0.3, 0.2), (0.35, 0.3))]
    assert task.tune(said, rows).thresholds == {"a": 0.25, "b": 0.25}
    never = Classification(("a", "b", "c"), Settings(multi_label=True))
    with_c = [Label(None, None, {**r.scores, "c": 0.9}, ()) for r in said]
    assert never.tune(with_c, rows).thresholds == {"a": 0.25, "b": 0.25}  # no row has c
    single = Classification(("a", "b"))
    assert single.tune(said, rows) is single.options


def test_the_majority_is_learnt_from_training_alone() -> None:
    task = Classification(("a", "b"))
    trivial = task.baselines(examples(["b", "b", "a"]), examples(["a", "a"]))["majority"]
    assert [result.label for result in trivial] == ["b", "b"]


def _several(backbone: Path, out: Path) -> Any:
    import random

    draw = random.Random(0)

    def rows(count: int) -> list[dict[str, Any]]:
        made = []
        for _ in range(count):
            there = [word for word in ("north", "south") if draw.random() < 0.5]
            words = [*draw.choices(["ba", "be", "bi"], k=4), *there]
            draw.shuffle(words)
            made.append({"text": " ".join(words), "labels": there})
        return made

    return recipe(
        backbone,
        out,
        task={"name": "classification", "multi_label": True},
        data={"train": rows(200), "validation": 0.2, "test": rows(60)},
        train={**TRAIN, "steps": 60},
    )


def test_several_labels_are_learnt(trainings: Trainings) -> None:
    trained = trainings.get("several", "bert", _several)
    assert trained.report.scores is not None
    assert trained.report.scores.scores["accuracy"] >= 0.9  # 0.25 by chance
    pipe = trained.load()
    assert pipe("ba be").labels == ()
    assert set(pipe("north ba south").labels) == {"north", "south"}


def test_pairs_are_read_as_two_segments(trainings: Trainings, tmp_path: Path) -> None:
    """label = whether the keyword stands in the first text or in the second."""
    import random

    draw = random.Random(0)

    def rows(count: int) -> list[dict[str, str]]:
        made = []
        for index in range(count):
            first, second = (draw.choices(["ba", "be", "bi"], k=draw.randint(1, 5)) for _ in range(2))
            (first if index % 2 else second).insert(0, "north")
            made.append({"text": " ".join(first), "text_pair": " ".join(second), "label": str(index % 2)})
        return made

    folder = tiny("bert", trainings.folder)
    data, train = {"train": rows(200), "test": rows(60)}, {**TRAIN, "steps": 100}
    report = run(recipe(folder, tmp_path / "run", data=data, train=train))
    assert report.scores is not None
    assert report.scores.scores["accuracy"] >= 0.9


@pytest.mark.parametrize("long", ["window", "truncate"])
@pytest.mark.parametrize("sizes", [(3, 200), (200, 3), (60, 70), (200, 200)])
def test_long_pairs(trainings: Trainings, long: str, sizes: tuple[int, int]) -> None:
    from dataclasses import replace

    from nlpipe import backbone
    from nlpipe.locating import Location
    from nlpipe.objectives.base import Window

    base = backbone.load(Location("t", tiny("bert", trainings.folder)), SequenceLabel(labels=("a", "b")))
    objective = SequenceLabel(labels=("a", "b"), window=Window(max_length=64, overlap=4))
    objective = replace(objective, window=replace(objective.window, long=long))  # type: ignore[arg-type]
    text = Text("ba " * sizes[0], "be " * sizes[1])
    if long == "window" and min(sizes) > 50:
        with pytest.raises(DataError, match="both texts are too long"):
            objective.encode(text, 0, base.tokenizers)
        return
    rows = objective.encode(text, 0, base.tokenizers)
    assert all(row.length <= 64 for row in rows)
    read, there = rows[0].seen
    assert there == sum(sizes)
    assert (read == there) == (long == "window")
    assert (len(rows) > 1) == (long == "window")
    if long == "truncate":
        assert read == 64 - 3
