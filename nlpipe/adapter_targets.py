"""Which layers an adapter goes on, found by the shape and the words of a model. Knows no architecture and no PEFT.

PEFT's own tables name layers per architecture and lack DistilBERT, ModernBERT, ALBERT, MPNet, Marian and many more;
a test holds the rule below equal to its table for LoRA wherever there is an entry.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from nlpipe import upstream
from nlpipe.errors import UnsupportedError, nearest
from nlpipe.freezing import stacks

Adapts = Literal["linear", "queries", "keys", "norms"]

# Words that say what an attention's layer computes, and words around them that say nothing of it: `q_lin`, `to_v`,
# `query_proj`, `q_a_proj`. One may hold several: `Wqkv`, `query_key_value`, GPT-2's `c_attn`, DeBERTa's `in_proj`.
_QUERY, _KEY, _VALUE = frozenset({"q", "query"}), frozenset({"k", "key"}), frozenset({"v", "value"})
_SEVERAL = frozenset({"qkv", "wqkv", "kv", "wkv", "attn", "att", "in"})
_AROUND = frozenset({"proj", "lin", "linear", "layer", "head", "to", "w", "c", "a", "b"})


def find(
    model: nn.Module,
    wanted: str | Sequence[str],
    adapts: Adapts = "queries",
    exclude: Collection[str] = (),
    frozen: Collection[str] = (),
) -> list[str]:
    """Full names of the layers to adapt, in the model's order.

    `auto` takes what the method was made for (every linear layer, attention's query and value projections, its keys and
    values with the feed-forward's outputs, or the norms), `all-linear` every linear layer; a list names layers by the
    end of their name, a string is a regular expression over full names. Layers in `exclude` (the head) and layers
    without a weight that may learn (frozen, or of a half that is not read) are left out of all of them; `frozen` names
    the weights that a recipe keeps as they are. Raises UnsupportedError, with the names there are, where a name matches
    nothing or in a stack of like layers only some.
    """
    there = _norms(model) if adapts == "norms" else _linear(model)
    there = {name: layer for name, layer in there.items() if not _within(name, exclude)}
    free = [name for name, layer in there.items() if _learns(name, layer, frozen)]
    if wanted == "all-linear" and adapts == "norms":
        raise UnsupportedError(
            "adapter.targets: this method adapts norms, which are not linear; say auto, or name them"
        )
    if wanted == "all-linear" or (wanted == "auto" and adapts in ("linear", "norms")):
        found = free
    elif wanted == "auto":
        found = _auto(model, free, adapts)
    else:
        found = [name for name in free if name in _named(model, wanted, [*there])]
    if not found:
        raise UnsupportedError(
            f"adapter.targets: {wanted!r} leaves no layer to adapt{': all that it names are frozen' if there else ''}"
        )
    return found


def feedforward(model: nn.Module, names: Collection[str]) -> list[str]:
    """Those of the layers that end a feed-forward block: outside of attention, from a greater width to the model's."""
    layers, inside = _linear(model), tuple(f"{stack}." for stack in stacks(model))
    width = getattr(getattr(model, "config", None), "hidden_size", None)
    return [
        name
        for name in names
        if name.startswith(inside) and not _in_attention(model, name) and _narrows(layers[name], width)
    ]


def _learns(name: str, layer: nn.Module, frozen: Collection[str]) -> bool:
    """Whether a layer has a weight that may learn. One of few bits never has a gradient, which says nothing of it."""
    return any(
        weight.requires_grad or (not weight.is_floating_point() and f"{name}.{own}" not in frozen)
        for own, weight in layer.named_parameters()
    )


def _linear(model: nn.Module) -> dict[str, nn.Module]:
    kinds = upstream.linear_kinds()
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def _norms(model: nn.Module) -> dict[str, nn.Module]:
    """LayerNorm, T5LayerNorm, LlamaRMSNorm and their like, with a weight."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Norm") and getattr(module, "weight", None) is not None
    }


def _within(name: str, outer: Collection[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in outer)


def _auto(model: nn.Module, names: Sequence[str], adapts: Adapts) -> list[str]:
    """By the words; where an attention has others, all of its layers; where none is to be seen, all there are."""
    attention = [name for name in names if _in_attention(model, name)]
    kinds = _KEY | _VALUE if adapts == "keys" else _QUERY | _VALUE
    found = [name for name in attention if _computes(name, kinds)] or attention or [*names]
    ends = set(feedforward(model, names)) if adapts == "keys" else set[str]()
    return [name for name in names if name in ends or name in found]


def _in_attention(model: nn.Module, name: str) -> bool:
    """Whether a module around it is called attention, or is a class of that name."""
    parts = name.split(".")[:-1]
    above = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any("att" in part.lower() for part in parts) or any(
        "attention" in type(model.get_submodule(outer)).__name__.lower() for outer in above
    )


def _computes(name: str, kinds: Collection[str]) -> bool:
    """Whether a layer's own name says one of `kinds` or several at once, and nothing else but words around it."""
    words = {*re.findall(r"[a-z]+", name.rpartition(".")[2].lower())}
    said = words - _AROUND
    several = said <= _SEVERAL or said == {"query", "key", "value"}
    return bool(said) and (several or said <= frozenset(kinds))


def _narrows(layer: Any, width: int | None) -> bool:
    if hasattr(layer, "in_features"):
        reads, writes = layer.in_features, layer.out_features
    else:
        reads, writes = layer.weight.shape  # GPT-2's, which keeps it transposed
    return bool(reads > writes and writes == (width or writes))


def _named(model: nn.Module, wanted: str | Sequence[str], names: Sequence[str]) -> set[str]:
    """What a regular expression or a list of ends matches."""
    if isinstance(wanted, str):
        found = {name for name in names if re.fullmatch(wanted, name)}
        if not found:
            raise _unknown(wanted, names)
        return found
    hits = {end: {name for name in names if name == end or name.endswith(f".{end}")} for end in wanted}
    for end, found in hits.items():
        if not found:
            raise _unknown(end, names)
        if not re.search(r"(^|\.)\d+\.", end):  # a number in it chooses a layer on purpose
            _check_all(end, found, stacks(model))
    return set().union(*hits.values())


def _check_all(end: str, found: Collection[str], there: Mapping[str, int]) -> None:
    """Raise UnsupportedError where a stack of layers has a target in some of them alone."""
    for stack, count in there.items():
        inside = (re.match(rf"{re.escape(stack)}\.(\d+)\.", name) for name in found)
        numbers = sorted({int(match[1]) for match in inside if match})
        if 0 < len(numbers) < count:
            raise UnsupportedError(
                f"adapter.targets: {end!r} matches in only {len(numbers)} of the {count} layers of {stack} "
                f"({', '.join(map(str, numbers))}). There it is: {', '.join(sorted(found))}. To mean these alone, say "
                "so with a regular expression over full names"
            )


def _unknown(wanted: str, names: Sequence[str]) -> UnsupportedError:
    ends = sorted({name.rsplit(".", 1)[-1] for name in names})
    near = nearest(wanted, ends)
    hint = f"; did you mean {near!r}?" if near else ";"
    one = next(iter(names), "")
    return UnsupportedError(
        f"adapter.targets: no layer of this model is called {wanted!r}{hint} there are: {', '.join(ends)} "
        f"(a full name: {one})"
    )
