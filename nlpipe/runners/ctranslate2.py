"""Text models that CTranslate2 computes: causal ones and pairs. No torch.

An export's vocabulary is the numbers of its tokens, so that what goes in and out are ids; the tokenizer stays ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import ArtifactError, UnsupportedError
from nlpipe.objectives.continuing import Written
from nlpipe.objectives.place import NOTHING
from nlpipe.runners.base import Passes
from nlpipe.runners.graph import GraphRunner, refuse, threads_of

if TYPE_CHECKING:
    from nlpipe.objectives.base import Batch, Objective
    from nlpipe.objectives.continuing import Wish
    from nlpipe.runners.base import Judge

WRITING_TOKENS = 8192  # as PyTorch's runner reads at once of prompts

SETTINGS = "generation.json"
"""What the model's own files say of generation: `pair`, `start`, `ends`, `max_new_tokens`, and `settings` as below."""

# Our settings by the name that CTranslate2 has for them.
_SHARED = {"num_beams": "beam_size", "length_penalty": "length_penalty"}
# These look at a causal model's prompt in transformers and not here, so only pairs may have them.
_PAIRS = {"repetition_penalty": "repetition_penalty", "no_repeat_ngram_size": "no_repeat_ngram_size"}
_HANDLED = {"max_new_tokens", "min_new_tokens", "early_stopping", "suppress_tokens", "bad_words_ids"}


class Ct2Runner(GraphRunner):
    """Runs a Generator or a Translator of CTranslate2; both may be called from several threads at once."""

    def __init__(self, model: Any, known: Mapping[str, Any]) -> None:
        self.model = model
        self.pair: bool = known["pair"]
        self._start: int | None = known["start"]
        self._ends = frozenset(known["ends"])
        self._limit: int = known["max_new_tokens"]
        self._own: Mapping[str, Any] = known["settings"]

    @classmethod
    def open(cls, folder: Path, threads: int | None = None) -> Ct2Runner:
        """The model in an export's folder. Raises ArtifactError where CTranslate2 cannot read it."""
        import ctranslate2

        try:
            known = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            kind = ctranslate2.Translator if known["pair"] else ctranslate2.Generator
            model = kind(str(folder), device="cpu", intra_threads=threads_of(threads))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ArtifactError(f"{folder} cannot be read by CTranslate2: {error}") from error
        return cls(model, known)

    def passes(self, *, writing: bool) -> Passes:
        """CTranslate2 cuts what it is given into batches of its own."""
        return Passes(WRITING_TOKENS)

    def compute(self, objective: Objective, batch: Batch) -> dict[str, np.ndarray]:
        """Raises UnsupportedError: CTranslate2 shows no logits of a batch."""
        refuse("writes and judges text, and does nothing else")

    def likelihood(self, objective: Judge, batch: Batch) -> list[np.ndarray]:
        """For each row ln p of each of its target tokens, float64 [tokens]."""
        labels = np.asarray(batch.targets["labels"])
        given = _unpadded(batch)
        if not self.pair:
            found = self.model.score_batch([_names(ids) for ids in given], max_input_length=0)
            # A score is of the token that follows, as a label is.
            scores = [np.array(one.log_probs, dtype=np.float64) for one in found]
            return [score[right[: len(score)] != NOTHING] for score, right in zip(scores, labels, strict=True)]
        targets, cuts = [], []
        for read, right in zip(np.asarray(batch.inputs["decoder_input_ids"]), labels, strict=True):
            answer = right[right != NOTHING].tolist()
            start = read[: int((right != NOTHING).argmax()) + 1].tolist() if answer else []
            ended = bool(answer) and answer[-1] in self._ends
            targets.append(_names([*start[1:], *(answer[:-1] if ended else answer)]))
            cuts.append((max(len(start) - 1, 0), len(answer)))
        found = self.model.score_batch([_names(ids) for ids in given], targets, max_input_length=0)
        return [
            np.array(one.log_probs, dtype=np.float64)[before : before + count]
            for one, (before, count) in zip(found, cuts, strict=True)
        ]

    def generate(self, batch: Batch, wish: Wish) -> list[list[Written]]:
        """For each row `wish.answers` continuations, the best first."""
        settings = self._settings(wish)
        given, starts = _unpadded(batch), self._starts(batch)
        limit = int({**self._own, **wish.settings}.get("max_new_tokens") or self._limit)
        # Beside prompts of one token, of which CTranslate2 reads nothing ahead, it takes the rest of longer ones for
        # part of what it wrote (4.8).
        groups: dict[tuple[int, bool], list[int]] = {}
        for row, room in enumerate(wish.most):
            groups.setdefault((min(limit, room), len(given[row]) > 1), []).append(row)
        found: list[list[Written]] = [[] for _ in given]
        for (most, _), rows in groups.items():
            sources = [_names(given[row]) for row in rows]
            prefixes = [_names(starts[row]) for row in rows] if self.pair else None
            written = self._written(sources, prefixes, most, settings, wish)
            for row, answers in zip(rows, written, strict=True):
                found[row] = answers
        return found

    def _written(
        self,
        sources: list[list[str]],
        prefixes: list[list[str]] | None,
        most: int,
        settings: Mapping[str, Any],
        wish: Wish,
    ) -> list[list[Written]]:
        ends = sorted(wish.ends | self._ends)
        shared = {**settings, "end_token": ends, "return_end_token": True, "num_hypotheses": wish.answers}
        heard = _Heard(wish.stop, len(sources))
        if settings["beam_size"] == 1:  # with beams it tells of no token
            # What a setting has changed is no longer the model's own: then a pass of its own says it.
            changed = {name for name, value in settings.items() if value} - {"beam_size", "length_penalty"}
            if not changed or wish.stop is not None:
                shared |= {"callback": heard, "return_scores": not changed}
        if prefixes is None:
            before = 0
            results = self.model.generate_batch(sources, max_length=most, include_prompt_in_result=False, **shared)
            ids = [one.sequences_ids for one in results]
        else:
            before = len(prefixes[0])
            results = self.model.translate_batch(
                sources, prefixes if before else None, max_decoding_length=most + before, max_input_length=0, **shared
            )
            ids = [[[int(token) for token in answer[before:]] for answer in one.hypotheses] for one in results]
        return [
            [_told(answer[:most], frozenset(ends), wish.stop, heard.scores_of(row, answer)) for answer in answers]
            for row, answers in enumerate(ids)
        ]

    def stream(self, batch: Batch, wish: Wish) -> Iterator[int]:
        """The tokens that continue the batch's only row, one by one as they are written."""
        settings = {name: value for name, value in self._settings(wish).items() if name != "beam_size"}
        limit = int({**self._own, **wish.settings}.get("max_new_tokens") or self._limit)
        most, ends = min(limit, wish.most[0]), wish.ends | self._ends
        source, prefix = _names(_unpadded(batch)[0]), _names(self._starts(batch)[0])
        settings |= {"end_token": sorted(ends)}
        settings.pop("length_penalty", None)
        if self.pair:
            steps = self.model.generate_tokens(
                source, prefix or None, max_decoding_length=most + len(prefix), **settings
            )
        else:
            steps = self.model.generate_tokens(source, max_length=most, **settings)
        for at, step in enumerate(steps):
            if step.token_id in ends:
                return
            if at >= len(prefix) or not self.pair:
                yield int(step.token_id)

    def _settings(self, wish: Wish) -> dict[str, Any]:
        """A wish in CTranslate2's words. Raises UnsupportedError for what it does not do as transformers does."""
        asked = {**self._own, **wish.settings}
        if wish.seeds is not None:
            raise UnsupportedError("CTranslate2 cannot draw tokens by a seed of each row; load it with backend='torch'")
        found = {
            theirs: asked[ours]
            for ours, theirs in {**_SHARED, **(_PAIRS if self.pair else {})}.items()
            if ours in asked
        }
        unknown = sorted(set(asked) - set(_SHARED) - set(_PAIRS if self.pair else ()) - _HANDLED)
        if unknown:
            raise UnsupportedError(
                f"generation.{unknown[0]} is not done by CTranslate2 as by transformers; load the model with "
                "backend='torch', or leave it out"
            )
        if wish.stop is not None and found.get("beam_size", 1) > 1:
            raise UnsupportedError("CTranslate2 stops at stop_strings only without beams: set num_beams: 1")
        if "min_new_tokens" in asked:
            found["min_decoding_length" if self.pair else "min_length"] = asked["min_new_tokens"]
        elif self.pair:
            found["min_decoding_length"] = 0
        found.setdefault("beam_size", 1)
        forbidden = [[token] for token in asked.get("suppress_tokens") or ()] + list(asked.get("bad_words_ids") or ())
        if forbidden:
            found["suppress_sequences"] = [_names(one) for one in forbidden]
        return found

    def _starts(self, batch: Batch) -> list[list[int]]:
        """What each row's decoder reads behind its start token, which CTranslate2 puts there itself."""
        if not self.pair:
            return [[]] * len(batch.rows)
        starts = np.asarray(batch.inputs["decoder_input_ids"]).tolist()
        if any(start[0] != self._start for start in starts):
            raise UnsupportedError(
                "this model's decoder begins with the language itself, which CTranslate2 does not; load it with "
                "backend='torch'"
            )
        return [start[1:] for start in starts]


class _Heard:
    """What CTranslate2 tells of each token of each row; it ends rows at stop strings."""

    def __init__(self, stop: Callable[[Sequence[int]], bool] | None, rows: int) -> None:
        self.stop = stop
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.scores: list[list[float | None]] = [[] for _ in range(rows)]

    def __call__(self, step: Any) -> bool:
        ids = self.ids[step.batch_id]
        ids.append(step.token_id)
        self.scores[step.batch_id].append(step.log_prob)
        return self.stop is not None and self.stop(ids)

    def scores_of(self, row: int, answer: Sequence[int]) -> list[float] | None:
        """ln p of each token of a row's answer, where all were told."""
        count = len(answer)
        scores = [score for score in self.scores[row][-count:] if score is not None]
        return scores if count and len(scores) == count and self.ids[row][-count:] == list(answer) else None


def _told(
    ids: Sequence[int],
    ends: frozenset[int],
    stop: Callable[[Sequence[int]], bool] | None,
    scores: Sequence[float] | None,
) -> Written:
    """An answer, and whether it came to an end by itself."""
    ended = bool(ids) and ids[-1] in ends
    if stop is not None and stop(ids):
        ids = ids[: next(count for count in range(1, len(ids) + 1) if stop(ids[:count]))]
        ended = True
    return Written(tuple(ids), ended, None if scores is None else tuple(scores[: len(ids)]))


def _unpadded(batch: Batch) -> list[list[int]]:
    ids, mask = np.asarray(batch.inputs["input_ids"]), np.asarray(batch.inputs["attention_mask"]).astype(bool)
    return [row[real].tolist() for row, real in zip(ids, mask, strict=True)]


def _names(ids: Sequence[int]) -> list[str]:
    """Tokens as the export calls them."""
    return [str(token) for token in ids]
