"""Models from scratch: a config, a tokenizer given or learnt, random weights; written as a plain model folder.

What is made is a base checkpoint like any other: it is loaded, headed and trained by the same way. The same recipe
and rows give the same folder in every process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from nlpipe import upstream, vocabulary
from nlpipe.backbone import family_of
from nlpipe.errors import RecipeError, UnsupportedError
from nlpipe.locating import Location, locate
from nlpipe.recipe import ModelSection, TokenizerSection
from nlpipe.task import Family

log = logging.getLogger("nlpipe")

WRITERS = frozenset({"CausalLM", "Seq2SeqLM", "MaskedLM"})
"""Heads over the vocabulary, which belong to a base checkpoint; any other head is a task's, and comes later."""

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
"""T5's, one for each span that is taken out of a text (Raffel et al. 2020)."""

_ROLES: Mapping[Family, Mapping[str, str]] = {
    Family.ENCODER: {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    Family.DECODER: {"pad": "<pad>", "unk": "<unk>", "bos": "<|endoftext|>", "eos": "<|endoftext|>"},
    Family.ENCODER_DECODER: {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
}


def family(section: ModelSection) -> Family:
    """The family of `model.new`. Raises RecipeError where its type is no text model of one family."""
    kind = str((section.new or {})["model_type"])
    if (fault := upstream.config_fault(kind, {})) is not None:
        raise RecipeError(f"model.new: a {kind} cannot be made from its settings alone: {fault}")
    return family_of(upstream.bare_config(kind))


def make(
    section: ModelSection,
    head: str | None,
    texts: Callable[[], Iterable[str]],
    folder: Path,
    *,
    seed: int,
    offline: bool = False,
) -> Location:
    """Write the model to `folder`; `texts` gives the training rows' texts, if a tokenizer is to be learnt.

    Raises RecipeError for settings that make no model, with transformers' reason.
    """
    assert section.new is not None
    kind = str(section.new["model_type"])
    tokenizer = _tokenizer(section, texts, offline=offline)
    size = section.new.get("vocab_size")
    if size is not None and size < len(tokenizer):
        raise RecipeError(
            f"model.new.vocab_size is {size}, and the tokenizer has {len(tokenizer)} entries; leave it out"
        )
    config = upstream.new_config(kind, section.new, tokenizer)
    own = head if head in WRITERS and upstream.has_head(head, config) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = upstream.new_model(own, config, torch.float32)
        except Exception as error:  # whatever a class says of sizes that do not fit each other
            raise RecipeError(f"model.new: transformers cannot make this {kind}: {error}") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Location(section.name, folder)


def _tokenizer(section: ModelSection, texts: Callable[[], Iterable[str]], *, offline: bool) -> Any:
    wanted = section.tokenizer
    if isinstance(wanted, str):
        found = locate(wanted, offline=offline, weights=False)
        return upstream.read_tokenizer(found.folder, None)
    assert wanted is not None
    return _learnt(section, wanted, texts)


def _learnt(section: ModelSection, wanted: TokenizerSection, texts: Callable[[], Iterable[str]]) -> Any:
    assert section.new is not None
    kind, role = str(section.new["model_type"]), dict(_ROLES[family(section)])
    if wanted.type == "wordpiece" and "cls" not in role:
        raise UnsupportedError(
            "model.tokenizer.type: wordpiece does not keep how a text is spaced, so what is written with it could not "
            "be read; take bpe or unigram for a model that writes"
        )
    if wanted.type == "bpe" and "cls" not in role:
        role["unk"] = role["eos"]  # bytes leave nothing unknown
    spans = "relative_attention_num_buckets" in (upstream.config_fields(kind) or ()) and "mask" in role
    last: tuple[str, ...] = ()
    if spans and family(section) is Family.ENCODER_DECODER:
        last = SENTINELS[::-1]  # <extra_id_0> is the last of all, as in T5
        del role["mask"]
    backend = vocabulary.learn(
        texts(),
        vocabulary.Wish(
            wanted.type,
            wanted.vocab_size,
            tuple(dict.fromkeys(role.values())),
            last,
            role["unk"],
            wanted.lowercase,
            wanted.min_frequency,
            wanted.byte_fallback,
            begins=family(section) is not Family.DECODER,
        ),
    )
    backend.post_processor = _layout(backend, role)
    made = upstream.plain_tokenizer(backend, role, _limit(section), list(SENTINELS if last else ()))
    if len(made) < wanted.vocab_size:
        log.warning("the texts gave a tokenizer of %d entries, %d were asked for", len(made), wanted.vocab_size)
    return made


def _layout(backend: Any, role: Mapping[str, str]) -> Any:
    """[CLS] and [SEP] around texts, or the end token behind them; nothing around what a decoder reads."""
    from tokenizers.processors import TemplateProcessing

    if "cls" in role:
        first, last = role["cls"], role["sep"]
        single, pair = f"{first} $A {last}", f"{first} $A {last} $B:1 {last}:1"
    elif "bos" in role:
        return backend.post_processor
    else:
        last = role["eos"]
        single, pair = f"$A {last}", f"$A {last} $B {last}"
    named = [token for token in (role.get("cls"), role.get("sep"), role.get("eos")) if token]
    return TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, backend.token_to_id(token)) for token in named]
    )


def _limit(section: ModelSection) -> int | None:
    """What `model.max_length` says, for a model whose positions have no end; else its own positions decide."""
    return section.max_length if isinstance(section.max_length, int) else None
