"""Scores of rankings: nDCG, reciprocal rank, recall, precision and average precision of the first k documents.

Each query's statistic is its own score, and the score of many is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Ranked, Ranking
    from nlpipe_similarity.retrieval import JudgedSearch

DEPTH = 10


def gains(result: Ranking, example: JudgedSearch, depth: int = DEPTH) -> tuple[list[float], list[float]]:
    """The relevance of each of the first documents, and of all relevant documents, the largest first."""
    found = [relevance(document, example) for document in result.documents[:depth]]
    if example.relevant is None:
        return found, [1.0]
    judged: Mapping[str, float] = example.relevant
    return found, sorted((value for value in judged.values() if value > 0), reverse=True)


def relevance(document: Ranked, example: JudgedSearch) -> float:
    """How well a document answers a query, from 0; 0 where nobody judged it."""
    if example.relevant is None:
        return float(document.text == example.positive)
    return max(example.relevant.get(document.id, 0.0), 0.0)


def ndcg(found: Sequence[float], there: Sequence[float], depth: int = DEPTH) -> float:
    """Discounted cumulative gain over the best possible one; the gain is the relevance itself, as in trec_eval."""
    best = _discounted(there[:depth])
    return _discounted(found) / best if best else 0.0


def _discounted(values: Sequence[float]) -> float:
    return float(sum(value / np.log2(rank + 1) for rank, value in enumerate(values, 1)))


def reciprocal_rank(found: Sequence[float], there: Sequence[float], depth: int = DEPTH) -> float:
    """One over the rank of the first relevant document; 0 where the first ones have none."""
    return next((1 / rank for rank, value in enumerate(found, 1) if value > 0), 0.0)


def recall(found: Sequence[float], there: Sequence[float], depth: int = DEPTH) -> float:
    """The share of relevant documents that are among the first ones."""
    return sum(value > 0 for value in found) / len(there) if there else 0.0


def precision(found: Sequence[float], there: Sequence[float], depth: int = DEPTH) -> float:
    """The share of the first `depth` places that relevant documents take."""
    return sum(value > 0 for value in found) / depth


def average_precision(found: Sequence[float], there: Sequence[float], depth: int = DEPTH) -> float:
    """The precisions at the ranks of relevant documents, summed over all relevant documents."""
    hits, total = 0, 0.0
    for rank, value in enumerate(found, 1):
        if value > 0:
            hits += 1
            total += hits / rank
    return total / len(there) if there else 0.0


Score = Callable[[Sequence[float], Sequence[float], int], float]

_SCORES: dict[str, Score] = {
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
}


def _rows(score: Score, depth: int) -> Callable[..., NDArray[Any]]:
    def rows(results: Sequence[Ranking], examples: Sequence[JudgedSearch]) -> NDArray[Any]:
        """[n, 1]: each query's score."""
        pairs = zip(results, examples, strict=True)
        return np.array([[score(*gains(result, example, depth), depth)] for result, example in pairs]).reshape(-1, 1)

    return rows


def _mean(rows: NDArray[Any]) -> float:
    return float(rows.mean()) if len(rows) else float("nan")


def at(name: str) -> Metric | None:
    """The score of a name such as `recall@100`; None where it is none."""
    score, sign, depth = name.partition("@")
    if score not in _SCORES or not sign or not depth.isdecimal() or int(depth) < 1:
        return None
    rule = "linear-gain|" if score == "ndcg" else ""
    return Metric(name, f"{name}|{rule}trec_eval", _rows(_SCORES[score], int(depth)), _mean)


def _usual(name: str) -> Metric:
    found = at(f"{name}@{DEPTH}")
    assert found is not None
    return found


NDCG, MRR, RECALL, PRECISION, MAP = map(_usual, ("ndcg", "mrr", "recall", "precision", "map"))
