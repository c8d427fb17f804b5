"""The one door to PEFT: put an adapter on a model, merge it, save it, load it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from nlpipe import adapter_targets, upstream
from nlpipe.adapter_methods import LORA_PLUS, METHODS, Method, able
from nlpipe.adapter_prompts import Prompted, require_cache
from nlpipe.adapter_training import Companion, RankCompanion
from nlpipe.errors import ArtifactError, RecipeError, UnsupportedError
from nlpipe.objectives.base import Objective

if TYPE_CHECKING:
    from nlpipe.recipe_sections import AdapterSection

# AdaLoRA's paper gives the first 15 % of RTE's steps to a warm-up and the last half to the ranks as they are then
# (Zhang et al. 2023, appendix: 600 and 1,800 of 3,900); it begins with half as many ranks again as it keeps.
_RANKS_BEGIN, _RANKS_END, _RANKS_FIRST = 0.1, 0.5, 1.5


FIRST = "default"
"""What PEFT calls a model's first adapter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Adapted:
    """A model with an adapter on it, and what goes with it in training."""

    model: nn.Module
    companion: Companion


def attach(
    model: nn.Module,
    settings: AdapterSection,
    objective: Objective,
    fresh: Sequence[str],
    *,
    steps: int,
    folder: Path,
    frozen: Collection[str] = (),
) -> Adapted:
    """The model with a new adapter; the head and all `fresh` modules are trained and saved in full.

    `steps` is how many there will be (AdaLoRA's ranks follow them), `folder` holds the backbone's tokenizer, `frozen`
    names the weights whose layers get no adapter. Raises
    UnsupportedError where the targets match nothing or the method cannot adapt this model, RecipeError for
    settings that PEFT refuses.
    """
    method = METHODS[settings.method]
    head = [] if objective.outputs is None else head_modules(model)
    keep = sorted({*head, *fresh})
    given = {**method.settings, **_core(settings, method), **settings.fields}
    ratio = given.pop(LORA_PLUS, None)
    keep = _kept(model, keep, given.pop("modules_to_save", None) or ())
    if method.adapts == "input":
        given |= _input_settings(model, settings, given, folder)
    else:
        # The layer over the vocabulary is mostly the embeddings once more: an update of one would be one of both.
        exclude = [*keep, *(vocabulary_layers(model) if objective.outputs is None else [])]
        given |= _targets(model, settings, method, given, exclude, frozen)
    if settings.method == "adalora":
        given |= _rank_schedule(given, steps)
    if settings.method == "oft" and settings.r is not None:
        given.setdefault("oft_block_size", 0)  # PEFT takes one of the two
    config = _config(settings.method, objective.peft, given, keep)
    model = _wrapped(model, config)
    rates = _rates(model, ratio)
    return Adapted(model, RankCompanion(model, rates) if settings.method == "adalora" else Companion(rates))


def _core(settings: AdapterSection, method: Method) -> dict[str, Any]:
    """The core's settings that were given, under PEFT's names."""
    values = {"r": settings.r, "alpha": settings.alpha, "dropout": settings.dropout}
    found = {theirs: values[ours] for ours, theirs in method.core.items() if values.get(ours) is not None}
    # PEFT's scales are whole numbers by their types, though most take any.
    return {
        k: int(v) if isinstance(v, float) and k != method.dropout and v.is_integer() else v for k, v in found.items()
    }


def _kept(model: nn.Module, derived: Sequence[str], asked: Sequence[str]) -> list[str]:
    """What is trained in full: what the checkpoint lacks, the head, and what a recipe asks for beside them."""
    names = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
    for wanted in asked:
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise UnsupportedError(f"adapter.modules_to_save: no module is called {wanted!r}; there are: {ends}")
    return sorted({*derived, *asked})


def _targets(
    model: nn.Module,
    settings: AdapterSection,
    method: Method,
    given: dict[str, Any],
    exclude: Sequence[str],
    frozen: Collection[str],
) -> dict[str, Any]:
    """The layers to adapt, by full name, in PEFT's words. Takes what chooses among them out of `given`."""
    assert method.adapts != "input"
    names = adapter_targets.find(model, settings.targets, method.adapts, exclude, frozen)
    without = given.pop("exclude_modules", None)
    if without:
        out = adapter_targets.find(model, without, method.adapts)
        names = [name for name in names if name not in out]
    numbers = given.pop("layers_to_transform", None)
    if numbers is not None:
        chosen = {str(number) for number in ([numbers] if isinstance(numbers, int) else numbers)}
        names = [name for name in names if next((p for p in name.split(".") if p.isdigit()), "") in chosen]
    if not names:
        raise UnsupportedError("adapter: exclude_modules and layers_to_transform leave no layer to adapt")
    if not method.transposed and not all(isinstance(model.get_submodule(name), nn.Linear) for name in names):
        raise UnsupportedError(
            f"adapter.method: {settings.method} cannot adapt {names[0]}, whose weights are kept transposed, as GPT-2's "
            f"are. Methods that can: {able('transposed')}"
        )
    if method.adapts != "norms" and not method.quantized and upstream.quantized(model):
        raise UnsupportedError(
            f"adapter.method: {settings.method} cannot adapt layers like {names[0]}, which are kept in few bits "
            f"(model.quantize). Methods that can: {able('quantized')}, ln_tuning and those of vectors in front"
        )
    if method.adapts == "keys":
        return {"target_modules": names, "feedforward_modules": adapter_targets.feedforward(model, names)}
    return {"target_modules": names}


def _input_settings(model: Any, settings: AdapterSection, given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What PEFT would guess from the config: wrong for ELECTRA's and ALBERT's widths, T5's heads and unlike halves."""
    config = model.config
    pair = bool(config.is_encoder_decoder)
    if settings.method != "prefix_tuning":
        whole = getattr(model, "base", model)  # a head or a half of ours has the model inside
        table = (whole.get_encoder() if pair else whole).get_input_embeddings()
        found: dict[str, Any] = {"num_transformer_submodules": 1, "num_layers": 1, "num_attention_heads": 1}
        if "prompt_tuning_init_text" in given:
            found |= {"prompt_tuning_init": "TEXT", "tokenizer_name_or_path": str(folder)}
        return {**found, "token_dim": table.weight.shape[1]}
    require_cache(model)
    if not pair:
        return {
            "num_transformer_submodules": 1,
            "num_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "token_dim": config.hidden_size,
        }
    half = getattr(config, "decoder", config)
    layers = getattr(half, "decoder_layers", None) or getattr(half, "num_decoder_layers", None)
    heads = getattr(half, "decoder_attention_heads", half.num_attention_heads)
    width = getattr(half, "d_kv", half.hidden_size // heads) * heads
    layers = layers or half.num_hidden_layers
    return {"num_transformer_submodules": 2, "num_layers": layers, "num_attention_heads": heads, "token_dim": width}


def _rank_schedule(given: Mapping[str, Any], steps: int) -> dict[str, int]:
    """AdaLoRA's settings that a recipe leaves open. Raises RecipeError where no step is left to share ranks out."""
    first = given.get("init_r", math.ceil(_RANKS_FIRST * given["target_r"]))
    if first <= given["target_r"]:
        raise RecipeError(
            f"adapter.init_r is {first}: AdaLoRA begins with more ranks than it keeps ({given['target_r']})"
        )
    last = given.get("tfinal", max(0, min(int(_RANKS_END * steps), steps - 2)))
    begin = given.get("tinit", min(int(_RANKS_BEGIN * steps), max(0, steps - last - 2)))
    if steps - last < 2 or begin >= steps - last:
        raise RecipeError(
            f"AdaLoRA has no step to share its ranks out in: {steps} steps, of which tinit takes the first {begin} and "
            f"tfinal the last {last}. Train longer, or lower adapter.tinit and adapter.tfinal"
        )
    return {"total_step": steps, "init_r": first, "tinit": begin, "tfinal": last}


def _config(name: str, task: str | None, given: Mapping[str, Any], keep: Sequence[str]) -> Any:
    import peft

    kind = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(name.upper())]
    try:
        return kind(task_type=task, modules_to_save=[*keep] or None, **given)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"adapter: PEFT refuses these settings of {name}: {_reason(error)}") from error


def _wrapped(model: nn.Module, config: Any) -> nn.Module:
    """PEFT's model around ours.

    PEFT's class for answer spans takes segments (`token_type_ids`) and drops them, and its others know transformers'
    heads alone; so its plain class serves. The config keeps the type, for who loads the adapter with PEFT.
    """
    import peft

    kind = config.task_type
    if config.is_prompt_learning:
        # Of PEFT's classes, the one that neither guesses heads nor changes how a model writes.
        config.task_type = "FEATURE_EXTRACTION"
        prompted = Prompted(_made(peft.get_peft_model, model, config))
        config.task_type = kind
        return prompted
    if kind == "QUESTION_ANS" or not hasattr(model, "prepare_inputs_for_generation"):
        config.task_type = None
    adapted: nn.Module = _made(peft.get_peft_model, model, config)
    config.task_type = kind
    return adapted


def _made(make: Any, model: nn.Module, config: Any) -> nn.Module:
    """What `make` gives. Raises UnsupportedError with PEFT's reason where the method does not fit the model."""
    try:
        made: nn.Module = make(model, config)
        return made
    except (ValueError, TypeError, NotImplementedError) as error:
        name = str(config.peft_type.value).lower()
        raise UnsupportedError(f"adapter: {name} does not fit this model as it is set: {_reason(error)}") from error


def _rates(model: nn.Module, ratio: float | None) -> dict[str, float]:
    """LoRA+: B learns `ratio` times as fast as all else."""
    return {} if ratio is None else {name: float(ratio) for name in trained(model) if "lora_B" in name}


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


def merge(model: Any) -> nn.Module:
    """The plain model with the adapter folded into its weights.

    Modules that were trained in full come first: some methods of PEFT take them for layers to fold into (IA3, VeRA),
    or leave them wrapped (LN tuning).
    """
    from peft.utils.other import ModulesToSaveWrapper

    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name, module in wrapped:
        above, _, own = name.rpartition(".")
        setattr(model.get_submodule(above), own, module.modules_to_save[module.active_adapters[0]])
    merged: nn.Module = model.merge_and_unload()
    return merged


def save(model: Any, folder: Path) -> None:
    """The adapter in PEFT's own form.

    AdaLoRA's zero ranks stay in it: without them the same sum is made in another order, and rounds otherwise.
    """
    adapted = model.adapted if isinstance(model, Prompted) else model
    config = adapted.peft_config[adapted.active_adapter]
    pattern, config_had = getattr(config, "rank_pattern", None), config.peft_type == "ADALORA"
    if config_had:
        config.rank_pattern = None
    adapted.save_pretrained(folder, safe_serialization=True)
    if config_had:
        config.rank_pattern = pattern


def load(model: nn.Module, folder: Path, further: AdapterSection | None = None) -> Adapted:
    """The model with the adapter saved in `folder`, to answer with, or to train further as a recipe says.

    Raises ArtifactError where the adapter's weights are not all there or are not this model's.
    """
    import peft

    weights = folder / "adapter_model.safetensors"
    for file in (folder / "adapter_config.json", weights):
        if not file.is_file():  # PEFT would look for it on the Hub
            raise ArtifactError(f"the adapter in {folder} is incomplete: {file.name} is missing")
    if fault := upstream.damaged(weights):
        raise ArtifactError(fault)
    try:
        config = peft.PeftConfig.from_pretrained(folder)
        config.inference_mode = further is None
        if further is not None and config.peft_type == "ADALORA":
            raise UnsupportedError("AdaLoRA's ranks are shared out once: train its adapter anew, or merge it first")
        adapted: Any = _wrapped(model, config)
        inner = adapted.adapted if isinstance(adapted, Prompted) else adapted
        weights = peft.utils.load_peft_weights(str(folder), device="cpu")
        peft.set_peft_model_state_dict(inner, weights)
        there = peft.get_peft_model_state_dict(inner)
    except KeyError as error:
        raise ArtifactError(f"the adapter in {folder} cannot be loaded: it lacks the weights {error}") from error
    except (ValueError, OSError, RuntimeError, SafetensorError, UnsupportedError) as error:
        raise ArtifactError(f"the adapter in {folder} cannot be loaded: {_reason(error)}") from error
    odd = sorted({*there} ^ {*weights}) or [n for n, value in weights.items() if not there[n].cpu().equal(value)]
    if odd:
        raise ArtifactError(
            f"the adapter in {folder} does not fit this model: {odd[0]}"
            + (f" and {len(odd) - 1} more" if len(odd) > 1 else "")
        )
    if further is None:
        return Adapted(adapted.eval(), Companion())
    return Adapted(adapted, Companion(_rates(adapted, further.fields.get(LORA_PLUS))))


def add(model: nn.Module, folder: Path, name: str) -> bool:
    """Put a further adapter, saved in `folder`, beside that which a model has, and say whether PEFT takes the two.

    It does so where both are LoRA's and what either trains in full has one size. Raises ArtifactError
    where the adapter's weights are not all there.
    """
    import peft

    adapted: Any = model
    config = peft.PeftConfig.from_pretrained(folder)
    if not isinstance(model, peft.PeftModel) or {config.peft_type, adapted.peft_type} != {peft.PeftType.LORA}:
        return False
    config.inference_mode = True
    weights = peft.utils.load_peft_weights(str(folder), device="cpu")
    try:
        adapted.add_adapter(name, config)
        peft.set_peft_model_state_dict(adapted, weights, adapter_name=name)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        if name in adapted.peft_config:
            adapted.delete_adapter(name)
        return False
    there = peft.get_peft_model_state_dict(adapted, adapter_name=name)
    if odd := sorted({*there} ^ {*weights}):
        raise ArtifactError(f"the adapter in {folder} does not fit this model: {odd[0]}")
    adapted.eval()
    return True


def let_mix(model: nn.Module) -> None:
    """Let rows of several adapters share a pass through modules that were trained in full, whatever they are made of.

    PEFT does so for single layers alone, since it cannot know what a module does; heads and poolers see each row by
    itself.
    """
    from peft.utils.other import ModulesToSaveWrapper

    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module._mixed_batch_forward = functools.partial(_row_by_row, module)


def _row_by_row(wrapper: Any, states: torch.Tensor, *rest: Any, adapter_names: Sequence[str], **more: Any) -> Any:
    found: torch.Tensor | None = None
    for name in dict.fromkeys(adapter_names):
        own = [at for at, other in enumerate(adapter_names) if other == name]
        part = wrapper.modules_to_save[name](states[own], *rest, **more)
        if found is None:
            found = part.new_empty(len(states), *part.shape[1:])
        found[own] = part
    return found


def remove(model: nn.Module, name: str) -> None:
    """Take an adapter that `add` put on a model off it."""
    adapted: Any = model
    adapted.delete_adapter(name)


def counts(model: nn.Module) -> tuple[int, int]:
    """Weights that receive a gradient, and all weights."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, grad in sizes if grad), sum(size for size, _ in sizes)


def trained(model: nn.Module) -> dict[str, torch.nn.Parameter]:
    """The weights that receive a gradient, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
