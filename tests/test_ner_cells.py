"""Entity recognition on every architecture: learnt, saved, reloaded, batched, and true to the text's characters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import Entities, UnsupportedError
from nlpipe.objectives.base import Window
from nlpipe.pipelines import Pipeline, load
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
OWN_HEAD = {"bart", "marian", "opt", "mbart", "pegasus"}

architectures = pytest.mark.parametrize("architecture", ALL)


def rows(made: list[tuple[list[str], list[str]]]) -> list[dict[str, Any]]:
    return [{"tokens": words, "tags": tags} for words, tags in made]


def recipe(backbone: Path, out: Path, **changes: Any) -> Recipe:
    """Entities in front of a marker for decoders, which only an opened attention can find, else behind it.

    "The word behind a marker" has to be found by position alone, so it takes more steps than a keyword does.
    """
    after = backbone.name in CLOSED or family(backbone.name) != "decoder"
    sections: dict[str, Any] = {
        "task": "ner",
        "model": {"backbone": str(backbone), "attention": "causal" if backbone.name in CLOSED else "auto"},
        "data": {
            "train": rows(rules.marked_words(400, seed=1, after=after)),
            "test": rows(rules.marked_words(200, seed=2, after=after)),
        },
        "train": {**TRAIN, "steps": 1000 if backbone.name == "marian" else 500},
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


def shuffled(backbone: Path, out: Path) -> Recipe:
    data = {
        "train": rows(rules.shuffled_words(rules.marked_words(400, seed=1), seed=5)),
        "test": rows(rules.marked_words(200, seed=2)),
    }
    return recipe(backbone, out, data=data, train=TRAIN)


def cell(architecture: str, trainings: Trainings) -> Trained:
    return trainings.get(f"ner-{architecture}", architecture, recipe)


def plain(results: list[Entities]) -> list[list[tuple[int, int, str]]]:
    return [[(span.start, span.end, span.label) for span in result.spans] for result in results]


def scores(results: list[Entities]) -> np.ndarray:
    return np.array([span.score for result in results for span in result.spans])


@architectures
def test_learns_a_rule_and_answers_unseen_rows(
    architecture: str, trainings: Trainings, evidence: Callable[[str, str, str], None]
) -> None:
    report = cell(architecture, trainings).report
    assert report.scores is not None
    assert report.scores.n == 200
    assert report.scores.scores["f1"] >= 0.9
    assert report.scores.baselines["usual tag of each word"]["f1"] <= 0.5
    evidence("ner", family(architecture), architecture)


@architectures
def test_stays_at_chance_with_shuffled_words(architecture: str, trainings: Trainings) -> None:
    report = trainings.get(f"ner-{architecture}-shuffled", architecture, shuffled).report
    assert report.scores is not None
    assert report.scores.scores["f1"] <= 0.3


def test_a_causal_decoder_cannot_know_what_follows(trainings: Trainings) -> None:
    """The rule that an opened GPT-2 learns; with it the proof that `attention` does what it says."""

    def causal(backbone: Path, out: Path) -> Recipe:
        return recipe(backbone, out, model={"backbone": str(backbone), "attention": "causal"})

    trained = trainings.get("ner-gpt2-causal", "gpt2", causal)
    assert trained.report.scores is not None
    assert trained.report.scores.scores["f1"] <= 0.5
    assert trained.load().card.attention == "causal"


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
    assert pipe.card.options["segmenter"] == "unicode-1"
    texts = [{"tokens": row["tokens"]} for row in rows(rules.marked_words(200, seed=2, after=attention != "opened"))]
    first = pipe(texts)
    assert [r.to_dict() for r in first] == [r.to_dict() for r in trained.load()(texts)]
    assert first == list(trained.report.results)
    assert sum(len(r.spans) for r in first) > 100


def test_the_card_opens_the_attention_again(trainings: Trainings, tmp_path: Path) -> None:
    """Whatever config.json says: another version of transformers may not write it there."""
    trained = cell("gpt2", trainings)
    copy = shutil.copytree(trained.model, tmp_path / "model")
    config = json.loads((copy / "config.json").read_text())
    assert config.pop("is_causal") is False
    (copy / "config.json").write_text(json.dumps(config))
    texts = [" ".join(words) for words, _ in rules.marked_words(50, seed=9, after=False)]
    assert load(copy)(texts) == trained.load()(texts)
    card = json.loads((copy / "nlpipe.json").read_text())
    (copy / "nlpipe.json").write_text(json.dumps({**card, "attention": "causal"}))
    assert load(copy)(texts) != trained.load()(texts)


@architectures
def test_a_batch_answers_as_each_row_alone(architecture: str, trainings: Trainings) -> None:
    pipe = cell(architecture, trainings).load()
    texts = [*odd_texts(30, seed=4), "", " ", "n" * 300]
    texts += [" ".join(words) for words, _ in rules.marked_words(6, seed=3, shortest=1, longest=60)]
    texts += [" ".join(words) for words, _ in rules.marked_words(2, seed=3, shortest=200, longest=200)]
    together, alone = pipe(texts), [pipe(text) for text in texts]
    assert plain(together) == plain(alone)
    np.testing.assert_allclose(scores(together), scores(alone), atol=5e-5)
    assert [r.seen for r in together] == [r.seen for r in alone]
    assert all(read == there for read, there in (r.seen for r in together))
    assert max(there for _, there in (r.seen for r in together)) > 3 * 64


def check_offsets(pipe: Pipeline, texts: list[str]) -> int:
    """Every span cuts the text it claims, they do not overlap, and scores are probabilities. How many there are."""
    model: Any = pipe.runner.model  # type: ignore[attr-defined]
    (head,) = (model.get_submodule(name) for name in ("classifier", "score", "head") if hasattr(model, name))
    with torch.no_grad():
        head.bias[pipe.card.labels.index("O")] -= 20  # so that there are entities everywhere
    results = pipe(texts)
    for text, result in zip(texts, results, strict=True):
        before = 0
        for span in result.spans:
            assert before <= span.start < span.end <= len(text)
            assert text[span.start : span.end] == span.text == span.text.strip()
            assert span.label in {"person", "place"}
            assert 0 <= span.score <= 1
            before = span.end
        assert result == Entities.from_dict(json.loads(json.dumps(result.to_dict())))
    return sum(len(result.spans) for result in results)


@pytest.mark.parametrize("architecture", QUICK)
def test_offsets_cut_what_they_claim(architecture: str, trainings: Trainings) -> None:
    assert check_offsets(cell(architecture, trainings).load(), odd_texts(500, seed=11)) > 500


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [*QUICK, "roberta", "marian", "llama", "deberta_v2"])
def test_offsets_cut_what_they_claim_in_many_texts(architecture: str, trainings: Trainings) -> None:
    assert check_offsets(cell(architecture, trainings).load(), odd_texts(10_000, seed=12)) > 10_000


@pytest.mark.parametrize("architecture", QUICK)
def test_long_text_loses_nothing_and_repeats_nothing(architecture: str, trainings: Trainings) -> None:
    pipe = cell(architecture, trainings).load()
    pipe.objective = replace(pipe.objective, window=Window(max_length=20, overlap=8))
    made = rules.marked_words(40, seed=21, after=architecture != "gpt2")
    words, tags = [w for row, _ in made for w in row], [t for _, row in made for t in row]
    example = pipe.task.Example(tokens=tuple(words), tags=tuple(tags))
    result = pipe({"tokens": words})
    assert result.seen[0] == result.seen[1] >= 10 * 20
    found = plain([result])[0]
    assert len(found) == len(set(found))
    assert all(one[1] <= two[0] for one, two in pairwise(found))
    right = set(example.entities)  # type: ignore[attr-defined]
    assert len(right) > 30
    assert 2 * len(right & set(found)) / (len(right) + len(found)) >= 0.9
    assert max(end for _, end, _ in found) > len(" ".join(words)) * 0.9


def test_a_run_in_windows_trains_and_is_scored(trainings: Trainings, tmp_path: Path) -> None:
    """Rows of several windows: each word is learnt once, and the parity of the reloaded model holds."""
    folder = tiny("bert", trainings.folder)
    made = rows(rules.marked_words(60, seed=1, shortest=40, longest=60))
    report = run(
        recipe(
            folder,
            tmp_path / "run",
            model={"backbone": str(folder), "max_length": 24, "overlap": 6},
            data={"train": made, "validation": 0.2, "test": made[:10]},
            train={**TRAIN, "steps": 5},
        )
    )
    assert report.scores is not None
    assert all(read == there > 24 for read, there in (r.seen or (0, 1) for r in report.results))


@pytest.mark.parametrize("architecture", ["bert", "t5", "opt", "bart"])
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
    assert pipe.card.attention == ("opened" if architecture == "opt" else "auto")
    assert pipe([{"tokens": ["ba", "north", "ge"]}])
    assert [r.to_dict() for r in report.results[:20]] == [
        r.to_dict() for r in pipe([{"tokens": list(example.tokens)} for example in report.examples])[:20]
    ]
