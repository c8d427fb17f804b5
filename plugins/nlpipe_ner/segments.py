"""Where the words of a raw text begin and end: one rule for all languages and all models, recorded with a model.

A tokenizer's own idea of words is never asked: it differs between tokenizers, and the offsets of entities with it.
The rule is called `unicode-1` in a task's options, and so in a model's Card: a change is a new name, since a model
answers in the words that it was trained on.
"""

from __future__ import annotations

import unicodedata
from functools import cache

Span = tuple[int, int]

# Scripts that put no spaces between words: each character is a word, so that any border can be an entity's.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic marks and zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_ZERO_WIDTH_SPACE = "\u200b"


def words(text: str) -> tuple[Span, ...]:
    """The half-open character spans of the words of `text`, in order.

    A word is a run of letters, digits and marks (Unicode categories L, N, M); in scripts without spaces
    each letter with its marks; and any other visible character with its marks, by itself. Spaces, control characters
    and zero-width ones (category Cf) are no words; within a run a zero-width character does not end it, but the
    zero-width space does. So every visible character is in exactly one word.
    """
    found: list[Span] = []
    start, end, kind = 0, 0, ""
    for at, character in enumerate(text):
        this = _kind(character)
        joins = (this == "mark" and kind) or (this == "run" and kind == "run")
        if this == "joiner" and kind:
            continue  # goes with what follows, if that continues the word
        if not joins:
            if kind:
                found.append((start, end))
            start = at
            kind = {"mark": "run", "run": "run", "single": "single"}.get(this, "")
        end = at + 1
    if kind:
        found.append((start, end))
    return tuple(found)


@cache
def _kind(character: str) -> str:
    """`run`, `mark`, `single`, `joiner` or `space`."""
    category, code = unicodedata.category(character), ord(character)
    if category[0] == "M":
        return "mark"
    if character.isspace() or character == _ZERO_WIDTH_SPACE or category in {"Cc", "Zs", "Zl", "Zp"}:
        return "space"
    if category == "Cf":
        return "joiner"
    if category[0] in "LN" and not any(low <= code <= high for low, high in _UNSPACED):
        return "run"
    return "single"
