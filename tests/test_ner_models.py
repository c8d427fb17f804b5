"""Models of entities: what a word may see, long texts, adapters. That cells learn is tests/cells' to show."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nlpipe import UnsupportedError
from nlpipe.loading import load
from nlpipe.objectives.base import Window
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.testing.tiny import family
from tests.support import TRAIN, Trained, Trainings, tiny

CLOSED = {"gpt_neo", "bloom"}  # decoders whose attention cannot be opened
STEPS = {"marian": 1000, "gpt2": 360}  # as in tests/cells
OWN_HEAD = {"bart", "marian", "opt", "mbart", "pegasus"}


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
        "train": {**TRAIN, "steps": STEPS.get(backbone.name, 500)},
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


def cell(architecture: str, trainings: Trainings) -> Trained:
    return trainings.get(f"ner-{architecture}", architecture, recipe)


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


@pytest.mark.parametrize("architecture", ["bert", "bart", "marian", "opt", "gpt2", "gpt_neo"])
def test_the_card_says_whose_head_it_is_and_what_a_word_sees(architecture: str, trainings: Trainings) -> None:
    def brief(backbone: Path, out: Path) -> Recipe:
        return recipe(backbone, out, train={**TRAIN, "steps": 2})

    card = trainings.get(f"ner-{architecture}-brief", architecture, brief).load().card
    assert card.head == ("nlpipe" if architecture in OWN_HEAD else "transformers")
    decoder = "causal" if architecture in CLOSED else "opened"
    assert card.attention == (decoder if family(architecture) == "decoder" else "auto")
    assert card.options["segmenter"] == "unicode-1"


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


@pytest.mark.parametrize(
    "architecture", ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "t5"))]
)
def test_long_text_loses_nothing_and_repeats_nothing(architecture: str, trainings: Trainings) -> None:
    pipe = cell(architecture, trainings).load()
    pipe.objective = replace(pipe.objective, window=Window(max_length=20, overlap=8))
    made = rules.marked_words(40, seed=21, after=architecture != "gpt2")
    words, tags = [w for row, _ in made for w in row], [t for _, row in made for t in row]
    example = pipe.task.Example(tokens=tuple(words), tags=tuple(tags))
    result = pipe({"tokens": words})
    assert result.seen[0] == result.seen[1] >= 10 * 20
    found = [(span.start, span.end, span.label) for span in result.spans]
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
