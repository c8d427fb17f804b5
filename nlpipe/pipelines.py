"""Inputs to Results: what a Python service calls, and what evaluation and prediction go through as well."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from nlpipe import artifact, backbone, batching, plugin_calls
from nlpipe.artifact import Card, Origin
from nlpipe.errors import ArtifactError, DataError, UnsupportedError, suggest
from nlpipe.generation import Generation
from nlpipe.objectives import OBJECTIVES, Objective
from nlpipe.objectives.base import Query, Row, Texts, Window
from nlpipe.plugins import Plugins
from nlpipe.results import Result, to_frame
from nlpipe.rows import to_record
from nlpipe.runners.torch import TorchRunner

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from nlpipe.runners.base import Runner
    from nlpipe.task import Record, Task, TaskOptions
    from nlpipe.tokens import Tokenizers

Long = Literal["window", "truncate", "error"]

# How many inputs are looked at before the first is answered: enough to find rows of like length, few enough
# that memory does not grow with the input.
LOOK_AHEAD = 1024
# Padded tokens in one pass. Larger passes outgrow a processor's cache, smaller ones waste its width.
PASS_TOKENS = 4096
# A Query answered with a Query is asked again at most this often (a summary of summaries).
DEPTH = 8


class Pipeline:
    """A loaded model with its task.

    A str, a mapping or an Input is one input and gives one Result; a list is a batch and gives a list. Made by
    `nlpipe.load` and `nlpipe.pipeline`.
    """

    def __init__(self, card: Card, runner: Runner, tokenizers: Tokenizers, *, plugins: Plugins | None = None) -> None:
        self.card = card
        self.runner = runner
        self.tokenizers = tokenizers
        self.plugins = plugins or Plugins.discover()
        kind = self.plugins.task(card.task)
        self.task = kind(card.labels, kind.Options.model_validate(card.options))
        self.objective = asked_as(card, self.task)

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
        self, inputs: Iterable[Any], *, errors: Literal["raise", "skip"] = "raise", first: int = 0, **options: Any
    ) -> Iterator[Result | None]:
        """Results in the order of the inputs, in constant memory.

        With `errors="skip"` an input that cannot be answered gives None instead of an exception; `first`
        is the number of the first input in messages. `options` are those of a call.
        """
        return self.called(options)._map(enumerate(inputs, first), skip=errors == "skip")

    def _map(self, numbered: Iterator[tuple[int, Any]], *, skip: bool) -> Iterator[Result | None]:
        while chunk := list(islice(numbered, LOOK_AHEAD)):
            yield from self._answer(chunk, skip=skip)

    def called(self, options: Mapping[str, Any]) -> Pipeline:
        """This pipeline with options of a call in place of what it was made with; the model is shared.

        Raises UnsupportedError for a name that neither the objective nor the task takes, and for wrong values.
        """
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

    def _answer(self, chunk: list[tuple[int, Any]], *, skip: bool) -> Iterator[Result | None]:
        asked: list[Asked | None] = []
        for number, value in chunk:
            try:
                given = self.given(value)
                query = plugin_calls.query(self.task, given, self.objective)
                asked.append(Asked(given, query, self.objective.encode(query, None, self.tokenizers)))
            except DataError as error:
                if not skip:
                    raise DataError(f"input {number}: {error}") from error
                asked.append(None)
        there = [one for one in asked if one is not None]
        results = iter(answered(self.task, self.objective, self.runner, self.tokenizers, there))
        for one in asked:
            yield None if one is None else next(results)

    def given(self, value: Any) -> Record:
        """A value as the task's Input. Raises DataError with the right form where it is none."""
        return as_input(value, self.task)

    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        """The rows of `df` with the Results' fields as further columns; columns are found by the Input's names."""
        fields = [name for name in self.task.Input.model_fields if name in df.columns]
        results = [result for result in self.map(df[fields].to_dict("records")) if result is not None]
        found = to_frame(results)
        taken = {name: f"predicted_{name}" for name in found.columns if name in df.columns}
        return df.assign(**{taken.get(name, name): found[name].array for name in found.columns})

    def embed(
        self, texts: str | Iterable[str], *, role: Literal["query", "document"] | None = None, dims: int | None = None
    ) -> NDArray[np.float32]:
        """The vectors of texts, float32 [n, dim]; one text gives [1, dim].

        `role` puts the model's prompt for it before each text; `dims` keeps the first components alone and
        makes them one long again, where the model's vectors are. Raises UnsupportedError where the model gives none.
        """
        import numpy as np

        objective: Any = self.objective
        if not objective.embeds:
            able = [name for name, kind in sorted(self.plugins.tasks.items()) if _kinds(kind, embeds=True)]
            raise UnsupportedError(
                f"this model of {self.task.name} is asked as {self.card.objective}, which gives no vectors. "
                f"Tasks that can: {', '.join(able) or 'none that is installed'}"
            )
        if dims is not None:
            objective = replace(objective, dims=dims)
        queries = (Texts((text,), role) for text in ([texts] if isinstance(texts, str) else texts))
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
        for number, item in enumerate(items):
            try:
                records.append(as_record(item, model, f"an item of {self.task.name}"))
            except DataError as error:
                raise DataError(f"item {number}: {error}") from error
        found = copy.copy(self)
        found.task = over(self.task, self.objective, self.runner, self.tokenizers, records)
        return found


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
    for batch in batching.answering([row.length for row in rows], tokens=PASS_TOKENS):
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
    """The Answer to each of any number of queries, a chunk of LOOK_AHEAD at a time."""
    waiting = iter(queries)
    while chunk := list(islice(waiting, LOOK_AHEAD)):
        yield from answer(objective, runner, tok, [(query, objective.encode(query, None, tok)) for query in chunk])


def over(
    task: Task[Any, Any, Any, Any], objective: Objective, runner: Runner, tok: Tokenizers, items: Sequence[Record]
) -> Task[Any, Any, Any, Any]:
    """The task answering from a collection, which the model reads once; the task as it is for no items."""
    if not items:
        return task
    queries = (task.item_query(item, objective) for item in items)
    return task.over(items, list(asked_in_turn(objective, runner, tok, queries)))


def _kinds(task: type[Task[Any, Any, Any, Any]], *, embeds: bool) -> list[type[Objective]]:
    return [kind for kinds in task.row().values() for kind in kinds if kind.embeds == embeds]


def _writes(task: type[Task[Any, Any, Any, Any]]) -> bool:
    return any(kind.writes for kinds in task.row().values() for kind in kinds)


def as_input(value: Any, task: Task[Any, Any, Any, Any]) -> Record:
    """A str (the Input's first field), a mapping or an Input as the task's Input.

    Raises DataError naming the right keys.
    """
    return as_record(value, task.Input, f"an input of {task.name}")


def as_record(value: Any, model: type[Record], what: str) -> Record:
    """A str (the model's first field), a mapping or a record as a record of `model`, which messages call `what`."""
    fields = list(model.model_fields)
    if isinstance(value, model):
        return value
    if isinstance(value, str):
        value = {fields[0]: value}
    if not isinstance(value, Mapping):
        raise DataError(f"{what} is a text or a mapping with {', '.join(fields)}, not {type(value).__name__}")
    unknown = [str(key) for key in value if key not in model.model_fields]
    if unknown:
        raise DataError(f"{what} has no {unknown[0]!r}; {suggest(unknown[0], fields)}")
    return to_record(value, model)


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


def load(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    long: Long | None = None,
    offline: bool = False,
    plugins: Plugins | None = None,
) -> Pipeline:
    """A pipeline from a model folder that nlpipe wrote.

    `device` and `dtype` `auto` take a GPU where there is one, and float32; `threads` sets PyTorch's for the
    whole process; `long` overrides what becomes of texts longer than the model reads. Raises ArtifactError.
    """
    folder = Path(path).expanduser()
    card = artifact.read_card(folder)
    registry = plugins or Plugins.discover()
    kind = registry.task(card.task)
    task = kind(card.labels, kind.Options.model_validate(card.options))
    objective = asked_as(card, task)
    _threads(threads)
    loaded = artifact.load(folder, card, objective, dtype=dtype_of(dtype), offline=offline)
    if long is not None:
        card = card.model_copy(update={"window": replace(card.window, long=long)})
    runner = TorchRunner(loaded.model, device_of(device))
    return Pipeline(card, runner, loaded.tokenizers, plugins=registry)


def pipeline(
    task: str,
    *,
    model: str | Path,
    revision: str = "main",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    long: Long | None = None,
    options: TaskOptions | None = None,
    labels: Sequence[str] = (),
    objective: str = "auto",
    generation: Generation | Mapping[str, Any] | None = None,
    offline: bool = False,
    plugins: Plugins | None = None,
) -> Pipeline:
    """A pipeline from any model that has a head for the task: a local folder, `package:NAME/PATH` or a Hub id.

    Labels are the model's own, and so is what becomes of long texts where `long` does not say it: windows, unless
    the folder is one of sentence-transformers' that states where it cuts. `options` are the task's own, as in a
    recipe, and `generation` its settings for models that write. `labels` name those of a model that has none of
    its own, or that judges any labels (`Entailment`); `objective` how it is asked, where there are several ways.
    Raises ArtifactError where there is no such model or it has no such head.
    """
    registry = plugins or Plugins.discover()
    kind = registry.task(task)
    location = backbone.locate(str(model), revision=revision, offline=offline)
    if artifact.is_artifact(location.folder) and not _asked_otherwise(location, objective):
        card = artifact.read_card(location.folder)
        if card.task != task:
            raise ArtifactError(f"{model} was trained for {card.task}, not for {task}: nlpipe.load({str(model)!r})")
        if options is not None and options != kind.Options():
            raise UnsupportedError(f"{model} holds the options it was trained with; leave them out")
        if labels and tuple(labels) != card.labels:
            raise UnsupportedError(f"{model} has labels of its own, {', '.join(card.labels) or 'none'}; leave them out")
        return load(
            location.folder,
            device=device,
            dtype=dtype,
            threads=threads,
            long=long,
            offline=offline,
            plugins=registry,
        )
    family, asked, own = artifact.infer(location, task, kind.row(), objective, labels)
    if labels and own and len(own) != len(labels):
        raise ArtifactError(f"{model} has {len(own)} labels of its own, {', '.join(own)}; {len(labels)} were given")
    named = tuple(labels) or own
    _threads(threads)
    writing = Generation.model_validate(generation or {})
    made = kind(named, options).objective(asked).with_generation(writing)
    stated = artifact.stated_for(made, location.folder)
    made = made.placed(family, stated)
    # Trained elsewhere, so a decoder's attention stays as it was trained.
    loaded = backbone.load(location, made, dtype=dtype_of(dtype), labels=named, attention="causal")
    if loaded.fresh:
        raise ArtifactError(
            f"{location.name} has no trained weights for {', '.join(loaded.fresh)}: its answers would be noise. "
            f"Fine-tune it with a recipe first (nlpipe recipe new {task})."
        )
    record = registry.origin(task)
    card = Card(
        task=task,
        options={} if options is None else options.model_dump(mode="json"),
        labels=named,
        generation=writing.model_dump(mode="json", exclude_none=True),
        family=family,
        objective=asked.__name__,
        attention=loaded.attention,
        window=Window(
            max_length=min(stated.get("max_length", loaded.limit), loaded.limit),
            long=long or stated.get("long", "window"),
        ),
        settings=made.recorded(),
        plugin=Origin(name=record.distribution or record.name, version=record.version),
        backbone=Origin(name=location.name, revision=location.revision),
    )
    return Pipeline(card, TorchRunner(loaded.model, device_of(device)), loaded.tokenizers, plugins=registry)


def _asked_otherwise(location: backbone.Location, objective: str) -> bool:
    """Whether a model of ours is to be asked in another way than it was trained for, as anybody's would be."""
    if objective == "auto":
        return False
    card = artifact.read_card(location.folder)
    if card.objective == objective:
        return False
    if card.weights == "adapter":
        raise ArtifactError(f"{location.name} holds an adapter alone, which is asked as {card.objective}")
    return True


def device_of(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises UnsupportedError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UnsupportedError(f"device {name!r} is not on this machine; take 'auto' or 'cpu'") from error


def dtype_of(name: str) -> torch.dtype:
    """`auto` is float32: half precision is three to ten times slower on most processors."""
    if name == "auto":
        return torch.float32
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UnsupportedError(f"unknown dtype {name!r}; there are: auto, float32, bfloat16, float16")
    return found


def _threads(count: int | None) -> None:
    if count is not None:
        torch.set_num_threads(count)
