"""Several adapters on one base: each answers as it does alone, whoever else's rows are beside its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nlpipe
from nlpipe.errors import ArtifactError, DataError, UnsupportedError
from nlpipe.recipe import Recipe
from nlpipe.runners.shared import AdapterRunner
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.testing.tiny import tiny_model
from tests.support import tiny

TEXTS = [text for text, _ in rules.first_keyword(24, seed=9, longest=30)]
TRAIN = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "seed": 3, "checkpoint_every": 10**6}
WORDS = ["north", "south"]


def trained(backbone: Path, out: Path, rows: list[dict[str, Any]], task: str = "classification", **own: Any) -> Path:
    sections: dict[str, Any] = {
        "task": task,
        "model": {"backbone": str(backbone)},
        "adapter": {"method": "lora", "r": 4},
        "data": {"train": rows},
        "train": TRAIN,
        "run": {"threads": 1},
        "output": {"dir": str(out), "weights": "adapter"},
    }
    model = run(Recipe(**(sections | own))).model
    assert model is not None
    return model


def labelled(names: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "label": names[at % len(names)]} for at, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two label sets of one size, a third of another size, one of another method, vectors of a pair, and words."""
    root = tmp_path_factory.mktemp("adapters")
    base = tiny("bert", root)
    pairs = [{"text_a": one, "text_b": TEXTS[-at], "score": at / 24} for at, one in enumerate(TEXTS)]
    tagged = [{"tokens": text.split(), "tags": ["O"] * (len(text.split()) - 1) + ["B-X"]} for text in TEXTS]
    return {
        "moods": trained(base, root / "moods", labelled(["good", "bad"])),
        "sides": trained(base, root / "si.des", labelled(["left", "right"])),
        "three": trained(base, root / "three", labelled(["a", "b", "c"])),
        "scaled": trained(base, root / "scaled", labelled(["x", "y"]), adapter={"method": "ia3"}),
        "pair": trained(base, root / "pair", pairs, "similarity"),
        "words": trained(base, root / "words", tagged, "ner"),
    }


@pytest.fixture(scope="module")
def pipes(folders: dict[str, Path]) -> nlpipe.Adapters:
    return nlpipe.load(folders)


def asked(name: str, text: str) -> Any:
    return {"text_a": text, "text_b": TEXTS[0]} if name == "pair" else text


def numbers(result: Any) -> list[float]:
    """Every number in a Result."""
    found: list[float] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        elif isinstance(value, float):
            found.append(value)

    walk(result.to_dict())
    return found


def test_each_answers_as_it_does_alone(folders: dict[str, Path], pipes: nlpipe.Adapters) -> None:
    for name, folder in folders.items():
        given = [asked(name, text) for text in TEXTS]
        alone, beside = nlpipe.load(folder)(given), pipes(given, adapter=name)
        assert [type(one) for one in alone] == [type(one) for one in beside]
        for one, other in zip(alone, beside, strict=True):
            np.testing.assert_allclose(numbers(other), numbers(one), atol=1e-6)
        assert pipes[name](given[0]) == pipes(given[0], adapter=name)


def test_rows_of_several_share_a_pass(pipes: nlpipe.Adapters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PEFT can: two label sets of one size. Others answer in turn, in the same call."""
    host = pipes["moods"].runner
    assert isinstance(host, AdapterRunner)
    assert isinstance(pipes["sides"].runner, AdapterRunner)
    assert host.mixed is pipes["sides"].runner.mixed
    passes: list[set[str]] = []
    compute = type(host.mixed).compute

    def counted(self: Any, objective: Any, batch: Any, names: Any) -> Any:
        passes.append(set(names))
        return compute(self, objective, batch, names)

    names = [list(pipes)[at % len(pipes)] for at in range(len(TEXTS))]
    given = [asked(name, text) for name, text in zip(names, TEXTS, strict=True)]
    expected = [pipes(one, adapter=name) for name, one in zip(names, given, strict=True)]
    monkeypatch.setattr(type(host.mixed), "compute", counted)
    mixed = pipes(given, adapter=names)
    assert any(len(each) == 2 for each in passes)
    for one, other in zip(expected, mixed, strict=True):
        np.testing.assert_allclose(numbers(other), numbers(one), atol=1e-5)
    labels = {name: set(pipes[name].card.labels) for name in ("moods", "sides")}
    for name, result in zip(names, mixed, strict=True):
        if name in labels:
            assert result.label in labels[name]
    assert list(pipes.map(iter(given), adapter=iter(names))) == mixed


def test_the_base_is_in_memory_once(folders: dict[str, Path], pipes: nlpipe.Adapters) -> None:
    def stored(some: list[Any]) -> int:
        places = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for m in some for p in m.parameters()}
        return sum(places.values())

    models = [pipe.runner.model for pipe in pipes.values()]  # type: ignore[attr-defined]
    alone = [nlpipe.load(folder).runner.model for folder in folders.values()]  # type: ignore[attr-defined]
    base = sum(p.numel() * 4 for n, p in alone[0].named_parameters() if "lora" not in n and "modules_to_save" not in n)
    assert stored(alone) > 5 * base
    assert stored(models) < 2 * base


def test_threads_may_ask_at_once(pipes: nlpipe.Adapters) -> None:
    names = [name for name in pipes if name != "pair"]
    expected = {name: pipes(TEXTS, adapter=name) for name in names}
    found: dict[str, Any] = {}

    def ask(name: str) -> None:
        found[name] = [pipes(TEXTS, adapter=name) for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert all(answers == expected[name] for answers in found[name])


@pytest.mark.parametrize("names", [["moods", "sides", "moods", "sides"], ["scaled", "moods", "moods", "scaled"]])
def test_a_bad_input_is_named_by_its_place_among_all(pipes: nlpipe.Adapters, names: list[str]) -> None:
    """Whether it shares a pass with another adapter's rows or not."""
    with pytest.raises(DataError, match="input 3: an input of classification is a text"):
        pipes([*TEXTS[:3], 7], adapter=names)


def test_what_the_source_of_inputs_raises_is_not_taken_for_another_fault(pipes: nlpipe.Adapters) -> None:
    def source() -> Any:
        yield TEXTS[0]
        raise ValueError("the cursor is closed")

    with pytest.raises(ValueError, match="the cursor is closed"):
        list(pipes.map(source(), adapter=["moods", "sides"]))


def test_what_is_wrong_is_said(folders: dict[str, Path], pipes: nlpipe.Adapters, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'moods'"):
        pipes("text", adapter="mood")
    with pytest.raises(DataError, match="one name for all, or one each"):
        pipes(TEXTS, adapter=["moods"])
    with pytest.raises(DataError, match="one input is answered by one adapter"):
        pipes("text", adapter=["moods", "sides"])
    with pytest.raises(DataError, match="input 1"):
        pipes(["fine", None], adapter=["moods", "sides"])
    with pytest.raises(UnsupportedError, match="no adapter"):
        nlpipe.load({})
    with pytest.raises(UnsupportedError, match="share a base in PyTorch"):
        nlpipe.load(folders, backend="onnx")
    other = tiny_model("bert", tmp_path / "other", words=WORDS, seed=5)
    apart = trained(other, tmp_path / "apart", labelled(["left", "right"]))
    with pytest.raises(ArtifactError, match=r"'moods' and 'apart' were trained on different bases, .*other"):
        nlpipe.load({"moods": folders["moods"], "apart": apart})
    merged = trained(other, tmp_path / "merged", labelled(["left", "right"]), output={"dir": str(tmp_path / "merged")})
    with pytest.raises(ArtifactError, match="holds merged weights"):
        nlpipe.load({"merged": merged})
    assert torch.is_grad_enabled()
