"""Labels that a model was never trained for, judged by entailment; options of one call; windows of long texts."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpipe
from nlpipe import ArtifactError, DataError, UnsupportedError
from nlpipe.objectives import Entailment, SequenceLabel
from nlpipe.objectives.base import Probabilities, Text, Window
from nlpipe.objectives.entailment import Entailed
from nlpipe.pipelines import Pipeline
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe_classification import Classification
from nlpipe_classification.options import Settings
from tests.support import TRAIN, Trained, Trainings, recipe, tiny

WORDS = ("north", "south")
FILLERS = ("ba", "be", "bi", "ge", "go")
HYPOTHESIS = Settings(hypothesis="bo {label}")


def inference(count: int, seed: int) -> list[dict[str, str]]:
    """A text entails `bo north` if it has north and contradicts it if it has south."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        there, asked = draw.choice(WORDS), draw.choice(WORDS)
        text = [*draw.choices(FILLERS, k=draw.randint(2, 6)), there]
        draw.shuffle(text)
        label = "entailment" if there == asked else "contradiction"
        rows.append({"text": " ".join(text), "text_pair": f"bo {asked}", "label": label})
    return rows


def named(count: int, seed: int) -> list[dict[str, str]]:
    """The same texts, each with the word it has as its label."""
    texts = [row["text"] for row in inference(count, seed)]
    return [{"text": text, "label": word} for text in texts for word in WORDS if word in text.split()]


def _inference(backbone: Path, out: Path) -> Recipe:
    data = {"train": inference(1500, seed=1), "test": inference(60, seed=2)}
    train = {**TRAIN, "steps": 350}
    return recipe(backbone, out, model={"backbone": str(backbone), "overlap": 4}, data=data, train=train)


@pytest.fixture(scope="module")
def judge(trainings: Trainings) -> Trained:
    trained = trainings.get("inference", "bert", _inference)
    assert trained.report.scores is not None
    assert trained.report.scores.scores["accuracy"] >= 0.9
    return trained


@pytest.fixture(scope="module")
def pipe(judge: Trained) -> Pipeline:
    return nlpipe.pipeline(
        "classification", model=judge.model, objective="Entailment", labels=list(WORDS), options=HYPOTHESIS
    )


@pytest.fixture(scope="module")
def plain(judge: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as anybody's: without what nlpipe writes beside it."""
    import shutil

    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(judge.model, folder)
    (folder / "nlpipe.json").unlink()
    return folder


TEXTS = ["ba north be", "ge south", "ba be bi go", "north south", "", "ba " * 150 + "south " + "be " * 100]


def test_labels_are_judged_as_transformers_does(pipe: Pipeline, plain: Path) -> None:
    import transformers

    theirs = transformers.pipeline("zero-shot-classification", model=str(plain), device="cpu")
    for several in (False, True):
        ours = pipe(TEXTS[:4], multi_label=several)
        for text, result in zip(TEXTS[:4], ours, strict=True):
            found = theirs(text, list(WORDS), hypothesis_template="bo {}", multi_label=several)
            expected = dict(zip(found["labels"], found["scores"], strict=True))
            assert result.scores == pytest.approx(expected, abs=2e-5)


def test_labels_never_trained_for(pipe: Pipeline) -> None:
    assert [result.label for result in pipe(TEXTS[:2])] == ["north", "south"]
    assert pipe(TEXTS[1], multi_label=True).labels == ("south",)
    assert pipe(TEXTS[0], labels=["south", "north"]).label == "north"
    assert pipe("ba north", labels=["x", "y"], hypothesis="bo north {label}").scores.keys() == {"x", "y"}
    assert pipe("ba north", labels=["up", "down"], words={"up": "north", "down": "south"}).label == "up"


def test_a_batch_answers_as_each_alone_and_long_texts_are_read_to_their_end(pipe: Pipeline) -> None:
    together, alone = pipe(TEXTS), [pipe(text) for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=2e-5)
        assert one.seen == other.seen
        assert one.seen[0] == one.seen[1]
        assert sum(one.scores.values()) == pytest.approx(1)
    assert together[5].seen[0] > 250
    mean, most = (pipe(TEXTS[5], multi_label=True, windows=how).scores["south"] for how in ("mean", "max"))
    assert most > 0.8  # one window of five has it
    assert most > mean


def test_a_plain_model_of_inference_is_known_by_its_labels(plain: Path) -> None:
    found = nlpipe.pipeline("classification", model=plain, labels=["north", "south", "ge"])
    assert found.card.objective == "Entailment"
    pairs = nlpipe.pipeline("classification", model=plain)
    assert pairs.card.objective == "SequenceLabel"
    assert pairs({"text": "ba north", "text_pair": "bo north"}).label == "entailment"
    with pytest.raises(UnsupportedError, match=r"knows no others; to have it judge .* objective='Entailment'"):
        pairs("ba north", labels=["a", "b"])
    later = nlpipe.pipeline("classification", model=plain, objective="Entailment")
    with pytest.raises(UnsupportedError, match="must be told the labels"):
        later("ba north")
    assert later("ba north", labels=list(WORDS), hypothesis="bo {label}").label == "north"


def test_labels_in_another_order_than_the_models_are_refused(plain: Path) -> None:
    own = nlpipe.pipeline("classification", model=plain).card.labels
    with pytest.raises(ArtifactError, match="in another order"):
        nlpipe.pipeline("classification", model=plain, labels=own[::-1], objective="SequenceLabel")
    assert nlpipe.pipeline("classification", model=plain, labels=own, objective="SequenceLabel").card.labels == own


def test_what_cannot_be_asked_is_refused(judge: Trained, pipe: Pipeline, trainings: Trainings) -> None:
    with pytest.raises(UnsupportedError, match=r"labels of its own, contradiction, entailment"):
        nlpipe.pipeline("classification", model=judge.model, labels=["a", "b"])
    with pytest.raises(UnsupportedError, match="no objective 'Entailmnt'; did you mean 'Entailment'"):
        nlpipe.pipeline("classification", model=judge.model, objective="Entailmnt")
    other = trainings.get("bert", "bert")
    with pytest.raises(UnsupportedError, match=r"trained on inference, .* this one has north, south"):
        nlpipe.pipeline("classification", model=other.model, objective="Entailment")
    with pytest.raises(DataError, match="reads one text; this input has a `text_pair`"):
        pipe({"text": "a", "text_pair": "b"})
    with pytest.raises(UnsupportedError, match=r"template does nothing .* asked as Entailment"):
        pipe("a", template="{text}:")
    with pytest.raises(UnsupportedError, match=r"hypothesis does nothing .* asked as SequenceLabel"):
        other.load()("ba", hypothesis="about {label}")
    with pytest.raises(UnsupportedError, match="trained for exactly one label per text"):
        other.load()("ba", multi_label=True)
    for labels, message in (([], "must be a list"), ("ab", "must be a list"), (["a", "a"], "'a' more than once")):
        with pytest.raises(UnsupportedError, match=message):
            pipe("a", labels=labels)
    with pytest.raises(DataError, match=r"a sentence of \d+ tokens leaves no room"):
        pipe("a", labels=["ba " * 80])
    with pytest.raises(UnsupportedError, match="hypothesis"):
        pipe("a", hypothesis="no field")


def test_an_untouched_model_is_scored_by_a_recipe(plain: Path, tmp_path: Path) -> None:
    def scored(out: str, **model: Any) -> Any:
        sections: Any = {
            "task": {"name": "classification", "labels": WORDS, "options": {"hypothesis": "bo {label}"}},
            "model": {"backbone": str(plain), "objective": "Entailment", **model},
            "data": {"test": named(60, seed=4)},
            "evaluate": {"bootstrap": 0},
            "output": {"dir": str(tmp_path / out)},
        }
        return run(Recipe(**sections)).scores

    scores = scored("run", max_length=16, overlap=4)
    assert scores.n == 60
    assert scores.scores["accuracy"] >= 0.9
    with pytest.raises(UnsupportedError, match="the model reads at most 64 tokens at once"):
        scored("longer", max_length=100)
    with pytest.raises(DataError, match="leaves no room for the text"):  # 3 special tokens, 2 of the sentence
        scored("shorter", max_length=8, overlap=4)


def test_a_judge_is_trained_on_labels(plain: Path, trainings: Trainings, tmp_path: Path) -> None:
    """Further, for labels of its own; a backbone that knows nothing of inference is refused before it begins."""
    asked = {"name": "classification", "options": {"hypothesis": "bo {label}"}}
    made = recipe(
        plain,
        tmp_path / "run",
        task=asked,
        model={"backbone": str(plain), "objective": "Entailment"},
        data={"train": named(200, seed=6), "test": named(60, seed=7)},
        train={**TRAIN, "steps": 40},
    )
    report = run(made)
    assert report.scores is not None
    assert report.scores.scores["accuracy"] >= 0.9
    assert report.model is not None
    again = nlpipe.load(report.model)
    assert again.card.settings == {"names": ["contradiction", "entailment"]}
    assert again("ba be north").label == "north"
    fresh = tiny("bert", trainings.folder)
    with pytest.raises(UnsupportedError, match="trained on inference"):
        run(recipe(fresh, tmp_path / "no", task=asked, model={"backbone": str(fresh), "objective": "Entailment"}))


def test_golds_and_rows_of_a_choice_each(trainings: Trainings) -> None:
    from nlpipe import backbone
    from nlpipe.locating import Location

    tok = backbone.load(Location("t", tiny("bert", trainings.folder)), SequenceLabel(labels=("a", "b"))).tokenizers
    objective = Entailment(names=("ENTAILMENT", "not_entailment"), window=Window(max_length=8))
    assert (objective._yes, objective._no) == (0, 1)
    rows = objective.encode(Text("ba be bi go ge", choices=("north", "north south")), [1], tok)
    assert [row.target for row in rows] == [1, 1, 0, 0]
    assert sum(row.weight for row in rows) == pytest.approx(1)
    assert [row.place for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert rows[0].seen == (5, 5)
    logits = [np.array([float(at), float(10 * at)]) for at in range(4)]
    joined = objective.join(Text("", choices=("x", "y")), rows, logits)
    assert joined.yes.tolist() == [[0, 2], [1, 3]]
    assert joined.no.tolist() == [[0, 20], [10, 30]]


def test_windows_by_hand() -> None:
    values = np.log([[0.9, 0.1], [0.2, 0.8]])
    one = SequenceLabel(labels=("a", "b"))
    joined = {how: replace(one, windows=how).join(Text(""), [], list(values)).values for how in ("mean", "max")}  # type: ignore[arg-type]
    assert joined["mean"] == pytest.approx([0.55, 0.45])
    assert joined["max"] == pytest.approx([0.9 / 1.7, 0.8 / 1.7])
    several = replace(one, kind="multi", windows="max").join(
        Text(""), [], [np.array([0.0, -9.0]), np.array([-9.0, 0.0])]
    )
    assert several.values == pytest.approx([0.5, 0.5])
    assert one.with_call({"windows": "max"}) == replace(one, windows="max")
    with pytest.raises(UnsupportedError, match="windows must be one of mean, max, is 'median'"):
        one.with_call({"windows": "median"})
    task = Classification(("a", "b"), Settings(windows="max"))
    assert task.objective(SequenceLabel).windows == "max"  # type: ignore[attr-defined]
    found = task.result(Entailed(values, values), task.Input(text="x"))  # type: ignore[arg-type]
    assert found.scores == pytest.approx({"a": 0.9 / 1.7, "b": 0.8 / 1.7})  # type: ignore[union-attr]


def test_thresholds_of_single_labels_and_of_a_call() -> None:
    task = Classification(("a", "b"), Settings(multi_label=True, thresholds={"a": 0.7}))
    answer: Any = Probabilities(np.array([0.6, 0.6]))
    given: Any = task.Input(text="x")
    assert task.result(answer, given).labels == ("b",)  # type: ignore[arg-type, union-attr]
    assert task.with_call({"threshold": 0.4}).result(answer, given).labels == ("a", "b")  # type: ignore[arg-type, union-attr]
    called = task.with_call({"thresholds": {"b": 0.9}})
    assert called.result(answer, given).labels == ("a",)  # type: ignore[arg-type, union-attr]
    assert task.options.thresholds == {"a": 0.7}
