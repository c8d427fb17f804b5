"""Tiny models with heads that have an opinion, and answers compared field by field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers

from nlpipe.testing.tiny import tiny_model

TEXTS = [
    "The small red fox saw three birds near the old stone bridge.",
    "Zoë's naïve café in Łódź sells crème brûlée!",
    "He didn't like the soup; they'd made it 12 times.",
    "a",
]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TOLERANCE = 1e-5
"""How far a number may be from version 5's: both are float32, in batches of different sizes."""


def base(architecture: str, folder: Path) -> Path:
    """A tiny checkpoint as it was pretrained."""
    target = folder / architecture
    return target if target.exists() else tiny_model(architecture, target)


def headed(architecture: str, head: str, folder: Path, labels: tuple[str, ...] = (), **config: Any) -> str:
    """A folder with a model whose new head is drawn widely, so that its answers differ."""
    out = folder / "-".join([Path(architecture).name, head, *labels, *config.values()])
    if out.exists():
        return str(out)
    source = base(architecture, folder) if not Path(architecture).is_dir() else Path(architecture)
    named = {"num_labels": len(labels), "id2label": dict(enumerate(labels))} if labels else {}
    named |= {"label2id": {label: at for at, label in enumerate(labels)}} if labels else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = getattr(transformers, f"AutoModelFor{head}").from_pretrained(source, **named, **config)
        for name, weight in model.named_parameters():
            if any(part in name for part in ("classifier", "score", "qa_outputs")):
                torch.nn.init.normal_(weight, 0, 0.5)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return str(out)


def same(ours: Any, theirs: Any, place: str = "") -> None:
    """Equal keys in one order, equal texts and whole numbers, numbers within TOLERANCE; ours are Python's own types."""
    if isinstance(theirs, list | tuple):
        assert isinstance(ours, list), f"{place}: {type(ours)} for {type(theirs)}"
        assert len(ours) == len(theirs), f"{place}: {ours} for {theirs}"
        for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{place}[{at}]")
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), f"{place}: {list(ours)} for {list(theirs)}"
        for key, other in theirs.items():
            same(ours[key], other, f"{place}.{key}")
    elif isinstance(ours, float):
        assert type(ours) is float, f"{place}: {type(ours)}"
        assert math.isclose(ours, float(theirs), rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{place}: {ours} for {theirs}"
    else:
        assert type(ours) in (str, int, type(None)), f"{place}: {type(ours)}"
        assert ours == theirs, f"{place}: {ours!r} for {theirs!r}"
