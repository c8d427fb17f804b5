"""Text models in CTranslate2's form, by the converter's own reading of each architecture."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpipe import upstream
from nlpipe.errors import UnsupportedError
from nlpipe.exporting.graphs import quiet
from nlpipe.runners import ctranslate2 as files

NEEDS = ("ctranslate2",)

# What BART's configs no longer say, and its converter asks for.
_BART = {"normalize_before": False, "normalize_embedding": True}

_NEUTRAL = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1, "length_penalty": 1.0}
_READ = (*_NEUTRAL, "min_new_tokens", "suppress_tokens", "bad_words_ids", "early_stopping")


class Numbers:
    """A tokenizer to the converter, whose tokens are called by their numbers: no vocabulary has doubles then."""

    def __init__(self, size: int, tokens: Mapping[str, int | None], pad_last: bool) -> None:
        self._names = [str(number) for number in range(size)]
        if pad_last:  # by this name Marian's converter knows the entry that no decoder may write
            self._names[-1] = "<pad>"
        self.bos_token, self.eos_token, self.pad_token = (
            self._name(tokens.get(role)) for role in ("bos", "eos", "pad")
        )
        self.unk_token = self._name(tokens.get("unk")) or self.eos_token or self._names[0]
        self.bos_token_id, self.eos_token_id, self.pad_token_id = (tokens.get(role) for role in ("bos", "eos", "pad"))

    def _name(self, token: int | None) -> str | None:
        return None if token is None else self._names[token]

    def get_vocab(self) -> dict[str, int]:
        """The number of each token."""
        return {name: number for number, name in enumerate(self._names)}

    def convert_ids_to_tokens(self, token: int) -> str:
        """What a token is called."""
        return self._names[token]

    def __len__(self) -> int:
        return len(self._names)


def write(model: Any, tok: Any, folder: Path, quantize: str | None) -> None:
    """Write a causal model or a pair. Raises UnsupportedError for an architecture that the converter does not know."""
    from ctranslate2.converters import transformers as theirs

    config = model.config
    loader = theirs._MODEL_LOADERS.get(type(config).__name__)
    if loader is None or type(model).__name__ != loader.architecture_name:
        known = sorted(name.removesuffix("Config") for name in theirs._MODEL_LOADERS)
        raise UnsupportedError(
            f"CTranslate2's converter does not know {type(model).__name__}; it knows models that write of: "
            f"{', '.join(known)}"
        )
    pair = bool(config.is_encoder_decoder)
    missing = {name: value for name, value in _BART.items() if not hasattr(config, name)} if pair else {}
    names = Numbers(
        int(config.vocab_size),
        {
            "bos": getattr(config, "bos_token_id", None),
            "eos": tok.target.end_id,
            "unk": getattr(tok.target.upstream, "unk_token_id", None),
            "pad": tok.target.pad_id,
        },
        pad_last=config.model_type == "marian",
    )
    try:
        for name, value in missing.items():
            setattr(config, name, value)
        with quiet():
            spec = loader(copy.deepcopy(model), names)  # some loaders take the model apart, to save memory
            spec.validate()
            spec.optimize(quantization="int8" if quantize else None)
            folder.mkdir(exist_ok=True)
            spec.save(str(folder))
    except Exception as error:  # the converter reads attributes that a version of transformers may have renamed
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(f"CTranslate2's converter cannot take this {config.model_type}: {reason}") from error
    finally:
        for name in missing:
            delattr(config, name)
    (folder / files.SETTINGS).write_text(json.dumps(_settings(model, pair), indent=2), encoding="utf-8")


def _settings(model: Any, pair: bool) -> dict[str, Any]:
    """The model's own settings of generation, as the runner reads them."""
    own = model.generation_config
    stated = {name: getattr(own, name, None) for name in _READ}
    return {
        "pair": pair,
        "start": getattr(model.config, "decoder_start_token_id", None),
        "ends": sorted(upstream.end_tokens(own)),
        "max_new_tokens": upstream.default_new_tokens(model),
        "settings": {
            name: value for name, value in stated.items() if value is not None and value != _NEUTRAL.get(name)
        },
    }
