"""PEFT's methods by name: what each adapts, what it calls the core's settings, and what stays out and why.

Light: PEFT takes seconds to import, and a recipe is checked before anything is computed. Which settings a method has
is recorded in `adapter_fields.json`; `python -m tests.peft_fields` writes it, and a test holds it equal to PEFT's own
classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model

from nlpipe.recipe_sources import Real, Whole, complain

FIELDS = Path(__file__).with_name("adapter_fields.json")

Adapts = Literal["linear", "queries", "keys", "norms", "input"]

_HF = "https://huggingface.co/papers/"
_ARXIV = "https://arxiv.org/abs/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of PEFT.

    `adapts` is what it goes on where a recipe's targets are `auto` (see `adapter_targets.find`); `input` is for vectors
    put in front of what is read, which have no targets. `r`, `alpha` and `dropout` are PEFT's names of the core's
    settings, None where the method has none. `settings` are values of ours where a recipe says nothing, in PEFT's
    words, and `why` says where they come from. `merges` is false where the weights cannot be folded into the model's;
    `transposed` where GPT-2's linear layers, kept transposed, cannot be adapted; `saved` where loading computes
    anew what a singular value decomposition gave, whose signs another machine may turn round; `continues` where
    what was saved cannot be trained further; `quantized` where layers kept in 4 or 8 bits can be adapted. `rate` is the
    learning rate where a recipe gives none, with AdamW. `width` is what a model needs for PEFT's defaults of the method
    to fit (a power of two; the least that was tried).
    """

    about: str
    source: str
    adapts: Adapts = "queries"
    r: str | None = None
    alpha: str | None = None
    dropout: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    merges: bool = True
    transposed: bool = True
    saved: bool = True
    continues: bool = True
    quantized: bool = False
    rate: float = 2e-4
    width: int = 32

    @property
    def core(self) -> dict[str, str]:
        """The core's settings that the method has, and PEFT's names for them."""
        named = {"r": self.r, "alpha": self.alpha, "dropout": self.dropout}
        found = {ours: theirs for ours, theirs in named.items() if theirs}
        return found if self.adapts == "input" else {**found, "targets": "target_modules"}


_VIRTUAL = {"num_virtual_tokens": 20}
_WHY_VIRTUAL = "more than 20 vectors gain little (Lester et al. 2021, section 3.2)"

# Hu et al. 2021 take 4e-4 to 5e-4 for RoBERTa base (table 9); Liu et al. 2022 take 3e-3 for IA3 (T-Few); for vectors in
# front 1e-2 is what docs/adapters.md measures. All others have the 2e-4 that Hu et al. take for GPT-2 (table 11).
_LOW_RANK, _SCALES, _VECTORS = 5e-4, 3e-3, 1e-2

METHODS: Mapping[str, Method] = {
    "lora": Method(
        about="low-rank updates",
        source=f"{_ARXIV}2106.09685",
        adapts="linear",
        rate=_LOW_RANK,
        r="r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        settings={"r": 8, "lora_alpha": 16},
        why="r is PEFT's; alpha twice r is common practice, and section 4.1 says that it is no more than a step size",
        quantized=True,
    ),
    "adalora": Method(
        about="low-rank updates, whose ranks go where they matter",
        source=f"{_ARXIV}2303.10512",
        adapts="linear",
        rate=_LOW_RANK,
        r="target_r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        settings={"target_r": 8, "lora_alpha": 16},
        quantized=True,
    ),
    "ia3": Method(
        about="scales of keys, values and feed-forward states",
        source=f"{_ARXIV}2205.05638",
        adapts="keys",
        rate=_SCALES,
        quantized=True,
    ),
    "vera": Method(
        about="scales of random projections that all layers share",
        source=f"{_ARXIV}2310.11454",
        r="r",
        dropout="vera_dropout",
        rate=_SCALES,
    ),
    "oft": Method(
        about="rotations in blocks",
        source=f"{_ARXIV}2306.07280",
        r="r",
        dropout="module_dropout",
        transposed=False,
        width=64,
    ),
    "boft": Method(
        about="rotations as butterfly factors",
        source=f"{_ARXIV}2311.06243",
        dropout="boft_dropout",
        transposed=False,
    ),
    "loha": Method(
        about="Hadamard products of low-rank updates",
        source=f"{_ARXIV}2108.06098",
        r="r",
        alpha="alpha",
        transposed=False,
    ),
    "lokr": Method(about="Kronecker products", source=f"{_ARXIV}2309.14859", r="r", alpha="alpha", transposed=False),
    "ln_tuning": Method(about="the norms, in full", source=f"{_ARXIV}2312.11420", adapts="norms", rate=_SCALES),
    "prompt_tuning": Method(
        about="vectors in front of what is read",
        source=f"{_ARXIV}2104.08691",
        adapts="input",
        settings=_VIRTUAL,
        rate=_VECTORS,
        why=_WHY_VIRTUAL,
        merges=False,
    ),
    "p_tuning": Method(
        about="the same, made by a small network",
        source=f"{_ARXIV}2103.10385",
        adapts="input",
        settings=_VIRTUAL,
        rate=_VECTORS,
        why=_WHY_VIRTUAL,
        merges=False,
        continues=False,
    ),
    "prefix_tuning": Method(
        about="keys and values in front of each layer's",
        source=f"{_ARXIV}2101.00190",
        adapts="input",
        settings=_VIRTUAL,
        rate=_VECTORS,
        why=_WHY_VIRTUAL,
        merges=False,
    ),
    "fourierft": Method(about="updates of few frequencies", source=f"{_ARXIV}2405.03003"),
    "waveft": Method(about="updates of few wavelets", source=f"{_ARXIV}2505.12532"),
    "c3a": Method(about="circular convolutions", source=f"{_ARXIV}2407.19342", transposed=False, width=256),
    "vblora": Method(
        about="updates put together from one bank of vectors",
        source=f"{_ARXIV}2405.15179",
        r="r",
        dropout="vblora_dropout",
        width=256,
    ),
    "unilora": Method(
        about="updates projected from one vector", source=f"{_ARXIV}2506.00799", r="r", dropout="unilora_dropout"
    ),
    "tinylora": Method(
        about="updates projected from a handful of numbers",
        source=f"{_ARXIV}2602.04118",
        r="r",
        dropout="tinylora_dropout",
        saved=False,
    ),
    "randlora": Method(
        about="full-rank updates of random bases",
        source=f"{_ARXIV}2502.00987",
        r="r",
        alpha="randlora_alpha",
        dropout="randlora_dropout",
        quantized=True,
    ),
    "delora": Method(
        about="low-rank updates whose strength is a number of its own",
        source=f"{_ARXIV}2503.18225",
        r="r",
        alpha="delora_lambda",
        dropout="module_dropout",
        transposed=False,
    ),
    "gralora": Method(
        about="low-rank updates block by block",
        source=f"{_ARXIV}2505.20355",
        r="r",
        alpha="alpha",
        dropout="gralora_dropout",
    ),
    "hira": Method(
        about="low-rank updates times the weights",
        source="https://openreview.net/forum?id=TwJrTz9cRS",
        r="r",
        dropout="hira_dropout",
        quantized=True,
    ),
    "pvera": Method(
        about="VeRA with scales drawn anew in training",
        source=f"{_ARXIV}2512.07703",
        r="r",
        dropout="pvera_dropout",
        quantized=True,
    ),
    "deft": Method(
        about="a direction taken out and put in again",
        source="PEFT, tuners/deft/config.py",
        r="r",
        alpha="alpha",
        dropout="deft_dropout",
    ),
    "frod": Method(
        about="sparse rotations over a shared projection",
        source="https://doi.org/10.1609/aaai.v40i31.39813",
        dropout="frod_dropout",
    ),
    "glora": Method(
        about="scales and shifts of weights and biases",
        source=f"{_ARXIV}2306.07967",
        r="r",
        transposed=False,
    ),
    "hra": Method(about="Householder reflections", source=f"{_ARXIV}2405.17484", r="r", transposed=False),
    "miss": Method(
        about="one shard, repeated",
        source=f"{_ARXIV}2409.15371",
        r="r",
        dropout="miss_dropout",
        transposed=False,
        width=128,
    ),
    "peanut": Method(
        about="updates computed from the weights by a small network",
        source=f"{_ARXIV}2410.01870",
        r="r",
        transposed=False,
    ),
    "road": Method(about="rotations of pairs of outputs", source=f"{_ARXIV}2409.00119", transposed=False),
    "shira": Method(
        about="a random few of the weights", source=f"{_ARXIV}2406.13175", r="r", transposed=False, width=128
    ),
    "supertuning": Method(
        about="the largest few of the weights",
        source=f"{_ARXIV}2607.09287",
        r="r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        transposed=False,
        quantized=True,
    ),
    "adamss": Method(
        about="low-rank updates in clustered subspaces",
        source="PEFT, tuners/adamss/config.py",
        r="r",
        transposed=False,
        saved=False,
        width=128,
    ),
    "psoft": Method(
        about="rotations within the principal subspace",
        source="https://openreview.net/forum?id=FSHrinMArK",
        r="r",
        alpha="psoft_alpha",
        dropout="psoft_dropout",
        transposed=False,
        saved=False,
        width=64,
    ),
    "osf": Method(
        about="all but the largest singular directions",
        source=f"{_ARXIV}2504.07097",
        transposed=False,
        saved=False,
    ),
}
"""The methods that a recipe can name, those with papers on language models first."""

OUT: Mapping[str, str] = {
    "adaption_prompt": "it is made for the attention of Llama, Mistral and GPT-2 alone and cannot train a head; "
    "prefix_tuning does the like for all",
    "arrow": "it chooses between adapters that are there already",
    "beft": "it trains biases, which Llama, T5 and most newer models have not, and cannot be merged there; "
    "lora with bias: lora_only trains them",
    "bone": "PEFT calls it miss now",
    "cartridge": "it starts from the cache of a text and is trained by distillation, not from rows",
    "cpt": "it learns from labels in its own prompt and with a loss of its own",
    "lily": "what it answers to a row depends on the rows beside it, and it cannot be merged",
    "multitask_prompt_tuning": "it needs a task's number beside each row",
    "poly": "it needs a task's number beside each row",
    "shadow": "it trains a second model beside the first, which fails on every architecture that nlpipe tests",
    "trainable_tokens": "it cannot train a head; lora with trainable_token_indices trains tokens as well",
    "xlora": "it chooses between adapters that are there already",
}
"""What PEFT has and a recipe cannot name, and why."""

_LATER = "it needs data or hardware that a recipe cannot give it"
_FOUND = "nlpipe finds it out"
_MOVING = "it changes the model between steps or calls, which is not built"
CLOSED: Mapping[str, str] = {
    "alora_invocation_tokens": _MOVING,
    "arrow_config": _LATER,
    "corda_config": _LATER,
    "eva_config": _LATER,
    "fan_in_fan_out": _FOUND,
    "feedforward_modules": _FOUND,
    "inference_mode": _FOUND,
    "kasa_config": _LATER,
    "layer_replication": "it makes another model of the backbone",
    "layers_pattern": "say adapter.targets: a regular expression over full names",
    "loftq_config": _LATER,
    "lora_ga_config": _LATER,
    "megatron_config": _LATER,
    "megatron_core": _LATER,
    "monteclora_config": _LATER,
    "num_attention_heads": _FOUND,
    "num_layers": _FOUND,
    "num_transformer_submodules": _FOUND,
    "progressbar": "nlpipe shows its own",
    "qalora_group_size": _LATER,
    "runtime_config": _LATER,
    "runtime_offload_base_weight": _LATER,
    "target_parameters": "say adapter.targets; weights outside of layers cannot be adapted",
    "token_dim": _FOUND,
    "tokenizer_kwargs": _FOUND,
    "tokenizer_name_or_path": _FOUND,
    "total_step": _FOUND,
    "use_asa": _MOVING,
    "use_bdlora": _LATER,
    "use_qalora": _LATER,
    "velora_config": _LATER,
}
"""PEFT's fields that a recipe cannot set, and why."""

_BY_DATA = frozenset({"'corda'", "'eva'", "'lora_ga'", "'loftq'"})  # ways to begin that look at data or quantise first

LORA_PLUS = "loraplus_lr_ratio"
"""LoRA's one setting that is none of its config in PEFT: how much faster B learns than A (Hayou et al. 2024, LoRA+)."""

_KINDS: Mapping[str, Any] = {
    "bool": bool,
    "int": Whole,
    "float": Real,
    "str": str,
    "list": list[Any],
    "dict": dict[Any, Any],
    "null": None,
}


@cache
def fields() -> dict[str, dict[str, str]]:
    """PEFT's fields by method, each with the kinds of values it takes, as `bool | 'gaussian'`."""
    recorded: dict[str, dict[str, str]] = json.loads(FIELDS.read_text(encoding="utf-8"))
    return recorded


def open_fields(name: str) -> list[str]:
    """The settings that a recipe may give a method beside the core's, under PEFT's names."""
    method = METHODS[name]
    taken = {*CLOSED, *method.core.values()}
    return sorted([*(f for f in fields()[name] if f not in taken), *([LORA_PLUS] if name == "lora" else [])])


@cache
def model_of(name: str) -> type[BaseModel]:
    """A model of `open_fields`, strict in their kinds, to check a recipe's settings with."""
    kinds = fields()[name] | {LORA_PLUS: "float"}
    parts: dict[str, Any] = {field: (_annotation(kinds[field]), None) for field in open_fields(name)}
    made: type[BaseModel] = create_model(
        f"{name}_settings", __config__=ConfigDict(extra="forbid", strict=True), **parts
    )
    return made


def _annotation(kinds: str) -> Any:
    taken = [kind for kind in kinds.split(" | ") if kind not in _BY_DATA]
    if any("[" in kind for kind in taken):  # pissa_niter_[number of iters]
        return Annotated[Any, AfterValidator(partial(_chosen, tuple(taken)))]
    parts = [Literal[kind[1:-1]] if kind.startswith("'") else _KINDS[kind] for kind in taken]
    return Union[tuple(parts)]  # noqa: UP007 -- of a list known only now


def _chosen(kinds: Sequence[str], value: Any) -> Any:
    """A truth value or one of the choices, of which one may end in a number."""
    choices = [kind.strip("'") for kind in kinds if kind.startswith("'")]
    ways = "|".join(re.sub(r"\\\[.*\\\]", r"\\d+", re.escape(choice)) for choice in choices)
    if isinstance(value, bool) or (isinstance(value, str) and re.fullmatch(ways, value)):
        return value
    raise complain(f"must be true, false or one of {', '.join(choices)}, is {value!r}")


def able(what: Literal["transposed", "saved", "quantized"]) -> str:
    """The methods that can, for messages."""
    return ", ".join(name for name, method in METHODS.items() if getattr(method, what))
