"""What a loop of our own needs of transformers while it writes: the cache of what was read, and the next pass.

The same door as `upstream.py`, for the parts of generation that change with the version. Knows no tokens' meaning.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Attention that counts columns and not positions: padding between what was read and what follows would shift it.
_COUNTS_COLUMNS = frozenset({"gpt_neo", "mpt"})


def growing(model: Any) -> Any | None:
    """An empty cache that keeps room for what comes, so that a step does not copy all that was read before.

    None where the model's cache is of another kind (a sliding window, states of a recurrent layer, none).
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

    whole = _whole(model)
    if (
        prompted(model)
        or not hasattr(whole, "_supports_default_dynamic_cache")
        or not whole._supports_default_dynamic_cache()
    ):
        return None
    config = whole.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config)
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [_growing_layer()() for _ in cache.layers]
    if whole.config.is_encoder_decoder:
        return EncoderDecoderCache(cache, DynamicCache(config=config))
    return cache


def prompted(model: Any) -> bool:
    """Whether the model puts vectors or a prefix of its own in front (`adapter_prompts.Prompted`): it fills the cache
    itself, and takes none."""
    return hasattr(model, "places")


def _whole(model: Any) -> Any:
    """transformers' model in PEFT's wrapper, or in ours for prompts."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@functools.cache
def _growing_layer() -> Any:
    """transformers' layer of a cache, over a buffer with room at its end."""
    from transformers.cache_utils import DynamicLayer

    class Growing(DynamicLayer):  # type: ignore[misc]  # transformers' are Any to mypy
        keys: Tensor
        values: Tensor
        _room: tuple[Tensor, Tensor] | None = None  # each [rows, heads, more tokens than there are, width]

        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            before = self.get_seq_length()
            after = before + key_states.size(-2)
            if self._room is None or self._room[0].size(-2) < after:
                self._room = (
                    self._wider(self.keys, key_states, before),
                    self._wider(self.values, value_states, before),
                )
            for buffer, states in zip(self._room, (key_states, value_states), strict=True):
                buffer[..., before:after, :] = states
            self.keys, self.values = (buffer[..., :after, :] for buffer in self._room)
            return self.keys, self.values

        @staticmethod
        def _wider(held: Tensor, coming: Tensor, before: int) -> Tensor:
            rows, heads, tokens, width = coming.shape
            needed = before + tokens
            buffer = coming.new_empty(rows, heads, needed + max(32, needed // 2), width)
            if before:
                buffer[..., :before, :] = held
            return buffer

        def batch_select_indices(self, indices: Tensor) -> None:
            super().batch_select_indices(indices)
            self._room = None

        def batch_repeat_interleave(self, repeats: int) -> None:
            super().batch_repeat_interleave(repeats)
            self._room = None

        def without(self, columns: int) -> None:
            """Forget the first columns of all rows."""
            self.keys, self.values = self.keys[..., columns:, :], self.values[..., columns:, :]
            self._room = (
                None if self._room is None else (self._room[0][..., columns:, :], self._room[1][..., columns:, :])
            )

    return Growing


def next_pass(model: Any, input_ids: Tensor, given: dict[str, Any], *, first: bool) -> Any:
    """The model's outputs for what its cache has not seen; `given` are what transformers prepared, brought up to date.

    `input_ids` [rows, tokens] are all tokens so far.
    """
    unseen = 1
    if first:
        cache = given.get("past_key_values")
        seen = 0 if cache is None else cache.get_seq_length()
        unseen = input_ids.size(1) - seen
    inputs = model.prepare_inputs_for_generation(
        input_ids, next_sequence_length=unseen, is_first_iteration=first, **given
    )
    outputs = model(**inputs, return_dict=True)
    given.update(
        model._update_model_kwargs_for_generation(outputs, given, is_encoder_decoder=model.config.is_encoder_decoder)
    )
    return outputs


def keep_rows(given: dict[str, Any], rows: int, kept: Tensor) -> None:
    """Leave only the rows `kept` (indices) of `rows` in all that goes with the batch."""

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() and value.size(0) == rows:
            return value[kept]
        if hasattr(value, "batch_select_indices"):
            value.batch_select_indices(kept)
        elif isinstance(value, Mapping):  # the encoder's outputs
            return type(value)(**{name: chosen(inner) for name, inner in value.items()})
        return value

    for name, value in given.items():
        given[name] = chosen(value)


def forget_padding(given: dict[str, Any]) -> None:
    """Take away the first columns where they are padding of every row that is left."""
    mask, cache = given.get("attention_mask"), given.get("past_key_values")
    layers = getattr(cache, "layers", ())
    if mask is None or not layers or not all(hasattr(layer, "without") for layer in layers):
        return
    columns = int((mask.cumsum(1) == 0).all(0).sum())
    if columns:
        for layer in layers:
            layer.without(columns)
        for name in ("attention_mask", "position_ids"):
            if given.get(name) is not None:
                given[name] = given[name][:, columns:]


def bytes_per_token(model: Any) -> int:
    """About how many bytes the cache of one row takes for each token."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", None) or 1
    read = getattr(config, "num_key_value_heads", None) or heads
    layers = getattr(config, "num_hidden_layers", None) or 1
    whole = _whole(model)  # PEFT's prompts name no dtype
    return int(2 * layers * config.hidden_size * read / heads * whole.dtype.itemsize)


def counts_columns(model: Any) -> bool:
    """Whether tokens would be read otherwise with padding between them."""
    return model.config.model_type in _COUNTS_COLUMNS


def positions_given(model: Any) -> bool:
    """Whether padding between tokens does not move them: positions are given, or follow from the mask (BLOOM)."""
    whole = _whole(model)
    return "position_ids" in inspect.signature(whole.forward).parameters or whole.config.model_type == "bloom"


def read_on(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, *, last: int | None
) -> Any:
    """The logits of `ids` [rows, tokens], or of the `last` of them, behind what the cache has; `mask` is over both."""
    whole = _whole(model)
    takes = inspect.signature(whole.forward).parameters
    given: dict[str, Any] = {"position_ids": positions} if "position_ids" in takes else {}
    if last is not None and "logits_to_keep" in takes:
        given["logits_to_keep"] = last
    return model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **given).logits
