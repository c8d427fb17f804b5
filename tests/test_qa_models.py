"""Models of answers: long contexts, questions without an answer, adapters. tests/cells shows that cells learn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nlpipe
from nlpipe import UnsupportedError
from nlpipe.loading import load
from nlpipe.objectives.base import Window
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from tests.support import TRAIN, Trained, Trainings, tiny

QUICK = ("bert", "gpt2", "t5")
CLOSED = {"gpt_neo", "bloom"}  # decoders whose attention cannot be opened
OWN_HEAD = {"marian", "pegasus", "gemma"}
# "The word behind what is asked" joins three places; models that learn positions one by one take long to see it.
STEPS = {"bert": 1000, "gpt2": 900, "t5": 220}


Made = list[tuple[str, str, int, int]]


def rows(made: Made) -> list[dict[str, Any]]:
    return [
        {"question": asked, "context": context, "answers": {"text": [context[start:end]], "answer_start": [start]}}
        for asked, context, start, end in made
    ]


def words(count: int, *, seed: int, architecture: str, **options: Any) -> Made:
    """The answer in front of the key for decoders, which only an opened attention can find, else behind it."""
    after = architecture in CLOSED or family(architecture) != "decoder"
    # A byte-level decoder has one token for a text's first word and another for the same word behind a space.
    times = 1 if family(architecture) == "decoder" else 4
    return rules.asked_words(count, seed=seed, after=after, times=times, **options)


def recipe(backbone: Path, out: Path, **changes: Any) -> Recipe:
    name = backbone.name
    sections: dict[str, Any] = {
        "task": "qa",
        "model": {"backbone": str(backbone), "attention": "causal" if name in CLOSED else "auto"},
        "data": {
            "train": rows(words(2000, seed=1, architecture=name)),
            "test": rows(words(200, seed=2, architecture=name)),
        },
        "train": {**TRAIN, "steps": STEPS.get(name, 2000)},
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


def cell(architecture: str, trainings: Trainings) -> Trained:
    return trainings.get(f"qa-{architecture}", architecture, recipe)


def asked(made: Made) -> list[dict[str, str]]:
    return [{"question": question, "context": context} for question, context, _, _ in made]


@pytest.mark.parametrize("architecture", sorted(CLOSED))
def test_where_attention_cannot_be_opened_training_stops(
    architecture: str, trainings: Trainings, tmp_path: Path
) -> None:
    folder = tiny(architecture, trainings.folder)
    with pytest.raises(UnsupportedError, match=rf"{architecture}.*model\.attention: causal"):
        run(recipe(folder, tmp_path / "run", model={"backbone": str(folder)}))


def in_windows(backbone: Path, out: Path) -> Recipe:
    """Contexts of several windows, so that "not in here" is learnt."""
    name = backbone.name
    return recipe(
        backbone,
        out,
        model={"backbone": str(backbone), "max_length": 16, "overlap": 6},
        data={
            "train": rows(words(1000, seed=1, architecture=name, shortest=4, longest=16)),
            "test": rows(words(200, seed=2, architecture=name, shortest=4, longest=16)),
        },
    )


@pytest.mark.slow  # a training of its own; the kit has long contexts in every quick run
@pytest.mark.parametrize("architecture", ["t5"])
def test_a_long_context_is_searched_to_its_end(architecture: str, trainings: Trainings) -> None:
    trained = trainings.get(f"qa-{architecture}-windows", architecture, in_windows)
    assert trained.report.scores is not None
    assert trained.report.scores.scores["exact_match"] >= 0.9
    pipe = trained.load()
    draw = random.Random(7)
    right, places = 0, 40
    for at in range(places):
        before = draw.choices(rules.FILLERS, k=2 + 3 * at)
        key, answer = draw.choice(rules.KEYWORDS), draw.choice(rules.FILLERS)
        context = " ".join([*before, key, answer, *draw.choices(rules.FILLERS, k=3 * (places - at))])
        result = pipe({"question": " ".join([key] * 4), "context": context})
        assert result.seen[0] == result.seen[1] >= 8 * 16
        right += result.start == len(" ".join([*before, key, ""]))
    assert right >= 0.9 * places


def test_impossible_questions_are_refused(trainings: Trainings) -> None:
    """Half of the questions ask for a key that is not there; the threshold comes from the validation rows."""

    keys = ("north", "south", "ba", "be")

    def half(count: int, seed: int) -> list[dict[str, Any]]:
        made = rows(words(count, seed=seed, architecture="t5", keys=keys))
        for index, row in enumerate(made):
            if index % 2:
                absent = [key for key in keys if key not in row["context"].split()]
                row["question"] = " ".join([absent[index % len(absent)]] * 4)
                row["answers"] = {"text": [], "answer_start": []}
        return made

    def make(backbone: Path, out: Path) -> Recipe:
        data = {"train": half(2000, 1), "validation": half(100, 3), "test": half(200, 2)}
        return recipe(backbone, out, task={"name": "qa", "impossible": True}, data=data)

    trained = trainings.get("qa-t5-impossible", "t5", make)
    scores = trained.report.scores
    assert scores is not None
    assert scores.baselines["never an answer"]["exact_match"] == 0.5
    assert scores.scores["exact_match"] >= 0.9
    pipe = trained.load()
    assert 0 < pipe.card.options["threshold"] < 1
    assert pipe({"question": "ba ba ba ba", "context": "da de di"}, threshold=1.0).text in {"da", "de", "di"}
    assert pipe({"question": "ba ba ba ba", "context": "da de di"}).text == ""
    assert len(pipe({"question": "ba ba ba ba", "context": "da de di"}, top_k=2).alternatives) == 2


def test_a_model_of_the_hub_answers(trainings: Trainings, tmp_path: Path) -> None:
    """A folder that transformers itself wrote, without a Card."""
    import transformers

    backbone = tiny("bert", trainings.folder)
    transformers.set_seed(0)
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(backbone, dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)
    tokenizer.save_pretrained(tmp_path / "theirs")
    pipe = nlpipe.pipeline("qa", model=str(tmp_path / "theirs"))
    question, context = "ba", "ba north be south"
    result = pipe({"question": question, "context": context})
    with torch.no_grad():
        out = theirs(**tokenizer(question, context, return_tensors="pt"))
    start, end = (logits[0, 3:7].double() for logits in (out.start_logits, out.end_logits))
    pair = (start[:, None] + end[None, :]).triu() + torch.ones(4, 4).tril(-1) * -1e9
    first, last = divmod(int(pair.argmax()), 4)
    assert result.text == " ".join(context.split()[first : last + 1])


@pytest.mark.parametrize("architecture", ["bert", "t5", "marian", "llama"])
@pytest.mark.parametrize("weights", ["merged", "adapter"])
def test_lora(architecture: str, weights: str, trainings: Trainings, tmp_path: Path) -> None:
    """Adapters on transformers' heads and on ours, merged or apart; release checks that both answer alike."""
    folder = tiny(architecture, trainings.folder)
    made = words(60, seed=2, architecture=architecture)
    changes: dict[str, Any] = {
        "data": {"train": rows(words(320, seed=1, architecture=architecture)), "test": rows(made)},
        "adapter": {"method": "lora", "r": 4},
        "train": {**TRAIN, "steps": 10},
        "output": {"dir": str(tmp_path / "run"), "weights": weights},
    }
    report = run(recipe(folder, tmp_path / "run", **changes))
    assert report.model is not None
    pipe = load(report.model)
    assert pipe.card.attention == ("opened" if architecture == "llama" else "auto")
    given = asked(made)
    assert list(report.results) == pipe(given)
    pipe.objective = replace(pipe.objective, window=Window(max_length=12))
    assert pipe(given[0]).text
