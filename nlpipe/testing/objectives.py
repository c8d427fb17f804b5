"""Checks of an objective: what the core relies on when it trains and answers through one."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives.base import Answer, Objective, Query
from nlpipe.testing.cases import Check, CheckFailed, fail, require
from nlpipe.testing.comparing import difference, plain
from nlpipe.testing.lab import Lab
from nlpipe.testing.losses import adds_up, reaches_every_weight
from nlpipe.testing.meaning import light_import
from nlpipe.testing.rule import words_in
from nlpipe.testing.subjects import POSITIONS, Fresh

Pairs = Sequence[tuple[Query, Any]]
"""Queries with their golds; the last should be longer than a tiny model reads at once (64 tokens)."""


@dataclass(frozen=True, eq=False)
class ObjectiveSubject:
    """An objective, configured, with what it is asked."""

    objective: Objective
    pairs: Pairs
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ObjectiveCell:
    """An objective on one architecture."""

    subject: ObjectiveSubject
    architecture: str
    lab: Lab

    def fresh(self) -> Fresh:
        """A tiny model with a new head, and the rows of those pairs that can be learnt: a text may be too long for it.

        Raises CheckFailed where none can.
        """
        from nlpipe import backbone, upstream
        from nlpipe.locating import Location

        words = words_in(str(query) for query, _ in self.subject.pairs)
        folder = self.lab.tiny(self.architecture, words, POSITIONS)
        family = backbone.family_of(upstream.read_config(folder))
        objective = self.subject.objective.placed(family, {})
        attention: Any = "causal" if self.architecture in {"bloom", "gpt_neo"} else "auto"
        base = backbone.load(
            Location("tiny", folder), objective, seed=0, labels=self.subject.labels, attention=attention
        )
        objective = backbone.with_window(objective, base.limit, min(base.limit, POSITIONS))
        objective = objective.settle([gold for _, gold in self.subject.pairs])
        examples = []
        for query, gold in self.subject.pairs:
            with contextlib.suppress(DataError):
                examples.append(objective.encode(query, gold, base.tokenizers))
        require(examples, "no pair can be learnt on a tiny model")
        return Fresh(base.model.eval(), objective, base.tokenizers, examples)


def answers(fresh: Fresh, queries: Sequence[Query]) -> list[Any]:
    """The Answer to each query, all asked at once."""
    from nlpipe.answering import answer
    from nlpipe.runners.torch import TorchRunner

    asked = [(query, fresh.objective.encode(query, None, fresh.tok)) for query in queries]
    return answer(fresh.objective, TorchRunner(fresh.model), fresh.tok, asked)


def imports_lightly(subject: ObjectiveSubject) -> None:
    """Import the objective's module by itself."""
    light_import(type(subject.objective).__module__)


def is_frozen_and_complete(subject: ObjectiveSubject) -> None:
    """A frozen dataclass; options are its fields; an unknown training option is refused by name."""
    kind: Any = type(subject.objective)
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    require(frozen, f"{kind.__name__} is not a frozen dataclass: workers and calls share one")
    for name in ("head", "peft"):
        require(hasattr(kind, name), f"{kind.__name__} does not say its `{name}`")
    fields = {field.name for field in dataclasses.fields(kind)}
    missing = sorted(kind.train_options - fields)
    require(not missing, f"train_options names {', '.join(missing)}, which is no field of {kind.__name__}")
    try:
        subject.objective.with_training({"nonesuch": 1})
    except UnsupportedError as error:
        require("nonesuch" in str(error), f"an unknown training option is refused without its name: {error}")
    else:
        fail("with_training takes the unknown option 'nonesuch'")


def encodes_purely(cell: ObjectiveCell) -> None:
    """Twice the same rows, also from several threads; numbered, none longer than a window, every token counted."""
    fresh = cell.fresh()
    for query, gold in cell.subject.pairs:
        try:
            rows, right = fresh.objective.encode(query, gold, fresh.tok), gold
        except DataError:  # a text may be too long to be learnt
            rows, right = fresh.objective.encode(query, None, fresh.tok), None
        with ThreadPoolExecutor(4) as pool:
            others = list(pool.map(lambda _, q=query, g=right: fresh.objective.encode(q, g, fresh.tok), range(8)))
        require(all(other == rows for other in others), "encode() gives other rows for the same query")
        require(rows, "encode() gives no row for a query")
        numbers = [(row.part, row.parts) for row in rows]
        require(
            numbers == [(at, len(rows)) for at in range(len(rows))],
            f"the rows of an example are numbered {numbers[:4]}; nlpipe.objectives.base.parts numbers them",
        )
        most = max(len(row.ids) for row in rows)
        limit = fresh.objective.window.max_length
        require(most <= limit, f"a row has {most} tokens, the model reads {limit}")
        asked = fresh.objective.encode(query, None, fresh.tok)
        read, there = asked[0].seen
        require(read == there > 0, f"of a query it read {read} of {there} tokens without a word (Row.seen)")


def losses_add_up(cell: ObjectiveCell) -> None:
    """The loss is a sum over terms: that of a batch is the sum of its examples'."""
    adds_up(cell.fresh())


def gradients_reach_every_weight(cell: ObjectiveCell) -> None:
    """The loss depends on every weight that is trained."""
    reaches_every_weight(cell.fresh())


def a_batch_answers_as_each_alone(cell: ObjectiveCell) -> None:
    """All queries at once, in another order, and one by one."""
    fresh, queries = cell.fresh(), [query for query, _ in cell.subject.pairs]
    alone = [answers(fresh, [query])[0] for query in queries]
    for what, found in {
        "at once": answers(fresh, queries),
        "at once in another order": answers(fresh, queries[::-1])[::-1],
    }.items():
        for query, one, other in zip(queries, alone, found, strict=True):
            require(isinstance(other, Answer), f"join() gives a {type(other).__name__}, not an Answer")
            apart = difference(plain(one), plain(other))
            require(apart is None, f"asked {what} it answers otherwise than alone:\n  {query!r:.100}\n    {apart}")


def every_row_counts(cell: ObjectiveCell) -> None:
    """The answer of an example changes with what the model says of any of its rows."""
    from nlpipe.batching import rng
    from nlpipe.runners.torch import TorchRunner

    fresh = cell.fresh()
    runner = TorchRunner(fresh.model)
    query = cell.subject.pairs[-1][0]
    rows = fresh.objective.encode(query, None, fresh.tok)
    require(len(rows) > 1, "the last query is read in one row; hand in one that is longer than the model reads")
    batch = fresh.objective.collate(rows, fresh.tok, answering=True, rng=rng(0, "answer"))
    raws = fresh.objective.predict(runner, batch, {})
    require(len(raws) == len(rows), f"predict() gives {len(raws)} answers for {len(rows)} rows")
    whole = plain(fresh.objective.join(query, rows, raws))
    for at in range(len(rows)):
        moved = [_moved(raw) if at == number else raw for number, raw in enumerate(raws)]
        apart = difference(whole, plain(fresh.objective.join(query, rows, moved)), 0.0)
        require(apart, f"row {at} of {len(rows)} could say anything: join() does not look at it")


def _moved(raw: Any) -> Any:
    """Another raw answer of the same form."""
    import numpy as np

    if isinstance(raw, np.ndarray):
        return raw + 1e-3 * np.random.default_rng(0).standard_normal(raw.shape)
    if isinstance(raw, str):
        return f"{raw} otherwise"
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        return dataclasses.replace(
            raw, **{f.name: _moved(getattr(raw, f.name)) for f in dataclasses.fields(raw) if f.name == "text"}
        )
    if isinstance(raw, tuple | list):
        return type(raw)(_moved(item) for item in raw)
    raise CheckFailed(f"predict() gives a {type(raw).__name__}; a raw answer is a numpy array or a text")


def draws_from_the_generator_alone(cell: ObjectiveCell) -> None:
    """The same generator gives the same batch, whatever the state of the process's random numbers."""
    import torch

    fresh = cell.fresh()
    batches = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        batches.append(fresh.batch(fresh.rows, 0))
    for part in ("inputs", "targets"):
        one, other = (getattr(batch, part) for batch in batches)
        same = one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        require(same, f"collate() draws {part} from elsewhere than `rng`")


def _check(run: Callable[[Any], None], look_at: str, on: Any = "served") -> Check:
    return Check(run.__name__, inspect.getdoc(run) or "", look_at, run, on=on)


OBJECTIVE_CHECKS: tuple[Check, ...] = (
    _check(imports_lightly, "imports of torch and transformers at the top of the module.", "alone"),
    _check(is_frozen_and_complete, "the class: @dataclass(frozen=True, kw_only=True), head, peft.", "alone"),
    _check(encodes_purely, "encode(): window.spans(), parts() and Row.seen; state that it keeps."),
    _check(losses_add_up, "loss(): a sum over `batch.terms`, padding masked, never the model's own mean."),
    _check(gradients_reach_every_weight, "compute() and loss(): a part of the model that the loss never sees."),
    _check(a_batch_answers_as_each_alone, "collate(): the attention mask; predict(): one raw answer per row."),
    _check(every_row_counts, "join(): all rows of the example."),
    _check(draws_from_the_generator_alone, "collate(): draw from `rng` and nothing else."),
)
