"""`model.new`: whether a mapping describes a model that transformers can make. Weights and tokens are `scratch.py`'s.

transformers keeps unknown fields of a config without a word; here they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpipe.errors import nearest, suggest
from nlpipe.recipe_words import Key, shown

DECIDED = {
    "decoder_vocab_size": "the tokenizer decides it",
    "is_decoder": "model_type decides it",
    "is_encoder_decoder": "model_type decides it",
    "add_cross_attention": "model_type decides it",
    "use_cache": "training needs none, and writing always has one",
}
"""Fields of configs that are no choice of a recipe's, with the reason."""


def problems(new: Any) -> dict[Key, str]:
    """A message for each key of `model.new` that does not fit; empty where all do."""
    if not isinstance(new, Mapping):
        return {}  # said already
    from nlpipe import upstream

    kind = new.get("model_type")
    if kind is None:
        return {("model", "new", "model_type"): "is missing; say for example `model_type: t5`, bert, gpt2, llama, bart"}
    known = upstream.config_fields(str(kind))
    if known is None:
        near = nearest(str(kind), upstream.model_types())
        hint = f"; did you mean '{near}'?" if near else ""
        return {("model", "new", "model_type"): f"transformers knows no {shown(kind)}{hint}"}
    wrong: dict[Key, str] = {}
    for name, value in new.items():
        at = ("model", "new", str(name))
        if name in DECIDED or str(name).endswith("_token_id"):
            wrong[at] = f"leave it out: {DECIDED.get(str(name), 'the tokenizer decides it')}"
        elif name != "model_type" and name not in known:
            wrong[at] = f"is no setting of {kind}; {suggest(str(name), sorted(known))}"
        elif name != "model_type" and (reason := upstream.config_fault(str(kind), {str(name): value}, kinds_only=True)):
            wrong[at] = reason
    if not wrong:
        given = {str(name): value for name, value in new.items() if name != "model_type"}
        if reason := upstream.config_fault(str(kind), given):
            wrong["model", "new"] = f"makes no {kind}: {reason}"
    return wrong
