"""Random Unicode text: what tokenizers and offsets stumble over, in one draw."""

from __future__ import annotations

import random

PIECES = (
    *("north", "south", "ba", "ge", "Don't", "x", "3.14", "a_b", "</s>", "[SEP]", "<pad>"),  # known and unknown words
    *("👩\u200d👩\u200d👧", "🦊", "🏳\ufe0f\u200d🌈", "👍🏽", "🇩🇪"),  # emoji: joined, modified, flags
    *("e\u0301", "n\u0303o", "\u0301", "Z\u0361\u0335\u0322", "ﬁ", "ſ", "Å", "İ", "ß"),  # marks, ligatures, case
    *("שלום", "مرحبا", "\u202bab\u202c", "نمی\u200cخواهم"),  # right to left
    *("北京大学", "東京タワー", "한국어", "ราคา", "𠀋"),  # no spaces between words, and beyond the basic plane
    *("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060"),  # nothing to be seen
    *("\x00", "\x07", "\x85", "\ue000", "\U000e0001", "½", "①", "—", "…", "«", "”", "`", "$", "‽"),
)
SPACES = (" ", " ", " ", "", "", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "  ")


def odd_text(draw: random.Random) -> str:
    """Up to 25 pieces with and without spaces; now and then any characters at all, but no surrogates."""
    if draw.random() < 0.2:
        codes = [draw.choice((draw.randint(0, 0xD7FF), draw.randint(0xE000, 0x10FFFF))) for _ in range(12)]
        return "".join(map(chr, codes))
    count = draw.randint(0, 25)
    return "".join(piece for _ in range(count) for piece in (draw.choice(PIECES), draw.choice(SPACES)))


def odd_texts(count: int, *, seed: int) -> list[str]:
    """`count` of them, the same for the same seed."""
    draw = random.Random(seed)
    return [odd_text(draw) for _ in range(count)]
