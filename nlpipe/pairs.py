"""Warm pairs: an encoder's checkpoint as the encoder of a pair that writes.

Rothe et al. 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks" (BERT2BERT and BERT2RND). Knows
architectures, no task and no training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nlpipe import upstream
from nlpipe.errors import UnsupportedError
from nlpipe.tokens import Tokenizer

HEAD = "Seq2SeqLM"
"""The head that an encoder gets a decoder for."""

SAME = frozenset({"bert", "roberta", "electra", "xlm-roberta", "camembert"})
"""Encoders whose causal class has cross-attention and a cache: the decoder starts from the same checkpoint."""


def warm(folder: Path, config: Any, tok: Tokenizer, dtype: torch.dtype) -> tuple[Any, frozenset[str]]:
    """The pair, and the names of its weights that the checkpoint does not have: cross-attention at least.

    Other encoders get a new BERT decoder of equal width and depth, with the encoder's embeddings copied.
    Raises UnsupportedError where the tokenizer names nothing for an answer to begin with.
    """
    encoder, missing = upstream.load_model(None, folder, config, dtype)
    if (pooler := getattr(encoder, "pooler", None)) is not None:
        pooler.requires_grad_(False)  # it is part of the class, and a decoder looks at the states below it
    lost = {f"encoder.{name}" for name in missing if not name.startswith("pooler.")}
    if config.model_type in SAME:
        decoder, missing = upstream.load_causal_half(folder, dtype)
        lost |= {f"decoder.{name}" for name in missing}
    else:
        decoder = upstream.new_decoder(config, config.num_hidden_layers, dtype)
        with torch.no_grad():
            decoder.get_input_embeddings().weight.copy_(encoder.get_input_embeddings().weight)
        copied = "bert.embeddings.word_embeddings.weight"
        lost |= {f"decoder.{name}" for name, _ in decoder.named_parameters() if name != copied}
    return upstream.warm_pair(encoder, decoder, _special(tok)), frozenset(lost)


def _special(tok: Tokenizer) -> dict[str, int]:
    start = next((i for i in (tok.upstream.cls_token_id, tok.upstream.bos_token_id) if i is not None), None)
    if start is None:
        raise UnsupportedError(
            "this encoder's tokenizer has neither cls_token nor bos_token for an answer to begin with"
        )
    return {"decoder_start_token_id": start, "eos_token_id": tok.end_id, "pad_token_id": tok.pad_id}
