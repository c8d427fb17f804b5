"""A model that PyTorch computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from nlpipe.runners import writing

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish, Written
    from nlpipe.runners.base import Judge


class TorchRunner:
    """Runs a model in evaluation mode, one batch at a time."""

    def __init__(self, model: torch.nn.Module, device: torch.device | str = "cpu") -> None:
        self.model = model.to(device).eval()
        self.device = torch.device(device)
        self._lock = threading.Lock()

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` without gradients, as float32 numpy arrays."""
        with self._lock, torch.inference_mode():
            outputs = objective.compute(self.model, batch.to(self.device))
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        there = batch.to(self.device)
        with self._lock, torch.inference_mode():
            found = objective.log_probabilities(objective.compute(self.model, there), there)
        mask = batch.targets["labels"] != -100
        return [row[kept].numpy() for row, kept in zip(found.double().cpu(), mask, strict=True)]

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first."""
        with self._lock, torch.inference_mode():
            return writing.generate(self.model, batch.to(self.device).inputs, wish)

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        return writing.stream(self.model, batch.to(self.device).inputs, wish, self._lock)
