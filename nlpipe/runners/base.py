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
    """A loaded model, on any back end. Safe to call from several threads, which it serves one after the other."""

    def pass_tokens(self, *, writing: bool) -> int:
        """How many padded tokens are best read at once; `writing` where each row is then gone on from.

        A function of the model and the kind of machine alone, so that the same rows make the same batches again.
        """
        ...

    def pass_padding(self) -> int | None:
        """How many tokens of padding cost about as much as one more pass; None where passes are to be large."""
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
