"""Whether two models answer alike: what was trained, what was merged, what was saved and loaded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from nlpipe.errors import ArtifactError
from nlpipe.objectives.base import Objective, Row
from nlpipe.runners.torch import TorchRunner
from nlpipe.tokens import Tokenizers

MERGE_TOLERANCE = 1e-4
"""Folding an adapter into float32 weights rounds; the outputs may differ by this much and no more (DESIGN 8)."""

ROWS = 32
"""How many examples are compared: enough to mix lengths and labels, few enough to take a second."""

BATCH = 8  # rows at a time, the same on both sides: another grouping would round otherwise

Outputs = list[Mapping[str, "np.ndarray[Any, Any]"]]


def spread(examples: Sequence[Any]) -> list[Any]:
    """Up to ROWS examples, evenly over the whole list."""
    chosen = np.linspace(0, len(examples) - 1, min(ROWS, len(examples))).astype(int)
    return [examples[index] for index in chosen]


def outputs(objective: Objective, model: nn.Module, tok: Tokenizers, rows: Sequence[Row]) -> Outputs:
    """The model's raw outputs for the rows, batch by batch."""
    runner = TorchRunner(model, next(model.parameters()).device)
    draw = np.random.default_rng(0)
    return [
        runner.compute(objective, objective.collate(rows[start : start + BATCH], tok, answering=True, rng=draw))
        for start in range(0, len(rows), BATCH)
    ]


def require(one: Outputs, other: Outputs, tolerance: float, what: str) -> None:
    """Raise ArtifactError where outputs differ by more than `tolerance`, or are no numbers."""
    gaps = [float(np.abs(a[name] - b[name]).max()) for a, b in zip(one, other, strict=True) for name in a]
    worst = max(gaps, default=0.0)
    if not worst <= tolerance:  # nan is never alike
        raise ArtifactError(
            f"{what} changed the model's outputs by up to {worst:.3g} (allowed: {tolerance:g}), so the model was not "
            "released; the run's checkpoints are kept. This is a fault of nlpipe: please report it with the recipe."
        )
