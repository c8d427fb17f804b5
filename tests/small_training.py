"""A small training without a recipe: the loop alone, on texts of mixed lengths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nlpipe import backbone
from nlpipe.locating import Location
from nlpipe.objectives import SequenceLabel
from nlpipe.objectives.base import Text, Window
from nlpipe.testing import rules
from nlpipe.training import Settings, Training

SETTINGS = Settings(
    epochs=2,
    steps=None,
    batch_size=32,
    tokens_per_batch=None,
    micro_batch="auto",
    learning_rate=1e-3,
    warmup=0.1,
    schedule="linear",
    weight_decay=0.01,
    clip=1.0,
    seed=7,
    precision="float32",
)
LABELS = rules.KEYWORDS


def training(folder: Path, out: Path, *, dropout: float = 0.0, rows: int = 64, **changes: Any) -> Training:
    """A small training on texts of mixed lengths, some of them in several windows."""
    objective = SequenceLabel(labels=LABELS, window=Window(max_length=16, overlap=2))
    base = backbone.load(Location("tiny", folder), objective, labels=LABELS)
    for module in base.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    made = rules.first_keyword(rows, seed=1, shortest=2, longest=30)
    examples = [objective.encode(Text(text), LABELS.index(label), base.tokenizers) for text, label in made]
    settings = {key: value for key, value in changes.items() if key in Settings.__slots__}
    rest = {key: value for key, value in changes.items() if key not in Settings.__slots__}
    return Training(
        model=base.model,
        objective=objective,
        examples=examples,
        tok=base.tokenizers,
        settings=replace(SETTINGS, **settings),
        device=torch.device("cpu"),
        checkpoints=out,
        identity={"a": 1},
        **rest,
    )


def weights(done: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in done.model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
