"""Whether two models answer alike: what was trained, what was merged, what was saved and loaded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nlpipe import adapter
from nlpipe.errors import ArtifactError
from nlpipe.objectives.base import Objective, Row
from nlpipe.runners.torch import TorchRunner
from nlpipe.tokens import Tokenizers

MERGE_TOLERANCE = 1e-4
"""Folding an adapter into float32 weights rounds; the outputs may differ by this much and no more (DESIGN 8)."""

ROWS = 32
"""How many examples are compared: enough to mix lengths and labels, few enough to take a second."""

BATCH = 8  # rows at a time, the same on both sides: another grouping would round otherwise

SHOWN = 5  # names in a message
_PEFT = "base_model.model."  # what PEFT's models put in front of the names of a model's own modules

Outputs = list[Mapping[str, "np.ndarray[Any, Any]"]]


def spread(examples: Sequence[Any]) -> list[Any]:
    """Up to ROWS examples, evenly over the whole list."""
    chosen = np.linspace(0, len(examples) - 1, min(ROWS, len(examples))).astype(int)
    return [examples[index] for index in chosen]


def outputs(objective: Objective, model: nn.Module, tok: Tokenizers, rows: Sequence[Row]) -> Outputs:
    """The model's raw outputs for the rows, batch by batch."""
    runner = TorchRunner(model, next(model.parameters()).device)
    draw = np.random.default_rng(0)
    return [
        runner.compute(objective, objective.collate(rows[start : start + BATCH], tok, answering=True, rng=draw))
        for start in range(0, len(rows), BATCH)
    ]


def merged(objective: Objective, model: nn.Module, tok: Tokenizers, rows: Sequence[Row]) -> nn.Module:
    """The model with its adapter folded in, once it is known to answer as before.

    Raises ArtifactError where outputs differ by more than MERGE_TOLERANCE, and names the first layers that do.
    """
    before, states = outputs(objective, model, tok, rows), _states(objective, model, tok, rows)
    folded = adapter.merge(model)
    after, now = outputs(objective, folded, tok, rows), _states(objective, folded, tok, rows)

    def odd() -> list[str]:
        shared = [name for name in states if name in now and states[name].shape == now[name].shape]
        return [name for name in shared if not np.abs(states[name] - now[name]).max(initial=0.0) <= MERGE_TOLERANCE]

    require(before, after, MERGE_TOLERANCE, "merging the adapter into the weights", odd)
    return folded


def _states(
    objective: Objective, model: nn.Module, tok: Tokenizers, rows: Sequence[Row]
) -> dict[str, np.ndarray[Any, Any]]:
    """What each layer with weights puts out for a few rows, by its name without what PEFT puts around it."""
    found: dict[str, np.ndarray[Any, Any]] = {}

    def keep(name: str, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            found.setdefault(name.removeprefix(_PEFT), output.detach().float().cpu().numpy())

    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name, module in model.named_modules()
        if "weight" in dict(module.named_parameters(recurse=False)) or hasattr(module, "base_layer")
    ]
    try:
        outputs(objective, model, tok, rows[:BATCH])
    finally:
        for hook in hooks:
            hook.remove()
    return found


def differing(one: nn.Module, other: nn.Module) -> list[str]:
    """The names of tensors that two models do not share bit for bit, those that only one of them has among them."""
    ours, theirs = (
        {name: value for name, value in model.state_dict().items() if ".original_module." not in name}  # PEFT's spare
        for model in (one, other)
    )
    return [
        name
        for name in {**ours, **theirs}
        if name not in ours or name not in theirs or not ours[name].cpu().equal(theirs[name].cpu())
    ]


def require(
    one: Outputs, other: Outputs, tolerance: float, what: str, odd: Callable[[], Sequence[str]] = lambda: ()
) -> None:
    """Raise ArtifactError where outputs differ by more than `tolerance`, or are no numbers.

    `odd` is asked then for the names of the tensors or layers that differ.
    """
    gaps = [float(np.abs(a[name] - b[name]).max()) for a, b in zip(one, other, strict=True) for name in a]
    worst = max(gaps, key=lambda gap: (not gap <= tolerance, gap), default=0.0)
    if not worst <= tolerance:  # nan is never alike
        names = [*odd()]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        where = f"Different: {', '.join(names[:SHOWN])}{more}. " if names else "All tensors are the same. "
        raise ArtifactError(
            f"{what} changed the model's outputs by up to {worst:.3g} (allowed: {tolerance:g}), so the model was not "
            f"released; the run's checkpoints are kept. {where}This is a fault of nlpipe: please report it with the "
            "recipe."
        )
