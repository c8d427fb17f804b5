"""How weights are moved: the optimizer with its groups, and the learning rate's course over the steps.

Knows weights by name, and no model, batch or loop. What an optimizer keeps is `optimizer_state.py`'s to save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

FUSED = {"cpu", "cuda", "mps", "xpu"}
"""Devices on which torch computes a step of AdamW in one kernel."""


def optimizer(
    name: str, weights: Mapping[str, nn.Parameter], *, rate: float, decay: float, shares: Mapping[str, float]
) -> torch.optim.Optimizer:
    """`adamw` (Loshchilov and Hutter 2019) or `adafactor` (Shazeer and Stern 2018), both with decoupled decay.

    Adafactor keeps a row and a column per matrix where AdamW keeps two numbers per weight, and takes its rate times
    the root mean square of what it moves. `shares` are multiples of the rate by parameter name, where they are not 1.
    """
    groups = _groups(weights, decay, shares)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=rate)
    fused = all(weight.device.type in FUSED for weight in weights.values())
    return torch.optim.AdamW(groups, lr=rate, fused=fused)


def factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The learning rate's share of its peak at `step` (from 0): a linear rise, then the schedule.

    `warmup` is a share of the steps below 1, else a number of them.
    """
    rise = warmup * steps if warmup < 1 else warmup
    if step < rise:
        return (step + 1) / (rise + 1)
    return SCHEDULES[schedule](step - rise, max(1.0, steps - rise), max(1.0, rise))


def _linear(past: float, left: float, rise: float) -> float:
    return max(0.0, 1 - past / left)


def _cosine(past: float, left: float, rise: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, past / left)))


def _constant(past: float, left: float, rise: float) -> float:
    return 1.0


def _inverse_sqrt(past: float, left: float, rise: float) -> float:
    """Vaswani et al. 2017, section 5.3: by the root of the step's number, from 1 where the warm-up ends."""
    return math.sqrt(rise / (rise + past))


SCHEDULES: Mapping[str, Callable[[float, float, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
    "inverse_sqrt": _inverse_sqrt,
}
"""Shares of the peak, by steps past the warm-up, steps from there to the end, and steps of the warm-up."""


def untranslatable(error: BaseException) -> bool:
    """Whether an exception is torch.compile's, about a model or a machine (without a compiler) that it cannot serve."""
    from torch._dynamo.exc import TorchDynamoException  # late: half a second that few trainings need
    from torch._inductor.exc import InductorError

    return isinstance(error, TorchDynamoException | InductorError)


def _groups(weights: Mapping[str, nn.Parameter], decay: float, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Weight decay for matrices alone: on biases and norms it only pulls towards zero (as BERT was trained)."""
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, weight in weights.items():
        matrix, share = weight.ndim > 1, shares.get(name, 1.0)
        group = {"params": [], "weight_decay": decay if matrix else 0.0, "share": share}
        groups.setdefault((matrix, share), group)["params"].append(weight)
    return list(groups.values())
