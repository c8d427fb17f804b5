"""What pretraining hides of a text: tokens, words, spans. Positions alone; no tokenizer, no tensors.

Everything drawn comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Span = tuple[int, int]

SHARE, MEAN = 0.15, 3.0
"""The share of tokens hidden, and the mean length of a span: Devlin et al. 2019; Raffel et al. 2020, section 3.3.4."""

INFILLED = 0.3
"""The share of tokens that text infilling hides (Lewis et al. 2020, section 4; fairseq's `--mask`)."""


def spans_of(
    length: int, rng: np.random.Generator, *, density: float = SHARE, mean: float = MEAN, most: int = 99
) -> list[Span]:
    """T5's noise spans over `length` tokens, as half-open ranges in order (Raffel et al. 2020, section 3.1.4).

    `random_spans_noise_mask` of t5/data/preprocessors.py: round(density × length) tokens, at least one and at most
    all but one, in round(noise / mean) spans; noise and the stretches between are cut at random, and a stretch
    without noise comes first, so that the last span ends the text.
    """
    if length < 2:
        return [(0, length)] if length else []
    noise = min(max(round(density * length), 1), length - 1)
    count = min(max(round(noise / mean), 1), length - noise, most)
    gaps, sizes = _cut(length - noise, count, rng), _cut(noise, count, rng)
    found, at = [], 0
    for gap, size in zip(gaps, sizes, strict=True):
        found.append((at + gap, at + gap + size))
        at += gap + size
    return found


def _cut(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """`total` as a sum of `parts` positive numbers, all ways alike."""
    borders = sorted(int(one) for one in rng.choice(total - 1, size=parts - 1, replace=False) + 1) if parts > 1 else []
    return [end - start for start, end in pairwise([0, *borders, total])]


def whole_length(room: int, *, density: float = SHARE, mean: float = MEAN) -> int:
    """How many tokens give `room` of them once their spans are sentinels (T5's `random_spans_helper`)."""
    length = room
    while _noised(length + 1, density, mean) <= room:
        length += 1
    return length


def _noised(length: int, density: float, mean: float) -> int:
    noise = round(length * density)
    return length - noise + round(noise / mean)


def infilled(length: int, rng: np.random.Generator, *, density: float = INFILLED, mean: float = MEAN) -> list[Span]:
    """BART's spans: lengths of a Poisson distribution until `density` of the tokens are gone; an empty one is a blank
    more.

    Lewis et al. 2020, section 2.2. No two touch, for two blanks side by side could not be told apart.
    """
    budget, taken, found = max(1, round(density * length)), set[int](), dict[int, int]()
    while budget > 0 and len(taken) < length:
        size = min(int(rng.poisson(mean)), budget)
        start = int(rng.integers(length))
        end = min(start + size, length)
        if not taken.isdisjoint(range(start - 1, end + 1)):
            budget -= 1  # a place that is taken: so that this ends
            continue
        found[start] = end
        taken |= {start, *range(start, end)}
        budget -= max(end - start, 1)
    return sorted(found.items())


def chosen(units: Sequence[int], rng: np.random.Generator, share: float = SHARE) -> list[int]:
    """Positions to be asked for: of each unit all or none, about `share` of those that have a unit, one at least.

    `units` [positions] numbers the words or tokens that are hidden together; a negative number is never hidden. Units
    are drawn until round(share × positions) are reached, as BERT's create_pretraining_data.py does.
    """
    members: dict[int, list[int]] = {}
    for at, unit in enumerate(units):
        if unit >= 0:
            members.setdefault(unit, []).append(at)
    names = list(members)
    wanted = max(1, round(share * sum(map(len, members.values()))))
    found: list[int] = []
    for index in rng.permutation(len(names)):
        group = members[names[index]]
        if found and len(found) + len(group) > wanted:
            continue  # a long word may not carry it far above; a shorter one may still fit
        found += group
        if len(found) >= wanted:
            break
    return sorted(found)


def turns(length: int, *, size: int = 1, share: float = SHARE, most: int = 10**9) -> Iterator[list[Span]]:
    """`length` tokens as spans of `size`, each hidden in one turn and `share` of them at a time; nothing is drawn.

    At most `most` spans in a turn. With `share` 0 each span has a turn to itself.
    """
    borders = [*range(0, length, size), length]
    spans = list(pairwise(borders))
    at_once = max(1, min(math.ceil(share * len(spans)), most))
    count = math.ceil(len(spans) / at_once)
    for turn in range(count):
        yield spans[turn::count]


def without(ids: Sequence[int], spans: Sequence[Span], blanks: Sequence[int]) -> list[int]:
    """The ids with each span replaced by its blank, one of `blanks` after the other."""
    found: list[int] = []
    at = 0
    for (start, end), blank in zip(spans, blanks, strict=False):
        found += [*ids[at:start], blank]
        at = end
    return [*found, *ids[at:]]


def hidden(ids: Sequence[int], spans: Sequence[Span], blanks: Sequence[int]) -> list[int]:
    """What stood in the spans, each behind its blank: T5's target without its end token."""
    return [token for (start, end), blank in zip(spans, blanks, strict=False) for token in (blank, *ids[start:end])]
