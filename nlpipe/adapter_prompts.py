"""Vectors in front of what a model reads (prompt, prefix and p-tuning), the same for every objective and family.

PEFT's classes hand the vectors over as `inputs_embeds`. Then a head that reads a row's last token reads the last of
its padding, T5's and BART's heads refuse, outputs are longer than the text, and generation counts other positions than
training did. Here the row is given places in front, filled with an ordinary token, and the embeddings of these
places are replaced: all that counts tokens counts right, on its own. For prefixes the places are those of the cache.

Knows PEFT's models by their attributes alone; `adapter.py` makes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nlpipe.errors import UnsupportedError

_PER_TOKEN = {"logits": 3, "last_hidden_state": 3, "start_logits": 2, "end_logits": 2}
"""Outputs with a value per token, and how many dimensions they then have."""


class Prompted(nn.Module):
    """A PEFT model of a method that puts vectors in front; reads and writes as the model itself would."""

    adapted: Any
    places: int

    def __init__(self, adapted: Any) -> None:
        super().__init__()
        self.adapted = adapted
        self._base: Any = adapted.get_base_model()
        self._kind: Any = adapted.active_peft_config
        self.places = int(self._kind.num_virtual_tokens)
        self._prefix = self._kind.peft_type == "PREFIX_TUNING"
        self._pair = bool(getattr(self._base.config, "is_encoder_decoder", False))
        self._filler = _filler(self._base.config)
        self._reading = False
        whole = getattr(self._base, "base", self._base)  # a head or a half of ours has the model inside
        if not self._prefix:
            reader = whole.get_encoder() if self._pair else whole
            reader.get_input_embeddings().register_forward_hook(self._replace)
            if self._pair:  # its decoder may share the embeddings, and reads no vectors
                reader.register_forward_pre_hook(self._begin)
                reader.register_forward_hook(self._end)

    @property
    def config(self) -> Any:
        """The model's own."""
        return self._base.config

    @property
    def generation_config(self) -> Any:
        """The model's own."""
        return self._base.generation_config

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        """Another one, for a while."""
        self._base.generation_config = value

    def get_base_model(self) -> Any:
        """The model that reads the vectors."""
        return self._base

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **rest: Any) -> Any:
        """What the model puts out for the tokens; what it puts out for the vectors is left out."""
        if self._prefix:
            if not self._pair:
                attention_mask = self._widened(attention_mask, 1)
            cache = self._cache(len(input_ids))
            return self._base(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, **rest)
        if rest.get("token_type_ids") is not None:
            rest["token_type_ids"] = self._widened(rest["token_type_ids"], 0)
        ids, mask = self._widened(input_ids, self._filler), self._widened(attention_mask, 1)
        with self._read():
            out = self._base(input_ids=ids, attention_mask=mask, **rest)
        return out if "decoder_input_ids" in rest else self._cut(out)

    def generate(self, **given: Any) -> Tensor:
        """As the model's own: int64 [rows, prompt + answer], without places for the vectors."""
        name = "decoder_input_ids" if self._prefix and self._pair else "input_ids"
        given[name] = self._widened(given[name], self._filler)
        if name == "input_ids":
            given["attention_mask"] = self._widened(given["attention_mask"], 1)
        if self._prefix:
            beams = given["generation_config"].num_beams or 1
            given["past_key_values"] = self._cache(len(given["input_ids"]) * beams)
        hidden = self._prefix or not self._pair
        if hidden:
            processors, criteria = given.get("logits_processor") or (), given.get("stopping_criteria") or ()
            given["logits_processor"] = [_Scores(one, self.places) for one in processors]
            given["stopping_criteria"] = [_Ends(one, self.places) for one in criteria]
        with self._read():
            found: Tensor = self._base.generate(**given)
        return found[:, self.places :] if hidden else found

    def _widened(self, tensor: Tensor, value: int) -> Tensor:
        return torch.cat([tensor.new_full((len(tensor), self.places), value), tensor], dim=1)

    def _vectors(self) -> Tensor:
        """[places, width]. Computed for one row: for several, a network rounds as their number makes it."""
        encoder = self.adapted.prompt_encoder[self.adapted.active_adapter]
        weight: Tensor = encoder.embedding.weight
        if self._kind.inference_mode:
            return weight
        found: Tensor = encoder(torch.arange(self.places, device=weight.device)[None])[0]
        return found

    def _cache(self, rows: int) -> Any:
        """Keys and values of the prefix for each row."""
        cache = self.adapted.get_prompt(1)
        cache.batch_repeat_interleave(rows)
        return cache

    @contextmanager
    def _read(self) -> Iterator[None]:
        """In here the embeddings of the first places are replaced; of a pair in its encoder alone."""
        self._reading = not self._pair
        try:
            yield
        finally:
            self._reading = False

    def _begin(self, *_: Any) -> None:
        self._reading = True

    def _end(self, *_: Any) -> None:
        self._reading = False

    def _replace(self, _: nn.Module, args: tuple[Any, ...], states: Tensor) -> Tensor:
        # A text has a token at least; a single one is the next of an answer, whose vectors are in the cache.
        if not self._reading or states.size(1) <= self.places:
            return states
        vectors = self._vectors().to(states.dtype).expand(len(states), -1, -1)
        return torch.cat([vectors, states[:, self.places :]], dim=1)

    def _cut(self, out: Any) -> Any:
        for name, dimensions in _PER_TOKEN.items():
            found = getattr(out, name, None)
            if isinstance(found, Tensor) and found.ndim == dimensions:
                setattr(out, name, found[:, self.places :])
        return out


class _Scores:
    """A processor of scores that sees the tokens behind the places. transformers counts its arguments."""

    def __init__(self, inner: Callable[..., Any], places: int) -> None:
        self.inner, self.places = inner, places

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Any:
        return self.inner(input_ids[:, self.places :], scores)


class _Ends:
    """A stopping criterion that sees the tokens behind the places."""

    def __init__(self, inner: Callable[..., Any], places: int) -> None:
        self.inner, self.places = inner, places
        if hasattr(inner, "eos_token_id"):  # transformers asks for it
            self.eos_token_id = inner.eos_token_id

    def __call__(self, input_ids: Tensor, scores: Any, **rest: Any) -> Any:
        return self.inner(input_ids[:, self.places :], scores, **rest)


def _filler(config: Any) -> int:
    """An ordinary token: no padding, which is not read, and no end, which T5's and BART's heads look for."""
    special: set[Any] = set()
    for one in (config, getattr(config, "encoder", None), getattr(config, "decoder", None)):
        for name in ("pad", "bos", "eos", "cls", "sep", "decoder_start", "forced_bos", "forced_eos"):
            value = getattr(one, f"{name}_token_id", None)
            special.update(value if isinstance(value, Sequence) else [value])
    return next(token for token in range(len(special) + 1) if token not in special)


def require_cache(base: Any) -> None:
    """Raise UnsupportedError where a model takes no keys and values from before."""
    whole, pair = getattr(base, "base", base), bool(base.config.is_encoder_decoder)
    reads = whole is base or not pair  # a half or a head of ours reads a pair's encoder, which has no cache
    if not reads or "past_key_values" not in inspect.signature(whole.base_model.forward).parameters:
        raise UnsupportedError(
            f"adapter.method: prefix_tuning puts keys and values in front, which {whole.config.model_type} does not "
            "take for this objective; prompt_tuning and p_tuning put vectors in front of the text instead"
        )
