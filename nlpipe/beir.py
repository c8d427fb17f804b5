"""Queries, documents and judgements in the form of BEIR (Thakur et al. 2021): three files to rows and documents.

Knows no file format: how a file becomes rows is handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nlpipe.errors import DataError, Problem, suggest

Rows = list[dict[str, Any]]

PARTS = ("corpus", "queries", "qrels")

# Our name of a column: the names it goes by. The judgements of BEIR's own files are a table with the second ones.
_IDS = ("_id", "id")
_QUERY_IDS = ("query_id", "query-id")
_DOCUMENT_IDS = ("doc_id", "corpus-id")
_RELEVANCE = ("relevance", "score")

_ENDINGS = tuple(f"{kind}{zipped}" for kind in ("jsonl", "tsv", "csv", "json", "parquet") for zipped in ("", ".gz"))
_SPLITS = {"validation": ("dev", "validation")}  # what the files of judgements are called in BEIR

_SHOWN = 5


def of(source: Any, split: str = "test") -> dict[str, str] | None:
    """The three files of a collection, named one by one or by the folder that they lie in; None for any other source.

    A folder has `corpus` and `queries`, and `qrels` or, as BEIR's own data sets, `qrels/` with a file for each split.
    Raises DataError where a file is missing.
    """
    if isinstance(source, BaseModel):
        source = source.model_dump()
    place = source.get("path") if isinstance(source, Mapping) else source
    if isinstance(place, str | Path) and Path(place).is_dir():
        return _in_folder(Path(place), split)
    if not isinstance(source, Mapping) or not set(PARTS) & set(source):
        return None
    lacking = [part for part in PARTS if part not in source]
    unknown = [str(key) for key in source if key not in PARTS]
    if unknown:
        raise DataError(f"a collection has no {unknown[0]!r}; {suggest(unknown[0], PARTS)}")
    if lacking:
        raise DataError(f"a collection is {{corpus: …, queries: …, qrels: …}}; {lacking[0]} is missing")
    return {part: str(source[part]) for part in PARTS}


def _in_folder(folder: Path, split: str) -> dict[str, str] | None:
    """The files of a collection's folder; None where it has no corpus and queries."""
    found = {part: _file(folder, part) for part in PARTS}
    if found["corpus"] is None or found["queries"] is None:
        return None
    judged = folder / "qrels"
    if judged.is_dir():
        names = _SPLITS.get(split, (split,))
        found["qrels"] = next((file for name in names if (file := _file(judged, name))), None)
        if found["qrels"] is None:
            there = ", ".join(sorted(file.name for file in judged.iterdir())) or "nothing"
            raise DataError(
                f"{judged} has no {' or '.join(f'{name}.tsv' for name in names)}, the judgements of {split}; it has "
                f"{there}. Name the files: {{corpus: …, queries: …, qrels: …}}"
            )
    if found["qrels"] is None:
        raise DataError(f"{folder} has a corpus and queries, and no judgements: qrels/{split}.tsv, or qrels.tsv")
    return {part: str(file) for part, file in found.items()}


def _file(folder: Path, name: str) -> Path | None:
    """The first file of that name there is, whatever its format."""
    return next((file for ending in _ENDINGS if (file := folder / f"{name}.{ending}").is_file()), None)


def read(source: Mapping[str, str], rows: Callable[[str], Rows]) -> tuple[Rows, Rows, list[int]]:
    """The judged queries, the documents, and the places from 1 of the queries without a judgement.

    A query has `id`, `query` and `relevant` (a document's id to its relevance), a document `id`, `title` and `text`.
    Queries without a judgement are left out, as usual with BEIR, whose file of queries is that of all splits. Raises
    DataError for missing columns, ids that occur twice, and judgements of queries or documents that are not there.
    """
    documents = _by_id(rows(source["corpus"]), source["corpus"])
    queries = _by_id(rows(source["queries"]), source["queries"])
    relevant = _judgements(rows(source["qrels"]), source["qrels"], queries, documents)
    unjudged = [number for number, key in enumerate(queries, 1) if key not in relevant]
    asked = [
        {"id": key, "query": _cell(query, ("text",), source["queries"]), "relevant": relevant[key]}
        for key, query in queries.items()
        if key in relevant
    ]
    held = [
        {"id": key, "title": document.get("title") or None, "text": _cell(document, ("text",), source["corpus"])}
        for key, document in documents.items()
    ]
    return asked, held, unjudged


def write(folder: Path, queries: Rows, documents: Rows) -> dict[str, str]:
    """Write what `read` gave as three files of JSON lines to a new folder; the source that names them."""
    content: dict[str, Rows] = {
        "corpus": [{"_id": row["id"], "title": row["title"] or "", "text": row["text"]} for row in documents],
        "queries": [{"_id": row["id"], "text": row["query"]} for row in queries],
        "qrels": [
            {_QUERY_IDS[0]: row["id"], _DOCUMENT_IDS[0]: document, _RELEVANCE[0]: value}
            for row in queries
            for document, value in row["relevant"].items()
        ],
    }
    folder.mkdir(parents=True)
    for part, rows in content.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {part: str(folder / f"{part}.jsonl") for part in content}


def _by_id(rows: Rows, name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        key = str(_cell(row, _IDS, name))
        if key in found:
            raise DataError(f"{name}, row {number}: the id {key!r} is there already")
        found[key] = row
    return found


def _cell(row: Mapping[str, Any], names: Sequence[str], file: str) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise DataError(f"{file} has no column {' or '.join(map(repr, names))}; {suggest(names[0], row)}")


def _judgements(
    rows: Rows, name: str, queries: Mapping[str, Any], documents: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        query, document = str(_cell(row, _QUERY_IDS, name)), str(_cell(row, _DOCUMENT_IDS, name))
        value = _cell(row, _RELEVANCE, name)
        try:
            relevance = float(value)
        except (TypeError, ValueError):
            problems.append(Problem(f"row {number}", "", f"the relevance {value!r} is no number"))
            continue
        if query not in queries:
            problems.append(Problem(f"row {number}", "", f"there is no query {query!r}"))
        elif document not in documents:
            problems.append(Problem(f"row {number}", "", f"there is no document {document!r}"))
        else:
            found.setdefault(query, {})[document] = relevance
    if problems:
        rest = len(problems) - _SHOWN
        more = [Problem("…", "", f"and {rest} more")] if rest > 0 else []
        raise DataError(f"{name} has rows that cannot be used", [*problems[:_SHOWN], *more])
    return found
