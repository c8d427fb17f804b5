"""Every cell of the grid: a rule is learnt and unseen rows answered, and what is saved answers alike (DESIGN 12).

One architecture per family in every run of the tests; all of them in `make test-all`, which writes the evidence
that `nlpipe tasks --grid` shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlpipe.recipe import Recipe
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from tests.support import ROWS, TRAIN, UNSEEN_ROWS, Trained, Trainings, labelled, recipe

QUICK = ("bert", "gpt2", "t5")
GRID = (*QUICK, "roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "bart", "marian")
BEYOND = ("electra", "deberta_v2", "albert", "mpnet", "opt", "mbart", "pegasus", "gemma", "qwen2")

TASK = "classification"

ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in (*GRID, *BEYOND)]


def mixed(seed: int = 0) -> list[str]:
    """Texts from nothing to more than one window, in disorder."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(rules.FILLERS, k=length)) for length in (0, 1, 2, 5, 9, 20, 40, 70, 150)]
    texts += ["é 🦊 語 שלום", "</s> [SEP] <|endoftext|> <pad>", "\t\n", "n" * 300]
    draw.shuffle(texts)
    return texts


def scores(results: list[Any]) -> np.ndarray:
    return np.array([list(result.scores.values()) for result in results])


@pytest.fixture
def cell(request: pytest.FixtureRequest, trainings: Trainings) -> Trained:
    return trainings.get(request.param, request.param)


cells = pytest.mark.parametrize("cell", ALL, indirect=True)
architectures = pytest.mark.parametrize("architecture", ALL)


@architectures
def test_learns_a_rule_and_answers_unseen_rows(
    architecture: str, trainings: Trainings, evidence: Callable[[str, str, str], None]
) -> None:
    cell = trainings.get(architecture, architecture)
    assert cell.report.scores is not None
    assert cell.report.scores.n == len(UNSEEN_ROWS)
    assert cell.report.scores.scores["accuracy"] >= 0.9
    evidence(TASK, family(architecture), architecture)


FEELINGS = ("pos", "NEG")


def _sentiment(backbone: Path, out: Path) -> Recipe:
    """The rule with labels that have to be brought to their one spelling."""

    def rows(count: int, seed: int) -> list[dict[str, str]]:
        spelt = dict(zip(rules.KEYWORDS, FEELINGS, strict=True))
        return [{"text": text, "label": spelt[label]} for text, label in rules.first_keyword(count, seed=seed)]

    return recipe(backbone, out, task="sentiment", data={"train": rows(ROWS, 1), "test": rows(100, 2)})


# Sentiment is classification under other names, so the architectures of the design suffice.
@pytest.mark.parametrize("architecture", ALL[: len(GRID)])
def test_sentiment_has_canonical_labels_on_every_architecture(
    architecture: str, trainings: Trainings, evidence: Callable[[str, str, str], None]
) -> None:
    cell = trainings.get(f"{architecture}-sentiment", architecture, _sentiment)
    assert cell.report.scores is not None
    assert cell.report.scores.scores["accuracy"] >= 0.9
    pipe = cell.load()
    assert pipe.card.labels == ("negative", "positive")
    assert pipe("ba north be south").label == "positive"
    evidence("sentiment", family(architecture), architecture)


def _shuffled(backbone: Path, out: Path) -> Recipe:
    rows = rules.shuffled(rules.first_keyword(ROWS, seed=1), seed=5)
    return recipe(backbone, out, data={"train": labelled(rows), "test": UNSEEN_ROWS})


@architectures
def test_stays_at_chance_with_shuffled_labels(architecture: str, trainings: Trainings) -> None:
    report = trainings.get(f"{architecture}-shuffled", architecture, _shuffled).report
    assert report.scores is not None
    # 200 rows of a fair coin are within 0.5 ± 0.15 but once in 50,000 times.
    assert abs(report.scores.scores["accuracy"] - 0.5) <= 0.15


@cells
def test_a_batch_answers_as_each_row_alone(cell: Trained) -> None:
    pipe, texts = cell.load(), mixed()
    together, alone = pipe(texts), [pipe(text) for text in texts]
    np.testing.assert_allclose(scores(together), scores(alone), atol=2e-5)
    assert [r.label for r in together] == [r.label for r in alone]
    assert [r.seen for r in together] == [r.seen for r in alone]
    assert all(read == there for read, there in (r.seen for r in together))


@cells
def test_reloaded_it_answers_the_same(cell: Trained) -> None:
    texts = [row["text"] for row in UNSEEN_ROWS]
    first, second = cell.load()(texts), cell.load()(texts)
    assert [r.to_dict() for r in first] == [r.to_dict() for r in second]
    assert [r.scores for r in first] == [r.scores for r in cell.report.results]  # type: ignore[attr-defined]


@cells
def test_plain_transformers_gives_the_same_probabilities(cell: Trained) -> None:
    """The folder is an ordinary one; with our own head, the backbone is."""
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    pipe = cell.load()
    if pipe.card.head == "nlpipe":
        assert AutoModel.from_pretrained(cell.model).config.is_encoder_decoder
        return
    model = AutoModelForSequenceClassification.from_pretrained(cell.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(cell.model)
    texts = [row["text"] for row in UNSEEN_ROWS[:20]]
    for text, ours in zip(texts, pipe(texts), strict=True):
        with torch.inference_mode():
            theirs = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist()
        assert list(ours.scores.values()) == pytest.approx(theirs, abs=2e-5)
    assert model.config.id2label == dict(enumerate(pipe.card.labels))


def _windows(backbone: Path, out: Path) -> Recipe:
    rows = rules.first_keyword(60, seed=1, shortest=50, longest=90)
    section = {"backbone": str(backbone), "max_length": 32, "overlap": 4}
    return recipe(backbone, out, model=section, data={"train": labelled(rows)}, train={**TRAIN, "steps": 3})


@pytest.mark.parametrize("architecture", QUICK)
def test_long_text_is_read_whole_in_windows(architecture: str, trainings: Trainings) -> None:
    trained = trainings.get(f"{architecture}-windows", architecture, _windows)
    pipe, text = trained.load(), " ".join(rules.FILLERS * 20)
    whole = pipe(text)
    assert whole.seen[0] == whole.seen[1] >= 400
    rows = pipe.objective.encode(pipe.task.query(pipe.given(text), pipe.objective), None, pipe.tokenizers)
    assert len(rows) > 10
    special = pipe.tokenizers.source.single
    ids = [row.ids[len(special.prefix) : row.length - len(special.suffix)] for row in rows]
    joined = ids[0] + [token for window in ids[1:] for token in window[4:]]
    assert joined == pipe.tokenizers.source.encode(text).ids
