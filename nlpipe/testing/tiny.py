"""Tiny random models of many architectures, written as plain transformers folders, without a network.

Each folder is what a user would find on the Hub: `config.json`, `model.safetensors` and a tokenizer of the
kind that the architecture really has, around a base checkpoint (masked, causal or sequence-to-sequence), so
that a task's head is missing from it. One table says how architectures differ; one function reads a row.

It knows no task, no recipe and no objective. The weights are random: these models have learnt nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpipe.errors import UnsupportedError, suggest
from nlpipe.testing._tokenizers import build, corpus

__all__ = ["ARCHITECTURES", "corpus", "family", "tiny_model"]


@dataclass(frozen=True)
class _Row:
    """An architecture: its tokenizer, the class of its base checkpoint, its sizes in its config's words."""

    family: str
    model_type: str
    tokenizer: str
    checkpoint: str
    sizes: Mapping[str, Any]
    positions: str = "max_position_embeddings"  # "" where positions are relative and have no end
    offset: int = 0  # rows of the position table that the config counts and no token can use
    start: str = ""  # the decoder's first token
    spare: int = 0  # ids that the model has and its tokenizer has not, where the real checkpoints have some


# Dropout and activations stay as they are in life; sizes and spread do not. The usual spread, 0.02, is made
# for a width of 768; at 32 a sum has 24 times fewer terms, and every layer adds next to nothing. Measured: a
# BART could not copy two to five words after 800 steps of 16 rows with 0.02, with 0.1 it could after 150. T5
# has a factor instead: half its usual 1.0 learnt an order of two words in 150 steps, 1.0 in 200 to over 400.
_INIT = {"initializer_range": 0.1}
_STD = {"init_std": 0.1}
_DEEP = {"num_hidden_layers": 2, "num_attention_heads": 4}

_BERT = {"hidden_size": 32, "intermediate_size": 64, **_DEEP, **_INIT}
_ROBERTA = {**_BERT, "type_vocab_size": 1}
_DISTILBERT = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, **_INIT}
_BIGBIRD = {**_BERT, "attention_type": "original_full"}
_MODERNBERT = {**_BERT, "local_attention": 16}  # narrow enough to matter: the second layer is local
_ELECTRA = {**_BERT, "embedding_size": 32}
_ALBERT = {**_BERT, "embedding_size": 16}
_DEBERTA = {
    **{**_BERT, "type_vocab_size": 0, "position_biased_input": False, "relative_attention": True},
    **{"pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "share_att_key": True},
    **{"norm_rel_ebd": "layer_norm"},
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, **_INIT}
_GPT_NEO = {
    **{"hidden_size": 32, "num_layers": 2, "num_heads": 4, **_INIT},
    **{"attention_types": [[["global", "local"], 1]], "window_size": 16},
}
_BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, **_INIT}
_LLAMA = {**_BERT, "num_key_value_heads": 2}
_GEMMA = {**_LLAMA, "head_dim": 8}
_QWEN2 = {**_LLAMA, "pad_token_id": None}  # in life only its tokenizer names a pad token
_OPT = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, **_DEEP, **_STD}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "initializer_factor": 0.5}
_BART = {
    **{"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "d_model": 32},
    **{"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, **_STD},
}
_MARIAN = {**_BART, "scale_embedding": True}

_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim")  # what configs call the width

_E, _D, _P = "encoder", "decoder", "encoder-decoder"
_TABLE = {
    "bert": _Row(_E, "bert", "bert", "BertForMaskedLM", _BERT),
    "roberta": _Row(_E, "roberta", "roberta", "RobertaForMaskedLM", _ROBERTA, offset=2),
    "distilbert": _Row(_E, "distilbert", "distilbert", "DistilBertForMaskedLM", _DISTILBERT),
    "bigbird": _Row(_E, "big_bird", "big_bird", "BigBirdForMaskedLM", _BIGBIRD),
    "modernbert": _Row(_E, "modernbert", "modernbert", "ModernBertForMaskedLM", _MODERNBERT),
    "gpt2": _Row(_D, "gpt2", "gpt2", "GPT2LMHeadModel", _GPT2, "n_positions"),
    "gpt_neo": _Row(_D, "gpt_neo", "gpt2", "GPTNeoForCausalLM", _GPT_NEO),
    "bloom": _Row(_D, "bloom", "bloom", "BloomForCausalLM", _BLOOM, "", spare=8),
    "llama": _Row(_D, "llama", "llama", "LlamaForCausalLM", _LLAMA),
    "t5": _Row(_P, "t5", "t5", "T5ForConditionalGeneration", _T5, "", start="<pad>", spare=28),
    "bart": _Row(_P, "bart", "roberta", "BartForConditionalGeneration", _BART, start="</s>"),
    "marian": _Row(_P, "marian", "marian", "MarianMTModel", _MARIAN, start="<pad>"),
    "electra": _Row(_E, "electra", "bert", "ElectraForMaskedLM", _ELECTRA),
    "deberta_v2": _Row(_E, "deberta-v2", "deberta_v2", "DebertaV2ForMaskedLM", _DEBERTA, spare=8),
    "albert": _Row(_E, "albert", "albert", "AlbertForMaskedLM", _ALBERT),
    "mpnet": _Row(_E, "mpnet", "mpnet", "MPNetForMaskedLM", _BERT, offset=2),
    "opt": _Row(_D, "opt", "opt", "OPTForCausalLM", _OPT),
    "mbart": _Row(_P, "mbart", "mbart", "MBartForConditionalGeneration", _BART, start="ro_RO"),
    "pegasus": _Row(_P, "pegasus", "pegasus", "PegasusForConditionalGeneration", _MARIAN, start="<pad>"),
    "nllb": _Row(_P, "m2m_100", "nllb", "M2M100ForConditionalGeneration", _MARIAN, start="</s>"),
    "gemma": _Row(_D, "gemma", "gemma", "GemmaForCausalLM", _GEMMA),
    "qwen2": _Row(_D, "qwen2", "qwen2", "Qwen2ForCausalLM", _QWEN2, spare=8),
}

ARCHITECTURES: tuple[str, ...] = tuple(_TABLE)


def family(architecture: str) -> str:
    """`encoder`, `decoder` or `encoder-decoder`; UnsupportedError for a name not in ARCHITECTURES."""
    return _row(architecture).family


def tiny_model(
    architecture: str,
    folder: Path,
    *,
    seed: int = 0,
    words: Sequence[str] = (),
    positions: int = 64,
    width: int = 32,
) -> Path:
    """Write a tiny random base checkpoint with its tokenizer to `folder` and return the folder.

    Width 32 (`width` is another multiple of 4), two layers (on each side), four heads, 15,000 to 60,000 float32
    weights. Each of `words`, made-up words of letters, is one token after a space. `positions` is the longest input
    in tokens, special tokens included (T5 and BLOOM have no such limit: there it is only `model_max_length`). With
    the same versions the same arguments give the same bytes in every process. UnsupportedError for a name not in
    ARCHITECTURES.
    """
    row = _row(architecture)  # before the slow imports

    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build(row.tokenizer, words, positions, folder)
    config = transformers.CONFIG_MAPPING[row.model_type]
    settings = {key: value for key, value in _special_ids(tokenizer).items() if hasattr(config, key)}
    settings |= {**row.sizes, "vocab_size": len(tokenizer) + row.spare}
    settings |= {key: width for key in _WIDTHS if key in row.sizes}
    if row.positions:
        settings[row.positions] = positions + row.offset
    if row.start:
        settings["decoder_start_token_id"] = tokenizer.convert_tokens_to_ids(row.start)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to move
        torch.manual_seed(seed)
        model = getattr(transformers, row.checkpoint)(config(**settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _row(architecture: str) -> _Row:
    if architecture not in _TABLE:
        raise UnsupportedError(f"unknown architecture '{architecture}'; {suggest(architecture, _TABLE)}")
    return _TABLE[architecture]


def _special_ids(tokenizer: Any) -> dict[str, int | None]:
    roles = ("pad", "bos", "eos", "cls", "sep")
    return {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in roles}
