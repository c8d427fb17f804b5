"""Made-up languages with a rule that a model must learn: what it answers on unseen rows says whether it can.

Every rule is decided by position or by likeness, never by a word's mere presence, so that a bag of words
stays at chance. Seeded; the same arguments give the same rows.
"""

from __future__ import annotations

import itertools
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


def copied(
    rows: int, *, seed: int, shortest: int = 1, longest: int = 4, reverse: bool = False
) -> list[tuple[str, str]]:
    """(text, text): the second is the first, or its words from last to first."""
    draw = random.Random(seed)
    texts = [draw.choices(FILLERS, k=draw.randint(shortest, longest)) for _ in range(rows)]
    return [(" ".join(words), " ".join(words[::-1] if reverse else words)) for words in texts]


def opening(rows: int, *, seed: int, shortest: int = 4, longest: int = 8) -> list[tuple[str, str]]:
    """(text, text): the second is the first two words of the first."""
    draw = random.Random(seed)
    texts = [draw.choices(FILLERS, k=draw.randint(shortest, longest)) for _ in range(rows)]
    return [(" ".join(words), " ".join(words[:2])) for words in texts]


def shuffled(rows: Sequence[tuple[str, str]], *, seed: int) -> list[tuple[str, str]]:
    """The same texts with their labels dealt out anew: nothing can be learnt from them."""
    labels = [label for _, label in rows]
    random.Random(seed).shuffle(labels)
    return [(text, label) for (text, _), label in zip(rows, labels, strict=True)]


# Marker: the type of the entity beside it, and how many words that entity has.
MARKERS = {"north": ("person", 1), "south": ("place", 2)}


def marked_words(
    rows: int, *, seed: int, shortest: int = 3, longest: int = 12, after: bool = True
) -> list[tuple[list[str], list[str]]]:
    """(words, IOB2 tags): an entity is the one or two words behind a marker, and the marker says its type.

    With `after=False` it is the words in front of the marker: then only a model that sees both sides can know.
    A row has up to three entities among `shortest` to `longest` other words; any filler may be part of one.
    """
    draw = random.Random(seed)
    made = []
    for _ in range(rows):
        units = [([word], ["O"]) for word in draw.choices(FILLERS, k=draw.randint(shortest, longest))]
        for marker in draw.choices(sorted(MARKERS), k=draw.randint(0, 3)):
            kind, size = MARKERS[marker]
            words, tags = draw.choices(FILLERS, k=size), [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
            group = ([marker, *words], ["O", *tags]) if after else ([*words, marker], [*tags, "O"])
            units.insert(draw.randint(0, len(units)), group)
        made.append(([w for words, _ in units for w in words], [t for _, tags in units for t in tags]))
    return made


def shuffled_words(rows: Sequence[tuple[list[str], list[str]]], *, seed: int) -> list[tuple[list[str], list[str]]]:
    """The same tags over words in another order: nothing can be learnt from them but how frequent tags are."""
    draw = random.Random(seed)
    return [(draw.sample(words, len(words)), tags) for words, tags in rows]


def shared_word(
    rows: int, *, seed: int, shortest: int = 2, longest: int = 5, keywords: Sequence[str] = FILLERS[:5]
) -> list[tuple[str, str, float]]:
    """(text, text, score): 1 where both texts have the same keyword, 0 where they have two; half of each.

    The other words are drawn alike for both halves, so that having words in common says little by itself.
    """
    draw = random.Random(seed)
    fillers = [word for word in FILLERS if word not in keywords]
    made = []
    for index in range(rows):
        pair = draw.sample(list(keywords), 2)
        same = index % 2
        texts = []
        for word in (pair[0], pair[1 - same]):
            words = draw.choices(fillers, k=draw.randint(shortest, longest))
            words.insert(draw.randint(0, len(words)), word)
            texts.append(" ".join(words))
        made.append((texts[0], texts[1], float(same)))
    draw.shuffle(made)
    return made


def found_words(
    rows: int, *, seed: int, asked: Sequence[str] = FILLERS[:8], answered: Sequence[str] = FILLERS[8:16]
) -> list[tuple[str, str]]:
    """(query, document): the query has two of eight words, its document their two counterparts among other words.

    The i-th word of `asked` has the i-th of `answered` as its counterpart, so that no document has a word of its
    query. There are 28 such pairs; every one occurs equally often, give or take one.
    """
    draw = random.Random(seed)
    fillers = [word for word in FILLERS if word not in (*asked, *answered)]
    pairs = list(itertools.combinations(range(len(asked)), 2))
    draw.shuffle(pairs)
    made = []
    for index in range(rows):
        pair = list(pairs[index % len(pairs)])
        draw.shuffle(pair)
        words = [answered[at] for at in pair] + draw.choices(fillers, k=draw.randint(1, 3))
        draw.shuffle(words)
        made.append((" ".join(asked[at] for at in pair), " ".join(words)))
    draw.shuffle(made)
    return made


def asked_words(
    rows: int,
    *,
    seed: int,
    shortest: int = 1,
    longest: int = 4,
    keys: Sequence[str] = KEYWORDS,
    times: int = 4,
    after: bool = True,
) -> list[tuple[str, str, int, int]]:
    """(question, context, start, end): the question asks for a key, the answer is the word behind it in the context.

    With `after=False` it is the word in front of the key: then only a model that sees both sides can know. `start`
    and `end` are half-open characters of the context, which has two keys, each once, among `shortest` to `longest`
    other words; so who does not read the question is right in half of the rows at best. The question says its key
    several `times`: a tiny model that has learnt nothing before hears it sooner.
    """
    draw = random.Random(seed)
    others = [word for word in FILLERS if word not in keys]
    made = []
    for _ in range(rows):
        there = draw.sample(list(keys), 2)
        units = [[word] for word in draw.choices(others, k=draw.randint(shortest, longest))]
        for key in there:
            pair = [key, draw.choice(others)]
            units.insert(draw.randint(0, len(units)), pair if after else pair[::-1])
        words = [word for unit in units for word in unit]
        at = words.index(there[0]) + (1 if after else -1)
        start = len(" ".join([*words[:at], ""]))
        made.append((" ".join([there[0]] * times), " ".join(words), start, start + len(words[at])))
    return made


def first_or_last(rows: int, *, seed: int, shortest: int = 2, longest: int = 4) -> list[tuple[str, str, str]]:
    """(question, context, answer): the first word of the context if the question is `north`, the last if `south`.

    Who does not read the question is right in half of the rows at best, but for the few whose words are the same.
    """
    draw = random.Random(seed)
    made = []
    for index in range(rows):
        words = draw.choices(FILLERS, k=draw.randint(shortest, longest))
        made.append((KEYWORDS[index % 2], " ".join(words), words[-(index % 2)]))
    draw.shuffle(made)
    return made


def shuffled_questions(rows: Sequence[tuple[str, str, int, int]], *, seed: int) -> list[tuple[str, str, int, int]]:
    """The same questions and contexts, each with a random word of its context as the answer."""
    draw = random.Random(seed)
    made = []
    for question, context, _, _ in rows:
        words = context.split(" ")
        at = draw.randrange(len(words))
        start = len(" ".join([*words[:at], ""]))
        made.append((question, context, start, start + len(words[at])))
    return made
