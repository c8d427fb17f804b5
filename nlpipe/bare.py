"""A backbone without a head: what an objective that reads hidden states alone computes with.

Knows architectures, never tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlpipe import upstream

_PREFIX = "base"


class EncoderHalf(nn.Module):
    """The encoder of an encoder-decoder. The decoder is kept, so that the folder stays whole, and takes no part."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        whole: Any = base
        self.config: Any = whole.config
        used = {id(parameter) for parameter in self._encoder().parameters()}
        for parameter in base.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in used)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def _encoder(self) -> nn.Module:
        whole: Any = self.base
        encoder: nn.Module = whole.get_encoder()
        return encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: Any) -> Any:
        """The encoder's own output, with `last_hidden_state` [rows, tokens, width]."""
        given = {name: value for name, value in rest.items() if value is not None}  # PEFT passes all it knows of
        return self._encoder()(input_ids=input_ids, attention_mask=attention_mask, **given)

    def save_pretrained(self, folder: Path) -> None:
        """Both halves, as transformers reads them."""
        whole: Any = self.base
        whole.save_pretrained(folder)


def load(
    folder: Path, config: Any, dtype: torch.dtype, quantize: str | None = None
) -> tuple[nn.Module, frozenset[str]]:
    """The bare model, and the names of weights that it reads and that the folder does not have.

    A pooler on top of the states is not read: it stays as it is in the folder, and is left out where it is missing.
    """
    model, missing = upstream.load_model(None, folder, config, dtype, quantize)
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module):
        if any(name.startswith("pooler.") for name in missing):
            model.pooler = None
        else:
            pooler.requires_grad_(False)
    if getattr(config, "is_encoder_decoder", False):
        half = EncoderHalf(model)
        read = {name for name, parameter in half.named_parameters() if parameter.requires_grad}
        return half, frozenset(f"{_PREFIX}.{name}" for name in missing) & read
    return model, frozenset(name for name in missing if not name.startswith("pooler."))
