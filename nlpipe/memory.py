"""What to do where memory runs out: how torch says so, what fits instead, and which settings take less.

Knows steps and their sizes, and no model, loop or recipe.
"""

from __future__ import annotations

from typing import Literal

import torch

from nlpipe import batching
from nlpipe.batching import Numbers, Step
from nlpipe.errors import UnsupportedError

# How allocators that have no class of their own for it say that there is no room: torch's for processors and Apple's.
_SAID = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "not enough memory")


class OutTogether(MemoryError):
    """One of several processes ran out of memory, and all of them know: they can go on together in smaller pieces."""


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def free(device: torch.device) -> None:
    """Hand back what the allocator keeps for later, so that pieces of another size find room."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def finer(step: Step, lengths: Numbers, parts: Numbers, *, wanted: int | Literal["auto"], couples: str | None) -> int:
    """How many padded tokens to compute at once after a step that did not fit: half of what it tried.

    A function of the whole step, so that all processes find the same.

    `lengths`, `parts` as in `batching.plan`; `wanted` is the recipe's `micro_batch`, `couples` the name of an objective
    whose batches cannot be cut. Raises UnsupportedError with the reason where nothing smaller is possible.
    """
    micros = [micro for rank in step.ranks for micro in rank if micro]
    rows = max(len(micro) for micro in micros)
    if rows == 1:
        raise UnsupportedError("one example at a time does not fit")
    if couples:
        raise UnsupportedError(
            f"the {rows} examples of a batch do not fit, and {couples} compares them all, so that they cannot be "
            "computed one after the other: lower train.batch_size"
        )
    if wanted != "auto":
        raise UnsupportedError(f"{rows} examples at once do not fit: set train.micro_batch below {rows}, or to auto")
    most = max(batching.cost(lengths, parts, micro) for micro in micros if len(micro) > 1)
    return max(1, most // 2)


def advice(*, adapted: bool, checkpointing: bool, adafactor: bool, half: bool) -> str:
    """The settings that take less memory, of those that are not set yet; what changes the result is said to."""
    ways = [
        "" if checkpointing else "train.gradient_checkpointing: true (more time, the same result)",
        "" if adapted else "an `adapter` (few weights are trained, and the optimizer keeps only theirs)",
        "a lower model.max_length (long texts are read in windows)",
        "" if adafactor or adapted else "train.optimizer: adafactor (far less state)",
        "" if half else "train.precision: bfloat16",
        "a smaller model.backbone",
    ]
    return "What takes less: " + "; ".join(way for way in ways if way)
