"""What runners of exported graphs share: what a graph reads of a batch, and what it cannot be asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

import numpy as np

from nlpipe.errors import UnsupportedError
from nlpipe.processors import limited, processors
from nlpipe.runners.base import Passes

if TYPE_CHECKING:
    from nlpipe.objectives.base import Batch
    from nlpipe.objectives.continuing import Wish, Written
    from nlpipe.runners.base import Judge

T = TypeVar("T")
R = TypeVar("R")

# As many tokens as PyTorch reads at once of a small encoder (`runners/torch.py`), and at most so many of padding: with
# 16 to 64, all-MiniLM-L6-v2's texts took OpenVINO on two cores 0.80 to 0.85 of the time that they took without a limit,
# and ONNX Runtime 0.76 to 1.04.
PASS_TOKENS, PASS_PADDING = 2048, 32


class GraphRunner:
    """A runner whose model is one graph: `objective.compute` as it was traced. It neither writes nor judges text."""

    def passes(self, *, writing: bool) -> Passes:
        """The same for every graph."""
        return Passes(PASS_TOKENS, PASS_PADDING)

    def each(self, work: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """One after the other: a back end shares each pass among threads of its own."""
        return map(work, parts)

    def ran_out(self, error: BaseException) -> bool:
        """False: no back end says so in a way that others do not."""
        return False

    def close(self) -> None:
        """Let go of the graph."""
        vars(self).clear()

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """Raises UnsupportedError."""
        refuse("judges no text")

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """Raises UnsupportedError."""
        refuse("writes no text")

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """Raises UnsupportedError."""
        refuse("writes no text")


def refuse(what: str) -> NoReturn:
    """Raise UnsupportedError for what only other back ends do."""
    raise UnsupportedError(f"this exported model {what}; load it with backend='torch'")


def feed(batch: Batch, names: Collection[str]) -> dict[str, np.ndarray]:
    """The inputs of a batch that a graph reads: tracing drops those that change nothing."""
    return {name: np.ascontiguousarray(values) for name, values in batch.inputs.items() if name in names}


def threads_of(asked: int | None) -> int:
    """How many threads a back end may take: as asked, else as OMP_NUM_THREADS says, else 0 for its own choice.

    Which counts the machine's cores: a process that may use fewer says how many.
    """
    said = asked or int(os.environ.get("OMP_NUM_THREADS") or 0)
    return said or (processors() if limited() else 0)
