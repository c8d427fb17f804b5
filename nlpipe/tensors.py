"""Pure torch: padding, masks, pooling and losses. No task, no tokenizer, no file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Right-padded ids, int64 [rows, longest]."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=torch.long)


def mask(lengths: Sequence[int]) -> Tensor:
    """1 where a right-padded row has a token, int64 [rows, longest]."""
    count = torch.tensor(lengths).unsqueeze(1)
    return (torch.arange(max(lengths)).unsqueeze(0) < count).long()


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the states [rows, tokens, width] over real tokens, [rows, width]."""
    weight = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def last_token(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The state of each row's last real token, [rows, width]; works for padding on either side."""
    positions = torch.arange(states.size(1), device=states.device)
    last = (positions * attention_mask).argmax(1)
    return states[torch.arange(states.size(0), device=states.device), last]


def label_loss(logits: Tensor, target: Tensor, *, weight: Tensor | None, smoothing: float) -> Tensor:
    """Cross-entropy per row, [rows], for logits [rows, labels] and label indices [rows].

    Label smoothing as in Szegedy et al. 2016 (torch's). `weight` multiplies a row by its label's weight.
    """
    loss = F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
    return loss if weight is None else loss * weight[target]


def multi_label_loss(logits: Tensor, target: Tensor, *, weight: Tensor | None) -> Tensor:
    """Binary cross-entropy per row, mean over labels, [rows]; `target` is 0/1 [rows, labels]."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight)
    return loss.mean(1)
