"""What an objective may ask of whatever computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.text import TextObjective


@dataclass(frozen=True, slots=True)
class Wish:
    """How a batch is to be continued.

    `settings` are GenerationConfig's fields; `most` is how many tokens each row has room for, which
    `max_new_tokens` may lower; `ends` the tokens that end an answer and `pad` the one that fills. With
    `seeds` tokens are drawn: one seed per row and answer, so that a row's answer does not depend on its
    neighbours. `stop` says whether the tokens written so far end an answer.
    """

    settings: Mapping[str, Any]
    most: Sequence[int]
    ends: frozenset[int]
    pad: int
    answers: int = 1
    seeds: Sequence[Sequence[int]] | None = None
    stop: Callable[[Sequence[int]], bool] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens of one answer, with its end token where `ended` by one; `ended` is also true at a stop string."""

    ids: tuple[int, ...]
    ended: bool


class Runner(Protocol):
    """A loaded model, on any back end. Safe to call from several threads, one call at a time."""

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """`objective.compute` on the batch, without gradients, as float32 numpy arrays."""
        ...

    def likelihood(self, objective: TextObjective, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        ...

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first. `batch.inputs` is padded for generation."""
        ...

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        ...
