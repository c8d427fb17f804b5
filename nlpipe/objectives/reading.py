"""Texts read for their own likelihood, and learnt so: the next token of each, or spans taken out of them.

What a recipe chooses of it is `Reading`; the rest are functions from a text to rows. No tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives import noise as noising
from nlpipe.objectives import packing
from nlpipe.objectives.base import Row, TextLikelihood, Window, parts
from nlpipe.objectives.place import Place

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.tokens import Tokenizers


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are learnt: joined into full windows with `pack`; for spans the share of tokens taken out (`noise`,
    None: 0.15 with sentinels, 0.3 with one kind of blank) and the spans' mean length."""

    pack: bool = True
    noise: float | None = None
    mean_span: float = noising.MEAN


def ids_of(text: str, tok: Tokenizers) -> list[int]:
    """The text's tokens. Raises DataError where there are none."""
    ids = tok.source.encode(text).ids
    if not ids:
        raise DataError("the tokenizer makes no token of this text; leave it out")
    return ids


def told(rows: Sequence[Row], raws: Sequence[Any]) -> TextLikelihood:
    """ln p of each token, in the text's order, from all windows and turns."""
    found = {
        at: float(value)
        for row, raw in zip(rows, raws, strict=True)
        for at, value in zip(row.place.at, raw, strict=True)
    }
    return TextLikelihood(tuple(found[at] for at in sorted(found)))


# The next token


def _first(tok: Tokenizers) -> tuple[int, ...]:
    """What a text is read behind: its first token where the tokenizer has one, else the end of the text before."""
    return tok.source.single.prefix or (tok.target.end_id,)


def following(text: str, tok: Tokenizers, window: Window) -> list[Row]:
    """A row per window in which each token is judged once, after those before it in the window."""
    ids, first = ids_of(text, tok), _first(tok)
    spans = window.spans(len(ids), len(first))
    rows, done = [], 0
    for start, end in spans:
        # Within a text the token before stands in the place of the first one.
        context = first if start == 0 else tuple(ids[max(start - len(first), 0) : start])
        new = range(max(start, done), end)
        scored = tuple(at in new for at in range(start, end))
        place = Place(prompt=len(context), scored=scored, at=tuple(new))
        rows.append(Row([*context, *ids[start:end]], target=ids[start:end], place=place, seen=(spans[-1][1], len(ids))))
        done = end
    return parts(rows)


def followed(text: str, tok: Tokenizers, window: Window, reading: Reading) -> list[Row]:
    """A text to be learnt: with its end, in windows of its own, or whole where it is to be joined with others."""
    ids, first = ids_of(text, tok), _first(tok)
    spans = window.spans(len(ids) + 1, len(first))
    read, there = min(spans[-1][1], len(ids)), len(ids)
    ended = [*ids, tok.target.end_id] if spans[-1][1] > len(ids) else ids[:read]
    if reading.pack:
        prefix = tok.source.single.prefix
        marks = (*[0] * len(prefix), *[1] * len(ended))
        return [Row([*prefix, *ended], place=packing.Document(marks), seen=(read, there))]
    rows, done = [], 0
    for start, end in spans:
        context = first if start == 0 else tuple(ended[max(start - len(first), 0) : start])
        part = ended[start:end]
        scored = None if start >= done else tuple(at >= done for at in range(start, end))
        rows.append(Row([*context, *part], target=part, place=Place(prompt=len(context), scored=scored)))
        done = end
    return parts([replace(row, seen=(read, there)) for row in rows])


def stream(rows: Sequence[Row], rng: np.random.Generator, window: Window) -> Iterator[Row]:
    """Texts with their ends as one stream in full windows; each of its tokens is asked for in exactly one.

    A window begins with the last token of the one before it; the first, with the end of the last text. First tokens
    (Llama's <s>) are read and not asked for.
    """
    whole = packing.joined(rows, rng)
    before = whole.ids[-1]
    for part in packing.cut(whole, window.max_length - 1):
        scored = None if all(part.marks) else tuple(mark > 0 for mark in part.marks)
        yield Row([before, *part.ids], target=part.ids, place=Place(prompt=1, scored=scored))
        before = part.ids[-1]


# Spans


@dataclass(frozen=True, slots=True)
class Denoising:
    """How one model restores texts: each span behind a sentinel of its own (T5), or the whole text where there is one
    kind of blank (BART's text infilling; Marian's unknown token serves as the blank)."""

    tok: Tokenizers
    window: Window
    reading: Reading
    start: tuple[int, ...]

    @property
    def blanks(self) -> tuple[int, ...]:
        """The tokens that stand for spans. Raises UnsupportedError where there are none that fit what is written."""
        found = self.tok.source.blanks
        if not found or self.tok.target.upstream is not self.tok.source.upstream:
            why = "has no token for a blank" if not found else "writes with another vocabulary than it reads with"
            raise UnsupportedError(f"this model {why}, so a text cannot be restored from itself; take T5 or BART")
        return found

    @property
    def sentinels(self) -> bool:
        """Whether each span has a blank of its own."""
        return len(self.blanks) > 1

    @property
    def share(self) -> float:
        """The share of tokens taken out."""
        usual = noising.SHARE if self.sentinels else noising.INFILLED
        return usual if self.reading.noise is None else self.reading.noise

    @property
    def room(self) -> int:
        """Tokens of a text that one window holds: so many that the encoder is full once spans are sentinels."""
        special = self.tok.source.single.special
        if self.sentinels:
            return noising.whole_length(
                max(self.window.max_length - special, 2), density=self.share, mean=self.reading.mean_span
            )
        return max(self.window.max_length - max(special, len(self.start) + 1), 2)

    def _spans(self, count: int) -> list[tuple[int, int]]:
        window = replace(self.window, max_length=self.room, overlap=min(self.window.overlap, self.room - 1))
        return window.spans(count, 0)

    def judged(self, text: str) -> list[Row]:
        """A row per window and turn: spans evenly spread are taken out, each token of the text in one of the turns."""
        ids = ids_of(text, self.tok)
        spans = self._spans(len(ids))
        rows, done = [], 0
        size, most = max(1, round(self.reading.mean_span)), len(self.blanks) - 1 if self.sentinels else 10**9
        for start, end in spans:
            new = max(start, done)
            for group in noising.turns(end - new, size=size, share=self.share, most=most):
                taken = [(new - start + a, new - start + b) for a, b in group]
                rows.append(replace(self._judged(ids[start:end], taken, start), seen=(spans[-1][1], len(ids))))
            done = end
        return parts(rows)

    def _judged(self, ids: Sequence[int], taken: Sequence[tuple[int, int]], start: int) -> Row:
        if self.sentinels:
            target = noising.hidden(ids, taken, self.blanks)
            scored = [flag for a, b in taken for flag in (False, *[True] * (b - a))]
        else:
            inside = {at for a, b in taken for at in range(a, b)}
            target, scored = list(ids), [at in inside for at in range(len(ids))]
        at = tuple(start + place for a, b in taken for place in range(a, b))
        place = Place(start=self.start, scored=tuple(scored), at=at)
        return self._row(ids, taken, target, place)

    def _row(self, ids: Sequence[int], taken: Sequence[tuple[int, int]], target: list[int], place: Place) -> Row:
        blanks = self.blanks if self.sentinels else self.blanks * len(taken)
        read, _ = self.tok.source.single.lay(noising.without(ids, taken, blanks))
        return Row(read, target=target, place=place, beside=len(place.start) + len(target))

    def learnt(self, text: str) -> list[Row]:
        """A text to be learnt: in windows of its own, or whole where it is to be joined with others."""
        ids = ids_of(text, self.tok)
        spans = self._spans(len(ids))
        read = ids[: spans[-1][1]]
        pieces = [read] if self.reading.pack else [ids[start:end] for start, end in spans]
        return parts([replace(self._whole(piece), seen=(len(read), len(ids))) for piece in pieces])

    def _whole(self, ids: list[int]) -> Row:
        place = packing.Document((0,) * len(ids), room=self.room, again=not self.sentinels)
        return Row(ids, place=place, beside=_beside(len(ids), again=place.again))

    def drawn(self, row: Row, rng: np.random.Generator) -> Row:
        """A training row with spans taken out anew."""
        ids, mean, end = row.ids, self.reading.mean_span, self.tok.target.end_id
        if self.sentinels:
            taken = noising.spans_of(len(ids), rng, density=self.share, mean=mean, most=len(self.blanks) - 1)
            target = noising.hidden(ids, taken, self.blanks)
        else:
            taken, target = noising.infilled(len(ids), rng, density=self.share, mean=mean), list(ids)
        # As in all training of a pair, what every answer begins with is learnt.
        return self._row(ids, taken, [*self.start[1:], *target, end], Place(start=self.start[:1]))


def windows(rows: Sequence[Row], rng: np.random.Generator) -> Iterator[Row]:
    """Texts joined into full windows, nothing between them, as T5's pretraining has it."""
    place = rows[0].place
    for part in packing.cut(packing.joined(rows, rng), place.room):
        own = replace(place, marks=tuple(part.marks))
        yield Row(part.ids, place=own, beside=_beside(len(part.ids), again=place.again))


def _beside(count: int, *, again: bool) -> int:
    """About how many tokens the decoder reads for `count` of the text: what steps are planned by."""
    return count + 2 if again else count // 4 + 2
