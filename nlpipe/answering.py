"""Queries to Answers to Results, through any back end: what pipelines, evaluation and training go through alike.

Knows batches and their order; no file, no model class, and of a task only what `plugin_calls` asks of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nlpipe import batching, plugin_calls
from nlpipe.ahead import worked_ahead
from nlpipe.errors import UnsupportedError
from nlpipe.objectives.base import Objective, Query, Row

if TYPE_CHECKING:
    from nlpipe.runners.base import Runner
    from nlpipe.task import Record, Task
    from nlpipe.tokens import Tokenizers

# How many inputs are looked at before the first is answered: enough to find rows of like length, few enough
# that memory does not grow with the input.
LOOK_AHEAD = 1024
# A Query answered with a Query is asked again at most this often (a summary of summaries).
DEPTH = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """An input on its way to a Result; `seen` is of the input itself, whatever is asked about it later."""

    given: Any
    query: Query
    rows: list[Row]
    seen: tuple[int, int] | None = None


def answered(
    task: Task[Any, Any, Any, Any], objective: Objective, runner: Runner, tok: Tokenizers, asked: Sequence[Asked]
) -> list[Any]:
    """The Results of all; a task may answer with another Query, which is asked in turn.

    Raises UnsupportedError where it does so more than DEPTH times about one input.
    """
    results: list[Any] = [None] * len(asked)
    waiting = dict(enumerate(asked))
    for _ in range(DEPTH):
        if not waiting:
            break
        answers = answer(objective, runner, tok, [(one.query, one.rows) for one in waiting.values()])
        again: dict[int, Asked] = {}
        for (at, one), found in zip(waiting.items(), answers, strict=True):
            result, seen = plugin_calls.result(task, found, one.given), one.seen or one.rows[0].seen
            if isinstance(result, Query):
                again[at] = replace(one, query=result, rows=objective.encode(result, None, tok), seen=seen)
            else:
                results[at] = replace(result, seen=seen)
        waiting = again
    if waiting:
        raise UnsupportedError(f"{task.name} asked again more than {DEPTH} times about one input")
    return results


def answer(
    objective: Objective,
    runner: Runner,
    tok: Tokenizers,
    asked: Sequence[tuple[Query, list[Row]]],
) -> list[Any]:
    """The Answer to each query: rows of like length share a pass, and the order is restored."""
    rows = [row for _, encoded in asked for row in encoded]
    raws: list[Any] = [None] * len(rows)
    writing = objective.writes and bool(rows) and rows[0].target is None
    lengths, most = [row.length for row in rows], runner.pass_tokens(writing=writing)
    padding = None if writing else runner.pass_padding()
    for batch in batching.answering(lengths, tokens=most, padding=padding):
        chosen = [rows[index] for index in batch]
        collated = objective.collate(chosen, tok, answering=True, rng=batching.rng(0, "answer"))
        for index, raw in zip(batch, objective.predict(runner, collated, {}), strict=True):
            raws[index] = raw
    answers, at = [], 0
    for query, encoded in asked:
        answers.append(objective.join(query, encoded, raws[at : at + len(encoded)]))
        at += len(encoded)
    return answers


def asked_in_turn(objective: Objective, runner: Runner, tok: Tokenizers, queries: Iterable[Query]) -> Iterator[Any]:
    """The Answer to each of any number of queries, LOOK_AHEAD at a time, the next tokenised in the meantime."""

    def encoded(chunk: Sequence[Query]) -> list[tuple[Query, list[Row]]]:
        return [(query, objective.encode(query, None, tok)) for query in chunk]

    for asked in worked_ahead(queries, encoded, LOOK_AHEAD):
        yield from answer(objective, runner, tok, asked)


def over(
    task: Task[Any, Any, Any, Any], objective: Objective, runner: Runner, tok: Tokenizers, items: Sequence[Record]
) -> Task[Any, Any, Any, Any]:
    """The task answering from a collection, which the model reads once; the task as it is for no items."""
    if not items:
        return task
    queries = (task.item_query(item, objective) for item in items)
    return task.over(items, list(asked_in_turn(objective, runner, tok, queries)))
