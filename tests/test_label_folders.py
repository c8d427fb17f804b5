"""The folder of a model of labels: an ordinary one to transformers, and long text is read whole in windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlpipe.recipe import Recipe
from nlpipe.testing import rules
from tests.support import TRAIN, UNSEEN_ROWS, Trainings, labelled, recipe

QUICK = ("bert", "gpt2", "t5")
SLOW = (
    *("roberta", "distilbert", "bigbird", "modernbert", "gpt_neo", "bloom", "llama", "bart", "marian"),
    *("electra", "deberta_v2", "albert", "mpnet", "opt", "mbart", "pegasus", "gemma", "qwen2"),
)


def _brief(backbone: Path, out: Path) -> Recipe:
    """What the head has learnt does not matter here."""
    return recipe(backbone, out, train={**TRAIN, "steps": 5})


@pytest.mark.parametrize("architecture", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_plain_transformers_gives_the_same_probabilities(architecture: str, trainings: Trainings) -> None:
    """The folder is an ordinary one; with our own head, the backbone is."""
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    cell = trainings.get(f"{architecture}-brief", architecture, _brief)
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
