"""Attributions add up, hiding is what it says, and the ranking is better than chance."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inspect import Subject, load, why
from nlpipe.objectives import SequenceLabel
from nlpipe.recipe import Recipe

TEXT = "The bark of the tree, said the dog."
SEVEN = ("bert", "roberta", "gpt2", "llama", "bloom", "t5", "bart")
Made = Callable[..., Path]


@pytest.fixture(scope="module")
def headed(folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny model with a random head that counts as trained, in a folder of its own."""
    import transformers

    root = tmp_path_factory.mktemp("headed")

    def make(architecture: str, head: str, labels: tuple[str, ...]) -> Path:
        path = root / f"{architecture}-{head}"
        if not path.exists():
            torch.manual_seed(1)
            loader = getattr(transformers, f"AutoModelFor{head}")
            names = {"id2label": dict(enumerate(labels)), "label2id": {name: at for at, name in enumerate(labels)}}
            model = loader.from_pretrained(folder(architecture), dtype=torch.float32, **names)
            for name, weight in model.named_parameters():
                if any(word in name for word in ("classifier", "score", "classification_head")) and weight.dim() > 1:
                    torch.nn.init.normal_(weight, std=0.5)
            model.config.pad_token_id = model.config.pad_token_id or 0
            model.save_pretrained(path)
            transformers.AutoTokenizer.from_pretrained(folder(architecture)).save_pretrained(path)
        return path

    return make


def log_odds(path: Path, ids: list[int], index: int) -> float:
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        probabilities = model(torch.tensor([ids])).logits[0].double().softmax(-1)
    return float(torch.logit(probabilities[index]))


@pytest.mark.parametrize("architecture", SEVEN)
def test_attributions_add_up_to_the_answer(headed: Made, architecture: str) -> None:
    path = headed(architecture, "SequenceClassification", ("one", "two", "three"))
    found = why(path, TEXT, task="classification")
    assert found.error < 0.01
    assert not found.notes
    assert found.attributions.sum() == pytest.approx(found.value - found.baselines[0], rel=0.0101)
    assert found.shares.sum() == pytest.approx(found.attributions.sum(), rel=1e-9, abs=1e-9)
    name = found.answer.partition(" ")[0]
    index = ("one", "two", "three").index(name)
    assert found.explains == f"the log-odds of {name!r}"
    assert found.value == pytest.approx(log_odds(path, [piece.id for piece in found.pieces], index), abs=1e-4)
    assert " ".join(unit.label for unit in found.units if not unit.special) == "The bark of the tree , said the dog ."
    assert not any(abs(found.attributions[at]) > 1e-9 for at, piece in enumerate(found.pieces) if piece.special)
    assert np.abs(found.attributions).max() > 1e-4


@pytest.mark.parametrize("architecture", ["bert", "roberta", "bart"])
def test_hidden_is_masked(headed: Made, architecture: str) -> None:
    """The vectors that are put in are those of the mask token, also where a decoder reads the text once more."""
    from transformers import AutoTokenizer

    path = headed(architecture, "SequenceClassification", ("one", "two", "three"))
    found = why(path, TEXT, task="classification", target="two")
    mask = AutoTokenizer.from_pretrained(path).mask_token_id
    masked = [piece.id if piece.special else mask for piece in found.pieces]
    assert found.baselines[0] == pytest.approx(log_odds(path, masked, 1), abs=1e-4)
    curve = found.deletion
    assert curve.ranked[0] == pytest.approx(found.value, abs=1e-5)
    assert curve.ranked[-1] == curve.random[-1] == pytest.approx(found.baselines[0], abs=1e-5)
    assert (curve.share[0], curve.share[-1]) == (0, 1)
    first = max((at for at, u in enumerate(found.units) if not u.special), key=lambda at: found.shares[at])
    one = [mask if at in found.units[first].pieces else piece.id for at, piece in enumerate(found.pieces)]
    assert curve.share[1] == pytest.approx(0.1)
    assert curve.ranked[1] == pytest.approx(log_odds(path, one, 1), abs=1e-4)
    assert curve.gain == pytest.approx((curve.random - curve.ranked)[1:-1].mean())


def test_another_label_may_be_asked_about(headed: Made) -> None:
    path = headed("bert", "SequenceClassification", ("one", "two", "three"))
    values = {name: why(path, TEXT, task="classification", target=name).value for name in ("one", "two", "three")}
    probabilities = [1 / (1 + np.exp(-value)) for value in values.values()]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    best = why(path, TEXT, task="classification")
    assert best.answer.startswith(max(values, key=values.__getitem__))


def test_more_steps_are_taken_until_it_is_exact(headed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    path = headed("bert", "SequenceClassification", ("one", "two", "three"))
    assert why(path, TEXT, task="classification", steps=1).steps > 1
    monkeypatch.setattr("nlpipe.inspect.views.why.MOST", 1)
    rough = why(path, TEXT, task="classification", steps=1)
    assert rough.steps == 1
    assert rough.error > 0.01
    assert "take them as rough" in rough.notes[0]


def test_labelled_words_are_explained(headed: Made) -> None:
    path = headed("bert", "TokenClassification", ("O", "B-x", "I-x"))
    import nlpipe

    spans = nlpipe.pipeline("ner", model=str(path))(TEXT).spans
    assert spans, "a random head labels something"
    found = why(path, TEXT, task="ner", target=spans[0].text)
    assert found.answer.startswith(f"{spans[0].text}: x")
    assert found.error < 0.01
    assert found.attributions.sum() == pytest.approx(found.value - found.baselines[0], rel=0.0101)
    with pytest.raises(DataError, match="the model finds no 'Berlin' in this text"):
        why(path, TEXT, task="ner", target="Berlin")


def test_likeness_is_explained_one_text_at_a_time(minilm: Subject) -> None:
    found = why(minilm, "A dog runs in the park", "A puppy is running outside", task="similarity")
    assert found.error < 0.01
    assert found.answer == f"cosine {found.value:.4f}"
    words = {(row, unit.label): share for row, unit, share in zip(found.rows, found.units, found.shares, strict=True)}
    for row, base in enumerate(found.baselines):
        own = sum(share for (where, _), share in words.items() if where == row)
        assert own == pytest.approx(found.value - base, rel=0.0101)
        assert base < found.value / 2, "a text of blanks is like neither"
    assert max(words, key=words.__getitem__)[1] in ("runs", "running", "puppy", "dog")
    with pytest.raises(DataError, match="text_b"):
        why(minilm, "A dog runs in the park", task="similarity")


def test_a_pair_is_read_as_one(headed: Made) -> None:
    found = why(
        headed("bert", "SequenceClassification", ("one", "two", "three")), "the dog", "the tree", task="classification"
    )
    assert [unit.label for unit in found.units] == ["[CLS]", "the", "dog", "[SEP]", "the", "tree", "[SEP]"]
    assert found.error < 0.01


@dataclass(frozen=True, kw_only=True)
class Spans(SequenceLabel):
    """An extractive objective in the form that is explained: `start` and `end` are scores per token."""

    head: ClassVar[str] = "QuestionAnswering"

    def compute(self, model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        out = model(**batch.inputs)
        return {"start": out.start_logits, "end": out.end_logits}


def test_an_answer_span_is_explained(headed: Made) -> None:
    from types import SimpleNamespace

    from nlpipe.inspect.attribution import Vectors
    from nlpipe.inspect.explaining import aim
    from nlpipe.objectives.base import Text
    from nlpipe.runners.torch import TorchRunner

    path = headed("bert", "QuestionAnswering", ("start", "end"))
    seen = load(path)
    import transformers

    model = transformers.AutoModelForQuestionAnswering.from_pretrained(path, dtype=torch.float32)
    torch.nn.init.normal_(model.qa_outputs.weight, std=0.5)
    objective = Spans(labels=("start", "end"))
    rows = objective.encode(Text("who saw", "the dog saw the tree"), None, seen.tokenizers)

    class Asked(SimpleNamespace):
        def __call__(self, given: Any) -> Any:
            return SimpleNamespace(text="the dog")

    pipe: Any = Asked(objective=objective, runner=TorchRunner(model), tokenizers=seen.tokenizers)
    chosen = aim(pipe, None, None, rows, None)
    assert chosen.answer == "'the dog'"
    vectors = Vectors(pipe.runner.model, objective, rows, seen.tokenizers)
    found = vectors.gradients(chosen.measure, [[0]], steps=32, enough=0.01, most=1024)
    assert found.error < 0.01
    with torch.no_grad():
        out = model(torch.tensor([rows[0].ids]), token_type_ids=torch.tensor([rows[0].types]))
    start, end = (one[0].double().softmax(-1) for one in (out.start_logits, out.end_logits))
    second = [at for at, kind in enumerate(rows[0].types or ()) if kind == 1][:-1]  # the last one is [SEP]
    pairs = [(start[a] * end[b], a, b) for a in second for b in second if a <= b]
    _, first, last = max(pairs)
    assert found.value == pytest.approx(float(torch.logit(start[first]) + torch.logit(end[last])), abs=1e-4)


@pytest.mark.parametrize(("architecture", "impossible"), [("bert", False), ("bert", True), ("gpt2", False)])
def test_a_trained_answer_span_is_explained(
    architecture: str, impossible: bool, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """What is explained is what the pipeline answers, also where that is "no answer"."""
    from nlpipe.loading import load as answering
    from nlpipe.running import run

    context = "the dog saw the tree"
    right = {"text": [], "answer_start": []} if impossible else {"text": ["dog"], "answer_start": [4]}
    sections: dict[str, Any] = {
        "task": {"name": "qa", "impossible": impossible},
        "model": {"backbone": str(folder(architecture))},
        "data": {"train": [{"question": "who saw", "context": context, "answers": right}] * 8},
        "train": {"steps": 25, "batch_size": 8, "learning_rate": 5e-3, "seed": 1},
        "output": {"dir": str(tmp_path / "run")},
    }
    report = run(Recipe(**sections))
    pipe = answering(report.model)
    answer = pipe({"question": "who saw", "context": context})
    assert answer.text == ("" if impossible else "dog")
    view = why(report.model, "who saw", context)
    assert view.answer == ("no answer" if impossible else "'dog'")
    row = pipe.objective.encode(
        pipe.task.query(pipe.given({"question": "who saw", "context": context}), None), None, pipe.tokenizers
    )[0]
    with torch.no_grad():
        out = pipe.runner.model(
            **pipe.objective.collate([row], pipe.tokenizers, answering=True, rng=None).to("cpu").inputs
        )
    start, end = (one[0].double().softmax(-1) for one in (out.start_logits, out.end_logits))
    at = (0, 0) if impossible else row.place.positions(4, 7)
    assert view.value == pytest.approx(float(torch.logit(start[at[0]]) + torch.logit(end[at[1]])), abs=1e-3)


@pytest.mark.parametrize(
    ("given", "options", "kind", "message"),
    [
        ((TEXT,), {}, UnsupportedError, "a model without a task, so it gives no answer to explain"),
        ((" ",), {"task": "classification"}, DataError, "the text is empty"),
        (
            (TEXT,),
            {"task": "classification", "target": "tree"},
            DataError,
            "there is no label 'tree'; did you mean 'three'",
        ),
        ((TEXT, "b", "c"), {"task": "classification"}, DataError, r"reads 2 texts \(text, text_pair\), not 3"),
        (("tree " * 80,), {"task": "classification"}, DataError, "too long to be explained at once"),
        ((TEXT,), {"task": "classification", "steps": 0}, DataError, "steps must be at least 1"),
    ],
)
def test_mistakes(
    headed: Made, given: tuple[str, ...], options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    path = headed("bert", "SequenceClassification", ("one", "two", "three"))
    with pytest.raises(kind, match=message):
        why(path, *given, **options)


def test_answers_in_words_are_not_explained(folder: Callable[[str], Path]) -> None:
    with pytest.raises(UnsupportedError, match="such answers are not explained here"):
        why(folder("gpt2"), TEXT, task="generation")


def test_without_captum_there_is_one_message(headed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'nlpipe\[inspect\]'"):
        why(headed("bert", "SequenceClassification", ("one", "two", "three")), TEXT, task="classification")


def rotten_tomatoes(folder: Path, name: str, count: int) -> list[dict[str, Any]]:
    file = folder / "data" / "rotten_tomatoes" / name
    read = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    rows = [json.loads(line) for line in read.decode().splitlines()]
    order = np.random.default_rng(0).permutation(len(rows))[:count]
    return [rows[at] for at in order]


@pytest.mark.slow
def test_the_ranking_beats_chance_on_200_reviews(test_data: Path, minilm: Subject, tmp_path: Path) -> None:
    """Hiding the words with the largest attributions changes the answer more than hiding random ones."""
    import nlpipe

    rows = rotten_tomatoes(test_data, "train.jsonl.gz", 1500)
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join(json.dumps({"text": r["text"], "label": str(r["label"])}) for r in rows))
    recipe = {
        "version": 1,
        "task": "classification",
        "model": {"backbone": minilm.name, "max_length": 128},
        "adapter": {"method": "lora", "r": 8},
        "data": {"train": str(train), "test": str(train)},
        "train": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3},
        "evaluate": {"bootstrap": 0},
        "output": {"dir": str(tmp_path / "run")},
    }
    assert nlpipe.run(Recipe.model_validate(recipe)).finished
    model = load(tmp_path / "run")
    found = [why(model, row["text"]) for row in rotten_tomatoes(test_data, "dev.jsonl", 200)]
    errors = np.array([one.error for one in found])
    gains = np.array([one.deletion.gain for one in found])
    report = f"error max {errors.max():.4f}, gain mean {gains.mean():.3f}, positive in {np.mean(gains > 0):.1%}"
    assert (errors < 0.01).mean() >= 0.99, report
    assert np.mean(gains > 0) > 0.9, report
    assert gains.mean() > 3 * gains.std() / np.sqrt(len(gains)), report
