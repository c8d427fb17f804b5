"""What the tasks of this plugin answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nlpipe.results import Result


@dataclass(frozen=True, slots=True)
class Similarity(Result):
    """How alike two texts are.

    `measure` says what `similarity` is: `cosine` in [-1, 1] or `dot` of two vectors, `score` a number on the
    scale of the training data (it may fall a little outside), `words` in a baseline.
    """

    similarity: float
    measure: str


@dataclass(frozen=True, slots=True)
class Ranked(Result):
    """A document of a ranking: its id, how alike it is to the query, and its text."""

    id: str
    similarity: float
    text: str


@dataclass(frozen=True, slots=True)
class Ranking(Result):
    """The documents most alike to a query, the best first; equally alike ones in the collection's order."""

    documents: tuple[Ranked, ...]
    measure: str = "cosine"

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {"documents": tuple(Ranked.from_dict(document) for document in data["documents"])}
