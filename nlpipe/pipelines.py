"""Inputs to Results: what a Python service calls, and what evaluation and prediction go through as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from nlpipe import artifact, backbone, batching
from nlpipe.artifact import Card, Origin
from nlpipe.errors import ArtifactError, DataError, UnsupportedError, suggest
from nlpipe.objectives import OBJECTIVES, Objective
from nlpipe.objectives.base import Query, Row, Window
from nlpipe.plugins import Plugins
from nlpipe.results import Result, to_frame
from nlpipe.rows import to_record
from nlpipe.runners.torch import TorchRunner

if TYPE_CHECKING:
    import pandas as pd

    from nlpipe.runners.base import Runner
    from nlpipe.task import Record, Task
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

        Raises DataError for an input that is not one of the task's, UnsupportedError for unknown options.
        """
        _no_options(options)
        if isinstance(inputs, list | tuple):
            return list(self.map(inputs))
        return next(self.map([inputs]))

    def map(
        self, inputs: Iterable[Any], *, errors: Literal["raise", "skip"] = "raise", first: int = 0
    ) -> Iterator[Result | None]:
        """Results in the order of the inputs, in constant memory.

        With `errors="skip"` an input that cannot be answered gives None instead of an exception; `first`
        is the number of the first input in messages.
        """
        numbered = enumerate(inputs, first)
        while chunk := list(islice(numbered, LOOK_AHEAD)):
            yield from self._answer(chunk, skip=errors == "skip")

    def _answer(self, chunk: list[tuple[int, Any]], *, skip: bool) -> Iterator[Result | None]:
        asked: list[_Asked | None] = []
        for number, value in chunk:
            try:
                given = self.given(value)
                query = self.task.query(given, self.objective)
                asked.append(_Asked(given, query, self.objective.encode(query, None, self.tokenizers)))
            except DataError as error:
                if not skip:
                    raise DataError(f"input {number}: {error}") from error
                asked.append(None)
        results = iter(self._results([one for one in asked if one is not None]))
        for one in asked:
            yield None if one is None else next(results)

    def _results(self, asked: list[_Asked]) -> list[Result]:
        """Answers to all; a task may answer with another Query, which is asked in turn."""
        results: list[Any] = [None] * len(asked)
        waiting = dict(enumerate(asked))
        for _ in range(DEPTH):
            if not waiting:
                break
            answers = answer(
                self.objective,
                self.runner,
                self.tokenizers,
                [(one.query, one.rows) for one in waiting.values()],
            )
            again: dict[int, _Asked] = {}
            for (at, one), found in zip(waiting.items(), answers, strict=True):
                result = self.task.result(found, one.given)
                if isinstance(result, Query):
                    rows = self.objective.encode(result, None, self.tokenizers)
                    again[at] = replace(one, query=result, rows=rows, seen=one.seen or one.rows[0].seen)
                else:
                    results[at] = replace(result, seen=one.seen or one.rows[0].seen)
            waiting = again
        if waiting:
            raise UnsupportedError(f"{self.task.name} asked again more than {DEPTH} times about one input")
        return results

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


@dataclass(frozen=True, slots=True)
class _Asked:
    given: Any
    query: Query
    rows: list[Row]
    seen: tuple[int, int] | None = None


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


def as_input(value: Any, task: Task[Any, Any, Any, Any]) -> Record:
    """A str (the Input's first field), a mapping or an Input as the task's Input.

    Raises DataError naming the right keys.
    """
    model = task.Input
    fields = list(model.model_fields)
    if isinstance(value, model):
        return value
    if isinstance(value, str):
        value = {fields[0]: value}
    if not isinstance(value, Mapping):
        raise DataError(
            f"an input of {task.name} is a text or a mapping with {', '.join(fields)}, not {type(value).__name__}"
        )
    unknown = [str(key) for key in value if key not in model.model_fields]
    if unknown:
        raise DataError(f"an input of {task.name} has no {unknown[0]!r}; {suggest(unknown[0], fields)}")
    return to_record(value, model)


def objective_kind(name: str) -> type[Objective]:
    """The objective of that name. Raises UnsupportedError listing those there are."""
    if name not in OBJECTIVES:
        raise UnsupportedError(f"unknown objective {name!r}; {suggest(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def asked_as(card: Card, task: Task[Any, Any, Any, Any]) -> Objective:
    """The objective of a Card, as it was when the Card was written."""
    return replace(task.objective(objective_kind(card.objective)), window=card.window, **card.settings)


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
    offline: bool = False,
    plugins: Plugins | None = None,
) -> Pipeline:
    """A pipeline from any model that has a head for the task: a local folder, `package:NAME/PATH` or a Hub id.

    Labels are the model's own, and so is what becomes of long texts where `long` does not say it: windows, unless
    the folder is one of sentence-transformers' that states where it cuts. Raises ArtifactError where there is no such model or it has no such head.
    """
    registry = plugins or Plugins.discover()
    kind = registry.task(task)
    location = backbone.locate(str(model), revision=revision, offline=offline)
    if artifact.is_artifact(location.folder):
        card = artifact.read_card(location.folder)
        if card.task != task:
            raise ArtifactError(f"{model} was trained for {card.task}, not for {task}: nlpipe.load({str(model)!r})")
        return load(
            location.folder,
            device=device,
            dtype=dtype,
            threads=threads,
            long=long,
            offline=offline,
            plugins=registry,
        )
    family, objective, labels = artifact.infer(location, task, kind.row())
    _threads(threads)
    made = kind(labels).objective(objective)
    stated = artifact.stated(location.folder) if made.embeds else {}
    made = made.placed(family, stated)
    # Trained elsewhere, so a decoder's attention stays as it was trained.
    loaded = backbone.load(location, made, dtype=dtype_of(dtype), labels=labels, attention="causal")
    if loaded.fresh:
        raise ArtifactError(
            f"{location.name} has no trained weights for {', '.join(loaded.fresh)}: its answers would be noise. "
            f"Fine-tune it with a recipe first (nlpipe recipe new {task})."
        )
    record = registry.origin(task)
    card = Card(
        task=task,
        labels=labels,
        family=family,
        objective=objective.__name__,
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


def _no_options(options: Mapping[str, Any]) -> None:
    if options:
        name = next(iter(options))
        raise UnsupportedError(f"unknown option {name!r}: this task has no options per call")
