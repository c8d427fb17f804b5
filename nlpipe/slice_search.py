"""Looking through many slices for those that a model does worse on than chance gives.

The more slices are looked at, the worse the worst of them is by chance alone. So a slice is judged against the worst of
as many slices of the same sizes that are filled by chance: the rows are dealt out anew, each slice keeps its places,
and what counts is how often any slice then lies as far from the score of all as this one does (the maximum of the
standardised differences, Westfall and Young 1993). This holds the chance of any false finding at 5 %, however much
slices overlap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.slices import ALPHA, SMALLEST, Slice, scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.metrics import Metric

    Masks = Mapping[str, NDArray[np.bool_]]

DEALS = 200  # times that rows are dealt out anew: enough to tell 5 % from 1 %
LEAST, SHARE = 20, 0.01  # rows of a slice that is looked for: so many, and this share of all
WORDS, PAIRS = 60, 60  # of each kind of slice so many are looked at, the largest ones
READ = 20_000  # rows by which chance is measured: of more, this many, evenly
LISTED = 10


def named(
    metric: Metric, rows: NDArray[Any], chosen: Masks, *, resamples: int, draw: np.random.Generator
) -> list[Slice]:
    """The score of each slice with at least SMALLEST rows, the worst first; p allows for all of them."""
    ps = by_chance(metric, rows, _of_size(chosen, SMALLEST), draw)
    return scored(metric, rows, chosen, ps, resamples=resamples, draw=draw)


def worst(
    metric: Metric,
    rows: NDArray[Any],
    chosen: Masks,
    texts: Sequence[str],
    *,
    resamples: int,
    draw: np.random.Generator,
) -> tuple[list[Slice], int]:
    """The slices that are worse than chance gives, and the number of those looked at.

    These are `chosen`, two of them at once, and the rows with a word. Of two at once only those are listed that are
    worse than either.
    """
    least = max(LEAST, round(SHARE * len(rows)))
    single = _of_size(chosen, least)
    parts, pairs = _pairs(single, least)
    masks = _distinct({**single, **_words(texts, least), **pairs}, len(rows))
    ps = by_chance(metric, rows, masks, draw)
    whole, sign = float(metric.value(rows)), 1 if metric.direction == "maximize" else -1
    gaps = {name: sign * (float(metric.value(rows[masks[name]])) - whole) for name in ps}
    bad = sorted((name for name, p in ps.items() if p < ALPHA and gaps[name] < 0), key=lambda name: gaps[name])
    listed = [name for name in bad if not any(gaps.get(part, 0.0) <= gaps[name] for part in parts.get(name, ()))]
    found = scored(metric, rows, {name: masks[name] for name in listed[:LISTED]}, ps, resamples=resamples, draw=draw)
    return found, len(ps)


def by_chance(metric: Metric, rows: NDArray[Any], chosen: Masks, draw: np.random.Generator) -> dict[str, float]:
    """How often any of the slices, filled by chance, is as far from the score of all as each of them is.

    Slices of which no score is a number are left out.
    """
    step = -(-len(rows) // READ)
    some = rows[::step]
    places = {name: np.flatnonzero(mask[::step]) for name, mask in chosen.items()}
    names = [name for name, at in places.items() if 0 < len(at) < len(some)]
    if not names:
        return {}
    there = np.array([metric.value(some[places[name]]) for name in names], dtype=float)
    dealt = np.empty((DEALS, len(names)))
    for deal in range(DEALS):
        mixed = some[draw.permutation(len(some))]
        dealt[deal] = [metric.value(mixed[places[name]]) for name in names]
    kept = np.isfinite(there) & np.isfinite(dealt).all(axis=0)
    if not kept.any():
        return {}
    spread = dealt.std(axis=0)
    spread[spread == 0] = np.inf  # all rows are alike: nothing is far
    far = (np.abs(there - dealt.mean(axis=0)) / spread)[kept]
    most = (np.abs(dealt - dealt.mean(axis=0)) / spread)[:, kept].max(axis=1)
    known = [name for name, is_kept in zip(names, kept, strict=True) if is_kept]
    counts = (most[:, None] >= far - 1e-12).sum(axis=0)
    return {name: float((1 + count) / (1 + DEALS)) for name, count in zip(known, counts, strict=True)}


def _of_size(chosen: Masks, least: int) -> dict[str, NDArray[np.bool_]]:
    return {name: mask for name, mask in chosen.items() if mask.sum() >= least}


def _words(texts: Sequence[str], least: int) -> dict[str, NDArray[np.bool_]]:
    """The rows with a word, of the most frequent words that at most half of the rows have."""
    bags = [frozenset(re.findall(r"\w+", text.lower())) for text in texts]
    counts = Counter(word for bag in bags for word in bag)
    usual = [word for word, count in counts.most_common() if least <= count <= len(texts) / 2][:WORDS]
    return {f"with the word “{word}”": np.array([word in bag for bag in bags], dtype=bool) for word in usual}


def _pairs(single: Masks, least: int) -> tuple[dict[str, tuple[str, str]], dict[str, NDArray[np.bool_]]]:
    """Rows of two slices at once, and of which two each is made."""
    parts = {f"{one} and {other}": (one, other) for one, other in combinations(single, 2)}
    found = _of_size({name: single[one] & single[other] for name, (one, other) in parts.items()}, least)
    return parts, dict(sorted(found.items(), key=lambda pair: -int(pair[1].sum()))[:PAIRS])


def _distinct(masks: Masks, rows: int) -> dict[str, NDArray[np.bool_]]:
    """The first of slices that are the same rows, and none that is all of them."""
    first = {mask.tobytes(): name for name, mask in reversed(list(masks.items())) if mask.sum() < rows}
    names = set(first.values())
    return {name: mask for name, mask in masks.items() if name in names}
