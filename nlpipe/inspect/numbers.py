"""The arithmetic that several views share. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def softmax(scores: Floats) -> Floats:
    """Over the last axis, in float64."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    found: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return found


def log_softmax(scores: Floats) -> Floats:
    """The natural logarithm of softmax over the last axis, in float64."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def cosines(one: Floats, other: Floats | None = None) -> Floats:
    """The cosine of each row of `one` [n, d] with each row of `other` [m, d] (`one` itself if None), [n, m].

    0 for a vector without length.
    """
    left = _unit(one)
    found: Floats = left @ (left if other is None else _unit(other)).T
    return np.clip(found, -1.0, 1.0)


def _unit(rows: Floats) -> Floats:
    wide = rows.astype(np.float64)
    found: Floats = wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
    return found


def grouped(states: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """The mean of each group's rows of [tokens, width], [groups, width]."""
    return np.stack([states[list(group)].mean(axis=0) for group in groups])


def principal(rows: Floats, count: int = 3) -> tuple[Floats, Floats]:
    """The first `count` principal components of [n, width]: places [n, count] and shares of the variance [count].

    Each component's largest place is positive, so that the same rows give the same picture. Components that
    the rows do not have are 0.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    places, shares = np.zeros((len(rows), count)), np.zeros(count)
    total = float((size * size).sum())
    have = min(count, len(size))
    found = left[:, :have] * size[:have]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(have)])
    places[:, :have] = found * np.where(signs == 0, 1, signs)
    shares[:have] = size[:have] ** 2 / total if total > 0 else 0.0
    return places, shares


def entropy(probabilities: Floats) -> Floats:
    """Bits, over the last axis."""
    p = probabilities.astype(np.float64)
    found: Floats = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return found
