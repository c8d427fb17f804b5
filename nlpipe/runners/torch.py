"""A model that PyTorch computes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective


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
