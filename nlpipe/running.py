"""A recipe, from its data to a measured model: read, load, train, save, check, evaluate.

Each step is a function of a module below; this one only puts them in order.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlpipe import (
    adapter,
    adapting,
    answering,
    artifact,
    cards,
    data,
    data_check,
    devices,
    evaluation,
    files,
    loading,
    measured,
    parity,
    pieces,
    preparing,
    reporting,
    scored,
)
from nlpipe.answering import Asked
from nlpipe.backbone import Backbone, with_window
from nlpipe.card import Card, Origin, versions
from nlpipe.data import Split
from nlpipe.errors import ArtifactError, RecipeError
from nlpipe.evaluation import Scores
from nlpipe.events import Event, RunFailed, RunFinished, RunInterrupted, RunStarted, Saved
from nlpipe.locating import Location
from nlpipe.objectives.base import Objective, Row
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import Plugins
from nlpipe.preparing import AnyTask
from nlpipe.recipe import ModelSection, Recipe, check, options_of
from nlpipe.results import Result
from nlpipe.rundir import RunDirectory
from nlpipe.runners.torch import TorchRunner
from nlpipe.stopping import Stop
from nlpipe.tracking import Tracking
from nlpipe.train import require_same_recipe, train
from nlpipe.training import Training
from nlpipe.world import World, join

Listener = Callable[[Event], None]

DEFAULT_SEED = 13  # where a recipe has no `train:` to say one


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run made: the model's folder (None for an untouched model), its scores and the seconds it took.

    `finished` is False where the run was interrupted; it can then be resumed. `split` names the rows that were
    scored, `results` and `examples` are theirs.
    """

    directory: Path
    model: Path | None
    seconds: float
    finished: bool = True
    split: str | None = None
    scores: Scores | None = None
    results: Sequence[Result] = field(default=(), repr=False)
    examples: Sequence[Any] = field(default=(), repr=False)


def run(
    recipe: Recipe,
    *,
    resume: bool = False,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
    plugins: Plugins | None = None,
) -> RunReport:
    """Do what the recipe says: with `train:` fine-tune, without it evaluate the untouched model.

    Each event goes to `events.jsonl`, to the plugins and to `listeners`. Of several processes (torchrun) the first
    one writes, listens and scores; the report of the others has no scores. Raises RecipeError, DataError,
    ArtifactError or UnsupportedError for what the user can mend; nothing is written before data and model are
    known to fit.
    """
    registry = plugins or Plugins.discover()
    options = check(recipe, registry.tasks)
    if recipe.sweep is not None or recipe.seeds is not None:
        name = "sweep" if recipe.sweep is not None else "seeds"
        raise RecipeError(
            f"the recipe has `{name}`, which makes many runs: nlpipe.many.{name}(recipe), or `nlpipe run`"
        )
    world = _world(recipe, resume=resume)
    session = _Session(recipe, options, registry, world, offline=offline, listeners=listeners)
    if resume and recipe.train is None:
        raise RecipeError(
            "a recipe without `train` has nothing to resume: it measures a model as it is; leave --resume out"
        )
    with world.together():
        return session.train(resume=resume) if recipe.train else session.untouched()


def _world(recipe: Recipe, *, resume: bool) -> World:
    """The processes of this run. Raises RecipeError where the recipe asks for some that nobody started, and
    UnsupportedError where Accelerate's configuration asks for what a run cannot do."""
    world, wanted = join(), recipe.run.processes
    if world.size == 1 and wanted > 1:
        raise RecipeError(
            f"run.processes is {wanted}, and a call from Python is one process: start it by `nlpipe run`, which "
            "starts the others too, or by torchrun; or say run.processes: 1"
        )
    if world.size > 1 and recipe.run.device.startswith("cuda:"):
        raise RecipeError(
            f"run.device: {recipe.run.device} is one GPU, and each process has its own; say cuda, or auto"
        )
    if world.size > 1 and recipe.train is None:
        raise RecipeError("a recipe without `train` measures in one process: leave --processes out")
    pieces.require(recipe, world.size, os.environ, resume=resume)
    if recipe.run.threads != "auto":
        torch.set_num_threads(recipe.run.threads)
    return world


def evaluate_model(
    pipe: Pipeline,
    source: Any,
    columns: Mapping[str, str] | None = None,
    *,
    metrics: Sequence[str] = (),
    bootstrap: int = 1000,
    output: Path | None = None,
) -> Scores:
    """The scores of a loaded pipeline on labelled rows: a file, a DataFrame, or whatever `data:` takes.

    `metrics` names further ones (`evaluation.chosen`). With `output`, a new folder, the scores and answers are kept
    there, as in a run's folder: `nlpipe compare` reads them. Raises DataError for rows that do not fit, with their
    numbers, ArtifactError for a folder in use.
    """
    if output is not None:
        measured.claim(output)
    evaluation.chosen(type(pipe.task), metrics)
    split = _test_split(type(pipe.task), source, columns, pipe.plugins)
    preparing.answerable(pipe.task, pipe.objective, pipe.tokenizers, split)
    preparing.noted(pipe.task, split)
    pipe = _over(pipe, split)
    results = [result for result in pipe.map(map(pipe.task.given, split.examples)) if result is not None]
    scores = evaluation.evaluate(pipe.task, results, split.examples, metrics=metrics, bootstrap=bootstrap)
    if output is not None:
        _keep(output, pipe.task, split, scores, results)
    return scores


def evaluate_predictions(
    task: str,
    answers: str | Sequence[str],
    source: Any = None,
    columns: Mapping[str, str] | None = None,
    *,
    format: str | None = None,
    further: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    metrics: Sequence[str] = (),
    bootstrap: int = 1000,
    output: Path | None = None,
    plugins: Plugins | None = None,
) -> Scores:
    """The scores of answers made elsewhere, in the file `answers`, on labelled rows: whatever `data:` takes.

    Several files of answers add to each other by the rows' ids. `source` may be left out where the answers stand
    beside their rows; `further` are more files of right answers, one a line. `format` is the answers' where their file
    does not tell; `options` are the task's; `output` as with `evaluate_model`. Raises RecipeError for options that the
    task has not, DataError for rows and answers that do not fit, with their numbers, ArtifactError for a folder in use.
    """
    if output is not None:
        measured.claim(output)
    registry = plugins or Plugins.discover()
    kind = registry.task(task)
    asked = kind((), options_of(task, options or {}, registry.tasks))
    evaluation.chosen(asked, metrics)
    files = [answers] if isinstance(answers, str) else list(answers)
    split, results = scored.read(
        asked, files, source, columns or {}, format=format, further=further, hook=registry.dataset
    )
    preparing.noted(asked, split)
    scores = evaluation.evaluate(asked, results, split.examples, metrics=metrics, bootstrap=bootstrap)
    if output is not None:
        _keep(output, asked, split, scores, results)
    return scores


def _keep(folder: Path, task: AnyTask, split: Split, scores: Scores, results: Sequence[Result]) -> None:
    reporting.keep(folder, task, split, scores, results)
    reporting.page(folder, task, split, scores, results, title=f"{task.name} on {Path(split.source).name}")


def _test_split(kind: type[AnyTask], source: Any, columns: Mapping[str, str] | None, plugins: Plugins) -> Split:
    hook = plugins.dataset
    return data.load_splits(
        {"test": source},
        kind.Example,
        columns or {},
        item=kind.Item,
        seed=DEFAULT_SEED,
        hook=hook,
        own=kind.formats,
    )["test"]


def _over(pipe: Pipeline, split: Split) -> Pipeline:
    """The pipeline answering from the split's collection, where it has one."""
    items = preparing.items(pipe.task, split)
    return pipe.index(items) if items else pipe


class _Session:
    """One run: what is decided once and used in several steps."""

    def __init__(
        self,
        recipe: Recipe,
        options: Any,
        plugins: Plugins,
        world: World,
        *,
        offline: bool,
        listeners: Sequence[Listener],
    ) -> None:
        self.recipe, self.options, self.plugins, self.world = recipe, options, plugins, world
        self.offline, self.listeners = offline, [*listeners]
        if world.first and recipe.run.trackers:
            self.listeners.append(Tracking(recipe, recipe.split))
        self.kind = plugins.task(recipe.task.name)
        evaluation.chosen(self.kind, recipe.evaluate.metrics)  # a name that is none is said now, not after training
        self.seed = recipe.train.seed if recipe.train else DEFAULT_SEED
        self.directory = RunDirectory(Path(recipe.output.dir).expanduser())
        self.started = time.perf_counter()
        self.step = 0
        self.stop = Stop()

    def train(self, *, resume: bool) -> RunReport:
        """Fine-tune, save, check and measure."""
        self.world.once(lambda: self.directory.claim(resume=resume))
        splits = self.world.in_turn(self._splits)
        self.options = preparing.options(self.kind, self.options, splits["train"])
        if self.world.first:
            data_check.before_training(self.recipe, self.kind, splits, self.options)
        labels = preparing.labels(self.kind, self.options, self.recipe.task.labels, splits["train"])
        task = self.kind(labels, self.options)
        # A tokenizer that is learnt differs from process to process: there is one, and the others read it.
        once = self.world.once if self.recipe.model.new else self.world.in_turn
        start = once(lambda: self._start(task, splits["train"]))
        self.quantize = self.recipe.model.quantize or start.quantize
        self.form = adapting.form(self.recipe, self.quantize)
        objective, base = preparing.model(self.recipe, task, start, places=adapting.places(self.recipe))
        base = adapting.folded(base, start, self.recipe)
        for name, split in splits.items():
            if name != "train":  # a label that training never saw is found now, not after the training
                preparing.answerable(task, objective, base.tokenizers, split)
        encoded, objective = preparing.encode(task, objective, base, splits["train"])
        notes = [note for split in splits.values() for note in preparing.noted(task, split)]
        training = self._training(task, objective, base, encoded, splits)
        training = adapting.adapt(training, self.recipe, base, start)
        model = training.model
        if resume:
            self.world.once(lambda: require_same_recipe(training))
        self.world.once(lambda: self.directory.begin(self.recipe, splits, self.world.size))
        with self._reporting():
            self._emit(self._start_event(training, base))
            self._tell(notes)
            for event in train(training, resume=resume):
                self._emit(event)
                if isinstance(event, RunInterrupted):
                    return RunReport(self.directory.path, None, self._seconds(), finished=False)
            self.stop.at_once()  # from here on a resumed run begins with the last checkpoint
            task = self._tuned(task, objective, base, model, splits.get("validation"))
            if not self.world.first:  # the rest is the first one's: it saves the model and measures what it saved
                return RunReport(self.directory.path, None, self._seconds())
            pipe = self._release(task, objective, base, model, splits["train"])
            return self._measure(pipe, splits, saved=True)

    def untouched(self) -> RunReport:
        """Measure a model as it is."""
        self.directory.claim(resume=False)
        splits = self._splits()
        section = self.recipe.model
        assert section.backbone is not None  # a recipe with a new model has a `train` section
        pipe = loading.pipeline(
            self.kind.name,
            model=section.backbone,
            revision=section.revision,
            device=self.recipe.run.device,
            dtype=section.dtype,
            options=self.options,
            labels=self.recipe.task.labels or (),
            objective=section.objective,
            generation=self.recipe.generation,
            long=section.long if "long" in section.model_fields_set else None,
            offline=self.offline,
            plugins=self.plugins,
        )
        _read_as(section, pipe)
        for split in splits.values():
            preparing.answerable(pipe.task, pipe.objective, pipe.tokenizers, split)
        notes = [note for split in splits.values() for note in preparing.noted(pipe.task, split)]
        self.directory.begin(self.recipe, splits)
        with self._reporting():
            self._tell(notes)
            return self._measure(pipe, splits, saved=False)

    def _splits(self) -> dict[str, Split]:
        section = self.recipe.data
        read = data.load_splits(
            {"train": section.train, "validation": section.validation, "test": section.test},
            self.kind.Example,
            section.columns,
            item=self.kind.Item,
            seed=self.seed,
            stratify=self.kind.stratum,
            hook=self.plugins.dataset,
            own=self.kind.formats,
        )
        splits = preparing.learnt(self.kind, read)
        scored, wanted = splits.get(self.recipe.split or ""), self.recipe.evaluate.slices
        if scored is not None and wanted:
            reporting.require_slices(self.kind, scored, wanted)  # said now, not after the training
        return splits

    def _start(self, task: AnyTask, split: Split) -> preparing.Start:
        """The backbone; a new one lies in a temporary folder, which goes with this session."""
        folder = files.lent(self, "nlpipe-new-") if self.recipe.model.new else self.directory.path
        return preparing.start(self.recipe, task, split, folder, offline=self.offline)

    def _training(
        self,
        task: AnyTask,
        objective: Objective,
        base: Backbone,
        encoded: Sequence[list[Row]],
        splits: Mapping[str, Split],
    ) -> Training:
        section = self.recipe.train
        assert section is not None
        device = devices.device_of(self.recipe.run.device)
        validation = splits.get("validation")
        metric = preparing.metric(task, section.best)

        def evaluate(current: nn.Module) -> Mapping[str, float]:
            assert validation is not None
            results = self._results(task, objective, base, current, validation)
            return evaluation.quick(task, results, validation.examples)

        return Training(
            model=base.model,
            objective=objective,
            examples=encoded,
            tok=base.tokenizers,
            settings=preparing.settings(self.recipe, device),
            device=device,
            checkpoints=self.directory.checkpoints,
            identity=preparing.identity(self.recipe, splits, encoded),
            evaluate=None if validation is None else evaluate,
            metric=metric,
            stop=self.stop,
            flush=self.directory.log.flush,
            world=self.world,
        )

    def _start_event(self, training: Training, base: Backbone) -> RunStarted:
        trainable, total = adapter.counts(training.model)
        return RunStarted(
            task=self.kind.name,
            backbone=self.recipe.model.name,
            family=base.family,
            objective=type(training.objective).__name__,
            steps=training.steps,
            examples=len(training.first),
            trainable=trainable,
            parameters=total,
            padding=training.padding(),
        )

    def _results(
        self, task: AnyTask, objective: Objective, base: Backbone, model: nn.Module, split: Split
    ) -> list[Result]:
        """Answers of a model in training, by the same way as a pipeline's; each process gives its share of them."""
        inputs = [task.given(example) for example in split.examples]
        queries = [task.query(given, objective) for given in inputs]
        asked = [
            Asked(given, query, objective.encode(query, None, base.tokenizers))
            for given, query in zip(inputs, queries, strict=True)
        ]
        runner = TorchRunner(model, devices.device_of(self.recipe.run.device))
        task = answering.over(task, objective, runner, base.tokenizers, preparing.items(task, split))
        return self.world.shared(
            asked, lambda own: answering.answered(task, objective, runner, base.tokenizers, list(own))
        )

    def _tuned(
        self, task: AnyTask, objective: Objective, base: Backbone, model: nn.Module, split: Split | None
    ) -> AnyTask:
        """The task with thresholds chosen on the validation rows, where there are any."""
        if split is None:
            return task
        return self.kind(task.labels, task.tune(self._results(task, objective, base, model, split), split.examples))

    def _release(self, task: AnyTask, objective: Objective, base: Backbone, model: nn.Module, split: Split) -> Pipeline:
        """Save the model and load it again; both must answer as the trained one does."""
        card = self._card(task, objective, base)
        examples = parity.spread(split.examples)
        queries = [task.query(task.given(example), objective) for example in examples]
        rows = [row for query in queries for row in objective.encode(query, None, base.tokenizers)]
        expected = parity.outputs(objective, model, base.tokenizers, rows)
        if self.recipe.adapter is not None and card.weights == "merged":
            model = parity.merged(objective, model, base.tokenizers, rows)
            expected = parity.outputs(objective, model, base.tokenizers, rows)
        readme = cards.readme(card, self.recipe, cards.Facts(self.kind.hub_task(card.family)))
        artifact.save(self.directory.model, card, model, base.tokenizers, base=base.location, readme=readme)
        pipe = loading.load(
            self.directory.model, device=self.recipe.run.device, offline=self.offline, plugins=self.plugins
        )
        assert isinstance(pipe.runner, TorchRunner)
        again = [row for query in queries for row in pipe.objective.encode(query, None, pipe.tokenizers)]
        reloaded = parity.outputs(pipe.objective, pipe.runner.model, pipe.tokenizers, again)
        odd = functools.partial(parity.differing, model, pipe.runner.model)
        parity.require(expected, reloaded, 0.0, "saving and loading the model", odd)
        self._emit(Saved(self.step, str(self.directory.model), "model"))
        return pipe

    def _card(self, task: AnyTask, objective: Objective, base: Backbone) -> Card:
        record = self.plugins.origin(task.name)
        return Card(
            task=task.name,
            options=task.options.model_dump(mode="json"),
            labels=task.labels,
            family=base.family,
            objective=type(objective).__name__,
            head=base.head,
            weights=self.form,
            quantize=self.quantize,
            attention=base.attention,
            window=objective.window,
            generation=self.recipe.generation.model_dump(mode="json", exclude_none=True),
            settings=objective.recorded(),
            plugin=Origin(name=record.distribution or record.name, version=record.version),
            backbone=Origin(name=_lasting(base.location), revision=base.location.revision, sha256=base.location.sha256),
            versions=versions(),
        )

    def _measure(self, pipe: Pipeline, splits: Mapping[str, Split], *, saved: bool) -> RunReport:
        """Score the loaded pipeline on the recipe's split, into the run's folder and the Card."""
        name, folder = self.recipe.split, self.directory.model if saved else None
        scores, results, examples = None, list[Result](), list[Any]()
        if name is not None:
            examples = splits[name].examples
            pipe = _over(pipe, splits[name])
            results = [result for result in pipe.map(map(pipe.task.given, examples)) if result is not None]
            scores = evaluation.evaluate(
                pipe.task,
                results,
                examples,
                train=splits["train"].examples if "train" in splits else (),
                metrics=self.recipe.evaluate.metrics,
                bootstrap=self.recipe.evaluate.bootstrap,
                seed=self.seed,
            )
            reporting.keep(
                self.directory.path,
                pipe.task,
                splits[name],
                scores,
                results,
                wanted=self.recipe.evaluate.slices,
                seed=self.seed,
            )
            if folder is not None:
                card = pipe.card.model_copy(
                    update={"scores": dict(scores.scores), "signatures": dict(scores.signatures)}
                )
                facts = cards.Facts(
                    self.kind.hub_task(card.family),
                    {known: len(split.examples) for known, split in splits.items()},
                    scores,
                    name,
                    measured.slices(self.directory.path),
                )
                artifact.rewrite_card(folder, card, cards.readme(card, self.recipe, facts))
            title = f"{self.kind.name} on {pipe.card.backbone.name}"
            reporting.page(self.directory.path, pipe.task, splits[name], scores, results, title=title, splits=splits)
        # Last of all: a run whose log does not say so is gone on with.
        self._emit(RunFinished(self.step, self._seconds(), scores.scores if scores else {}))
        return RunReport(
            self.directory.path,
            folder,
            self._seconds(),
            split=name,
            scores=scores,
            results=results,
            examples=examples,
        )

    def _tell(self, notes: Sequence[Event]) -> None:
        for note in notes:
            self._emit(note)

    def _emit(self, event: Event) -> None:
        self.step = getattr(event, "step", self.step)
        if not self.world.first:
            return
        self.directory.note(event)
        self.plugins.emit(event)
        for listener in self.listeners:
            listener(event)

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Signals wait for the end of a step; a failure becomes an event before it goes on its way."""
        with self.stop.listening():
            try:
                with self.world.together():
                    yield
            except Exception as error:
                with suppress(ArtifactError):  # where the disk is full, the log is too
                    self._emit(RunFailed(self.step, f"{type(error).__name__}: {error}"))
                raise


def _read_as(section: ModelSection, pipe: Pipeline) -> None:
    """Let an untouched model read as much at once as the recipe says, and share as much between windows."""
    wished = None if section.max_length == "auto" else section.max_length
    window = with_window(pipe.objective, pipe.card.window.max_length, wished).window
    window = replace(window, overlap=section.overlap)
    pipe.card = pipe.card.model_copy(update={"window": window})
    pipe.objective = replace(pipe.objective, window=window)


def _lasting(location: Location) -> str:
    """The name under which a base is found again: a relative path would depend on the working directory."""
    local = location.revision is None and not location.name.startswith(("package:", "new "))
    return str(location.folder.resolve()) if local else location.name
