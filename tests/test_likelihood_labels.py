"""Labels by the likelihood of their words: learnt, read in pieces, and asked of a model that was never taught them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpipe
from nlpipe import UnsupportedError
from nlpipe.objectives import CausalText
from nlpipe.objectives.base import Likelihoods
from nlpipe.recipe import Recipe
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from nlpipe_classification import Classification
from nlpipe_classification.options import Settings
from tests.support import TRAIN, UNSEEN_ROWS, Trained, Trainings, recipe, tiny

QUICK = ("gpt2", "bart")
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in (*QUICK, "llama", "bloom", "t5")]


def _asked(backbone: Path, out: Path) -> Recipe:
    kind = "CausalText" if family(backbone.name) == "decoder" else "Seq2SeqText"
    train = {**TRAIN, "learning_rate": 5e-3, "steps": 700} if backbone.name == "t5" else TRAIN
    return recipe(
        backbone,
        out,
        task={"name": "classification", "options": {"words": {"north": "up there"}}},
        model={"backbone": str(backbone), "objective": kind},
        train=train,
    )


@pytest.fixture
def cell(request: pytest.FixtureRequest, trainings: Trainings) -> Trained:
    return trainings.get(f"likelihood-{request.param}", request.param, _asked)


cells = pytest.mark.parametrize("cell", ALL, indirect=True)


@cells
def test_learns_a_rule_by_the_words_of_its_labels(cell: Trained) -> None:
    assert cell.report.scores is not None
    assert cell.report.scores.scores["accuracy"] >= 0.9
    for result in cell.report.results[:20]:
        assert sum(result.scores.values()) == pytest.approx(1)  # type: ignore[attr-defined]


@cells
def test_a_batch_answers_as_each_row_alone_and_long_texts_in_pieces(cell: Trained) -> None:
    pipe = cell.load()
    texts = [row["text"] for row in UNSEEN_ROWS[:8]] + ["", "ba " * 200, "north. " * 30]
    together, alone = pipe(texts), [pipe(text) for text in texts]
    ours = [list(result.scores.values()) for result in together]
    np.testing.assert_allclose(ours, [list(result.scores.values()) for result in alone], atol=2e-5)
    assert all(result.seen[0] == result.seen[1] for result in together)
    assert together[9].seen[0] > 200


def test_an_untaught_model_is_asked_with_labels_given(trainings: Trainings) -> None:
    untaught = tiny("gpt2", trainings.folder)
    pipe = nlpipe.pipeline("classification", model=untaught, labels=["north", "south", "ba"])
    found = pipe("ba be bi")
    assert pipe.card.objective == "CausalText" and set(found.scores) == {"north", "south", "ba"}
    assert sum(found.scores.values()) == pytest.approx(1) and found.label in found.scores
    bare = nlpipe.pipeline("classification", model=untaught)
    with pytest.raises(UnsupportedError, match="must be told the labels"):
        bare("ba")
    assert bare("ba be bi", labels=["north", "south", "ba"]) == found


def test_a_real_story_teller_knows_what_is_likely(test_data: Path) -> None:
    """Chance is a half; the model has read two million tiny stories, in which dogs bark and the sun shines."""
    pairs = [
        ("Lily had a big red ball. She wanted to", "play", "sleepy"),
        ("Once upon a", "time", "box"),
        ("She was very happy and said thank", "you", "ran"),
        ("The little girl was named", "Lily", "park"),
        ("They went to the park to", "play", "tree"),
        ('Her mom said, "Be', "careful", "sky"),
    ]
    options = Settings(template="{text}")
    right = 0
    for text, good, bad in pairs:
        pipe: Any = nlpipe.pipeline(
            "classification", model=test_data / "models" / "stories260K-llama", labels=[good, bad], options=options
        )
        right += pipe(text).label == good
    assert right == len(pairs)


def test_several_labels_need_a_head() -> None:
    with pytest.raises(UnsupportedError, match=r"set model\.objective: SequenceLabel"):
        Classification(("a", "b"), Settings(multi_label=True)).objective(CausalText)


def test_pieces_weigh_alike() -> None:
    task = Classification(("a", "b"))
    answer = Likelihoods(np.log([[0.2, 0.2], [0.3, 0.1]]), (1, 1))
    found = task.result(answer, task.Input(text="x"))  # type: ignore[arg-type]
    assert found.scores == pytest.approx({"a": (0.5 + 0.75) / 2, "b": (0.5 + 0.25) / 2})  # type: ignore[union-attr]


def test_the_rule_has_two_labels() -> None:
    assert {label for _, label in rules.first_keyword(10, seed=1)} == set(rules.KEYWORDS)
