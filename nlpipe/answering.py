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
    lengths, how = [row.length for row in rows], runner.passes(writing=writing)

    def computed(batch: Sequence[int]) -> Sequence[Any]:
        return _computed(objective, runner, tok, [rows[index] for index in batch])

    # Where text is written or judged, choices behind one prompt are to share its pass.
    abreast = how.abreast if objective.side_by_side and not objective.writes else 1
    batches = batching.answering(lengths, tokens=how.tokens, padding=how.padding, abreast=abreast)
    found = runner.each(computed, batches) if abreast > 1 else map(computed, batches)
    for batch, answers_of in zip(batches, found, strict=True):
        for index, raw in zip(batch, answers_of, strict=True):
            raws[index] = raw
    answers, at = [], 0
    for query, encoded in asked:
        answers.append(objective.join(query, encoded, raws[at : at + len(encoded)]))
        at += len(encoded)
    return answers


def _computed(objective: Objective, runner: Runner, tok: Tokenizers, rows: Sequence[Row]) -> list[Any]:
    """The raw answers to rows of one pass, or of two where memory ran out.

    Raises UnsupportedError where it runs out for a single row.
    """
    collated = objective.collate(rows, tok, answering=True, rng=batching.rng(0, "answer"))
    try:
        return list(objective.predict(runner, collated, {}))
    except Exception as error:
        if not runner.ran_out(error):
            raise
        if len(rows) == 1:
            raise UnsupportedError(
                f"memory ran out over one row of {rows[0].length} tokens: take a smaller dtype or model, "
                "long='truncate', or another device"
            ) from error
    half = len(rows) // 2  # only here, as the error holds on to what was computed
    return [raw for part in (rows[:half], rows[half:]) for raw in _computed(objective, runner, tok, part)]


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
