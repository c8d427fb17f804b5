"""What an objective may ask of whatever computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish, Written

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Passes:
    """How rows are best put into passes through a model.

    A function of the model and the machine alone, so that the same rows make the same batches again.
    """

    tokens: int
    """padded tokens of a pass at most"""
    padding: int | None = None
    """how many tokens of padding cost about as much as one more pass; None: passes are to be as large as they may"""
    abreast: int = 1
    """how many passes are computed at a time"""


class Judge(Protocol):
    """An objective that says how likely tokens are."""

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """The model's outputs."""
        ...

    def log_probabilities(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """ln p of each target token, [rows, tokens]; 0 elsewhere."""
        ...


class Runner(Protocol):
    """A loaded model, on any back end. Safe to call from several threads, which it serves one after the other; what it
    is asked by `each` it may compute side by side."""

    def passes(self, *, writing: bool) -> Passes:
        """How rows are best read; `writing` where each is then gone on from."""
        ...

    def each(self, work: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """`work`, which computes with this runner, on each part, several at a time where `passes` says so."""
        ...

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error of a pass says that memory ran out, so that fewer rows may fit."""
        ...

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

    def close(self) -> None:
        """Let go of the model. Further calls raise UnsupportedError; closing again does nothing."""
        ...
