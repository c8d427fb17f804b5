"""Texts cut into pieces that fit: at sentence borders, else between words, else between characters.

Nothing is lost: the pieces joined are the text. What fits is asked of a function; no tokenizer is known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Fits = Callable[[str], bool]

# The end of a sentence with its closing quotes and the space behind it; East Asian stops need no space.
_END = re.compile(r"[.!?…؟।]+[\"'”’»)\]]*\s+|[。！？｡]+[”’」』）]*\s*|\n+")


def sentences(text: str) -> list[str]:
    """The text in sentences, each with what follows it; joined they are the text."""
    ends = [match.end() for match in _END.finditer(text)]
    borders = [0, *[end for end in ends if end < len(text)], len(text)]
    return [text[start:end] for start, end in zip(borders, borders[1:], strict=False)]


def cut(text: str, fits: Fits) -> list[str]:
    """Pieces of whole sentences, as long as they fit; a sentence that does not fit alone is cut between words.

    `fits` must hold for the empty text, and for a text where it holds for a longer one.
    """
    made, start = [], 0
    borders = [0]
    for sentence in sentences(text):
        borders.append(borders[-1] + len(sentence))
    while start < len(text):
        end = _furthest(text, start, borders, fits)
        if end == start:
            end = start + prefix(text[start:], fits)
        made.append(text[start:end])
        start = end
    return made or [text]


def _furthest(text: str, start: int, borders: list[int], fits: Fits) -> int:
    """The last sentence border up to which the text from `start` fits; `start` where there is none."""
    ahead = [border for border in borders if border > start]
    reach, step = 0, 1
    while reach < len(ahead) and fits(text[start : ahead[min(reach + step, len(ahead)) - 1]]):
        reach, step = min(reach + step, len(ahead)), step * 2
    step = min(step, len(ahead) - reach)
    while step:  # bisect within the last stride
        if reach + step <= len(ahead) and fits(text[start : ahead[reach + step - 1]]):
            reach += step
        else:
            step //= 2
    return ahead[reach - 1] if reach else start


def prefix(text: str, fits: Fits) -> int:
    """How many of the text's first characters fit, to the end of a word where that loses less than half; at least 1."""
    low, high = 0, 64
    while high < len(text) and fits(text[:high]):
        low, high = high, high * 2
    high = min(high, len(text))
    if fits(text[:high]):
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle)
    word = max((match.end() for match in _spaces(text[: low + 1]) if match.end() <= low), default=0)
    return len(text) if low >= len(text) else max(word if word > low // 2 else low, 1)


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
