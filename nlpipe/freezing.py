"""What a recipe's `train.freeze` leaves as it is. Knows the shape of models, and no architecture by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from nlpipe.errors import UnsupportedError

_LAYERS = re.compile(r"(?:(encoder|decoder)\.)?layers\[(-?\d+)?(?:(:)(-?\d+)?)?\]")
SHOWN = 24  # names in a message


def freeze(model: nn.Module, wanted: str | Sequence[str], fresh: Sequence[str]) -> frozenset[str]:
    """Take the gradient from what `wanted` names, and return the names of those weights.

    `embeddings` is all that turns tokens and positions into vectors in front of the layers; `layers[…]` is a slice of
    each stack of layers, as in Python, and `encoder.layers[…]` or `decoder.layers[…]` of one of the two; anything
    else is a regular expression over the full names of weights and of the modules they lie in. `fresh` modules are
    never frozen: nothing has trained them. Raises UnsupportedError, with the names there are, where one matches
    nothing.
    """
    untrained = tuple(f"{module}." for module in fresh)
    frozen: set[str] = set()
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        found = _named(model, pattern)
        kept = {name for name in found if not name.startswith(untrained)}
        if not kept:
            why = "matches only what nothing has trained yet, which has to be" if found else "matches nothing"
            raise UnsupportedError(f"train.freeze: {pattern!r} {why}. {_there(model)}")
        frozen |= kept
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return frozenset(frozen)


def stacks(model: nn.Module) -> dict[str, int]:
    """The stacks of layers by full name, and how many layers each has: the outermost lists of modules."""
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) and not inside:
            found[name] = len(module)
    return found


def _named(model: nn.Module, pattern: str) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    if pattern == "embeddings":
        return _embeddings(model, names)
    if match := _LAYERS.fullmatch(pattern):
        return _in_layers(model, names, *match.groups())
    return {name for name in names if any(re.fullmatch(pattern, above) for above in _upwards(name))}


def _upwards(name: str) -> list[str]:
    """A weight's name and those of the modules around it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _embeddings(model: Any, names: Sequence[str]) -> set[str]:
    tables = {name for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    layers = [f"{name}." for name in stacks(model)]
    return {
        name
        for name in names
        if not name.startswith(tuple(layers))
        and (name.rpartition(".")[0] in tables or any("embed" in part for part in name.split(".")[:-1]))
    }


def _in_layers(model: nn.Module, names: Sequence[str], half: str | None, *slicing: str | None) -> set[str]:
    found: set[str] = set()
    for stack, count in stacks(model).items():
        if half is None or half in stack.split("."):
            inside = tuple(f"{stack}.{number}." for number in _numbers(count, *slicing))
            found |= {name for name in names if name.startswith(inside)}
    return found


def _numbers(count: int, first: str | None, colon: str | None, last: str | None) -> Sequence[int]:
    """The numbers that a slice or an index names, of `count`; none for an index beyond."""
    numbers, start = range(count), int(first) if first else None
    if colon:
        return numbers[start : int(last) if last else None]
    return [] if start is None or not -count <= start < count else [numbers[start]]


def _there(model: nn.Module) -> str:
    """What there is to be named: stacks with their lengths, and modules without their numbers."""
    listed = [f"{name} ({count} layers)" for name, count in stacks(model).items()]
    modules = dict.fromkeys(
        re.sub(r"\.\d+(?=\.|$)", ".#", name.rpartition(".")[0]) for name, _ in model.named_parameters()
    )
    shown = [*modules][:SHOWN]
    more = f" and {len(modules) - SHOWN} more" if len(modules) > SHOWN else ""
    return f"Stacks of layers: {', '.join(listed) or 'none'}. Modules (# is a number): {', '.join(shown)}{more}"
