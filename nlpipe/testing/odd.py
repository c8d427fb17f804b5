"""Texts that stumble tokenizers, offsets and windows, and inputs of any task that hold them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from nlpipe.task import Record

ODD: dict[str, str] = {
    "empty": "",
    "spaces": " \t\n",
    "emoji": "👩\u200d👩\u200d👧 🦊 👍🏽 🇩🇪",
    "right to left": "שלום مرحبا \u202bba\u202c",
    "marks": "e\u0301 n\u0303o Z\u0361\u0335\u0322 ﬁ İ ß",
    "no spaces": "北京大学東京タワー한국어ราคา𠀋",
    "nothing to see": "\u200b\u200d\ufeff\u00ad",
    "controls": "a\x00b\x07c\x85",
    "special tokens": "</s> [SEP] <|endoftext|> <pad> <s>",
    "one long word": "n" * 300,
}

_PIECES = (
    *("north", "south", "ba", "ge", "Don't", "x", "3.14", "a_b", "</s>", "[SEP]", "<pad>"),  # known and unknown words
    *("👩\u200d👩\u200d👧", "🦊", "🏳\ufe0f\u200d🌈", "👍🏽", "🇩🇪"),  # emoji: joined, modified, flags
    *("e\u0301", "n\u0303o", "\u0301", "Z\u0361\u0335\u0322", "ﬁ", "ſ", "Å", "İ", "ß"),  # marks, ligatures, case
    *("שלום", "مرحبا", "\u202bab\u202c", "نمی\u200cخواهم"),  # right to left
    *("北京大学", "東京タワー", "한국어", "ราคา", "𠀋"),  # no spaces between words, and beyond the basic plane
    *("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060"),  # nothing to be seen
    *("\x00", "\x07", "\x85", "\ue000", "\U000e0001", "½", "①", "—", "…", "«", "”", "`", "$", "‽"),
)
_SPACES = (" ", " ", " ", "", "", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "  ")


def odd_text(draw: random.Random) -> str:
    """Up to 25 pieces with and without spaces; now and then any characters at all, but no surrogates."""
    if draw.random() < 0.2:
        codes = [draw.choice((draw.randint(0, 0xD7FF), draw.randint(0xE000, 0x10FFFF))) for _ in range(12)]
        return "".join(map(chr, codes))
    count = draw.randint(0, 25)
    return "".join(piece for _ in range(count) for piece in (draw.choice(_PIECES), draw.choice(_SPACES)))


def odd_texts(count: int, *, seed: int) -> list[str]:
    """`count` of them, the same for the same seed."""
    draw = random.Random(seed)
    return [odd_text(draw) for _ in range(count)]


def long_text(words: Sequence[str], count: int, *, seed: int = 0) -> str:
    """`count` of the words, each drawn at random, with single spaces."""
    return " ".join(random.Random(seed).choices(words, k=count))


def text_fields(given: Record) -> list[str]:
    """The fields of an input that hold a text."""
    return [name for name in type(given).model_fields if isinstance(getattr(given, name), str)]


def put(given: Any, text: str, *fields: str) -> Any:
    """The input as it would come from a user with `text` in these fields, as a mapping: what is wrong is found."""
    values = given.model_dump(mode="json", exclude_none=True)
    return values | dict.fromkeys(fields, text)


def odd_inputs(given: Any) -> dict[str, Any]:
    """The input with each odd text in each of its fields, and in all at once, by what is odd about it."""
    fields = text_fields(given)
    ways = {name: [name] for name in fields} | ({"all": fields} if len(fields) > 1 else {})
    return {f"{odd} in {way}": put(given, text, *names) for odd, text in ODD.items() for way, names in ways.items()}
