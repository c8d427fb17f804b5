"""A text as a model reads it: pieces with ids and places, and the words that they make up.

No model and no tensor. Words are runs of letters and digits, and each other sign by itself: tokenizers differ in
what they take for a word, and a reader of the views should not have to care.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlpipe.errors import DataError
from nlpipe.tokens import Tokenizer

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
BLANK = re.compile(r"_{3,}")  # what a user writes for a blank; the tokenizer's own mask token does as well


@dataclass(frozen=True, slots=True)
class Piece:
    """One token. `start` and `end` are its characters in the text, None for tokens that stand for none.

    `piece` is the vocabulary's own spelling, `label` what a reader is shown, `word` the index of its word.
    """

    id: int
    piece: str
    label: str
    start: int | None = None
    end: int | None = None
    special: bool = False
    unknown: bool = False
    word: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and the indices of its pieces; none where the tokenizer dropped it."""

    text: str
    start: int
    end: int
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """What is shown as one: a word, or a token that belongs to none."""

    label: str
    pieces: tuple[int, ...]
    special: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A text's pieces in the order in which the model reads them, special tokens included.

    `types` are BERT's segments, None for models without. `blanks` are the indices of blanks to be filled.
    """

    text: str
    pieces: tuple[Piece, ...]
    words: tuple[Word, ...]
    types: tuple[int, ...] | None = None
    blanks: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The ids, [tokens]."""
        return [piece.id for piece in self.pieces]

    @property
    def labels(self) -> tuple[str, ...]:
        """What each piece is shown as."""
        return tuple(piece.label for piece in self.pieces)

    def units(self, *, words: bool) -> tuple[Unit, ...]:
        """The pieces one by one, or put together to words."""
        if not words:
            return tuple(Unit(p.label, (at,), p.special) for at, p in enumerate(self.pieces))
        units: list[Unit] = []
        for at, piece in enumerate(self.pieces):
            if piece.word is None:
                units.append(Unit(piece.label, (at,), piece.special))
            elif self.words[piece.word].pieces[0] == at:
                word = self.words[piece.word]
                units.append(Unit(word.text, word.pieces))
        return tuple(units)

    def find(self, word: str) -> Word:
        """The first occurrence of a word. Raises DataError with the words there are."""
        for match in (str.__eq__, lambda a, b: a.casefold() == b.casefold()):
            for found in self.words:
                if match(found.text, word) and found.pieces:
                    return found
        there = ", ".join(dict.fromkeys(found.text for found in self.words))
        raise DataError(f"the word {word!r} is not in the text {shortened(self.text)!r}; its words are: {there}")


def read(text: str, tok: Tokenizer, *, bare: bool = False, blank: Sequence[int] = ()) -> Reading:
    """The text's pieces with the special tokens that the model wants around them (`bare`: without).

    `blank` are the ids that stand for blanks (`___`), one after the other; the last one is repeated. Raises
    DataError for an empty text.
    """
    if not text.strip():
        raise DataError("the text is empty; give at least one word")
    inner, blanks = _with_blanks(text, tok, blank) if blank else (_pieces(text, tok, 0), [])
    layout = tok.single
    before = [] if bare else [_special(token, tok) for token in layout.prefix]
    after = [] if bare else [_special(token, tok) for token in layout.suffix]
    pieces, words = _with_words(text, [*before, *inner, *after])
    kinds = layout.lay([piece.id for piece in inner])[1] if tok.segments and not bare else None
    return Reading(
        text, pieces, words, None if kinds is None else tuple(kinds), tuple(at + len(before) for at in blanks)
    )


def plain_pieces(ids: Sequence[int], tok: Tokenizer) -> tuple[Piece, ...]:
    """Ids that no text is known for, such as what a model wrote, as pieces."""
    names = tok.upstream.convert_ids_to_tokens(list(ids))
    special = set(tok.upstream.all_special_ids)
    made = []
    for token, name in zip(ids, names, strict=True):
        decoded = tok.upstream.decode([token])
        whole = decoded.strip("▁") and "\ufffd" not in decoded  # a byte of a longer character is no text by itself
        label = str(name) if token in special or (decoded and not whole) else visible(decoded)
        made.append(Piece(int(token), str(name), label, special=token in special))
    return tuple(made)


def written(ids: Sequence[int], tok: Tokenizer) -> Reading:
    """What a model wrote: its ids, with places in the decoded text where the tokenizer can tell them."""
    pieces = plain_pieces(ids, tok)
    text = "".join(piece.label for piece in pieces if not piece.special)
    return Reading(text, pieces, ())


def shortened(text: str, most: int = 60) -> str:
    """A text short enough for a message."""
    return text if len(text) <= most else text[: most - 1] + "…"


def visible(text: str) -> str:
    """Text whose white space can be seen where there is nothing else; control characters by their numbers."""
    bare = text.strip()
    if bare:
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in bare)
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "␣"


def _special(token: int, tok: Tokenizer) -> Piece:
    name = str(tok.upstream.convert_ids_to_tokens(token))
    return Piece(token, name, name, special=True)


def _pieces(text: str, tok: Tokenizer, shift: int) -> list[Piece]:
    """The pieces of a stretch of text that begins at character `shift`."""
    found = tok.encode(text)
    names = [str(name) for name in tok.upstream.convert_ids_to_tokens(found.ids)]
    offsets = found.offsets if found.offsets is not None else _searched(text, names)
    pieces = []
    for at, (token, name, span) in enumerate(zip(found.ids, names, offsets, strict=True)):
        start, end = _stripped(text, span)
        shared = any(_stripped(text, offsets[other]) == (start, end) for other in _beside(at, len(offsets)))
        # Bytes of one character share its place: there only the vocabulary's spelling tells them apart.
        label = visible(text[start:end]) if start < end and not shared else visible(_unmarked(name))
        unknown = token == tok.upstream.unk_token_id
        pieces.append(Piece(token, name, label, shift + start, shift + end, unknown=unknown))
    return pieces


def _beside(at: int, count: int) -> Iterator[int]:
    return (other for other in (at - 1, at + 1) if 0 <= other < count)


def _stripped(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """A span without white space at its ends: some tokenizers count the space before a word into it."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else span


def _unmarked(name: str) -> str:
    return name.removeprefix("##").replace("▁", " ").replace("Ġ", " ")


def _searched(text: str, names: Sequence[str]) -> list[tuple[int, int]]:
    """Places for a tokenizer without offsets (Marian, M2M100): each piece is looked for behind the last one."""
    spans, at = [], 0
    for name in names:
        plain = _unmarked(name).strip()
        found = text.find(plain, at) if plain else -1
        if found < 0 or text[at:found].strip():  # not the next thing in the text: normalised, or unknown
            spans.append((at, at))
            continue
        at = found + len(plain)
        spans.append((found, at))
    return spans


def _with_blanks(text: str, tok: Tokenizer, blank: Sequence[int]) -> tuple[list[Piece], list[int]]:
    """Pieces with blanks where the text has `___` or the tokenizer's own word for one."""
    own = [str(name) for name in tok.upstream.convert_ids_to_tokens(list(dict.fromkeys(blank)))]
    borders = re.compile("|".join([BLANK.pattern, *map(re.escape, own)]))
    known = getattr(tok.upstream, "added_tokens_decoder", {})
    takes_space = bool(getattr(known.get(blank[0]), "lstrip", False))  # RoBERTa's mask takes the space before it
    pieces: list[Piece] = []
    blanks: list[int] = []
    at = 0
    for match in borders.finditer(text):
        before = text[at : match.start()]
        pieces += _pieces(before.rstrip() if takes_space else before, tok, at)
        token = _special(blank[min(len(blanks), len(blank) - 1)], tok)
        blanks.append(len(pieces))
        pieces.append(replace(token, start=match.start(), end=match.end()))
        at = match.end()
    pieces += _pieces(text[at:], tok, at)
    return pieces, blanks


def _with_words(text: str, pieces: list[Piece]) -> tuple[tuple[Piece, ...], tuple[Word, ...]]:
    """Each piece's word (the one it shares most characters with), and each word's pieces."""
    spans = [match.span() for match in WORD.finditer(text)]
    owners: list[list[int]] = [[] for _ in spans]
    placed, first = [], 0
    for at, piece in enumerate(pieces):
        owner = None
        if not piece.special and piece.start is not None and piece.end is not None:
            while first < len(spans) and spans[first][1] <= piece.start:
                first += 1
            owner = _owner(spans, first, piece.start, piece.end)
        if owner is not None:
            owners[owner].append(at)
        placed.append(replace(piece, word=owner))
    words = (Word(text[s:e], s, e, tuple(own)) for (s, e), own in zip(spans, owners, strict=True))
    return tuple(placed), tuple(words)


def _owner(spans: Sequence[tuple[int, int]], first: int, start: int, end: int) -> int | None:
    best, most = None, 0
    for index in range(first, len(spans)):
        if spans[index][0] >= end:
            break
        shared = min(end, spans[index][1]) - max(start, spans[index][0])
        if shared > most:
            best, most = index, shared
    return best


def merge(matrix: np.ndarray[Any, Any], rows: Sequence[Unit], columns: Sequence[Unit]) -> np.ndarray[Any, Any]:
    """[…, tokens, tokens] as […, units, units]: what a word gives is the mean over its pieces, what it gets their sum.

    Rows that sum to 1 still do (Clark et al. 2019, "What Does BERT Look At?", section 4).
    """
    if not rows or not columns:
        return matrix[..., : len(rows), : len(columns)]
    summed = np.stack([matrix[..., list(unit.pieces)].sum(axis=-1) for unit in columns], axis=-1)
    return np.stack([summed[..., list(unit.pieces), :].mean(axis=-2) for unit in rows], axis=-2)
