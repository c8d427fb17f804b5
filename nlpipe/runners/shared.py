"""One base in memory under several adapters: equal weights are stored once, and rows of several share a pass."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from nlpipe.runners.graph import GraphRunner
from nlpipe.runners.torch import TorchRunner

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective

_LEAST = 1024  # weights; smaller tensors are not worth a digest


class Store:
    """Weights by their content: models that hold the same ones hold them once, whatever they call them."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], torch.Tensor] = {}

    def share(self, model: torch.nn.Module) -> None:
        """Let a model that only answers use the weights that others have already, and keep its own for later ones."""
        for parameter in model.parameters():
            values = parameter.data
            if values.numel() < _LEAST or not values.is_floating_point():
                continue
            content = values.cpu().contiguous().view(torch.uint8).numpy()
            key = (values.shape, values.dtype, values.device, hashlib.blake2b(content.data, digest_size=16).digest())
            parameter.data = self._known.setdefault(key, values)


class Mixed:
    """A model with several adapters, any of which a row may be read with (PEFT's `adapter_names`)."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.lock = threading.Lock()

    def able(self, objective: Objective, batch: Batch, names: Sequence[str]) -> bool:
        """Whether PEFT reads these rows in one pass. Where it stops midway it leaves hooks, taken off here."""
        before = [(module, dict(module._forward_pre_hooks)) for module in self.model.modules()]
        try:
            self.compute(objective, batch, names)
        except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError):
            for module, hooks in before:
                for key in set(module._forward_pre_hooks) - set(hooks):
                    del module._forward_pre_hooks[key]
                    module._forward_pre_hooks_with_kwargs.pop(key, None)
            return False
        return True

    def compute(self, objective: Objective, batch: Batch, names: Sequence[str]) -> dict[str, np.ndarray]:
        """`objective.compute` with row i read by the adapter `names[i]`, as float32 arrays."""
        there = batch.to(self.device)
        named = replace(there, inputs={**there.inputs, "adapter_names": list(names)})
        with self.lock, torch.inference_mode():
            outputs = objective.compute(self.model, named)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}


class AdapterRunner(TorchRunner):
    """One of the adapters of a `Mixed` model, as a runner of its own."""

    def __init__(self, mixed: Mixed, name: str) -> None:
        super().__init__(mixed.model, mixed.device)
        self.mixed, self.name = mixed, name
        self._reentrant = False  # PEFT hangs hooks into the model for each pass

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` with this adapter. Raises UnsupportedError once it is closed."""
        _ = self.model
        return self.mixed.compute(objective, batch, [self.name] * len(batch.rows))


class Told(GraphRunner):
    """A runner that repeats what has been computed already, for an objective to make answers of."""

    def __init__(self, outputs: Mapping[str, np.ndarray]) -> None:
        self.outputs = dict(outputs)

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """The outputs."""
        return self.outputs
