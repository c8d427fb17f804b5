"""The model card: read by the Hub's own classes, and saying what was measured and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from huggingface_hub import ModelCard

from nlpipe import cards
from nlpipe.card import Card, Origin
from nlpipe.evaluation import Scores
from nlpipe.objectives.base import Window
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe
from nlpipe.slices import Slice, Slices
from nlpipe.task import Family

PLUGINS = Plugins.discover()
# https://huggingface.co/tasks, those of text; the Hub knows no other names.
HUB_TASKS = {
    "text-classification", "token-classification", "question-answering", "summarization", "translation",
    "text-generation", "fill-mask", "sentence-similarity", "feature-extraction", "zero-shot-classification",
}  # fmt: skip
SCORES = Scores(
    "classification",
    1200,
    {"accuracy": 0.91, "macro_f1": 0.9, "odd": math.nan},
    {"accuracy": (0.89, 0.93), "macro_f1": (0.88, 0.92)},
    {"accuracy": "accuracy|nlpipe:1", "macro_f1": "f1|macro|a|b", "odd": "odd|1"},
    {"majority": {"accuracy": 0.5, "macro_f1": 0.33, "odd": 0.0}},
)


def card(**changes: Any) -> Card:
    origin = Origin(name="/home/somebody/models/roberta-base")
    return Card(
        task="classification", labels=("a", "b"), family=Family.ENCODER, objective="SequenceLabel",
        plugin=Origin(name="nlpipe", version="1"), backbone=origin, window=Window(128),
    ).model_copy(update=changes)  # fmt: skip


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate(
        {"task": "classification", "model": {"backbone": "roberta-base"}, "data": data, "train": {"epochs": 1}}
    )


def written(made: Card, of: Recipe, **facts: Any) -> tuple[str, Any]:
    text = cards.readme(made, of, cards.Facts("text-classification", {"train": 9000, "test": 1200}, **facts))
    return text, ModelCard(text).data


def test_the_hub_reads_the_scores_as_they_were_measured() -> None:
    of = recipe(
        train={"hub": "stanfordnlp/sst2", "config": "default"}, test={"hub": "stanfordnlp/sst2", "split": "dev"}
    )
    on_hub = Origin(name="roberta-base", revision="abc")
    text, data = written(card(backbone=on_hub), of, scores=SCORES, split="test")
    assert (data.base_model, data.datasets, data.pipeline_tag) == (
        "roberta-base",
        ["stanfordnlp/sst2"],
        "text-classification",
    )
    first, second = data.eval_results  # nan is no score
    assert (first.metric_type, first.metric_value, first.metric_name) == ("accuracy", 0.91, "accuracy")
    assert first.metric_args == {"signature": "accuracy|nlpipe:1", "interval_95": [0.89, 0.93]}
    assert (second.metric_type, second.metric_name) == ("f1", "macro_f1")
    assert (first.task_type, first.dataset_type, first.dataset_split) == (
        "text-classification",
        "stanfordnlp/sst2",
        "dev",
    )
    assert data.metrics == ["accuracy", "f1"]
    again = ModelCard(str(ModelCard(text))).data  # written by the Hub's classes and read once more
    assert again.eval_results == data.eval_results
    assert "| accuracy | 0.9100 | 0.8900 to 0.9300 | 0.5000 | `accuracy\\|nlpipe:1` |" in text


def test_no_folder_of_the_author_s_is_told() -> None:
    of = recipe(train="rows/My Train.jsonl", validation=0.1, test={"path": "secret/test set.jsonl"})
    text, data = written(card(), of, scores=SCORES, split="test")
    told = text.partition("## Recipe")[0]
    assert "/home/somebody" not in told
    assert "secret" not in told
    assert (data.eval_results[0].dataset_type, data.eval_results[0].dataset_name) == (
        "test-set.jsonl",
        "test set.jsonl",
    )
    _, held_out = written(card(), of, scores=SCORES, split="validation")
    assert held_out.eval_results[0].dataset_name == "My Train.jsonl"


def test_where_it_is_worse_is_said() -> None:
    found = (Slice("with the word “not”", 40, 0.6, -0.3, 0.5, 0.7, 0.005),)
    of = recipe(train="a.jsonl", test="b.jsonl")
    worse = Slices("accuracy", (), found, 50)
    text, _ = written(card(), of, scores=SCORES, split="test", slices=worse)
    assert "| with the word “not” | 40 | 0.6000 | 0.5000 to 0.7000 |" in text
    text, _ = written(card(), of, scores=SCORES, split="test", slices=Slices("accuracy", (), (), 50))
    assert "Of 50 parts of these rows looked at, none is worse" in text


def test_a_card_without_scores_is_one() -> None:
    text, data = written(card(), recipe(train="a.jsonl"))
    assert data.eval_results is None
    assert "## Scores" not in text


@pytest.mark.parametrize("name", sorted(PLUGINS.tasks))
def test_every_task_has_the_hub_s_name(name: str) -> None:
    for family in PLUGINS.tasks[name].row():
        assert PLUGINS.tasks[name].hub_task(family) in HUB_TASKS
