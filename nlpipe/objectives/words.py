"""Which tokens of a text are whose: words given as character spans, tokens as a tokenizer makes them.

No model and no label. Word borders are given, never a tokenizer's own idea of words (they differ).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlpipe.tokens import Pieces, Tokenizer

Span = tuple[int, int]
Groups = Sequence[Sequence[int]]  # word numbers


@dataclass(frozen=True, slots=True)
class Located:
    """A text's ids; for each word the half-open range from its first token to behind its last, None where it has
    none; and the token indices, ascending, at which a window may begin or end without splitting a word."""

    ids: list[int]
    words: list[Span | None]
    borders: list[int]


def locate(text: str, words: Sequence[Span], tok: Tokenizer) -> Located:
    """Tokenise a text and find each word's tokens.

    The text is encoded once and matched by characters; a tokenizer without offsets encodes each word by itself, and
    so are neighbours that the tokenizer does not part (`'` and `t` in the token `'t`): no token has two words.
    """
    pieces = tok.encode(text)
    if pieces.offsets is None:
        return _one_by_one(text, words, tok)
    found = _by_characters(text, words, pieces.offsets)
    groups = _sharing(found)
    if any(len(group) > 1 for group in groups):
        return _parted(text, words, tok, pieces, found, groups)
    return Located(pieces.ids, found, _borders(found, len(pieces.ids)))


def _sharing(found: Sequence[Span | None]) -> list[list[int]]:
    """The words that have tokens, in order of these, those together whose tokens overlap."""
    order = sorted((at, word) for word, at in enumerate(found) if at is not None)
    groups: list[list[int]] = []
    furthest = 0
    for (start, end), word in order:
        if groups and start < furthest:
            groups[-1].append(word)
        else:
            groups.append([word])
        furthest = max(furthest, end)
    return groups


def _parted(
    text: str, words: Sequence[Span], tok: Tokenizer, pieces: Pieces, found: Sequence[Span | None], groups: Groups
) -> Located:
    """The text's tokens, but those that several words share replaced by each word's own."""
    offsets = pieces.offsets or []
    ids: list[int] = []
    parted: list[Span | None] = [None] * len(words)
    done = 0  # tokens of the whole text that are dealt with
    for group in groups:
        own = [at for word in group if (at := found[word])]
        start, end = min(at[0] for at in own), max(at[1] for at in own)
        ids += pieces.ids[done:start]
        if len(group) == 1:
            parted[group[0]] = (len(ids), len(ids) + end - start)
            ids += pieces.ids[start:end]
        else:
            lead = offsets[start][0]  # with the space before the first word, where the token had it
            for word in sorted(group):
                again = tok.encode(text[min(lead, words[word][0]) : words[word][1]]).ids
                parted[word] = (len(ids), len(ids) + len(again)) if again else None
                ids += again
                lead = words[word][1]
        done = end
    ids += pieces.ids[done:]
    return Located(ids, parted, _borders(parted, len(ids)))


def _one_by_one(text: str, words: Sequence[Span], tok: Tokenizer) -> Located:
    ids: list[int] = []
    found: list[Span | None] = []
    known: dict[str, list[int]] = {}  # slow tokenizers are asked once for a word
    for start, end in words:
        word = text[start:end]
        if (own := known.get(word)) is None:
            own = known[word] = tok.encode(word).ids
        found.append((len(ids), len(ids) + len(own)) if own else None)
        ids += own
    return Located(ids, found, _borders(found, len(ids)))


def _by_characters(text: str, words: Sequence[Span], offsets: Sequence[Span]) -> list[Span | None]:
    """The tokens of each word: those that touch it, from the first that begins in it if there is one.

    Some tokenizers count the space before a word into its token, and some give a lone space-marker the next
    character's span; so spans are stripped, and of several tokens at one character the first counts.
    """
    begins: dict[int, int] = {}  # character: the first token that begins there
    first: dict[int, int] = {}  # character: the first token that covers it
    last: dict[int, int] = {}
    for index, (start, end) in enumerate(offsets):
        covered = [at for at in range(start, end) if not text[at].isspace()]
        if covered:
            begins.setdefault(covered[0], index)
        for at in covered:
            first.setdefault(at, index)
            last[at] = index
    found: list[Span | None] = []
    for start, end in words:
        covered = [at for at in range(start, end) if at in first]
        if not covered:
            found.append(None)
            continue
        own = [begins[at] for at in covered if at in begins]
        opening = min(own) if own else min(first[at] for at in covered)
        found.append((opening, max(opening, *(last[at] for at in covered)) + 1))
    return found


def _borders(words: Sequence[Span | None], tokens: int) -> list[int]:
    """Every token index that no word has on both sides."""
    inside = {at for word in words if word for at in range(word[0] + 1, word[1])}
    return [at for at in range(tokens + 1) if at not in inside]


def ranges(tokens: int, room: int, overlap: int, borders: Sequence[int]) -> Iterator[Span]:
    """Token ranges of at most `room` that cover `tokens`, neighbours sharing `overlap` or a little more.

    They begin and end at `borders`, and share less where only that spares a word; a word longer than a window is
    cut. Each range ends behind the one before, so there are mostly tokens / (room - overlap).
    """
    start, end = 0, 0
    while True:
        furthest = min(start + room, tokens)
        if furthest < tokens:
            furthest = _last(borders, end, furthest) or furthest
        yield start, furthest
        if furthest == tokens:
            return
        shared = max(furthest - overlap, start + 1)
        # Not so early that the next word would not fit in whole.
        early = max(start, (_first(borders, furthest, tokens) or tokens) - room - 1)
        later = max(shared, early)
        start, end = _last(borders, early, shared) or _first(borders, later, furthest) or shared, furthest


def _last(borders: Sequence[int], above: int, upto: int) -> int | None:
    """The greatest border in (above, upto]."""
    at = bisect_right(borders, upto) - 1
    return borders[at] if at >= 0 and borders[at] > above else None


def _first(borders: Sequence[int], above: int, upto: int) -> int | None:
    """The least border in (above, upto]."""
    at = bisect_right(borders, above)
    return borders[at] if at < len(borders) and borders[at] <= upto else None
