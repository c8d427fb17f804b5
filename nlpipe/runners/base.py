"""What an objective may ask of whatever computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish, Written


class Judge(Protocol):
    """An objective that says how likely tokens are."""

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The model's outputs."""
        ...

    def log_probabilities(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """ln p of each target token, [rows, tokens]; 0 elsewhere."""
        ...


class Runner(Protocol):
    """A loaded model, on any back end. Safe to call from several threads, one call at a time."""

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` on the batch, without gradients, as float32 numpy arrays."""
        ...

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        ...

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first. `batch.inputs` is padded for generation."""
        ...

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        ...
