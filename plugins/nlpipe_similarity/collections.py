"""Functions over many texts that take a pipeline: paraphrases, clusters, and re-ranking by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nlpipe.errors import UnsupportedError
from nlpipe.results import Ranked, Ranking
from nlpipe_similarity.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Texts compared at once with all others: 1,000 x 100,000 cosines are 400 MB.
_CHUNK = 1000


class Embeds(Protocol):
    """A pipeline that gives vectors (`nlpipe.Pipeline` is one)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors, float32 [n, dim]."""
        ...


class Scores(Protocol):
    """A pipeline of pairs (`nlpipe.Pipeline` is one)."""

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
        """A result with `similarity` for each pair."""
        ...


def mine_paraphrases(
    pipe: Embeds, texts: Sequence[str], *, threshold: float = 0.0, top: int | None = None, nearest: int = 100
) -> list[tuple[int, int, float]]:
    """The pairs of texts most alike: (index, larger index, cosine), the most alike first, each pair once.

    Pairs below `threshold` are left out, `top` keeps the first ones only, and each text brings at most its
    `nearest` others (100, as in sentence-transformers' `paraphrase_mining`). Compares all texts with all, a
    thousand at a time, without ever holding all cosines. Raises UnsupportedError for a pipeline without vectors.
    """
    if nearest < 1:
        raise UnsupportedError(f"nearest must be at least 1, is {nearest}")
    if len(texts) < 2:
        return []
    vectors = unit(pipe.embed(texts))
    found = [_nearest(vectors, start, nearest, threshold) for start in range(0, len(texts), _CHUNK)]
    one, other, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    low, high = np.minimum(one, other), np.maximum(one, other)
    _, first = np.unique(low * len(texts) + high, return_index=True)  # each pair as it was found first
    order = first[np.lexsort((high[first], low[first], -cosines[first]))][:top]
    return list(zip(low[order].tolist(), high[order].tolist(), cosines[order].tolist(), strict=True))


def _nearest(
    vectors: NDArray[np.float32], start: int, nearest: int, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Of the texts from `start` on, a chunk of them: each with its nearest others and the cosines, one pair a place."""
    cosines = vectors[start : start + _CHUNK] @ vectors.T
    rows = np.arange(len(cosines))
    cosines[rows, start + rows] = -np.inf  # itself
    count = min(nearest, len(vectors) - 1)
    crowded = np.flatnonzero((cosines >= threshold).sum(axis=1) > count)  # sorting all would be most of the work
    if len(crowded):
        far = np.argpartition(-cosines[crowded], count - 1, axis=1)[:, count:]
        cosines[crowded[:, None], far] = -np.inf
    row, other = np.nonzero(cosines >= threshold)
    return start + row, other, cosines[row, other]


def cluster(pipe: Embeds, texts: Sequence[str], *, threshold: float = 0.75, smallest: int = 2) -> list[list[int]]:
    """Groups of texts alike: lists of indices, the largest group first, its most central text first in it.

    Every text of a group has a cosine of at least `threshold` with its first. Texts are taken from the one with
    most neighbours on, each belongs to at most one group, and groups of less than `smallest` are left out: the
    procedure of sentence-transformers' `community_detection`, which takes 0.75 as well. Compares all with all
    in memory that grows with the number of neighbours. Raises UnsupportedError for a pipeline without vectors.
    """
    if smallest < 1:
        raise UnsupportedError(f"smallest must be at least 1, is {smallest}")
    if not texts:
        return []
    vectors = unit(pipe.embed(texts))
    near: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        for row, values in enumerate(vectors[start : start + _CHUNK] @ vectors.T):
            values[start + row] = np.inf  # itself comes first, whatever rounding does to a twin
            within = np.flatnonzero(values >= threshold)
            if len(within) >= smallest:
                near.append(within[np.argsort(-values[within], kind="stable")].tolist())
    groups, taken = [], set[int]()
    for members in sorted(near, key=len, reverse=True):
        free = [member for member in members if member not in taken]
        if members[0] not in taken and len(free) >= smallest:
            groups.append(free)
            taken.update(free)
    return sorted(groups, key=len, reverse=True)


def rerank(pipe: Scores, query: str, ranking: Ranking) -> Ranking:
    """The documents of a ranking in the order in which a pipeline of pairs scores them with the query.

    For a cross-encoder (`model.objective: SequenceLabel`), which is too slow for a whole collection and better than
    vectors on a few. Each document's `similarity` becomes the pipeline's; equal ones keep their order.
    """
    pairs = [{"text_a": query, "text_b": document.text} for document in ranking.documents]
    if not pairs:
        return ranking
    scored = list(zip(pipe(pairs), ranking.documents, strict=True))
    scored.sort(key=lambda pair: -pair[0].similarity)
    documents = tuple(Ranked(document.id, result.similarity, document.text) for result, document in scored)
    return replace(ranking, documents=documents, measure=scored[0][0].measure)
