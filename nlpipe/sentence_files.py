"""The files by which sentence-transformers describes a model of vectors: read from anyone's folder, written to ours.

`modules.json` lists the steps, `1_Pooling/config.json` says how states become a vector, `sentence_bert_config.json`
(since version 6 the tokenizer's own files) where texts are cut, and `config_sentence_transformers.json` the prompts.
Knows no model and no task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpipe.errors import ArtifactError, UnsupportedError

MODULES = "modules.json"
_POOLING = "1_Pooling"
_LENGTHS = "sentence_bert_config.json"
_PROMPTS = "config_sentence_transformers.json"

# Their names of our poolings: the keys up to version 5, which later ones still read, and the values since 6.
_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "weighted_mean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}
_OTHER_KEYS = ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens")
_MODES = {"cls": "cls", "mean": "mean", "weightedmean": "weighted_mean", "lasttoken": "last"}

# Encoder-decoders whose encoder sentence-transformers 6 finds in a whole folder. Of BART it would read the decoder;
# of Marian and Pegasus it looks for the encoder under names that only a folder of its own has, and makes up the rest.
_HALVED = {"t5", "mt5", "umt5", "longt5"}


def stated(folder: Path) -> dict[str, Any] | None:
    """What a folder says of how its vectors are made; None where it is not one of sentence-transformers'.

    The keys `pooling`, `normalize`, `prompts` (by role: `query`, `document`, `default`) and `measure` are fields of
    the objective that gives vectors; `max_length`, where stated, is the number of tokens that texts are cut to.
    Raises ArtifactError for files that cannot be read, UnsupportedError for steps that nlpipe does not compute.
    """
    if not (folder / MODULES).is_file():
        return None
    modules = _read(folder / MODULES)
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise UnsupportedError(
            f"{folder} is a sentence-transformers model of the modules {', '.join(kinds)}; nlpipe computes "
            "Transformer, Pooling and Normalize"
        )
    found = {
        "pooling": _pooling(folder / modules[1]["path"] / "config.json"),
        "normalize": len(kinds) == 3,
        **_prompts(folder / _PROMPTS),
    }
    lengths = _read(folder / _LENGTHS) if (folder / _LENGTHS).is_file() else {}
    if lengths.get("do_lower_case") and not _lowers(folder):
        raise UnsupportedError(f"{folder / _LENGTHS} asks for lower case, which its tokenizer does not make")
    # Since version 6 the tokenizer's own limit is where they keep it; 10^30 there means that it is not stated.
    limit = int(lengths.get("max_seq_length") or _tokenizer(folder).get("model_max_length") or 0)
    return {**found, "max_length": limit} if 0 < limit < 1_000_000 else found


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}") from error


def _pooling(file: Path) -> str:
    config = _read(file)
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or ())
    if named is None:
        keys = {key: ours for ours, key in _KEYS.items()} | {key: key for key in _OTHER_KEYS}
        found = [keys.get(key, key) for key in config if key.startswith("pooling_mode_") and config[key]] or ["mean"]
    else:
        found = [_MODES.get(mode, mode) for mode in modes]
    if len(found) != 1 or found[0] not in _KEYS:
        raise UnsupportedError(f"{file} pools by {' and '.join(found)}; nlpipe pools by one of {', '.join(_KEYS)}")
    return str(found[0])


def _prompts(file: Path) -> dict[str, Any]:
    config = _read(file) if file.is_file() else {}
    given = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    # The order of encode_document, which in 6.2 stops at a `document` without text; E5 and others mean `passage`.
    document = next((given[name] for name in ("document", "passage", "corpus") if name in given), None)
    roles = {
        "query": given.get("query"),
        "document": document,
        "default": given.get(config.get("default_prompt_name") or ""),
    }
    measure = config.get("similarity_fn_name") or "cosine"
    if measure not in ("cosine", "dot"):
        raise UnsupportedError(f"{file} compares vectors by {measure}; nlpipe does by cosine or dot")
    return {"prompts": {role: text for role, text in roles.items() if text}, "measure": measure}


def _lowers(folder: Path) -> bool:
    return bool(_tokenizer(folder).get("do_lower_case"))


def _tokenizer(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    config: dict[str, Any] = _read(file) if file.is_file() else {}
    return config


def write(folder: Path, settings: Mapping[str, Any], max_length: int, config: Any) -> bool:
    """Describe the model in `folder` for sentence-transformers; `config` is the model's own.

    Returns False, writing nothing, for an architecture that it would read in another way. Texts of more than
    `max_length` tokens are cut there: it knows no windows.
    """
    if getattr(config, "is_encoder_decoder", False) and config.model_type not in _HALVED:
        return False
    steps = [
        ("", "Transformer"),
        (_POOLING, "Pooling"),
        *([("2_Normalize", "Normalize")] * bool(settings["normalize"])),
    ]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]
    pooling = {key: ours == settings["pooling"] for ours, key in _KEYS.items()} | dict.fromkeys(_OTHER_KEYS, False)
    prompts = dict(settings["prompts"])
    described = {
        "prompts": {"query": "", "document": "", **prompts},
        "default_prompt_name": "default" if "default" in prompts else None,
        "similarity_fn_name": settings["measure"],
    }
    (folder / _POOLING).mkdir()
    _write(folder / MODULES, modules)
    _write(folder / _POOLING / "config.json", {"word_embedding_dimension": int(config.hidden_size), **pooling})
    _write(folder / _LENGTHS, {"max_seq_length": max_length, "do_lower_case": False})
    _write(folder / _PROMPTS, described)
    return True


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
