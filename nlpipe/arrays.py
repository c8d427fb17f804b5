"""Rows of ids as numpy arrays: padding and masks, before any back end sees them. No torch, no model, no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def pad(rows: Sequence[Sequence[int]], value: int) -> Ids:
    """Right-padded ids, int64 [rows, longest]."""
    kept = mask([len(row) for row in rows]).astype(bool)
    padded: Ids = np.full(kept.shape, value, dtype=np.int64)
    padded[kept] = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(kept.sum()))
    return padded


def mask(lengths: Sequence[int]) -> Ids:
    """1 where a right-padded row has a token, int64 [rows, longest]."""
    found: Ids = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return found


def readings(ids: Sequence[Sequence[int]], types: Sequence[Sequence[int] | None], pad_id: int) -> dict[str, Ids]:
    """What a model reads of rows padded on the right: `input_ids`, `attention_mask` and, where rows have them,
    `token_type_ids`; int64 [rows, longest] each."""
    found = {"input_ids": pad(ids, pad_id), "attention_mask": mask([len(row) for row in ids])}
    kinds = [row for row in types if row is not None]
    return {**found, "token_type_ids": pad(kinds, 0)} if kinds else found


def left(ids: Ids, attention_mask: Ids, value: int) -> tuple[Ids, Ids]:
    """Right-padded ids and their mask, [rows, tokens], padded on the left instead: what a causal model goes on from."""
    kept = attention_mask[:, ::-1] == 1
    moved: Ids = np.full_like(ids, value)
    moved[kept] = ids[attention_mask == 1]
    return moved, kept.astype(np.int64)
