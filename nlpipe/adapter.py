"""The one door to PEFT: put an adapter on a model, merge it, save it, load it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn

from nlpipe import upstream
from nlpipe.errors import ArtifactError, UnsupportedError, nearest
from nlpipe.objectives.base import Objective

# Query and value projections, or the one layer that holds them, under the names architectures give them: what
# LoRA (Hu et al. 2021, section 4.2) adapts, for architectures that PEFT's own table knows and those it does not.
_ATTENTION = re.compile(
    r"(.*\.)?(query|value|q_proj|v_proj|q_lin|v_lin|q|v|query_proj|value_proj|c_attn|query_key_value|Wqkv|qkv_proj)"
)


class Settings(Protocol):
    """What a recipe's `adapter:` says."""

    r: int
    alpha: float
    dropout: float
    targets: str | Sequence[str]


def attach(model: nn.Module, settings: Settings, objective: Objective, fresh: Sequence[str], *, own: bool) -> nn.Module:
    """The model with a new LoRA adapter; the head and all `fresh` modules are trained and saved in full.

    `own` says that the head is ours: PEFT then gets no task type. Raises UnsupportedError where the targets
    match nothing.
    """
    import peft

    head = [] if objective.outputs is None else head_modules(model)
    keep = sorted({*head, *fresh})
    # The layer over the vocabulary is mostly the embeddings once more: an update of one would be one of both.
    exclude = [*keep, *(vocabulary_layers(model) if objective.outputs is None else [])]
    config = peft.LoraConfig(
        task_type=None if own else objective.peft,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(model, settings.targets, exclude=exclude),
        modules_to_save=keep or None,
    )
    return _wrapped(model, config)


def _wrapped(model: nn.Module, config: Any) -> nn.Module:
    """PEFT's model around ours. Its class for answer spans takes segments (`token_type_ids`) and drops them, so there
    its plain class serves; the config keeps the type, for who loads the adapter with PEFT."""
    import peft

    kind = config.task_type
    if kind == "QUESTION_ANS":
        config.task_type = None
    adapted: nn.Module = peft.get_peft_model(model, config)
    config.task_type = kind
    return adapted


def vocabulary_layers(model: Any) -> list[str]:
    """The names of the layer that scores the vocabulary; empty for a model without one."""
    layer = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return [name for name, module in model.named_modules() if layer is not None and module is layer]


def head_modules(model: Any) -> list[str]:
    """The modules with weights that stand beside the backbone: the head under whichever name."""
    prefix = "base" if hasattr(model, "head") and hasattr(model, "base") else model.base_model_prefix
    # A T5 with a head for spans has its halves beside the head, and no module of its backbone's name.
    backbone = {prefix} if hasattr(model, prefix) else {"shared", "encoder", "decoder"}
    return [
        name
        for name, module in model.named_children()
        if name not in backbone and any(True for _ in module.parameters())
    ]


def targets(model: nn.Module, wanted: str | Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """Full names of the layers to adapt.

    `auto` takes attention's query and value projections, `all-linear` every linear layer; a list names
    layers by the end of their name, a string is a regular expression over full names. The head is left
    out of all of them.
    """
    kinds = upstream.linear_kinds()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        and not any(name == out or name.startswith(f"{out}.") for out in exclude)
        and any(parameter.requires_grad for parameter in module.parameters())
    ]
    if wanted == "all-linear":
        return layers
    if wanted == "auto":
        return [name for name in layers if _ATTENTION.fullmatch(name)] or layers
    if isinstance(wanted, str):
        found = [name for name in layers if re.fullmatch(wanted, name)]
        missing = [] if found else [wanted]
    else:
        hits = {end: [n for n in layers if n == end or n.endswith(f".{end}")] for end in wanted}
        found = [name for name in layers if any(name in names for names in hits.values())]
        missing = [end for end, names in hits.items() if not names]
    if missing:
        ends = sorted({name.rsplit(".", 1)[-1] for name in layers})
        near = nearest(missing[0], ends)
        hint = f"; did you mean {near!r}?" if near else ";"
        raise UnsupportedError(
            f"adapter.targets: no layer of this model is called {missing[0]!r}{hint} there are: {', '.join(ends)}"
        )
    return found


def merge(model: Any) -> nn.Module:
    """The plain model with the adapter folded into its weights."""
    merged: nn.Module = model.merge_and_unload()
    return merged


def save(model: Any, folder: Path) -> None:
    """The adapter in PEFT's own form."""
    model.save_pretrained(folder, safe_serialization=True)


def load(model: nn.Module, folder: Path) -> nn.Module:
    """The model with the adapter saved in `folder`, for answering.

    Raises ArtifactError where the adapter's weights do not cover what it says it has.
    """
    import peft

    try:
        config = peft.PeftConfig.from_pretrained(folder)
        adapted: Any = _wrapped(model, config)
        weights = peft.utils.load_peft_weights(str(folder), device="cpu")
        outcome = peft.set_peft_model_state_dict(adapted, weights)
    except KeyError as error:
        raise ArtifactError(f"the adapter in {folder} cannot be loaded: it lacks the weights {error}") from error
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"the adapter in {folder} cannot be loaded: {error}") from error
    lost = [key for key in outcome.missing_keys if "lora_" in key or "modules_to_save" in key]
    if lost or outcome.unexpected_keys:
        odd = [*lost, *outcome.unexpected_keys]
        raise ArtifactError(f"the adapter in {folder} does not fit this model: {odd[0]} and {len(odd) - 1} more")
    return adapted.eval()  # type: ignore[no-any-return]


def counts(model: nn.Module) -> tuple[int, int]:
    """Weights that receive a gradient, and all weights."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, grad in sizes if grad), sum(size for size, _ in sizes)


def trained(model: nn.Module) -> dict[str, torch.nn.Parameter]:
    """The weights that receive a gradient, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
