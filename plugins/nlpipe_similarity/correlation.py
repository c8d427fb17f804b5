"""Spearman's and Pearson's correlation of answers with scores, as scipy computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Similarity
    from nlpipe_similarity.pairs import ScoredPair


def both(results: Sequence[Similarity], examples: Sequence[ScoredPair]) -> NDArray[Any]:
    """[n, 2]: the right score and the answered similarity. Raises DataError where a row has no score."""
    without = sum(example.score is None for example in examples)
    if without:
        raise DataError(f"{without} of {len(examples)} rows have no `score`, so that no answer can be measured by it")
    pairs = zip(examples, results, strict=True)
    return np.array([[example.score, result.similarity] for example, result in pairs], dtype=np.float64).reshape(-1, 2)


def pearson(rows: NDArray[Any]) -> float:
    """Pearson's r; nan where either side never varies."""
    if len(rows) < 2 or (rows == rows[:1]).all(axis=0).any():
        return float("nan")
    return float(np.corrcoef(rows.T)[0, 1])


def spearman(rows: NDArray[Any]) -> float:
    """Pearson's r of the ranks, ties sharing the mean of theirs; nan where either side never varies."""
    from scipy.stats import rankdata

    return pearson(rankdata(rows, axis=0)) if len(rows) else float("nan")


SPEARMAN = Metric("spearman", "spearman|average-ranks|scipy", both, spearman)
PEARSON = Metric("pearson", "pearson|scipy", both, pearson)
