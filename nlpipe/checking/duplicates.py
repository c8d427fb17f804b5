"""Rows that stand in the data more than once: exactly, or nearly; in one split, or in two (a leak).

Exactly alike are inputs that differ in case, space and punctuation at most (`views.plain`). Nearly alike are inputs
each of whose texts shares four fifths of its character 5-grams with the other's: candidates come from MinHash (Broder
1997) with locality-sensitive hashing (datasketch), and each is checked by the true Jaccard similarity, so that none
is reported by mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nlpipe.checking.findings import SHOWN, Finding, rows, shortened
from nlpipe.checking.views import View

NEAR = 0.8  # Jaccard similarity of character 5-grams
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
            elif view.stratum is not None or view.fields == first.fields:  # offsets count in the very same text only
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


def between(earlier: tuple[str, Sequence[View]], later: tuple[str, Sequence[View]]) -> Iterator[Finding]:
    """Rows of the later split that stand in the earlier one."""
    (seen, known), (split, views) = earlier, later
    groups = _groups(known)
    leaks = [(groups[view.key][0], view) for view in views if any(view.key) and view.key in groups]
    if leaks:
        same = sum(first.gold == view.gold for first, view in leaks)
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


def near(earlier: tuple[str, Sequence[View]], later: tuple[str, Sequence[View]]) -> Iterator[Finding]:
    """Rows of the later split with nearly the input of one of the earlier. Both may be the same split."""
    (seen, known), (split, views) = earlier, later
    found = list(_near(known, views, same=known is views))
    if found:
        inside = known is views
        yield Finding(
            "note" if inside else "warning",
            "near duplicates" if inside else "near leak",
            split,
            len(found),
            f"{rows(len(found))} nearly like {'an earlier one' if inside else f'one of {seen}'}",
            "" if inside else f"look at them: what {seen} has nearly word for word is easier than what is new",
            _pairs(found, names=None if inside else (seen, split)),
            _numbers(found),
        )


def _near(known: Sequence[View], views: Sequence[View], *, same: bool) -> Iterator[tuple[View, View]]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS)
    exact = _groups(known)
    firsts = [group[0] for group in exact.values()]
    shingled = [_shingles(view.key) for view in firsts]
    for at, sketch in enumerate(MinHash.bulk((_bytes(s) for s in shingled), num_perm=PERMUTATIONS, seed=1)):
        index.insert(at, sketch)
    asked = firsts if same else [view for view in views if any(view.key) and view.key not in exact]
    own = [_shingles(view.key) for view in asked]
    for place, sketch in enumerate(MinHash.bulk((_bytes(s) for s in own), num_perm=PERMUTATIONS, seed=1)):
        limit = place if same else len(firsts)  # in one split each pair is looked at once
        alike = [
            (likeness, -at)
            for at in index.query(sketch)
            if at < limit and (likeness := _likeness(own[place], shingled[at])) >= NEAR
        ]
        if alike:
            yield firsts[-max(alike)[1]], asked[place]


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
        + (f", {shortened(one.gold, 40)} and {shortened(two.gold, 40)}" if gold else "")
        for one, two in pairs[:SHOWN]
    )


def _numbers(pairs: Sequence[tuple[View, View]]) -> tuple[int, ...]:
    return tuple(two.number for _, two in pairs)
