"""Every call into transformers whose form depends on its version, in one place. The lowest layer.

Local folders only: `backbone.locate` has already turned a Hub name or a package into one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
import warnings
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError


def quiet() -> None:
    """Silence transformers' bars, load reports and warnings to its own developers: nlpipe reports what matters."""
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for category in (FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(transformers|peft)\.")


def read_config(folder: Path) -> Any:
    """The model's config. Raises ArtifactError where the folder has none that transformers knows."""
    from transformers import AutoConfig

    quiet()
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} is not a model folder: it has no config.json")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError and pydantic-like ones, by version and cause
        raise ArtifactError(f"{folder / 'config.json'} cannot be used: {_reason(error)}") from error


def read_tokenizer(folder: Path, vocabulary: int) -> Any:
    """The tokenizer of a folder. Raises ArtifactError where its files are missing or belong to another model.

    `vocabulary` is the model's; an empty folder gives an empty tokenizer in transformers 5, without a word.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ArtifactError(f"the tokenizer in {folder} cannot be read: {_reason(error)}") from error
    if len(tokenizer) <= 10 < vocabulary:
        raise ArtifactError(f"{folder} has no tokenizer: look for tokenizer.json beside config.json")
    if len(tokenizer) > vocabulary:
        raise ArtifactError(
            f"the tokenizer in {folder} has {len(tokenizer)} entries, the model knows {vocabulary}: "
            "they do not belong together"
        )
    return tokenizer


def has_head(head: str, config: Any) -> bool:
    """Whether transformers has a class with this head (`SequenceClassification` …) for the architecture."""
    return type(config) in _auto(head)._model_mapping


def load_model(head: str | None, folder: Path, config: Any, dtype: Any) -> tuple[Any, frozenset[str]]:
    """A model and the names of its weights that the folder does not have.

    `head` None loads the bare backbone. Raises ArtifactError for corrupt or missing weight files.
    """
    if not list(folder.glob("*.safetensors")):
        pickles = [path.name for path in folder.glob("*.bin")]
        why = (
            f"it has {pickles[0]}, a pickle, which can run code when read; convert it: load it once with "
            "transformers and save_pretrained() to another folder"
            if pickles
            else "it has no *.safetensors file"
        )
        raise ArtifactError(f"no weights to load in {folder}: {why}")
    try:
        model, info = _auto(head).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:
        raise ArtifactError(f"the weights in {folder} cannot be loaded: {_reason(error)}") from error
    missing = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    return model, frozenset(missing)


def new_model(head: str | None, config: Any, dtype: Any) -> Any:
    """The same model with random weights."""
    return _auto(head).from_config(config, dtype=dtype, trust_remote_code=False)


def show_attention(model: Any) -> None:
    """Let a loaded model compute attention in the plain way, whose weights can be seen (`eager`).

    The faster kernels give the same states and no weights; asked for weights, they answer with nothing.
    """
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")


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


def causal_only(config: Any) -> bool:
    """Whether transformers knows the architecture as one that writes text left to right and never fills blanks."""
    from transformers.models.auto import modeling_auto as tables

    kind = config.model_type
    causal = kind in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and kind not in tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def linear_kinds() -> tuple[type, ...]:
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
