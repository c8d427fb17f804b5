"""Where PyTorch computes, in what numbers and with how many threads, as a caller says it. Torch is imported late."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nlpipe.errors import UnsupportedError
from nlpipe.processors import limited, processors

if TYPE_CHECKING:
    import torch


def device_of(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises UnsupportedError for a device that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UnsupportedError(f"device {name!r} is not on this machine; take 'auto' or 'cpu'") from error


def dtype_of(name: str | torch.dtype) -> torch.dtype:
    """A dtype by its name, or itself. `auto` is float32: on a processor that does not multiply in half precision,
    that is three to ten times slower, and elsewhere its answers are a little others."""
    import torch

    wanted = str(name).removeprefix("torch.")
    if wanted == "auto":
        return torch.float32
    found = getattr(torch, wanted, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UnsupportedError(f"unknown dtype {wanted!r}; there are: auto, float32, bfloat16, float16")
    return found


def set_threads(count: int | None) -> None:
    """Let PyTorch compute with so many threads, in the whole process.

    None leaves its own choice, which is one for each core, but for a process that may use fewer (`processors`), unless
    OMP_NUM_THREADS says how many.
    """
    import torch

    if count is not None:
        torch.set_num_threads(count)
    elif "OMP_NUM_THREADS" not in os.environ and limited():
        torch.set_num_threads(min(processors(), torch.get_num_threads()))
