"""Texts as words, and phrases found in them. No model, no task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

OUTSIDE, BEGIN, INSIDE = range(3)
"""What a word is to a keyphrase: the indices of the labels O, B and I."""

Span = tuple[int, int]


def words(text: str) -> tuple[Span, ...]:
    """The character spans of runs of letters and digits, and of every other visible character by itself."""
    return tuple(match.span() for match in re.finditer(r"\w+|[^\w\s]", text))


def plain(text: str) -> str:
    """A phrase as it is compared: in lower case, its words one space apart."""
    return " ".join(text[start:end] for start, end in words(text)).casefold()


def places(text: str, phrase: str) -> Iterator[Span]:
    """Where a phrase stands in a text, as (first word, word behind the last); in any case, and whatever the spaces."""
    there = [text[start:end].casefold() for start, end in words(text)]
    asked = plain(phrase).split()
    for at in range(len(there) - len(asked) + 1):
        if asked and there[at : at + len(asked)] == asked:
            yield at, at + len(asked)


def tags(text: str, phrases: Sequence[str]) -> list[int]:
    """O, B or I for each word; of phrases that overlap, the longer ones are marked."""
    found = [0] * len(words(text))
    taken = [False] * len(found)
    for phrase in sorted(phrases, key=lambda phrase: (-len(plain(phrase).split()), phrase)):
        for first, last in places(text, phrase):
            if not any(taken[first:last]):
                found[first:last] = [BEGIN] + [INSIDE] * (last - first - 1)
                taken[first:last] = [True] * (last - first)
    return found


def read(tagged: Sequence[int]) -> Iterator[Span]:
    """The phrases that tags spell, as (first word, word behind the last); an I that continues nothing begins one."""
    first = None
    for at, tag in enumerate([*tagged, OUTSIDE]):
        if first is not None and tag != INSIDE:
            yield first, at
            first = None
        if tag == BEGIN or (tag == INSIDE and first is None):
            first = at
