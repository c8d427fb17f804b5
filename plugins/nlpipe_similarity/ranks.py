"""Scores of rankings: nDCG, reciprocal rank and recall of the first ten documents.

Each query's statistic is its own score, and the score of many is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Ranking
    from nlpipe_similarity.retrieval import JudgedSearch

DEPTH = 10


def gains(result: Ranking, example: JudgedSearch) -> tuple[list[float], list[float]]:
    """The relevance of each of the first ten documents, and of all relevant documents, the largest first."""
    if example.relevant is None:
        return [float(document.text == example.positive) for document in result.documents[:DEPTH]], [1.0]
    judged: Mapping[str, float] = example.relevant
    found = [max(judged.get(document.id, 0.0), 0.0) for document in result.documents[:DEPTH]]
    return found, sorted((value for value in judged.values() if value > 0), reverse=True)


def ndcg(found: Sequence[float], there: Sequence[float]) -> float:
    """Discounted cumulative gain over the best possible one; the gain is the relevance itself, as in trec_eval."""
    best = _discounted(there[:DEPTH])
    return _discounted(found) / best if best else 0.0


def _discounted(values: Sequence[float]) -> float:
    return float(sum(value / np.log2(rank + 1) for rank, value in enumerate(values, 1)))


def reciprocal_rank(found: Sequence[float], there: Sequence[float]) -> float:
    """One over the rank of the first relevant document; 0 where the first ten have none."""
    return next((1 / rank for rank, value in enumerate(found, 1) if value > 0), 0.0)


def recall(found: Sequence[float], there: Sequence[float]) -> float:
    """The share of relevant documents that are among the first ten."""
    return sum(value > 0 for value in found) / len(there) if there else 0.0


def _rows(score: Callable[[Sequence[float], Sequence[float]], float]) -> Callable[..., NDArray[Any]]:
    def rows(results: Sequence[Ranking], examples: Sequence[JudgedSearch]) -> NDArray[Any]:
        pairs = zip(results, examples, strict=True)
        return np.array([[score(*gains(result, example))] for result, example in pairs]).reshape(-1, 1)

    return rows


def _mean(rows: NDArray[Any]) -> float:
    return float(rows.mean()) if len(rows) else float("nan")


NDCG = Metric("ndcg@10", "ndcg@10|linear-gain|trec_eval", _rows(ndcg), _mean)
MRR = Metric("mrr@10", "mrr@10|trec_eval", _rows(reciprocal_rank), _mean)
RECALL = Metric("recall@10", "recall@10|trec_eval", _rows(recall), _mean)
