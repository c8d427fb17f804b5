"""A model that PyTorch computes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from nlpipe import memory, upstream
from nlpipe.errors import UnsupportedError
from nlpipe.runners import accelerators, prefixes, writing
from nlpipe.runners.base import Passes
from nlpipe.runners.lanes import Gate, Lanes, in_lane

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish, Written
    from nlpipe.runners.base import Judge

T = TypeVar("T")
R = TypeVar("R")

# Of a processor: how large the widest states of one pass may get. Beyond, each layer pays for new pages of memory.
# One of three runs with all-MiniLM-L6-v2 on one core of a busy machine (AMD EPYC, 2 MiB of second-level cache) gave 82
# to 85 % of the rate of plain matrix products up to 2,048 tokens and 75 % at 8,192.
WIDEST = 12 * 2**20
LEAST_TOKENS, MOST_TOKENS = 512, 4096
# What a pass costs beside its tokens, in tokens, on a processor: rows of unlike length share one as long as their
# padding costs less, which is at most about twice the least that could be paid. Models of 2 to 12 layers and 0.4 to 85
# million weights gave 38, 27, 30 and 21 (benchmarks/pass_cost.py, one thread of an AMD EPYC, a busy machine): a small
# pass pays for reading the weights, so what it costs grows with them as a token's cost does.
PASS_TOKENS = 30
# Prompts that are read before rows are gone on from: a step is dearer than reading, so more rows share it.
WRITING_TOKENS = 8192


class TorchRunner:
    """Runs a model in evaluation mode: a caller's batches one at a time, or several in lanes."""

    def __init__(self, model: torch.nn.Module, device: torch.device | str = "cpu") -> None:
        self._model: torch.nn.Module | None = model.to(device).eval()
        self.device = torch.device(device)
        self._gate, self._lanes = Gate(), Lanes()
        self._reentrant = self.device.type == "cpu" and upstream.reentrant(model)

    @property
    def model(self) -> torch.nn.Module:
        """The model itself. Raises UnsupportedError once the runner is closed."""
        if self._model is None:
            raise UnsupportedError("this pipeline is closed; load it again")
        return self._model

    def passes(self, *, writing: bool) -> Passes:
        """On a processor by the widest layer, side by side where the model allows it; on a GPU by its memory."""
        if self.device.type != "cpu":
            return accelerators.passes(self.device, self._width, self._hidden, self._dtype, writing=writing)
        if writing:
            return Passes(WRITING_TOKENS)
        tokens = max(LEAST_TOKENS, min(MOST_TOKENS, WIDEST // self._width))
        return Passes(tokens, PASS_TOKENS, self._lanes.count if self._reentrant else 1)

    def each(self, work: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """`work` on each part, in lanes where each has one at least."""
        if self._reentrant and len(parts) >= self._lanes.count > 1:
            return self._lanes.map(work, parts)
        return map(work, parts)

    def ran_out(self, error: BaseException) -> bool:
        """Whether torch says that memory ran out; what it keeps for later is handed back then."""
        found = memory.ran_out(error)
        if found:
            memory.free(self.device)
        return found

    def _turn(self) -> AbstractContextManager[None]:
        """The model for the time of a pass: for lanes together, for any other caller alone."""
        return self._gate.together() if in_lane() else self._gate.alone()

    @cached_property
    def _width(self) -> int:
        """Bytes of a token in the widest layer."""
        return max((wide for _, wide in self._layers), default=1) * self._dtype.itemsize

    @cached_property
    def _hidden(self) -> int:
        """Components of a token that most layers read."""
        return statistics.mode(read for read, _ in self._layers) if self._layers else 1

    @cached_property
    def _layers(self) -> list[tuple[int, int]]:
        return [_sides(module) for module in self.model.modules() if isinstance(module, upstream.linear_kinds())]

    @property
    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    def close(self) -> None:
        """Let go of the model, once the call that is running has ended."""
        with self._gate.alone():
            self._model = None
        self._lanes.close()

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` without gradients, as float32 numpy arrays."""
        with self._turn(), torch.inference_mode():
            outputs = objective.compute(self.model, batch.to(self.device))
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        there = batch.to(self.device)
        with self._turn(), torch.inference_mode():
            outputs, there = prefixes.judged(self.model, there) or (objective.compute(self.model, there), there)
            found = objective.log_probabilities(outputs, there)
        mask = there.targets["labels"].cpu() != -100
        return [row[kept].numpy() for row, kept in zip(found.double().cpu(), mask, strict=True)]

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first."""
        with self._turn(), torch.inference_mode():
            return writing.generate(self.model, batch.to(self.device).inputs, wish)

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        return writing.stream(self.model, batch.to(self.device).inputs, wish, self._turn())


def _sides(layer: Any) -> tuple[int, int]:
    """How many components of a token a layer reads and gives; GPT-2's kind calls them `nx` and `nf`."""
    if hasattr(layer, "out_features"):
        return int(layer.in_features), int(layer.out_features)
    return int(layer.nx), int(layer.nf)
