"""The task of finding: a query to the documents of a collection that are most alike to it."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from nlpipe.details import Detail
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.metrics import Metric
from nlpipe.objectives import Embedding, Objective
from nlpipe.objectives.base import Answer, Query, Texts, Vectors
from nlpipe.results import Ranked, Ranking
from nlpipe.task import Family, Format, Record, Task
from nlpipe_similarity.details import search_details
from nlpipe_similarity.ranks import MAP, MRR, NDCG, PRECISION, RECALL, at
from nlpipe_similarity.trec import TREC, gathered, ordered
from nlpipe_similarity.vectors import VectorOptions, alike, embedding

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Search(Record):
    """What is looked for."""

    query: str


class JudgedSearch(Search):
    """A query with a text that answers it and texts that do not, or with the judged documents of a collection."""

    positive: str | None = None
    negatives: tuple[str, ...] = ()
    relevant: dict[str, float] | None = None
    id: str | None = None


class Document(Record):
    """One document of a collection; without an id it has its place in the collection, from 0."""

    text: str
    title: str | None = None
    id: str | None = None

    @property
    def whole(self) -> str:
        """The title, if there is one, a full stop, and the text."""
        return f"{self.title}. {self.text}" if self.title else self.text


class SearchOptions(VectorOptions):
    """What stands beside `name` in a recipe."""

    top: int = Field(10, ge=10, description="documents in a ranking; scores look at the first ten")


class Retrieval(Task[Search, JudgedSearch, Ranking, SearchOptions]):
    """Which documents answer a query."""

    name: ClassVar[str] = "retrieval"
    summary: ClassVar[str] = "the documents of a collection that answer a query, best first"
    Input = Search
    Example = JudgedSearch
    Result = Ranking
    Item = Document
    Options = SearchOptions
    metrics: ClassVar[tuple[Metric, ...]] = (NDCG, MRR, RECALL)
    further: ClassVar[tuple[Metric, ...]] = (PRECISION, MAP)
    formats: ClassVar[Mapping[str, Format]] = {"trec": TREC}
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"documents": ("ranking", "results", "retrieved")}
    unanswered: ClassVar[Any] = Ranking(())

    def __init__(self, labels: Sequence[str] = (), options: SearchOptions | None = None) -> None:
        super().__init__(labels, options)
        self._documents: tuple[Document, ...] = ()
        self._vectors: NDArray[np.float32] | None = None

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Vectors of queries and documents, in every family."""
        return dict.fromkeys(Family, (Embedding,))

    def objective(self, kind: type[Objective]) -> Objective:
        """A query's match is to be found among the batch's."""
        return embedding(self.options, "in_batch")

    def query(self, given: Search, objective: Objective) -> Query:
        """The query in its role."""
        return Texts((given.query,), "query")

    def gold(self, example: JudgedSearch, objective: Objective) -> Texts:
        """The text that answers, then those that do not; no text for a query with judged documents."""
        if example.positive is None and example.relevant is None:
            raise DataError("`positive` is missing: a text that answers the query")
        if example.relevant is not None and not any(value > 0 for value in example.relevant.values()):
            raise DataError("`relevant` names no document that answers the query")
        return Texts(() if example.positive is None else (example.positive, *example.negatives), "document")

    def items_in(self, examples: Sequence[JudgedSearch]) -> Sequence[Document]:
        """All texts that answer some query of the rows or are named as not answering it, each once.

        Raises DataError where rows judge documents of a collection that did not come with them.
        """
        if any(example.positive is None for example in examples):
            raise DataError(
                "the rows have no `positive`, and came without a collection: name {corpus: …, queries: …, qrels: …}"
            )
        texts = (text for row in examples for text in (row.positive, *row.negatives))
        return [Document(text=text) for text in dict.fromkeys(texts) if text is not None]

    @classmethod
    def learnt(cls, examples: Sequence[JudgedSearch], items: Sequence[Document]) -> Iterable[tuple[int, JudgedSearch]]:
        """A row for each document that answers a query, with those judged not to as `negatives`."""
        texts = {str(at) if item.id is None else item.id: item.whole for at, item in enumerate(items)}
        for place, row in enumerate(examples):
            judged = row.relevant or {}
            right = [key for key, value in judged.items() if value > 0]
            if not right:
                yield place, row  # what is wrong with it is said with its number
            negatives = tuple(texts[key] for key, value in judged.items() if value <= 0)
            for key in right:
                yield place, JudgedSearch(query=row.query, positive=texts[key], negatives=negatives, id=row.id)

    def item_query(self, item: Document, objective: Objective) -> Query:
        """The document in its role."""
        return Texts((item.whole,), "document")

    def over(self, items: Sequence[Document], answers: Sequence[Answer]) -> Self:
        """The task ranking these documents by these vectors. Raises DataError for an id that occurs twice."""
        ids = [str(at) if item.id is None else item.id for at, item in enumerate(items)]
        twice = [key for key, count in Counter(ids).items() if count > 1]
        if twice:
            raise DataError(f"the collection has more than one document with the id {twice[0]!r}")
        found = copy.copy(self)
        found._documents = tuple(item.model_copy(update={"id": key}) for item, key in zip(items, ids, strict=True))
        found._vectors = np.concatenate([_values(answer) for answer in answers])
        return found

    def result(self, answer: Answer, given: Search) -> Ranking:
        """The most alike documents. Raises UnsupportedError where no documents were given to look in."""
        if self._vectors is None:
            raise UnsupportedError(
                "there are no documents to look in: pipe.index(documents) gives a pipeline that ranks them, and "
                "`nlpipe predict` takes --collection FILE"
            )
        assert isinstance(answer, Vectors)
        scores = alike(answer.values, self._vectors, answer.measure)[0]
        return self._ranking(scores, answer.measure)

    def _ranking(self, scores: Sequence[float] | NDArray[np.float32], measure: str) -> Ranking:
        order = np.argsort(-np.asarray(scores), kind="stable")[: self.options.top]
        return Ranking(
            tuple(Ranked(self._documents[at].id or "", float(scores[at]), self._documents[at].whole) for at in order),
            measure,
        )

    def baselines(
        self, train: Sequence[JudgedSearch], examples: Sequence[JudgedSearch]
    ) -> Mapping[str, Sequence[Ranking]]:
        """Documents by the words they share with the query, rarer words counting more."""
        if not self._documents:
            return {}
        words = [set(_words(document.whole)) for document in self._documents]
        counts = Counter(word for document in words for word in document)
        weight = {word: math.log(1 + len(words) / count) for word, count in counts.items()}
        ranked = []
        for row in examples:
            asked = set(_words(row.query))
            scores = [sum(weight[word] for word in asked & document) for document in words]
            ranked.append(self._ranking(scores, "words"))
        return {"words in common": ranked}

    @classmethod
    def named(cls, name: str, examples: Sequence[JudgedSearch] = ()) -> Sequence[Metric] | None:
        """Any depth: `recall@100`, `ndcg@5`, `mrr@1000`, `map@1000`, `precision@1`."""
        found = at(name)
        return None if found is None else [found]

    @classmethod
    def gathered(cls, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Judged or ranked documents, one a row, as one row for each query."""
        return gathered(rows)

    def told(self, cells: Mapping[str, Any], example: JudgedSearch) -> Mapping[str, Any]:
        """Also ids alone, the best first, or an object of ids with their scores."""
        given = cells.get("documents")
        if isinstance(given, Mapping):
            given = ordered(given)
        if not isinstance(given, list):
            return cells
        found = [_ranked(one, rank) for rank, one in enumerate(given)]
        ids = [one["id"] for one in found if isinstance(one, Mapping) and "id" in one]
        if twice := next((one for one, count in Counter(ids).items() if count > 1), None):
            raise DataError(f"the ranking has the document {twice!r} more than once")
        return {**cells, "documents": found}

    def details(self, results: Sequence[Ranking], examples: Sequence[JudgedSearch]) -> Iterable[Detail]:
        """Where right documents stand, and the worst rankings."""
        return search_details(results, examples)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "sentence-similarity"

    @classmethod
    def samples(cls) -> Sequence[JudgedSearch]:
        """Three questions with what answers them."""
        return (
            JudgedSearch(
                query="When does the harbour freeze?",
                positive="In most winters the harbour is closed by ice from January on.",
                negatives=("The harbour master's office is above the fish market.",),
            ),
            JudgedSearch(query="Who built the old mill?", positive="The mill was put up by two brothers in 1811."),
            JudgedSearch(query="How long is the tunnel?", positive="It runs nine kilometres under the ridge."),
        )


def _ranked(given: Any, rank: int) -> Any:
    """A document of a ranking made elsewhere; without a score its place, from the best down."""
    if isinstance(given, list) and len(given) == 2:
        given = dict(zip(("id", "similarity"), given, strict=True))
    if isinstance(given, str | int):
        given = {"id": str(given)}
    if not isinstance(given, Mapping):
        return given
    key = next((given[name] for name in ("id", "doc_id", "docid", "document_id", "_id") if name in given), None)
    score = next((given[name] for name in ("similarity", "score") if name in given), -float(rank))
    found = {name: cell for name, cell in given.items() if name == "text"}
    return {**found, "similarity": score} if key is None else {**found, "id": str(key), "similarity": score}


def _values(answer: Answer) -> NDArray[np.float32]:
    assert isinstance(answer, Vectors)
    return answer.values


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
