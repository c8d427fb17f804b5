"""A context as tokens, each with the characters that it stands for: what answers are cut from.

No model, no question, and no idea of what an answer means.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlpipe.objectives.words import locate

if TYPE_CHECKING:
    from nlpipe.tokens import Tokenizer

Span = tuple[int, int]

# Scripts that put no spaces between words: an answer may begin and end at each of their characters.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x30FF),  # ideographic marks, Hiragana, Katakana
    (0x3400, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True, slots=True)
class Context:
    """The ids of a text; for each its half-open character span without white space at the ends.

    A span is None where a token stands for nothing that can be seen, so that no answer begins or ends there.
    """

    ids: list[int]
    spans: list[Span | None]


def read(text: str, tok: Tokenizer) -> Context:
    """The tokens of a text. A tokenizer that cannot tell characters reads word by word, and words stay whole."""
    pieces = tok.encode(text)
    if pieces.offsets is not None:
        return Context(pieces.ids, [_stripped(text, span) for span in pieces.offsets])
    words = words_in(text)
    located = locate(text, words, tok)
    spans: list[Span | None] = [None] * len(located.ids)
    for word, at in zip(words, located.words, strict=True):
        for token in range(*(at or (0, 0))):
            spans[token] = word
    return Context(located.ids, spans)


def words_in(text: str) -> Sequence[Span]:
    """Runs of letters, digits and marks, and every other visible character by itself, as half-open spans.

    So is each letter of a script without spaces, with its marks.
    """
    found: list[Span] = []
    kind = ""  # of the word that may go on: `run` or `single`; empty behind what is no word
    for at, character in enumerate(text):
        category = unicodedata.category(character)
        if character.isspace() or category[0] in "CZ":
            kind = ""
            continue
        run = category[0] in "LNM" and not unspaced(character)
        joins = bool(kind) and (category[0] == "M" or (run and kind == "run"))
        if joins:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
            kind = "run" if run else "single"
    return found


def unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words, so that it may be a word by itself."""
    return any(low <= ord(character) <= high for low, high in _UNSPACED)


def covering(spans: Sequence[Span | None], start: int, end: int) -> Span | None:
    """The first and the last (inclusive) that share a character with [start, end); None where none does."""
    inside = [at for at, span in enumerate(spans) if span and span[0] < end and span[1] > start]
    return (inside[0], inside[-1]) if inside else None


def _stripped(text: str, span: Span) -> Span | None:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None
