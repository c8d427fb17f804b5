"""A tiny random model in the image of a real one: its config with narrow layers, its own tokenizer, new weights.

Unlike `tiny`, which has a table of architectures, this serves every architecture that transformers knows, because the
real model's config says what it is. As many layers as the real one has, so that names of layers still match.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError

__all__ = ["shrunk"]

WIDTH = 32
HEADS = 4

# The words in which configs tell sizes, by what they measure. Layers are kept, and so is the vocabulary, because
# the tokenizer is the real one's.
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim", "embedding_size")
_INNER = ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim", "d_ff", "n_inner")
_HEADS = (
    *("num_attention_heads", "n_head", "n_heads", "num_heads"),
    *("encoder_attention_heads", "decoder_attention_heads"),
)
_PER_HEAD = ("head_dim", "d_kv")
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
_NOT_OURS = ("quantization_config", "auto_map", "dtype", "torch_dtype")

_KEPT = {".json", ".txt", ".model", ".spm", ".jinja"}


def shrunk(source: Path, target: Path, *, seed: int = 0, width: int = WIDTH) -> Path:
    """Write to `target` a random model `width` wide of the kind that `source` holds, and return `target`.

    `source` needs no weights: `config.json` and the tokenizer's files do. The model has the class that the config
    names (`architectures`), head and labels included. `width` is a multiple of 8. Raises ArtifactError where the
    config cannot be made small.
    """
    import torch
    import transformers

    target.mkdir(parents=True, exist_ok=True)
    for file in source.rglob("*"):
        if file.is_file() and file.suffix in _KEPT and not file.name.endswith(".index.json"):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    try:
        settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
        kind = transformers.CONFIG_MAPPING[settings["model_type"]]
        config = kind(**{key: value for key, value in small(settings, width).items() if key != "model_type"})
        names = [name for name in settings.get("architectures") or () if hasattr(transformers, name)]
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to move
            torch.manual_seed(seed)
            made = getattr(transformers, names[0])(config) if names else transformers.AutoModel.from_config(config)
            made.float().save_pretrained(target)
    except Exception as error:  # whatever an architecture that we never saw does not like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"no small model of the kind in {source} can be made: {reason}") from error
    return target


def small(settings: Mapping[str, Any], width: int = WIDTH) -> dict[str, Any]:
    """A config's JSON with narrow layers; what hangs on a size and is not named here is left to its default."""
    found = dict(settings)
    sizes = {
        **dict.fromkeys(_WIDTHS, width),
        **dict.fromkeys(_INNER, 2 * width),
        **dict.fromkeys(_HEADS, HEADS),
        **dict.fromkeys(_PER_HEAD, width // HEADS),
        **_EXPERTS,
    }
    for key, value in settings.items():
        if isinstance(value, Mapping):
            # A pair holds two configs; the factors of a stretched RoPE are one for each number of a head.
            nested = "model_type" in value
            found[key] = small(value, width) if nested else _without_lists(value) if key.startswith("rope") else value
        elif isinstance(value, int) and not isinstance(value, bool) and key in sizes:
            found[key] = sizes[key]
    groups = settings.get("num_key_value_heads")
    if isinstance(groups, int):
        found["num_key_value_heads"] = 1 if groups == 1 else HEADS if groups == settings.get(_HEADS[0]) else 2
    return {key: value for key, value in found.items() if key not in _NOT_OURS}


def _without_lists(rope: Mapping[str, Any]) -> dict[str, Any] | None:
    return None if any(isinstance(value, list) for value in rope.values()) else dict(rope)
