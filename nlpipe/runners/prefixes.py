"""What several rows begin with is read once: few-shot examples, a system prompt, the prompt before each choice.

Knows ids and caches, not what they mean. Answers are the same as without, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nlpipe import arrays
from nlpipe.objectives.base import Batch
from nlpipe.upstream_cache import counts_columns, growing, positions_given, prompted, read_on

SHARED = 16
"""Tokens that rows must share before it is worth a pass of its own."""


def read_once(model: Any, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
    """Inputs padded on the left, and a cache that has what all rows begin with where that is SHARED tokens or more.

    The inputs that go with it have those tokens first, then the padding, then each row's own.
    """
    cache = growing(model)
    if "decoder_input_ids" in inputs or len(inputs["input_ids"]) < 2 or counts_columns(model):
        return inputs, cache
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    count = common(ids, mask)
    if count < SHARED:
        return inputs, cache
    first = int(mask[0].argmax())
    prefix = ids[:1, first : first + count]
    fill(model, cache, prefix, len(ids))
    own = mask.sum(1, keepdim=True) - count
    width = int(own.max())
    place = torch.arange(width, device=ids.device).unsqueeze(0)
    laid = {
        "input_ids": torch.cat([prefix.expand(len(ids), -1), ids[:, -width:]], 1),
        "attention_mask": torch.cat([torch.ones_like(prefix).expand(len(ids), -1), (place >= width - own).long()], 1),
    }
    return {**inputs, **laid}, cache


def common(ids: Tensor, mask: Tensor) -> int:
    """How many tokens all rows, padded on the left, begin with; each keeps one of its own at least."""
    lengths = mask.sum(1)
    most = int(lengths.min()) - 1
    place = torch.arange(max(most, 0), device=ids.device).unsqueeze(0) + (ids.size(1) - lengths).unsqueeze(1)
    begun = ids.gather(1, place)
    return int((begun == begun[:1]).all(0).long().cumprod(0).sum())


def fill(model: Any, cache: Any, prefix: Tensor, rows: int) -> None:
    """Read `prefix` [1, tokens] into an empty cache, for so many rows."""
    model(input_ids=prefix, attention_mask=torch.ones_like(prefix), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(rows)


WORTH = 3 / 4
"""Tokens left to read, of all, up to which rows are judged behind what they share."""


def judged(model: Any, batch: Batch) -> tuple[dict[str, Tensor], Batch] | None:
    """`logits` of what is judged, and the batch that they belong to, where rows share what stands before it.

    A pair's encoder reads each source once; a decoder each prompt once (`batch.given`), and what all prompts begin
    with. None where that saves too little, or the model cannot.
    """
    if prompted(model):
        return None
    if "decoder_input_ids" in batch.inputs:
        return _behind_sources(model, batch)
    if not batch.given or min(batch.given) < 2 or not positions_given(model) or counts_columns(model):
        return None
    heads: dict[tuple[int, ...], int] = {}
    which = [
        heads.setdefault(tuple(row.ids[: count - 1]), len(heads))
        for row, count in zip(batch.rows, batch.given, strict=True)
    ]
    tails = [row.ids[count - 1 :] for row, count in zip(batch.rows, batch.given, strict=True)]
    read = {name: tensor.to(model.device) for name, tensor in _left([list(head) for head in heads]).items()}
    begun = common(read["input_ids"], read["attention_mask"]) if len(heads) > 1 else 0
    left = sum(map(len, heads)) - begun * (len(heads) - 1) + sum(map(len, tails))
    if left > WORTH * sum(len(row.ids) for row in batch.rows):
        return None
    read, cache = read_once(model, read)
    if cache is None:
        return None
    mask = read["attention_mask"]
    seen = cache.get_seq_length()
    _on(model, read["input_ids"][:, seen:], mask, cache, logits=1)
    index = torch.tensor(which, device=mask.device)
    cache.batch_select_indices(index)
    ids = torch.as_tensor(arrays.pad(tails, 0), device=mask.device)
    own = torch.as_tensor(arrays.mask([len(tail) for tail in tails]), device=mask.device)
    logits = _on(model, ids, torch.cat([mask[index], own], 1), cache)
    labels = torch.full_like(ids, -100)
    for row, (count, tail) in enumerate(zip(batch.given, tails, strict=True)):
        labels[row, : len(tail)] = batch.targets["labels"][row, count - 1 : count - 1 + len(tail)]
    return {"logits": logits}, replace(batch, targets={"labels": labels})


def _left(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Rows padded on the left."""
    ids, mask = arrays.left(arrays.pad(rows, 0), arrays.mask([len(row) for row in rows]), 0)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def _on(model: Any, ids: Tensor, mask: Tensor, cache: Any, logits: int | None = None) -> Tensor:
    """The logits of `ids` [rows, tokens] behind what the cache has; `mask` is over both."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.size(1) :]
    found: Tensor = read_on(model, ids, mask, positions, cache, last=logits)
    return found


def _behind_sources(model: Any, batch: Batch) -> tuple[dict[str, Tensor], Batch] | None:
    sources: dict[tuple[int, ...], int] = {}
    which = [sources.setdefault(tuple(row.ids), len(sources)) for row in batch.rows]
    if len(sources) > WORTH * len(which):
        return None
    first = torch.tensor([which.index(number) for number in range(len(sources))], device=model.device)
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    encoded = model.get_encoder()(input_ids=ids[first], attention_mask=mask[first])
    encoded.last_hidden_state = encoded.last_hidden_state[torch.tensor(which, device=model.device)]
    rest = {name: tensor for name, tensor in batch.inputs.items() if name != "input_ids"}
    return {"logits": model(encoder_outputs=encoded, **rest, use_cache=False).logits}, batch
