"""What an objective may ask of whatever computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective


class Runner(Protocol):
    """A loaded model, on any back end. Safe to call from several threads, one call at a time."""

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` on the batch, without gradients, as float32 numpy arrays."""
        ...
