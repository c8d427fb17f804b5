"""The loop that writes one answer per row, token by token: a row leaves the batch once its answer has ended.

transformers prepares inputs, cache and processors (`generate(custom_generate=…)`) and this is what runs then, for the
likeliest tokens and for drawn ones. Beams stay transformers' own. Knows tokens, not what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nlpipe import upstream_cache

# Rows that have ended are computed along until they are this share of the batch: leaving copies the others' cache.
ENDED = 1 / 8


@dataclass(slots=True)
class Line:
    """What a row has written: tokens, ln p of each under the model itself, and how many it may have at most."""

    most: int
    ids: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ended: bool = False

    def add(self, token: int, score: float, *, done: bool) -> None:
        """One more token; the row has ended with it where `done`, or where it has room for no other."""
        if not self.ended:
            self.ids.append(token)
            self.scores.append(score)
            self.ended = done or len(self.ids) >= self.most


def loop(lines: Sequence[Line], keep: Callable[[Sequence[int]], None]) -> Callable[..., None]:
    """What `generate` is to run in place of its own loop: it fills `lines`, one for each row.

    `keep` is told which rows of the batch stay whenever some leave it.
    """

    def write(
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **given: Any,
    ) -> None:
        there = list(lines)
        outputs = upstream_cache.next_pass(model, input_ids, given, first=True)
        while True:
            logits = outputs.logits[:, -1].float()
            del outputs  # of a first pass over long prompts it is large
            chosen, scores = _chosen(logits, input_ids, logits_processor)
            input_ids = torch.cat([input_ids, chosen], 1)
            done = stopping_criteria(input_ids, None)
            for line, token, score, over in zip(there, chosen[:, 0].tolist(), scores, done.tolist(), strict=True):
                line.add(token, score, done=over)
            left = [at for at, line in enumerate(there) if not line.ended]
            if not left:
                return
            if _worth_leaving(there, len(left)):
                kept = torch.tensor(left, device=input_ids.device)
                upstream_cache.keep_rows(given, len(there), kept)
                for processor in logits_processor:
                    upstream_cache.keep_rows(vars(processor), len(there), kept)
                upstream_cache.forget_padding(given)
                input_ids, there = input_ids[kept], [there[at] for at in left]
                keep(left)
            outputs = upstream_cache.next_pass(model, input_ids, given, first=False)

    return write


def _worth_leaving(there: Sequence[Line], left: int) -> bool:
    """Whether the rows that have ended leave now: where they are many, or have no position left for another token."""
    ended = len(there) - left
    return ended > 0 and (ended >= ENDED * len(there) or any(len(line.ids) >= line.most for line in there))


def _chosen(logits: Tensor, input_ids: Tensor, processor: Any) -> tuple[Tensor, list[float]]:
    """The next token of each row, [rows, 1], and ln p of it before any setting changed that."""
    scores = processor(input_ids, logits.clone()) if len(processor) else logits
    chosen = scores.argmax(-1, keepdim=True)
    told = logits.gather(1, chosen)[:, 0] - logits.logsumexp(-1)
    return chosen, told.tolist()
