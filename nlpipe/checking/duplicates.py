"""Rows that stand in the data more than once: exactly, or nearly; in one split, or in two (a leak).

Exactly alike are inputs that differ in case, space and punctuation at most (`views.plain`). Nearly alike are inputs
each of whose texts shares four fifths of its character 5-grams with the other's: candidates come from MinHash (Broder
1997) with locality-sensitive hashing (datasketch), and each is checked by the true Jaccard similarity, so that none
is reported by mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from zlib import crc32

from nlpipe.checking.findings import SHOWN, Finding, rows, shortened
from nlpipe.checking.views import View

NEAR = 0.8  # Jaccard similarity of character 5-grams
BANDS, HEIGHT = 21, 6  # of the hashing: of rows with a similarity of NEAR, 1 - (1 - 0.8^6)^21 = 99.8 % are found
WIDTH = 5
PERMUTATIONS = 128

Groups = Mapping[tuple[str, ...], list[View]]


def within(split: str, views: Sequence[View], *, free: bool) -> Iterator[Finding]:
    """Inputs that occur again in one split: with the same gold, and with another one.

    With `free` the gold is a text of one's own, of which there may be several: then it is a note.
    """
    same: list[tuple[View, View]] = []
    other: list[tuple[View, View]] = []
    for group in _groups(views).values():
        first, *again = group
        for view in again:
            if view.gold == first.gold:
                same.append((first, view))
            elif _comparable(first, view):
                other.append((first, view))
    for pairs in (same, other):
        pairs.sort(key=lambda pair: pair[1].number)
    if same:
        yield Finding(
            "note",
            "duplicates",
            split,
            len(same),
            f"{rows(len(same))} repeating an earlier one, gold and all",
            "leave them out, or keep them if they are meant to weigh more",
            _pairs(same),
            _numbers(same),
        )
    if other:
        yield Finding(
            "note" if free else "warning",
            "several answers" if free else "conflicts",
            split,
            len(other),
            f"{rows(len(other))} with the input of an earlier one and another gold",
            "" if free else "decide which is right: a model can be right about one of them alone",
            _pairs(other, gold=True),
            _numbers(other),
        )


def between(earlier: tuple[str, Sequence[View]], later: tuple[str, Sequence[View]], *, free: bool) -> Iterator[Finding]:
    """Rows of the later split that stand in the earlier one, and those of them with another gold there."""
    (seen, known), (split, views) = earlier, later
    groups = _groups(known)
    leaks = [(groups[view.key][0], view) for view in views if any(view.key) and view.key in groups]
    if leaks:
        other = [
            (groups[view.key][0], view)
            for _, view in leaks
            if all(view.gold != one.gold and _comparable(one, view) for one in groups[view.key])
        ]
        same = sum(any(view.gold == one.gold for one in groups[view.key]) for _, view in leaks)
        yield Finding(
            "warning",
            "leak",
            split,
            len(leaks),
            f"{rows(len(leaks))} standing in {seen} as well ({same:,} with the same gold)",
            f"leave them out of {seen}, or the scores on {split} say how well the model remembers",
            _pairs(leaks, names=(seen, split)),
            _numbers(leaks),
        )
        if other and not free:
            yield Finding(
                "warning",
                "split conflicts",
                split,
                len(other),
                f"{rows(len(other))} standing in {seen} with another gold",
                "decide which is right: who learns the one is marked wrong by the other",
                _pairs(other, gold=True, names=(seen, split)),
                _numbers(other),
            )


class Sketches:
    """The rows of one split as MinHash sees them, made once for all splits that they are held against."""

    def __init__(self, split: str, views: Sequence[View]) -> None:
        from datasketch import MinHash

        self.split, self.views, self.groups = split, views, _groups(views)
        self.firsts = [group[0] for group in self.groups.values()]
        self.shingles = [_shingles(view.key) for view in self.firsts]
        told = (_bytes(shingles) for shingles in self.shingles)
        self.sketches = list(MinHash.bulk(told, num_perm=PERMUTATIONS, seed=1, hashfunc=crc32))

    @cached_property
    def index(self) -> Any:
        """Where rows that are likely alike are found."""
        from datasketch import MinHashLSH

        index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, HEIGHT))
        for at, sketch in enumerate(self.sketches):
            index.insert(at, sketch)
        return index

    def near(self, later: Sketches) -> Iterator[tuple[View, View]]:
        """Of each row of `later` that has one, the row here that it is nearly like; of equally like ones the first."""
        for place, (first, *again) in enumerate(later.groups.values()):
            if later is not self and first.key in self.groups:
                continue  # exactly alike, and found as such
            alike = [
                (likeness, -at)
                for at in self.index.query(later.sketches[place])
                if (later is not self or at < place)  # in one split each pair is looked at once
                and (likeness := _likeness(later.shingles[place], self.shingles[at])) >= NEAR
            ]
            if alike:
                like = self.firsts[-max(alike)[1]]
                yield from ((like, view) for view in ([first] if later is self else [first, *again]))


def near(earlier: Sketches, later: Sketches) -> Iterator[Finding]:
    """Rows of the later split with nearly the input of one of the earlier. Both may be the same split."""
    inside = earlier is later
    found = list(earlier.near(later))
    if found:
        yield Finding(
            "note" if inside else "warning",
            "near duplicates" if inside else "near leak",
            later.split,
            len(found),
            f"{rows(len(found))} nearly like {'an earlier one' if inside else f'one of {earlier.split}'}",
            "" if inside else f"look at them: what {earlier.split} has nearly word for word is easier than what is new",
            _pairs(found, names=None if inside else (earlier.split, later.split)),
            _numbers(found),
        )


def _comparable(one: View, other: View) -> bool:
    """Whether golds of two rows alike can be told apart: offsets count in the very same text only."""
    return one.stratum is not None or one.fields == other.fields


def _groups(views: Sequence[View]) -> Groups:
    """Rows by what their input comes down to; rows without a single letter are no one's duplicates."""
    groups: defaultdict[tuple[str, ...], list[View]] = defaultdict(list)
    for view in views:
        if any(view.key):
            groups[view.key].append(view)
    return groups


def _shingles(key: tuple[str, ...]) -> list[frozenset[str]]:
    return [frozenset(text[at : at + WIDTH] for at in range(max(1, len(text) - WIDTH + 1))) for text in key]


def _bytes(shingles: list[frozenset[str]]) -> list[bytes]:
    return [f"{at}{shingle}".encode() for at, field in enumerate(shingles) for shingle in field]


def _likeness(one: list[frozenset[str]], other: list[frozenset[str]]) -> float:
    """The least of the fields' Jaccard similarities: a shared context does not make two questions alike."""
    return min((len(a & b) / len(a | b) for a, b in zip(one, other, strict=False)), default=0.0)


def _pairs(
    pairs: Sequence[tuple[View, View]], *, gold: bool = False, names: tuple[str, str] | None = None
) -> tuple[str, ...]:
    left, right = (f"{name} " for name in names) if names else ("", "")
    return tuple(
        f"{left}row {one.number} and {right}row {two.number}: {shortened(two.text)}"
        + (f", {shortened(one.answer, 40)} and {shortened(two.answer, 40)}" if gold else "")
        for one, two in pairs[:SHOWN]
    )


def _numbers(pairs: Sequence[tuple[View, View]]) -> tuple[int, ...]:
    return tuple(two.number for _, two in pairs)
