"""Functions over many texts that take a pipeline: paraphrases, clusters, and re-ranking by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nlpipe.errors import UnsupportedError
from nlpipe.results import Ranked, Ranking
from nlpipe_similarity.vectors import alike

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
    vectors = pipe.embed(texts)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(texts), _CHUNK):
        cosines = alike(vectors[start : start + _CHUNK], vectors, "cosine")
        for row, values in enumerate(cosines):
            one = start + row
            values[one] = -np.inf  # itself
            for other in np.argsort(-values, kind="stable")[:nearest].tolist():
                if other == one or values[other] < threshold:
                    break
                found.setdefault((min(one, other), max(one, other)), float(values[other]))
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(*pair, cosine) for pair, cosine in ordered[:top]]


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
    vectors = pipe.embed(texts)
    near: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        for row, values in enumerate(alike(vectors[start : start + _CHUNK], vectors, "cosine")):
            order = np.argsort(-values, kind="stable")
            within = order[values[order] >= threshold].tolist()
            one = start + row
            near.append([one, *(other for other in within if other != one)])  # rounding may put a twin before it
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
