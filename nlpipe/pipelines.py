"""Inputs to Results: what a Python service calls, and what evaluation and prediction go through as well.

Knows no back end and loads nothing: `loading.py` makes pipelines.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, overload

from nlpipe import plugin_calls
from nlpipe.ahead import worked_ahead
from nlpipe.answering import LOOK_AHEAD, Asked, answered, asked_in_turn, over
from nlpipe.arguments import named
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.generation import Generation
from nlpipe.inputs import as_input, as_record, as_text, several
from nlpipe.objectives import OBJECTIVES, Objective
from nlpipe.objectives.base import Texts
from nlpipe.plugins import Plugins
from nlpipe.results import to_frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from nlpipe.batcher import Batcher
    from nlpipe.card import Card
    from nlpipe.runners.base import Runner
    from nlpipe.task import Record, Task
    from nlpipe.tokens import Tokenizers

Errors = Literal["raise", "skip", "return"]
Role = Literal["query", "document"]


class Pipeline:
    """A loaded model with its task.

    A str, a mapping or an Input is one input and gives one Result; a list is a batch and gives a list. Made by
    `nlpipe.load` and `nlpipe.pipeline`. Safe to call from several threads; `with` closes it.
    """

    def __init__(self, card: Card, runner: Runner, tokenizers: Tokenizers, *, plugins: Plugins | None = None) -> None:
        self.card = card
        self.runner = runner
        self.tokenizers = tokenizers
        self.plugins = plugins or Plugins.discover()
        kind = self.plugins.task(card.task)
        self.task = kind(card.labels, kind.Options.model_validate(card.options))
        self.objective = asked_as(card, self.task)
        self._closed = Event()  # shared with what `called` and `index` make of this one

    def close(self) -> None:
        """Let go of the model, once calls that are running have ended. Further calls raise UnsupportedError."""
        self._closed.set()
        self.runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @overload
    def __call__(self, inputs: str | Mapping[str, Any] | Record) -> Any: ...
    @overload
    def __call__(self, inputs: Sequence[str | Mapping[str, Any] | Record]) -> list[Any]: ...
    def __call__(self, inputs: Any, **options: Any) -> Any:
        """The Result of one input, or the Results of a list, in its order.

        `options` hold for this call alone: those of the objective (settings of generation, where text is
        written) and of the task. Raises DataError for an input that is not one of the task's, UnsupportedError
        for unknown options.
        """
        if isinstance(inputs, list | tuple):
            return list(self.map(inputs, **options))
        return next(self.map([inputs], **options))

    def map(
        self,
        inputs: Iterable[Any],
        *,
        errors: Errors = "raise",
        first: int = 0,
        **options: Any,
    ) -> Iterator[Any]:
        """Results in the order of the inputs, in constant memory.

        The first comes once 2 × LOOK_AHEAD inputs are taken, or all: rows of like length are looked for among
        LOOK_AHEAD of them, and a thread tokenises the next while the model computes. `errors` says what becomes of an
        input that cannot be answered: `raise` its DataError with its number (`first` is that of the first input),
        `skip` gives None in the place of its Result, `return` gives the DataError itself there. `options` are those of
        a call.
        """
        if errors not in get_args(Errors):
            raise UnsupportedError(f"unknown errors {errors!r}; {suggest(str(errors), get_args(Errors))}")
        found = several(inputs, f"inputs of {self.task.name}", "pipe(one)")
        return self.called(options)._map(enumerate(found, first), errors)

    def _map(self, numbered: Iterable[tuple[int, Any]], errors: str) -> Iterator[Any]:
        for asked in worked_ahead(numbered, partial(self._asked, raising=errors == "raise"), LOOK_AHEAD):
            there = [one for one in asked if isinstance(one, Asked)]
            results = iter(answered(self.task, self.objective, self.runner, self.tokenizers, there))
            for one in asked:
                wrong = one if errors == "return" else None
                yield next(results) if isinstance(one, Asked) else wrong

    def called(self, options: Mapping[str, Any]) -> Pipeline:
        """This pipeline with options of a call in place of what it was made with; the model is shared.

        Raises UnsupportedError for a name that neither the objective nor the task takes, for wrong values, and where
        the pipeline is closed.
        """
        if self._closed.is_set():
            raise UnsupportedError("this pipeline is closed; load the model again")
        if not options:
            return self
        ours, theirs = type(self.objective).call_options, type(self.task).call_options
        for name in options:
            if name not in ours | theirs:
                raise UnsupportedError(
                    f"unknown option {name!r} for {self.task.name}, asked as {self.card.objective}; "
                    f"{suggest(name, sorted(ours | theirs))}"
                )
        found = copy.copy(self)
        found.objective = self.objective.with_call({k: v for k, v in options.items() if k in ours})
        found.task = self.task.with_call({k: v for k, v in options.items() if k in theirs})
        return found

    @named
    def batcher(self, *, max_wait_ms: float = 5.0, max_rows: int = 64) -> Batcher:
        """What many tasks of an event loop await answers from, computed together: `async with pipe.batcher() as ask`.

        An input waits at most `max_wait_ms` for others; a batch has at most `max_rows`.
        """
        from nlpipe.batcher import Batcher

        return Batcher(self, max_wait_ms=max_wait_ms, max_rows=max_rows)

    def stream(self, value: Any, **options: Any) -> Iterator[str]:
        """The answer to one input in pieces of text, as the model writes them; joined they are its text.

        Raises UnsupportedError where the model writes no text, or several answers at once.
        """
        if not self.objective.writes:
            able = [name for name, kind in sorted(self.plugins.tasks.items()) if _writes(kind)]
            raise UnsupportedError(
                f"this model of {self.task.name} is asked as {self.card.objective}, which writes no text. Tasks that "
                f"can be streamed: {', '.join(able) or 'none that is installed'}"
            )
        asked = self.called(options)
        query = plugin_calls.query(asked.task, asked.given(value), asked.objective)
        return asked.objective.stream(asked.runner, query, asked.tokenizers)

    def _asked(self, chunk: Sequence[tuple[int, Any]], *, raising: bool) -> list[Asked | DataError]:
        """Each input as the model's rows, or what is wrong with it."""
        found: list[Asked | DataError] = []
        for number, value in chunk:
            try:
                given = self.given(value)
                query = plugin_calls.query(self.task, given, self.objective)
                found.append(Asked(given, query, self.objective.encode(query, None, self.tokenizers)))
            except DataError as error:
                if raising:
                    raise DataError(f"input {number}: {error}") from error
                found.append(error)
        return found

    def given(self, value: Any) -> Record:
        """A value as the task's Input. Raises DataError with the right form where it is none."""
        return as_input(value, self.task)

    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        """The rows of `df` with the Results' fields as further columns; columns are found by the Input's names."""
        if not hasattr(df, "columns"):
            raise DataError(f"frame takes a DataFrame, not {type(df).__name__}")
        needed = (name for name, field in self.task.Input.model_fields.items() if field.is_required())
        if lacking := next((name for name in needed if name not in df.columns), None):
            raise DataError(f"the DataFrame has no column {lacking!r}; {suggest(lacking, map(str, df.columns))}")
        fields = [name for name in self.task.Input.model_fields if name in df.columns]
        results = [result for result in self.map(df[fields].to_dict("records")) if result is not None]
        found = to_frame(results)
        taken = {name: f"predicted_{name}" for name in found.columns if name in df.columns}
        return df.assign(**{taken.get(name, name): found[name].array for name in found.columns})

    @named
    def embed(
        self, texts: str | Iterable[str], *, role: Role | None = None, dims: int | None = None
    ) -> NDArray[np.float32]:
        """The vectors of texts, float32 [n, dim]; one text gives [1, dim].

        `role` puts the model's prompt for it before each text; `dims` keeps the first components alone and
        makes them one long again, where the model's vectors are. Raises UnsupportedError where the model gives none.
        """
        import numpy as np

        objective: Any = self.called({}).objective
        if not objective.embeds:
            able = [name for name, kind in sorted(self.plugins.tasks.items()) if _kinds(kind, embeds=True)]
            raise UnsupportedError(
                f"this model of {self.task.name} is asked as {self.card.objective}, which gives no vectors. "
                f"Tasks that can: {', '.join(able) or 'none that is installed'}"
            )
        if dims is not None:
            objective = replace(objective, dims=dims)
        if role not in (None, *get_args(Role)):
            raise UnsupportedError(f"unknown role {role!r}; {suggest(str(role), get_args(Role))}")
        given = [texts] if isinstance(texts, str) else several(texts, "texts", "embed(text)")
        queries = (Texts((as_text(text, f"text {at}"),), role) for at, text in enumerate(given))
        found = [vectors.values for vectors in asked_in_turn(objective, self.runner, self.tokenizers, queries)]
        return np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)

    def index(self, items: Iterable[Any]) -> Pipeline:
        """This pipeline answering from a collection: each item a str, a mapping or the task's Item.

        Raises UnsupportedError for a task that answers from none, DataError for items that do not fit.
        """
        model = self.task.Item
        if model is None:
            able = [name for name, kind in sorted(self.plugins.tasks.items()) if kind.Item is not None]
            raise UnsupportedError(
                f"{self.task.name} answers from no collection. Tasks that do: "
                f"{', '.join(able) or 'none that is installed'}"
            )
        records = []
        for number, item in enumerate(several(items, f"items of {self.task.name}", "index([one])")):
            try:
                records.append(as_record(item, model, f"an item of {self.task.name}"))
            except DataError as error:
                raise DataError(f"item {number}: {error}") from error
        found = copy.copy(self)
        found.task = over(self.task, self.objective, self.runner, self.tokenizers, records)
        return found


def _kinds(task: type[Task[Any, Any, Any, Any]], *, embeds: bool) -> list[type[Objective]]:
    return [kind for kinds in task.row().values() for kind in kinds if kind.embeds == embeds]


def _writes(task: type[Task[Any, Any, Any, Any]]) -> bool:
    return any(kind.writes for kinds in task.row().values() for kind in kinds)


def objective_kind(name: str, task: type[Task[Any, Any, Any, Any]] | None = None) -> type[Objective]:
    """The objective of that name: one of the task's row, which may be a plugin's own, or one of the core's.

    Raises UnsupportedError listing those there are.
    """
    own = {kind.__name__: kind for kinds in task.row().values() for kind in kinds} if task else {}
    known = {**OBJECTIVES, **own}
    if name not in known:
        raise UnsupportedError(f"unknown objective {name!r}; {suggest(name, known)}")
    return known[name]


def asked_as(card: Card, task: Task[Any, Any, Any, Any]) -> Objective:
    """The objective of a Card, as it was when the Card was written."""
    objective = replace(task.objective(objective_kind(card.objective, type(task))), window=card.window, **card.settings)
    return objective.with_generation(Generation.model_validate(card.generation))
