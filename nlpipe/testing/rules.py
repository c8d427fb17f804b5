"""Made-up languages with a rule that a model must learn: what it answers on unseen rows says whether it can.

Every rule is decided by position or by likeness, never by a word's mere presence, so that a bag of words
stays at chance. Seeded; the same arguments give the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

FILLERS = (
    "ba",
    "be",
    "bi",
    "bo",
    "bu",
    "da",
    "de",
    "di",
    "do",
    "du",
    "ga",
    "ge",
    "gi",
    "go",
    "gu",
    "ka",
    "ke",
    "ki",
    "ko",
    "ku",
)
KEYWORDS = ("north", "south")


def first_keyword(
    rows: int, *, seed: int, shortest: int = 3, longest: int = 9, keywords: Sequence[str] = KEYWORDS
) -> list[tuple[str, str]]:
    """(text, label): all keywords stand in the text once, and the label is the one that comes first."""
    draw = random.Random(seed)
    made = []
    for index in range(rows):
        order = list(keywords)
        draw.shuffle(order)
        first = keywords[index % len(keywords)]  # every label equally often
        order.remove(first)
        order.insert(0, first)
        words = [draw.choice(FILLERS) for _ in range(draw.randint(shortest, longest))]
        places = sorted(draw.sample(range(len(words) + 1), len(order)))
        for offset, (place, word) in enumerate(zip(places, order, strict=True)):
            words.insert(place + offset, word)
        made.append((" ".join(words), first))
    draw.shuffle(made)
    return made


def shuffled(rows: Sequence[tuple[str, str]], *, seed: int) -> list[tuple[str, str]]:
    """The same texts with their labels dealt out anew: nothing can be learnt from them."""
    labels = [label for _, label in rows]
    random.Random(seed).shuffle(labels)
    return [(text, label) for (text, _), label in zip(rows, labels, strict=True)]
