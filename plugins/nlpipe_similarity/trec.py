"""Judgements and rankings as those who evaluate search write them: TREC's qrels and runs, and BEIR's tables of them.

    qrels   query 0 document relevance              BEIR: query-id corpus-id score, with that header
    run     query Q0 document rank score name       MS MARCO: query document rank

Or one JSON object, {query: {document: number}}, as pytrec_eval takes either. Lines become rows of a table, and
`gathered` makes one row of each query's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlpipe.errors import DataError
from nlpipe.task import Format, FormatRow

QUERY, DOCUMENT = ("query_id", "query-id", "qid"), ("doc_id", "corpus-id", "docid", "document_id")
RELEVANCE, SCORE, RANK = ("relevance", "score", "label"), ("score", "similarity"), ("rank",)


def _numbered(place: int, width: int) -> Callable[[Sequence[str]], bool]:
    def fits(columns: Sequence[str]) -> bool:
        return len(columns) == width and _is_number(columns[place])

    return fits


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# What the columns of a line are, by how many there are and which is a number.
_QRELS: tuple[tuple[Callable[[Sequence[str]], bool], tuple[str, ...]], ...] = (
    (_numbered(3, 4), ("query_id", "", "doc_id", "relevance")),
    (_numbered(2, 3), ("query_id", "doc_id", "relevance")),
)
_RUN = (
    (_numbered(4, 6), ("query_id", "", "doc_id", "", "score", "")),
    (_numbered(2, 3), ("query_id", "doc_id", "rank")),
)


def _reader(kinds: Any, number: str, what: str) -> Callable[[Iterable[str]], Iterator[FormatRow]]:
    def read(lines: Iterable[str]) -> Iterator[FormatRow]:
        for at, line in enumerate(lines, 1):
            if at == 1 and line.lstrip().startswith("{"):
                yield from _objects("".join([line, *lines]), number)
                return
            columns = line.split()
            if not columns or (at == 1 and columns[0] in QUERY):
                continue
            names = next((names for fits, names in kinds if fits(columns)), None)
            if names is None:
                yield FormatRow({}, at, f"line {at} is {line.strip()[:60]!r}, and no {what}")
                continue
            cells = {name: cell for name, cell in zip(names, columns, strict=True) if name}
            yield FormatRow(cells, at)

    return read


def _objects(text: str, number: str) -> Iterator[FormatRow]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"is no JSON: {error}") from None
    for query, documents in found.items():
        if not isinstance(documents, Mapping):
            yield FormatRow({}, fault=f"the query {query!r} must have an object of documents")
            continue
        for document, value in documents.items():
            yield FormatRow({"query_id": query, "doc_id": document, number: value})


def looks(head: str) -> bool:
    """Whether lines are of judgements or of a ranking."""
    lines = [line.split() for line in head.splitlines()[:50] if line.strip()]
    if lines and lines[0][0] in QUERY:
        lines = lines[1:]
    if lines and lines[0][0].startswith("{"):
        return _looks_like_object(head)
    return bool(lines) and all(any(fits(line) for fits, _ in (*_QRELS, *_RUN)) for line in lines)


def _looks_like_object(head: str) -> bool:
    first = head.lstrip()[1:].lstrip()
    key, colon, rest = first.partition(":")
    return bool(colon) and key.strip().startswith('"') and rest.lstrip().startswith("{")


TREC = Format(
    "TREC's qrels and runs",
    rows=_reader(_QRELS, "relevance", "judgement: query 0 document relevance"),
    answers=_reader(_RUN, "score", "line of a run: query Q0 document rank score name"),
    looks=looks,
)


def gathered(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Rows of judged or ranked documents as one row for each query; other rows as they are.

    Their numbers become `relevant` and `documents`; judgements need the first, rankings the second. Documents are
    ordered by their score, and equal ones by their ids from the last to the first, whatever rank a run gives them: so
    trec_eval does it. Raises DataError for numbers that are none, and for a document that a query has twice.
    """
    first = rows[0] if rows else {}
    query, document = (_name(first, names) for names in (QUERY, DOCUMENT))
    if query is None or document is None or "documents" in first or "relevant" in first:
        return rows
    value = _name(first, (*RELEVANCE, *SCORE, *RANK))
    if value is None:
        raise DataError(
            f"the rows have a query and a document, and no relevance, score or rank; there are: {', '.join(first)}"
        )
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, 1):
        key, name = str(row.get(query)), str(row.get(document))
        if name in found.setdefault(key, {}):
            raise DataError(f"row {number}: the query {key!r} has the document {name!r} already")
        try:
            found[key][name] = float(row.get(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise DataError(f"row {number}: {value} is {row.get(value)!r}, which is no number") from None
    sign = -1 if value in RANK else 1  # of ranks the smallest is best
    return [
        # What a `score` is, the file's use decides: of rows to score by the relevance, of answers the similarity.
        {"id": key, "query": "", "relevant": held, "documents": ordered({n: sign * s for n, s in held.items()})}
        for key, held in found.items()
    ]


def _name(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def ordered(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """Documents by their scores, as trec_eval orders them: it keeps them in single precision, where more are equal."""
    order = sorted(scores.items(), key=lambda pair: (float(np.float32(pair[1])), pair[0]), reverse=True)
    return [{"id": name, "similarity": score} for name, score in order]
