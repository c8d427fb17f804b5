"""Extractive answers on every architecture: learnt, saved, reloaded, batched, found in windows, true to characters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nlpipe
from nlpipe import Answer, UnsupportedError
from nlpipe.objectives.base import Window
from nlpipe.pipelines import load
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from tests.odd_text import odd_texts
from tests.support import TRAIN, Trained, Trainings, tiny

QUICK = ("bert", "gpt2", "t5")
GRID = (*QUICK, "roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "bart", "marian")
BEYOND = ("electra", "deberta_v2", "albert", "mpnet", "opt", "mbart", "pegasus", "gemma", "qwen2")
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in (*GRID, *BEYOND)]
CLOSED = {"gpt_neo", "bloom"}  # decoders whose attention cannot be opened
OWN_HEAD = {"marian", "pegasus", "gemma"}
# "The word behind what is asked" joins three places; models that learn positions one by one take long to see it.
STEPS = {"bert": 1000, "gpt2": 1200, "t5": 300}

architectures = pytest.mark.parametrize("architecture", ALL)

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


def shuffled(backbone: Path, out: Path) -> Recipe:
    name = backbone.name
    data = {
        "train": rows(rules.shuffled_questions(words(2000, seed=1, architecture=name), seed=5)),
        "test": rows(words(200, seed=2, architecture=name)),
    }
    return recipe(backbone, out, data=data, train={**TRAIN, "steps": 300})


def cell(architecture: str, trainings: Trainings) -> Trained:
    return trainings.get(f"qa-{architecture}", architecture, recipe)


def asked(made: Made) -> list[dict[str, str]]:
    return [{"question": question, "context": context} for question, context, _, _ in made]


@architectures
def test_learns_a_rule_and_answers_unseen_rows(
    architecture: str, trainings: Trainings, evidence: Callable[[str, str, str], None]
) -> None:
    report = cell(architecture, trainings).report
    assert report.scores is not None
    assert report.scores.n == 200
    assert report.scores.scores["exact_match"] >= 0.9
    assert report.scores.baselines["sentence with most question words"]["exact_match"] <= 0.1
    evidence("qa", family(architecture), architecture)


@architectures
def test_stays_at_chance_with_shuffled_answers(architecture: str, trainings: Trainings) -> None:
    report = trainings.get(f"qa-{architecture}-shuffled", architecture, shuffled).report
    assert report.scores is not None
    assert report.scores.scores["exact_match"] <= 0.5


@pytest.mark.parametrize("architecture", sorted(CLOSED))
def test_where_attention_cannot_be_opened_training_stops(
    architecture: str, trainings: Trainings, tmp_path: Path
) -> None:
    folder = tiny(architecture, trainings.folder)
    with pytest.raises(UnsupportedError, match=rf"{architecture}.*model\.attention: causal"):
        run(recipe(folder, tmp_path / "run", model={"backbone": str(folder)}))


@architectures
def test_reloaded_it_answers_the_same(architecture: str, trainings: Trainings) -> None:
    trained = cell(architecture, trainings)
    pipe = trained.load()
    assert pipe.card.head == ("nlpipe" if architecture in OWN_HEAD else "transformers")
    attention = "auto" if family(architecture) != "decoder" else "causal" if architecture in CLOSED else "opened"
    assert pipe.card.attention == attention
    given = asked(words(200, seed=2, architecture=architecture))
    first = pipe(given)
    assert [r.to_dict() for r in first] == [r.to_dict() for r in trained.load()(given)]
    assert first == list(trained.report.results)


def true_to(context: str, result: Answer) -> None:
    """Every answer cuts the context it claims, and probabilities are ones."""
    told = [result, *result.alternatives]
    for answer in told:
        assert answer.score is not None
        assert 0 <= answer.score <= 1
        assert answer.start is not None
        assert answer.end is not None
        assert 0 <= answer.start < answer.end <= len(context)
        assert context[answer.start : answer.end] == answer.text == answer.text.strip()
    assert [answer.score for answer in told] == sorted((answer.score or 0 for answer in told), reverse=True)
    assert len({(answer.start, answer.end) for answer in told}) == len(told)
    assert sum(answer.score or 0 for answer in told) + (result.no_answer_score or 0) <= 1 + 1e-9
    assert result == Answer.from_dict(json.loads(json.dumps(result.to_dict())))


def check_odd(pipe: Any, count: int, seed: int) -> None:
    contexts = odd_texts(count, seed=seed)
    results = pipe([{"question": "north \u0301?", "context": context} for context in contexts])
    answered = 0
    for context, result in zip(contexts, results, strict=True):
        if result.text:
            answered += 1
            true_to(context, result)
        else:
            assert (result.start, result.end, result.score, result.alternatives) == (None, None, 1.0, ())
            assert not any(character.isalnum() and character.isascii() for character in context)
    assert answered > 0.8 * count


@pytest.mark.parametrize("architecture", QUICK)
def test_offsets_cut_what_they_claim(architecture: str, trainings: Trainings) -> None:
    check_odd(cell(architecture, trainings).load(), 300, seed=11)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [*QUICK, "roberta", "marian", "llama", "deberta_v2"])
def test_offsets_cut_what_they_claim_in_many_texts(architecture: str, trainings: Trainings) -> None:
    check_odd(cell(architecture, trainings).load(), 5000, seed=12)


@architectures
def test_a_batch_answers_as_each_row_alone(architecture: str, trainings: Trainings) -> None:
    pipe = cell(architecture, trainings).load()
    given = asked(words(20, seed=3, architecture=architecture, shortest=1, longest=12))
    given += asked(words(3, seed=3, architecture=architecture, shortest=150, longest=150))
    given += [{"question": "north?", "context": context} for context in ("", " ", "n", "ba " * 300)]
    together, alone = pipe(given), [pipe(one) for one in given]
    sure = range(23)  # elsewhere many spans are equally good
    assert [together[at].text for at in sure] == [alone[at].text for at in sure]
    assert [(together[at].start, together[at].end) for at in sure] == [(alone[at].start, alone[at].end) for at in sure]
    np.testing.assert_allclose([r.score for r in together], [r.score for r in alone], atol=5e-5)
    np.testing.assert_allclose([r.no_answer_score for r in together], [r.no_answer_score for r in alone], atol=5e-5)
    assert [r.seen for r in together] == [r.seen for r in alone]
    assert all(read == there for read, there in (r.seen for r in together))


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
    changes: dict[str, Any] = {
        "adapter": {"method": "lora", "r": 4},
        "train": {**TRAIN, "steps": 10},
        "output": {"dir": str(tmp_path / "run"), "weights": weights},
    }
    report = run(recipe(folder, tmp_path / "run", **changes))
    assert report.model is not None
    pipe = load(report.model)
    assert pipe.card.attention == ("opened" if architecture == "llama" else "auto")
    given = asked(words(200, seed=2, architecture=architecture))
    assert list(report.results) == pipe(given)
    pipe.objective = replace(pipe.objective, window=Window(max_length=12))
    assert pipe(given[0]).text
