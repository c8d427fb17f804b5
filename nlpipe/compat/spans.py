"""Answers cut from a context as version 4 scored them: an objective of its own, because the numbers are others.

A span's score is p(start) q(end), each a softmax over the context's tokens and [CLS] of one window; the same answer in
several windows, or at several places, has the sum. (nlpipe's own AnswerSpan normalises over whole rows and candidates.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives import AnswerSpan
from nlpipe.objectives.base import Answer, Batch, Passage, Raw, Row, parts

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Gold
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

Span = tuple[int, int]


class Place(NamedTuple):
    """The context's tokens that a row reads: from position `first` on, their characters and the words they are of."""

    first: int
    spans: tuple[Span, ...]
    words: tuple[int | None, ...] | None
    none: bool  # whether position 0 is a [CLS], which stands for "no answer"


class Cut(NamedTuple):
    """A stretch of the context, half-open characters, and its score."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Cuts(Answer):
    """The best stretches of each window, and the score of "no answer": the least of all windows."""

    windows: tuple[tuple[Cut, ...], ...]
    none: float


@dataclass(frozen=True, kw_only=True)
class AnswerCuts(AnswerSpan):
    """Reads a Passage, answers Cuts; `window.overlap` tokens are shared by neighbouring windows."""

    top: int = 1
    longest: int = 15
    to_words: bool = True

    def encode(self, query: Passage, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per window of the context, each with the whole question."""
        source, layout = tok.source, tok.source.pair
        question = source.encode(query.question).ids or [source.fallback_id]
        pieces, words = source.encode_with_words(query.context)
        if pieces.offsets is None:
            raise UnsupportedError("this model's tokenizer cannot tell where its tokens lie, so no answer could be cut")
        ids, spans = pieces.ids, pieces.offsets
        fixed = layout.special + len(question)
        if self.window.max_length - fixed <= self.window.overlap:
            raise DataError(
                f"the question has {len(question)} tokens; {self.window.max_length} are read at once (max_seq_len), of "
                f"which windows share {self.window.overlap} (doc_stride): that leaves no room for the context"
            )
        before = len(layout.prefix) + len(question) + len(layout.infix)
        none = bool(layout.prefix) and layout.prefix[0] == source.upstream.cls_token_id
        windows = self.window.spans(len(ids), fixed)
        rows = []
        for start, end in windows:
            laid, types = layout.lay(question, ids[start:end])
            own = None if words is None else tuple(words[start:end])
            rows.append(
                Row(
                    ids=laid,
                    types=types if source.segments else None,
                    seen=(len(question) + windows[-1][1], len(question) + len(ids)),
                    place=Place(before, tuple(spans[start:end]), own, none),
                )
            )
        return parts(rows)

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """For each row its best cuts and the score of "no answer"."""
        found = runner.compute(self, batch)
        pairs = zip(batch.rows, found["start"], found["end"], strict=True)
        return [self._cuts(row.place, start, end) for row, start, end in pairs]

    def _cuts(self, place: Place, start: np.ndarray, end: np.ndarray) -> tuple[tuple[Cut, ...], float]:
        import numpy as np

        own = np.arange(place.first, place.first + len(place.spans))
        asked = np.concatenate([[0], own]) if place.none else own
        starts, ends = (_shares(one[asked].astype("float64")) for one in (start, end))
        none = float(starts[0] * ends[0]) if place.none else 0.0
        if place.none:
            starts, ends = starts[1:], ends[1:]
        if not len(starts):
            return (), none
        tokens = len(starts)
        scores = np.tril(np.triu(np.outer(starts, ends)), self.longest - 1).ravel()
        count = min(2 * self.top + 10 if self.to_words else self.top, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        order = best[np.argsort(-scores[best], kind="stable")]
        cuts = (self._cut(place, *divmod(int(at), tokens), float(scores[at])) for at in order if scores[at] > 0)
        return tuple(cuts), none

    def _cut(self, place: Place, first: int, last: int, score: float) -> Cut:
        """The characters from one token to another, of their words where these are asked for."""
        start, end = place.spans[first][0], place.spans[last][1]
        if self.to_words and place.words is not None:
            one, other = place.words[first], place.words[last]
            if one is not None and other is not None:
                start = place.spans[place.words.index(one)][0]
                end = place.spans[len(place.words) - 1 - place.words[::-1].index(other)][1]
        return Cut(start, end, score)

    def join(self, query: Passage, rows: Sequence[Row], raws: Sequence[Raw]) -> Cuts:  # type: ignore[override]
        """All windows as they are."""
        return Cuts(tuple(cuts for cuts, _ in raws), min(none for _, none in raws))


def merged(found: Cuts, context: str, *, top: int, impossible: bool) -> list[dict[str, Any]]:
    """The `top` answers as version 4 told them; the same text in another case counts as the same."""
    answers: dict[str, dict[str, Any]] = {}
    for cut in (cut for window in found.windows for cut in window):
        text = context[cut.start : cut.end]
        known = answers.setdefault(text.lower(), {"score": 0.0, "start": cut.start, "end": cut.end, "answer": text})
        known["score"] += cut.score
    ranked = list(answers.values())
    if impossible:
        ranked.append({"score": found.none, "start": 0, "end": 0, "answer": ""})
    return sorted(ranked, key=lambda one: -one["score"])[:top]


def reading(objective: AnswerCuts, limit: int, longest: int | None, stride: int | None) -> AnswerCuts:
    """The objective with windows as version 4 cut them. Raises DataError for a stride that leaves nothing to read."""
    length = min(longest or min(limit, 384), limit)
    shared = min(length // 2, 128) if stride is None else stride
    if shared >= length:
        raise DataError(f"doc_stride ({shared}) must be less than max_seq_len ({length})")
    return replace(objective, window=replace(objective.window, max_length=length, overlap=shared, long="window"))


def _shares(values: np.ndarray) -> np.ndarray:
    import numpy as np

    shares: np.ndarray = np.exp(values - values.max()) if len(values) else values
    found: np.ndarray = shares / shares.sum()
    return found
