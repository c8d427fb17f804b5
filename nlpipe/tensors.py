"""Pure torch: pooling and losses. No task, no tokenizer, no file; rows are padded in `arrays.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the states [rows, tokens, width] over real tokens, [rows, width]."""
    weight = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def last_token(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The state of each row's last real token, [rows, width]; works for padding on either side."""
    positions = torch.arange(states.size(1), device=states.device)
    last = (positions * attention_mask).argmax(1)
    return states[torch.arange(states.size(0), device=states.device), last]


def weighted_mean_pool(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean in which the i-th real token weighs i, [rows, width] (Muennighoff 2022, SGPT, section 3.1)."""
    weight = (attention_mask.cumsum(1) * attention_mask).unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def first_token(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The state of each row's first real token, [rows, width]; works for padding on either side."""
    return states[torch.arange(states.size(0), device=states.device), attention_mask.argmax(1)]


def pool(states: Tensor, attention_mask: Tensor, kind: str) -> Tensor:
    """One vector per row, [rows, width]: `mean`, `cls` (the first token's), `last` or `weighted_mean`."""
    pools = {"mean": mean_pool, "cls": first_token, "last": last_token, "weighted_mean": weighted_mean_pool}
    return pools[kind](states, attention_mask)


def joined(vectors: Tensor, text: Tensor, share: Tensor) -> Tensor:
    """The vectors of texts, [texts, width], from those of their windows: rows of `text` i, each times its share."""
    count = int(text[-1]) + 1
    return vectors.new_zeros(count, vectors.size(1)).index_add(0, text, vectors * share.unsqueeze(1))


def cosine_mse(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """The squared error of the pairs' cosines, summed over pairs (Reimers and Gurevych 2019, section 3)."""
    return (F.cosine_similarity(first, second) - target).square().sum()


def cosent(first: Tensor, second: Tensor, target: Tensor, temperature: float) -> Tensor:
    """log(1 + sum of exp((cos(k) - cos(i)) / temperature)) over all pairs i, k with target(i) > target(k).

    CoSENT, Huang et al. 2024, doi:10.1109/TASLP.2024.3402087.
    """
    cosine = F.cosine_similarity(first, second) / temperature
    gaps = (cosine[None, :] - cosine[:, None])[target[:, None] > target[None, :]]
    return torch.logsumexp(torch.cat([gaps.new_zeros(1), gaps]), 0)


def in_batch(first: Tensor, second: Tensor, others: Tensor, asked: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each first text's own second among all seconds and others, summed over pairs.

    InfoNCE (van den Oord et al. 2018) by cosine. `asked` [firsts] and `same` [seconds + others] number the texts by
    how they read: a candidate that is the match of this first text in any pair is no negative and is left out.
    """
    candidates = F.normalize(torch.cat([second, others]), dim=1)
    scores = F.normalize(first, dim=1) @ candidates.T / temperature
    own = torch.arange(len(first), device=first.device)
    pairs = asked[:, None] == asked[None, :]
    right = pairs.float() @ (same[: len(first), None] == same[None, :]).float() > 0
    right[own, own] = False
    return F.cross_entropy(scores.masked_fill(right, -torch.inf), own, reduction="sum")


def label_loss(
    logits: Tensor, target: Tensor, *, weight: Tensor | None, smoothing: float, focal: float = 0.0
) -> Tensor:
    """Cross-entropy per row, [rows], for logits [rows, labels] and label indices [rows].

    Label smoothing as in Szegedy et al. 2016 (torch's). `weight` multiplies a row by its label's weight. `focal` is
    the exponent of `focused`; not together with smoothing, under which a loss says nothing of the right label's p.
    """
    loss = F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
    loss = focused(loss, loss, focal)
    return loss if weight is None else loss * weight[target]


def multi_label_loss(logits: Tensor, target: Tensor, *, weight: Tensor | None, focal: float = 0.0) -> Tensor:
    """Binary cross-entropy per row, mean over labels, [rows]; `target` is 0/1 [rows, labels]."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight)
    if focal:
        loss = focused(loss, F.binary_cross_entropy_with_logits(logits, target, reduction="none"), focal)
    return loss.mean(1)


def focused(loss: Tensor, surprise: Tensor, focal: float) -> Tensor:
    """(1 - p) ** focal times the loss, where `surprise` is -ln p of what is right: the easy weighs less.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4; its weight alpha is the class weight.
    """
    if not focal:
        return loss
    doubt = -torch.expm1(-surprise)  # below eps an exponent under 1 would have an infinite slope
    return loss * doubt.clamp(min=torch.finfo(doubt.dtype).eps) ** focal


def left(ids: Tensor, attention_mask: Tensor, value: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their mask, [rows, tokens], padded on the left instead: what a causal model goes on from."""
    length, width = attention_mask.sum(1, keepdim=True), ids.size(1)
    place = torch.arange(width, device=ids.device).unsqueeze(0) - (width - length)
    kept = place >= 0
    moved = ids.gather(1, place.clamp(min=0))
    return torch.where(kept, moved, torch.full_like(moved, value)), kept.long()


def token_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """ln p of each label [rows, tokens] under logits [rows, tokens, vocabulary]; 0 where the label is -100."""
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return -losses
