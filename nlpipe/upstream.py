"""Every call into transformers whose form depends on its version, in one place. The lowest layer.

Local folders only: `locating.locate` has already turned a Hub name or a package into one.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe.errors import ArtifactError, UnsupportedError

if TYPE_CHECKING:
    from torch.nn import Module

log = logging.getLogger("nlpipe")


def quiet() -> None:
    """Silence transformers' bars, load reports and warnings to its own developers: nlpipe reports what matters."""
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # PEFT imports bitsandbytes where it is there, which warns of a kernel that it would fetch and does without.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    for category in (FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(transformers|peft)\.")


def read_config(folder: Path) -> Any:
    """The model's config. Raises ArtifactError where the folder has none that transformers knows."""
    from transformers import AutoConfig

    quiet()
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} is not a model folder: it has no config.json")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError and pydantic-like ones, by version and cause
        if code := _own_code(folder / "config.json"):
            raise ArtifactError(_refused_code(folder, "model", code)) from error
        raise ArtifactError(f"{folder / 'config.json'} cannot be used: {_reason(error)}") from error
    if code := _own_code(folder / "config.json"):
        log.warning(
            "%s names Python code of its own, %s: transformers' %s is run instead", folder, code, config.model_type
        )
    return config


def _own_code(file: Path) -> str:
    """The Python files that a config names to be run (`auto_map`); empty for none."""
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("auto_map") or {}
        classes = [one for value in named.values() for one in ([value] if isinstance(value, str) else value) if one]
    except (OSError, ValueError, AttributeError):
        return ""
    return ", ".join(dict.fromkeys(f"{name.rpartition('--')[2].rpartition('.')[0]}.py" for name in classes))


def _refused_code(folder: Path, what: str, code: str) -> str:
    return (
        f"the {what} in {folder} is Python code of its own ({code}), which nlpipe does not run: you would trust "
        "whoever wrote it with all that you may do here, your files, your keys and the network. Take one that "
        "transformers has"
    )


def read_tokenizer(folder: Path, vocabulary: int | None) -> Any:
    """The tokenizer of a folder. Raises ArtifactError where its files are missing or belong to another model.

    `vocabulary` is the model's, None where there is no model yet; an empty folder gives an empty tokenizer in
    transformers 5, without a word.
    """
    from transformers import AutoTokenizer

    if (code := _own_code(folder / "tokenizer_config.json")) and not _has_tokenizer(folder):
        raise ArtifactError(_refused_code(folder, "tokenizer", code))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ArtifactError(f"the tokenizer in {folder} cannot be read: {_reason(error)}") from error
    if len(tokenizer) <= 10 and (vocabulary is None or vocabulary > 10):
        raise ArtifactError(f"{folder} has no tokenizer: look for tokenizer.json beside config.json")
    if vocabulary is not None and len(tokenizer) > vocabulary:
        raise ArtifactError(
            f"the tokenizer in {folder} has {len(tokenizer)} entries, the model knows {vocabulary}: "
            "they do not belong together"
        )
    return tokenizer


def _has_tokenizer(folder: Path) -> bool:
    """Whether transformers has the class that a folder's tokenizer is of; without it, it would take another."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    return name is None or tokenizer_class_from_name(name) is not None


def model_types() -> list[str]:
    """The architectures that transformers knows, by the name that a config calls itself."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    quiet()
    return sorted(CONFIG_MAPPING_NAMES)


def config_fields(model_type: str) -> frozenset[str] | None:
    """The settings of an architecture's own config, aliases among them; None where there is no such type."""
    from dataclasses import fields

    from transformers import CONFIG_MAPPING, PreTrainedConfig

    if model_type not in model_types():
        return None
    kind: Any = CONFIG_MAPPING[model_type]
    shared = {one.name for one in fields(PreTrainedConfig)}
    return frozenset({one.name for one in fields(kind)} - shared | set(kind.attribute_map))


def config_fault(model_type: str, settings: Mapping[str, Any], *, kinds_only: bool = False) -> str | None:
    """Why a config cannot have these settings; None where it can.

    With `kinds_only` whether each is of its kind (a whole number, a text), and not whether they fit each other.
    """
    from huggingface_hub.errors import StrictDataclassFieldValidationError
    from transformers import CONFIG_MAPPING

    try:
        CONFIG_MAPPING[model_type](**settings)
    except Exception as error:  # huggingface_hub's for a wrong kind, any other for values that do not fit
        if kinds_only and not isinstance(error, StrictDataclassFieldValidationError):
            return None
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return (lines[-1] if lines else type(error).__name__).removeprefix("TypeError: ").removeprefix("ValueError: ")
    return None


def bare_config(model_type: str) -> Any:
    """An architecture's config with its own defaults."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type]()


def new_config(model_type: str, settings: Mapping[str, Any], tokenizer: Any) -> Any:
    """A config for a model with the entries and special tokens of `tokenizer`.

    A pair's decoder starts with the padding token, as T5's and Marian's do; without one, with the first or end token.
    """
    from dataclasses import fields

    from transformers import CONFIG_MAPPING

    kind: Any = CONFIG_MAPPING[model_type]
    known = {one.name for one in fields(kind)}
    decided: dict[str, Any] = {"vocab_size": len(tokenizer)}
    if "decoder_vocab_size" in known:
        decided["decoder_vocab_size"] = len(tokenizer)
    for role in ("pad", "bos", "eos", "cls", "sep", "mask"):
        decided[f"{role}_token_id"] = getattr(tokenizer, f"{role}_token_id")
    starts = (decided[f"{role}_token_id"] for role in ("pad", "bos", "eos", "cls"))
    decided["decoder_start_token_id"] = next((token for token in starts if token is not None), None)
    decided["forced_eos_token_id"] = None
    stated = {name: value for name, value in decided.items() if name in known}
    config = kind(**{**stated, **{name: value for name, value in settings.items() if name != "model_type"}})
    if getattr(config, "is_encoder_decoder", False):
        config.decoder_start_token_id = decided["decoder_start_token_id"]
    return config


def plain_tokenizer(backend: Any, roles: Mapping[str, str], limit: int | None, further: list[str]) -> Any:
    """transformers' tokenizer over one of `tokenizers`: it is what its file says, whatever the model is.

    `roles` names special tokens by what they are for (`pad`, `eos` …), `further` those without such a role.
    """
    from transformers import PreTrainedTokenizerFast

    stated: dict[str, Any] = {f"{role}_token": token for role, token in roles.items()}
    if limit is not None:
        stated["model_max_length"] = limit
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, extra_special_tokens=further, clean_up_tokenization_spaces=False, **stated
    )


def has_head(head: str, config: Any) -> bool:
    """Whether transformers has a class with this head (`SequenceClassification` …) for the architecture."""
    return type(config) in _auto(head)._model_mapping


def class_names(head: str, config: Any) -> frozenset[str]:
    """The names of transformers' classes with this head for the architecture; empty where there is none."""
    found = _auto(head)._model_mapping.get(type(config), ())
    return frozenset(kind.__name__ for kind in (found if isinstance(found, tuple) else (found,)))


def load_model(
    head: str | None, folder: Path, config: Any, dtype: Any, quantize: str | None = None
) -> tuple[Any, frozenset[str]]:
    """A model and the names of its weights that the folder does not have.

    `head` None loads the bare backbone; `quantize` 4bit or 8bit keeps its layers so. Raises ArtifactError for corrupt
    or missing weight files, UnsupportedError where quantising is not installed.
    """
    if not list(folder.glob("*.safetensors")):
        raise ArtifactError(f"no weights to load in {folder}: {_without_weights(folder, config)}")
    try:
        kind = _auto(head) if head else _encoder_alone(config) or _auto(None)
        model, info = kind.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **({"quantization_config": _quantization(quantize, kind, config)} if quantize else {}),
        )
    except UnsupportedError:
        raise
    except Exception as error:
        torn = next((file for file in sorted(folder.glob("*.safetensors")) if damaged(file)), None)
        if torn is not None:
            raise ArtifactError(damaged(torn)) from error
        raise ArtifactError(f"the weights in {folder} cannot be loaded: {_reason(error)}") from error
    _hold_still(model)
    missing = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    return model, frozenset(missing)


def _without_weights(folder: Path, config: Any) -> str:
    """What is there in place of weights, and how they are made of it."""
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if not pickles:
        return "it has no *.safetensors file"
    kind = next(iter(config.architectures or ()), "AutoModel")
    return (
        f"it has {pickles[0]}, a pickle, which can run code when it is read. If you trust whoever made it, convert it "
        f"once, to a new folder:\n  python -c \"import transformers as t; [kind.from_pretrained('{folder}')"
        f".save_pretrained('{folder}-converted') for kind in (t.{kind}, t.AutoTokenizer)]\""
    )


def damaged(file: Path) -> str:
    """What is wrong with a file of weights, as far as its header tells; empty where nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt"):
            return ""
    except (SafetensorError, OSError) as error:
        return f"{file} is damaged or cut off ({_reason(error)}): copy or download it again"


def _hold_still(model: Any) -> None:
    """Freeze what no loss reaches or ought to move, and transformers leaves trainable.

    BigBird builds a pooler under heads that do not read it; the sinusoids of Marian and its kin are a formula.
    """
    for name, module in model.named_modules():
        unread = name.rpartition(".")[2] == "pooler" and model.config.model_type == "big_bird"
        if unread or "Sinusoidal" in type(module).__name__:
            module.requires_grad_(False)


def quantized(model: Any) -> bool:
    """Whether a model's layers are kept in 4 or 8 bits."""
    return any(type(module).__module__.startswith("bitsandbytes.") for module in model.modules())


def reentrant(model: Any) -> bool:
    """Whether several threads may compute with a model at once: where nothing of it changes while it computes.

    Hooks may remember something (`adapter_prompts.py`), bitsandbytes' layers do, a RoPE that follows the length
    ("dynamic", "longrope") rewrites its frequencies, and BigBird's sparse attention leaves a short text for full one.
    """
    if quantized(model) or any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return False
    config = getattr(model, "config", None)
    rope = str(getattr(config, "rope_parameters", None) or "")
    sparse = getattr(config, "attention_type", None) == "block_sparse"
    return not (sparse or "dynamic" in rope or "longrope" in rope)


def _quantization(quantize: str, kind: Any, config: Any) -> Any:
    """bitsandbytes' settings, as QLoRA's (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314) in 4 bits.

    Heads and poolers stay as they are: they may be new, and are then trained in full.
    """
    from importlib.util import find_spec

    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise UnsupportedError(
            f"model.quantize: {quantize} needs bitsandbytes, which is not installed: pip install 'nlpipe[quantized]'"
        )
    with torch.device("meta"):
        shape = kind.from_config(config, trust_remote_code=False)
    backbone = shape.base_model_prefix
    beside = [name for name, _ in shape.named_children() if hasattr(shape, backbone) and name != backbone]
    beside += [name for name, _ in shape.named_children() if name.endswith(("_outputs", "classifier", "lm_head"))]
    beside += [name for name, _ in shape.named_modules() if name.rpartition(".")[2] == "pooler"]
    if quantize == "4bit":  # bitsandbytes scales 64 weights of a row together
        layers = ((n, m) for n, m in shape.named_modules() if isinstance(m, torch.nn.Linear) and n not in beside)
        beside += [name for name, layer in layers if layer.in_features % 64]
    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=sorted({*beside}))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
        llm_int8_skip_modules=sorted({*beside}),
    )


def _encoder_alone(config: Any) -> Any:
    """The class of a folder that holds the encoder of an encoder-decoder and no decoder (`T5EncoderModel`)."""
    import transformers

    names = [name for name in config.architectures or () if name.endswith("EncoderModel")]
    return getattr(transformers, names[0], None) if names else None


def new_model(head: str | None, config: Any, dtype: Any) -> Any:
    """A model with random weights."""
    return _auto(head).from_config(config, dtype=dtype, trust_remote_code=False)


def show_attention(model: Any) -> None:
    """Let a loaded model compute attention in the plain way, whose weights can be seen (`eager`).

    The faster kernels give the same states and no weights; asked for weights, they answer with nothing.
    """
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")


def checkpoint_activations(model: Any) -> None:
    """Have each layer compute its activations again in the backward pass instead of keeping them.

    Not the reentrant kind: that one needs inputs that require a gradient, which a model with only an adapter to train
    does not have, and leaves the adapter without one, silently (PEFT #137). Raises UnsupportedError for a model without
    layers that can.
    """
    able = [module for module in model.modules() if getattr(module, "supports_gradient_checkpointing", False)]
    try:
        if not able:
            raise ValueError("none of its modules can")
        able[0].activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise UnsupportedError(
            f"train.gradient_checkpointing: transformers cannot do it for this model ({_reason(error)}); leave it out"
        ) from error


def writes(model: Any) -> bool:
    """Whether a model has a head over its vocabulary."""
    return getattr(model, "get_output_embeddings", lambda: None)() is not None


def look(model: Any, inputs: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """One pass, with all that a model shows: tensors per layer under `states` and `attentions`.

    An encoder-decoder has `encoder_states`, `encoder_attentions`, `decoder_states`, `decoder_attentions` and
    `cross_attentions` instead. A name is missing where the model shows nothing of the kind.
    """
    found = model(**inputs, output_attentions=True, output_hidden_states=True, return_dict=True)
    shown = {}
    for key, value in found.items():
        if key.endswith(("attentions", "hidden_states")) and isinstance(value, tuple):
            layers = tuple(one for one in value if one is not None)
            if layers:
                shown[key.replace("hidden_states", "states")] = layers
    return shown


def relative_bias(module: Any, positions: int) -> Any:
    """What a module with a table of relative positions adds to attention, [heads, positions, positions].

    None for a module that works otherwise than T5's or MPNet's.
    """
    import torch

    if hasattr(module, "compute_bias"):  # T5 and its kin
        return module.compute_bias(positions, positions)[0]
    if hasattr(module, "compute_position_bias"):  # MPNet
        return module.compute_position_bias(torch.empty(1, positions, 1))[0]
    return None


def generation_config(model: Any, settings: Mapping[str, Any], *, ends: frozenset[int], pad: int) -> Any:
    """The model's own generation settings with ours over them.

    What only sampling uses stays in it but has no effect unless tokens are drawn. The first tokens of an answer
    are given as part of the prompt, and nothing is forced to be the last: an answer cut short shows.
    """
    import copy

    config = copy.deepcopy(model.generation_config)
    config.max_length = config.forced_bos_token_id = config.forced_eos_token_id = None
    for name, value in settings.items():
        setattr(config, name, _lists(value))
    config.forced_bos_token_id = None
    config.pad_token_id = pad
    config.eos_token_id = sorted(ends | end_tokens(config))
    config.return_dict_in_generate, config.output_scores = False, False
    return config


def _lists(value: Any) -> Any:
    """Tuples as lists, however deep: transformers looks at the type."""
    return [_lists(one) for one in value] if isinstance(value, tuple) else value


def end_tokens(config: Any) -> frozenset[int]:
    """The end tokens that a generation config names: none, one or several."""
    ends = config.eos_token_id
    return frozenset([] if ends is None else ends if isinstance(ends, list | tuple) else [ends])


def default_new_tokens(model: Any) -> int:
    """How many tokens the model's own settings let an answer have: 256 where they say nothing, as its pipeline does."""
    config = model.generation_config
    if config.max_new_tokens:
        return int(config.max_new_tokens)
    if config.max_length and model.config.is_encoder_decoder:  # a decoder's counts the prompt as well
        return max(int(config.max_length) - 1, 1)
    return 256


def default_beams(model: Any) -> int:
    """The beams of the model's own settings."""
    return int(model.generation_config.num_beams or 1)


def own_generation(model: Any, task: str) -> dict[str, Any]:
    """What a model's files say of how it writes: generation_config.json, and over it its config's settings for a task.

    Without token ids but for the end that is forced on what is cut: how answers begin and end is `decoder_start`'s and
    `end_tokens`'.
    """
    found = dict(model.generation_config.to_diff_dict())
    found |= (getattr(model.config, "task_specific_params", None) or {}).get(task) or {}
    ids = {name for name in found if name.endswith("token_id")} - {"forced_eos_token_id"}
    return {name: value for name, value in found.items() if name not in ids and not name.startswith("_")}


def bare(model: Any) -> Any:
    """A loaded model without its head; of an encoder-decoder its encoder."""
    base = model.base_model
    return base.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else base


def warpers(config: Any) -> list[Any]:
    """The processors of sampling, in transformers' order: it adds them only where it draws tokens itself."""
    from transformers.generation import logits_process as theirs

    table = (
        ("temperature", lambda v: v != 1.0, lambda v: theirs.TemperatureLogitsWarper(float(v))),
        ("top_k", lambda v: v > 0, lambda v: theirs.TopKLogitsWarper(top_k=v)),
        ("top_p", lambda v: v < 1, lambda v: theirs.TopPLogitsWarper(top_p=float(v))),
        ("min_p", lambda v: v > 0, lambda v: theirs.MinPLogitsWarper(min_p=float(v))),
        ("typical_p", lambda v: v < 1, lambda v: theirs.TypicalLogitsWarper(mass=float(v))),
        ("epsilon_cutoff", lambda v: v > 0, lambda v: theirs.EpsilonLogitsWarper(epsilon=float(v))),
        ("eta_cutoff", lambda v: v > 0, lambda v: theirs.EtaLogitsWarper(epsilon=float(v))),
    )
    given = [(getattr(config, name), acts, make) for name, acts, make in table]
    return [make(value) for value, acts, make in given if value is not None and acts(value)]  # type: ignore[no-untyped-call]


def generate(
    model: Any,
    inputs: Mapping[str, Any],
    config: Any,
    processors: list[Any],
    criteria: list[Any],
    *,
    streamer: Any = None,
    write: Callable[..., Any] | None = None,
) -> Any:
    """transformers' generation loop: ids, int64 [rows, prompt + answer]; or what `write`, run in its place, gives.

    `write` takes (model, input_ids, logits_processor, stopping_criteria, generation_config, **inputs of forward).
    """
    start = inputs.get("decoder_input_ids")
    if start is not None:  # else transformers would put its own start token in front
        config.decoder_start_token_id = start[:, 0].tolist()
    holders = [model, *([model.get_base_model()] if hasattr(model, "get_base_model") else [])]
    own = [holder.generation_config for holder in holders]
    try:
        for holder in holders:  # transformers fills what we leave out from the model's own, a forced end for one
            holder.generation_config = config
        return model.generate(
            **inputs,
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=criteria,
            streamer=streamer,
            **({} if write is None else {"custom_generate": write}),
        )
    finally:
        for holder, settings in zip(holders, own, strict=True):
            holder.generation_config = settings


def decoder_start(folder: Path | None, config: Any, model: Any = None) -> tuple[int, ...]:
    """What a pair's decoder reads first: its start token, and the token that all answers begin with if there is one.

    As the folder's settings of generation say, or those of a loaded model without a folder.
    """
    from transformers import GenerationConfig

    if not getattr(config, "is_encoder_decoder", False):
        return ()
    stated = [config, getattr(config, "decoder", None)]
    if folder is None:
        stated.insert(0, getattr(model, "generation_config", None))
    elif (folder / "generation_config.json").is_file():
        stated.insert(0, GenerationConfig.from_pretrained(folder))

    def first(name: str) -> int | None:
        found = (getattr(one, name, None) for one in stated)
        return next((token for token in found if token is not None), None)

    start = first("decoder_start_token_id")
    if start is None:
        start = first("bos_token_id")
    begin = first("forced_bos_token_id")
    return tuple(token for token in (start, begin) if token is not None) if start is not None else ()


def load_causal_half(folder: Path, dtype: Any) -> tuple[Any, frozenset[str]]:
    """An encoder's checkpoint as a decoder with cross-attention, and the names of the weights it does not have."""
    config = read_config(folder)
    config.is_decoder, config.add_cross_attention = True, True
    return load_model("CausalLM", folder, config, dtype)


def warm_pair(encoder: Any, decoder: Any, special: Mapping[str, int]) -> Any:
    """One model of an encoder and a decoder with cross-attention; `special` are token ids of its configs."""
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
    model = EncoderDecoderModel(config=config, encoder=encoder, decoder=decoder)
    for name, token in special.items():
        for holder in (model.config, model.generation_config):
            setattr(holder, name, token)
    model.config.vocab_size = decoder.config.vocab_size
    return model


def new_decoder(like: Any, layers: int, dtype: Any) -> Any:
    """A random BERT decoder with cross-attention, as wide as the encoder whose config is `like`."""
    from transformers import BertConfig, BertLMHeadModel

    width = like.hidden_size
    config = BertConfig(
        vocab_size=like.vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=like.num_attention_heads,
        intermediate_size=getattr(like, "intermediate_size", None) or getattr(like, "hidden_dim", 4 * width),
        max_position_embeddings=like.max_position_embeddings,
        pad_token_id=like.pad_token_id,
        initializer_range=like.initializer_range,
        is_decoder=True,
        add_cross_attention=True,
    )
    return BertLMHeadModel(config).to(dtype)


def causal_only(config: Any) -> bool:
    """Whether transformers knows the architecture as one that writes text left to right and never fills blanks."""
    from transformers.models.auto import modeling_auto as tables

    kind = config.model_type
    causal = kind in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and kind not in tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def linear_kinds() -> tuple[type[Module], ...]:
    """The layers that multiply by a matrix: torch's, and GPT-2's, which keeps it transposed."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return (Linear, Conv1D)


def _auto(head: str | None) -> Any:
    import transformers

    return getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel")


def _reason(error: BaseException) -> str:
    """The first line of an error, which is where transformers puts what matters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
