"""A model that PyTorch computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from nlpipe import upstream
from nlpipe.errors import UnsupportedError
from nlpipe.runners import prefixes, writing

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish, Written
    from nlpipe.runners.base import Judge


# Of a processor: how large the widest states of one pass may get. Beyond, each layer pays for new pages of memory.
# One of three runs with all-MiniLM-L6-v2 on one core of a busy machine (AMD EPYC, 2 MiB of second-level cache) gave 82
# to 85 % of the rate of plain matrix products up to 2,048 tokens and 75 % at 8,192.
WIDEST = 12 * 2**20
LEAST_TOKENS, MOST_TOKENS = 512, 4096
# What a pass costs beside its tokens, in tokens, on a processor: rows of unlike length share one as long as their
# padding costs less, which is at most about twice the least that could be paid. Models of 2 to 12 layers and 0.4 to 85
# million weights gave 38, 27, 30 and 21 (benchmarks/pass_cost.py, one thread of an AMD EPYC, a busy machine): a small
# pass pays for reading the weights, so what it costs grows with them as a token's cost does. Not measured with more
# threads, for which a pass costs more tokens.
PASS_TOKENS = 30
# Prompts that are read before rows are gone on from: a step is dearer than reading, so more rows share it.
WRITING_TOKENS = 8192
# On a GPU passes are to fill it, and memory is the only bound. A guess: it was not measured.
GPU_TOKENS = 16384


class TorchRunner:
    """Runs a model in evaluation mode, one batch at a time."""

    def __init__(self, model: torch.nn.Module, device: torch.device | str = "cpu") -> None:
        self._model: torch.nn.Module | None = model.to(device).eval()
        self.device = torch.device(device)
        self._lock = threading.Lock()

    @property
    def model(self) -> torch.nn.Module:
        """The model itself. Raises UnsupportedError once the runner is closed."""
        if self._model is None:
            raise UnsupportedError("this pipeline is closed; load it again")
        return self._model

    def pass_tokens(self, *, writing: bool) -> int:
        """How many padded tokens are read at once: by the widest layer on a processor, a constant on a GPU."""
        if self.device.type != "cpu":
            return GPU_TOKENS
        return WRITING_TOKENS if writing else self._reading_tokens

    def pass_padding(self) -> int | None:
        """On a processor what a pass costs beside its tokens, in tokens; on a GPU None."""
        return PASS_TOKENS if self.device.type == "cpu" else None

    @cached_property
    def _reading_tokens(self) -> int:
        layers = (layer for layer in self.model.modules() if isinstance(layer, upstream.linear_kinds()))
        widest = max(map(_writes, layers), default=1)
        return max(LEAST_TOKENS, min(MOST_TOKENS, WIDEST // (4 * widest)))

    def close(self) -> None:
        """Let go of the model, once the call that is running has ended."""
        with self._lock:
            self._model = None

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` without gradients, as float32 numpy arrays."""
        with self._lock, torch.inference_mode():
            outputs = objective.compute(self.model, batch.to(self.device))
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        there = batch.to(self.device)
        with self._lock, torch.inference_mode():
            outputs, there = prefixes.judged(self.model, there) or (objective.compute(self.model, there), there)
            found = objective.log_probabilities(outputs, there)
        mask = there.targets["labels"].cpu() != -100
        return [row[kept].numpy() for row, kept in zip(found.double().cpu(), mask, strict=True)]

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first."""
        with self._lock, torch.inference_mode():
            return writing.generate(self.model, batch.to(self.device).inputs, wish)

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        return writing.stream(self.model, batch.to(self.device).inputs, wish, self._lock)


def _writes(layer: Any) -> int:
    """How many components a layer gives for each token; GPT-2's kind calls them `nf`."""
    return int(layer.out_features if hasattr(layer, "out_features") else layer.nf)
