"""SQuAD's own files (Rajpurkar et al. 2016, 2018): articles with questions, and answers by the question's id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError
from nlpipe.task import Format, FormatRow
from nlpipe_qa.scores import best_span, share_of_none

if TYPE_CHECKING:
    from nlpipe.results import Answer


def read(lines: Iterable[str]) -> Iterator[FormatRow]:
    """A row per question: `id title context question answers`; without `answers` where the file has none.

    Of version 2.0, questions with `is_impossible` have no answers, whatever plausible ones stand beside them.
    """
    articles = _json(lines)
    articles = articles.get("data") if isinstance(articles, Mapping) else None
    for number, article in enumerate(_list(articles, "data")):
        place = f"data[{number}]"
        for at, paragraph in enumerate(_list(_get(article, "paragraphs", place), f"{place}.paragraphs")):
            inner = f"{place}.paragraphs[{at}]"
            context = _get(paragraph, "context", inner)
            for question, asked in enumerate(_list(_get(paragraph, "qas", inner), f"{inner}.qas")):
                yield _row(asked, f"{inner}.qas[{question}]", context, article.get("title"))


def _row(asked: Any, place: str, context: Any, title: Any) -> FormatRow:
    _get(asked, "question", place)
    cells = {"id": asked.get("id"), "title": title, "context": context, "question": asked["question"]}
    if "answers" not in asked and not asked.get("is_impossible"):
        return FormatRow(cells)
    answers = [] if asked.get("is_impossible") else asked["answers"]
    if not (isinstance(answers, list) and all(isinstance(one, Mapping) for one in answers)):
        return FormatRow(cells, fault=f"{place}.answers must be a list of objects with text and answer_start")
    texts, starts = ([one.get(name) for one in answers] for name in ("text", "answer_start"))
    return FormatRow(cells | {"answers": {"text": texts, "answer_start": starts}})


def read_answers(lines: Iterable[str]) -> Iterator[FormatRow]:
    """The answer to each id, "" where there is none: what the official script takes."""
    found = _json(lines)
    if not isinstance(found, Mapping):
        raise DataError("answers in SQuAD's form are one object, each question's id with the text of its answer")
    for key, text in found.items():
        if isinstance(text, str):
            yield FormatRow({"id": key, "text": text})
        else:
            yield FormatRow({}, fault=f"the answer to {key!r} must be text, is {json.dumps(text)[:40]}")


def read_chances(lines: Iterable[str]) -> Iterator[FormatRow]:
    """How likely it is that there is no answer, for each id: a probability, or odds on any scale."""
    found = _json(lines)
    if not isinstance(found, Mapping):
        raise DataError("chances in SQuAD's form are one object, each question's id with a number")
    for key, value in found.items():
        if isinstance(value, int | float):
            yield FormatRow({"id": key, "no_answer_score": float(value)})
        else:
            yield FormatRow({}, fault=f"the chance of {key!r} must be a number, is {json.dumps(value)[:40]}")


def write_answers(pairs: Iterable[tuple[Mapping[str, Any], Answer]]) -> Iterator[str]:
    """The same, from answers to rows with an `id`."""
    return _object((_id(cells), result.text) for cells, result in pairs)


def write_chances(pairs: Iterable[tuple[Mapping[str, Any], Answer]]) -> Iterator[str]:
    """How probable it is that there is no answer, for each id: what the official script takes as --na-prob-file.

    The share n / (n + s) of "no answer" beside the best span, which `task.threshold` is compared with.
    """
    return _object((_id(cells), share_of_none(best_span(result))) for cells, result in pairs)


def _object(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """One JSON object, piece by piece."""
    before = "{"
    for key, value in pairs:
        yield f"{before}{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
        before = ",\n"
    yield "{}\n" if before == "{" else "}\n"


def _id(cells: Mapping[str, Any]) -> str:
    if not isinstance(cells.get("id"), str | int):
        raise DataError("a row has no `id`, by which SQuAD's answers are found; write jsonl, or give rows an id")
    return str(cells["id"])


def _json(lines: Iterable[str]) -> Any:
    try:
        return json.loads("".join(lines))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"is no JSON: {error}") from None


def _get(holder: Any, key: str, place: str) -> Any:
    if not isinstance(holder, Mapping) or key not in holder:
        raise DataError(f"is not SQuAD's form: {place} must be an object with {key!r}")
    return holder[key]


def _list(found: Any, place: str) -> list[Any]:
    if not isinstance(found, list):
        raise DataError(
            f"is not SQuAD's form: {place} must be a list; the whole is an object with `data`, a list of articles"
        )
    return found


_ARTICLES = re.compile(r'\s*\{.{0,4000}?"paragraphs"\s*:\s*\[', re.DOTALL)
_NUMBERS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*-?\d')

SQUAD = Format(
    "SQuAD's json: articles with questions; answers as {id: text}",
    rows=read,
    answers=read_answers,
    write=write_answers,
    looks=lambda head: _ARTICLES.match(head) is not None,
)
CHANCES = Format(
    "SQuAD's json of {id: probability of no answer}",
    answers=read_chances,
    write=write_chances,
    looks=lambda head: _NUMBERS.match(head) is not None,
)
