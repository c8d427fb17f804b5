"""What users of transformers write by hand where it has no pipeline: the peers of some benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from nlpipe.objectives import CausalText
from nlpipe.objectives.base import Row
from nlpipe.pipelines import Pipeline


class Place(NamedTuple):
    """Where both sides compute, and in what numbers."""

    device: str = "cpu"
    dtype: str = "float32"


class Spans:
    """The loop of version 4's QuestionAnsweringPipeline, by its code: windows of 384 tokens that share 128, spans of up
    to 15 tokens, the best of all windows; a forward for so many windows."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        kind = transformers.AutoModelForQuestionAnswering
        self.model = kind.from_pretrained(folder, dtype=place.dtype).to(place.device).eval()

    def answers(self, rows: Sequence[Mapping[str, str]], size: int) -> list[dict[str, Any]]:
        """The best span of each row, `size` windows at a time in the given order."""
        windows = [(at, one) for at, row in enumerate(rows) for one in self._windows(row)]
        best: list[dict[str, Any]] = [{"score": -1.0} for _ in rows]
        for start in range(0, len(windows), size):
            members = windows[start : start + size]
            names = ("input_ids", "attention_mask", "token_type_ids")
            batch = self.tokenizer.pad([{name: one[name] for name in names} for _, one in members], return_tensors="pt")
            with torch.inference_mode():
                found = self.model(**batch.to(self.model.device))
            firsts, lasts = found.start_logits.float().cpu(), found.end_logits.float().cpu()
            for (at, one), begins, ends in zip(members, firsts, lasts, strict=True):
                answer = self._best(one, begins.numpy(), ends.numpy(), rows[at]["context"])
                if answer["score"] > best[at]["score"]:
                    best[at] = answer
        return best

    def _windows(self, row: Mapping[str, str]) -> list[dict[str, Any]]:
        found = self.tokenizer(
            row["question"],
            row["context"],
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        names = [name for name in found if name != "overflow_to_sample_mapping"]
        count = len(found["input_ids"])
        return [{name: found[name][at] for name in names} | {"of": found.sequence_ids(at)} for at in range(count)]

    def _best(self, one: Mapping[str, Any], begins: Any, ends: Any, context: str) -> dict[str, Any]:
        inside = np.array([part == 1 for part in one["of"]])
        first, last = (self._shares(values[: len(inside)], inside) for values in (begins, ends))
        scores = np.tril(np.triu(np.outer(first, last)), 14)
        start, end = np.unravel_index(int(scores.argmax()), scores.shape)
        left, right = one["offset_mapping"][start][0], one["offset_mapping"][end][1]
        return {"score": float(scores[start, end]), "start": left, "end": right, "answer": context[left:right]}

    @staticmethod
    def _shares(values: Any, inside: Any) -> Any:
        kept = np.where(inside, values, -10_000.0)
        grown = np.exp(kept - kept.max())
        return grown / grown.sum()


class Continuing:
    """`model.generate` over batches in the given order, each row stopped after so many tokens."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.eos_token
        kind = transformers.AutoModelForCausalLM
        self.model = kind.from_pretrained(folder, dtype=place.dtype).to(place.device).eval()

    def texts(self, prompts: Sequence[str], limits: Sequence[int], size: int) -> list[str]:
        """What each prompt is gone on with, greedily."""
        found = []
        for start in range(0, len(prompts), size):
            most = limits[start : start + size]
            batch = self.tokenizer(list(prompts[start : start + size]), return_tensors="pt", padding=True)
            batch = batch.to(self.model.device)
            before = batch["input_ids"].size(1)
            with torch.inference_mode():
                ids = self.model.generate(
                    **batch,
                    do_sample=False,
                    max_new_tokens=max(most),
                    suppress_tokens=[self.tokenizer.eos_token_id],
                    pad_token_id=self.tokenizer.eos_token_id,
                    stopping_criteria=[_Limits(before, most, self.model.device)],
                )
            found += [self.tokenizer.decode(row[before : before + one]) for row, one in zip(ids, most, strict=True)]
        return found


class _Limits:
    """Ends each row at its own length."""

    eos_token_id = None  # rows that have ended are padded where a criterion has this attribute

    def __init__(self, before: int, most: Sequence[int], device: torch.device) -> None:
        self.before, self.most = before, torch.tensor(most, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **rest: Any) -> torch.Tensor:
        return input_ids.size(1) - self.before >= self.most


@dataclass(frozen=True, kw_only=True)
class _Limited(CausalText):
    """An objective whose rows have room for so many tokens, by their prompt."""

    lengths: Mapping[tuple[int, ...], int] = field(default_factory=dict)

    def space(self, row: Row) -> int:
        return self.lengths[tuple(row.ids)]


def limited(pipe: Pipeline, prompts: Sequence[str], limits: Sequence[int]) -> CausalText:
    """A pipeline's objective with a length for each of these prompts."""
    objective: Any = pipe.objective
    ids = [objective.prompt_ids(pipe.task.query(pipe.given(one), objective), pipe.tokenizers) for one in prompts]
    lengths = {tuple(one): limit for one, limit in zip(ids, limits, strict=True)}
    own = {one.name: getattr(objective, one.name) for one in fields(CausalText)}
    return _Limited(**own, lengths=lengths)
