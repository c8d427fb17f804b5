"""Texts cut into pieces that fit: at sentence borders, else between words, else between characters.

Nothing is lost: the pieces joined are the text. What fits is asked of a function; no tokenizer is known here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise

Fits = Callable[[str], bool]

# The end of a sentence with its closing quotes and the space behind it; East Asian stops need no space.
_END = re.compile(r"[.!?…؟।]+[\"'”’»)\]]*\s+|[。！？｡]+[”’」』）]*\s*|\n+")


def sentences(text: str) -> list[str]:
    """The text in sentences, each with what follows it; joined they are the text."""
    ends = [match.end() for match in _END.finditer(text)]
    borders = [0, *[end for end in ends if end < len(text)], len(text)]
    return [text[start:end] for start, end in pairwise(borders)]


def cut(text: str, fits: Fits) -> list[str]:
    """Pieces of whole sentences, as long as they fit; a sentence that does not fit alone is cut between words.

    `fits` must hold for the empty text, and for a text where it holds for a longer one. A piece has one
    character at least.
    """
    borders = list(accumulate(map(len, sentences(text))))
    made, start = [], 0
    while start < len(text):
        most = start + _most(text, start, fits)
        at = bisect_right(borders, most)
        end = borders[at - 1] if at and borders[at - 1] > start else _word(text, start, most)
        made.append(text[start:end])
        start = end
    return made or [text]


def prefix(text: str, fits: Fits) -> int:
    """How many of the text's first characters fit, to the end of a word where that loses less than half; at least 1."""
    return _word(text, 0, _most(text, 0, fits))


def _most(text: str, start: int, fits: Fits) -> int:
    """How many characters from `start` on fit. Never asks about much more than that."""
    there = len(text) - start
    low, high = 0, min(64, there)
    while fits(text[start : start + high]):
        if high == there:
            return there
        low, high = high, min(high * 2, there)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[start : start + middle]) else (low, middle)
    return low


def _word(text: str, start: int, most: int) -> int:
    """Up to `most`, or to the last space before it where that is in the second half; one character at least."""
    if most >= len(text):
        return len(text)
    ends = (start + match.end() for match in _spaces(text[start : most + 1]))
    word = max((end for end in ends if end <= most), default=start)
    return max(word if word - start > (most - start) // 2 else most, start + 1)


def _spaces(text: str) -> Iterator[re.Match[str]]:
    return re.finditer(r"\s+", text)


def suffix(text: str, fits: Fits) -> int:
    """Where the longest end of the text begins that fits."""
    low, high = 0, 64  # characters kept: `low` fit, `high` may not
    while high < len(text) and fits(text[-high:]):
        low, high = high, high * 2
    high = min(high, len(text))
    if fits(text[len(text) - high :]):
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[len(text) - middle :]) else (low, middle)
    return len(text) - low
