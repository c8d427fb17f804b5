"""A task under test, alone and on one architecture: its recipes, and what was trained by them.

Every training goes through `nlpipe.run`, as a user's does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe.errors import UnsupportedError
from nlpipe.hookspecs import hookimpl
from nlpipe.plugins import Plugins
from nlpipe.task import Family, Task
from nlpipe.testing.rule import Rule, words_of

if TYPE_CHECKING:
    from torch import nn

    from nlpipe.objectives.base import Batch, Objective, Row
    from nlpipe.pipelines import Pipeline
    from nlpipe.recipe import Recipe
    from nlpipe.running import RunReport
    from nlpipe.testing.lab import Lab
    from nlpipe.tokens import Tokenizers

AnyTask = Task[Any, Any, Any, Any]
Settings = Mapping[str, Any]
"""Sections of a recipe, as in YAML: {"train": {"steps": 100}}."""

POSITIONS = 64  # tokens that a tiny model reads at once, so that windows begin early
ROOM = 256  # the same where the samples are learnt, which may be whole paragraphs

# What every training of the kit has in common; checkpoints only where a check asks for them.
DEFAULTS: Settings = {
    "train": {
        **{"steps": 200, "batch_size": 32, "learning_rate": 3e-3, "warmup": 0.1, "seed": 3},
        "checkpoint_every": 10**6,
    },
    "evaluate": {"bootstrap": 0},
    "run": {"threads": 1},
}
FIT: Settings = {"steps": 150}  # of the training on the samples
BRIEF: Settings = {"steps": 4, "checkpoint_every": 2}  # of the trainings that are only compared with each other
FEW = 48  # rows of those
UNSLICED: Settings = {"slices": []}  # `evaluate` of all trainings but that on the rule: slices take longer than these


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled rows, and the task as a recipe configures it for the rows it learns from."""

    task: AnyTask
    train: Sequence[Any]
    examples: Sequence[Any]


@dataclass(frozen=True, eq=False)
class TaskSubject:
    """A task and all that its author says of testing it (nlpipe.testing.task_checks)."""

    task: type[AnyTask]
    rule: Rule | None = None
    recipe: Settings = field(default_factory=dict)
    per_architecture: Mapping[str, Settings] = field(default_factory=dict)
    fit: Settings = field(default_factory=dict)
    asked: Sequence[Any] | None = None
    perfect: Callable[[Any], Any] | None = None

    @cached_property
    def plugins(self) -> Plugins:
        """The installed plugins, if the task under test is among them; else it alone."""
        found = Plugins.discover()
        return found if found.tasks.get(self.task.name) is self.task else alone(self.task)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What a tiny tokenizer should know, so that a word of the rule is a token."""
        return words_of(self.rule.train()) if self.rule else self.sample_words

    @cached_property
    def sample_words(self) -> tuple[str, ...]:
        """The words of the samples."""
        return words_of(self.samples.examples)

    @cached_property
    def samples(self) -> Rows:
        """The samples, learnt and asked; of all those that a tiny model can be asked."""
        samples = self.asked or self.task.samples()
        return Rows(configured(self.task, self.recipe.get("task", {}), samples), samples, samples)

    @cached_property
    def rows(self) -> Rows:
        """The rule's rows; without a rule the samples."""
        if self.rule is None:
            return self.samples
        train = self.rule.train()
        return Rows(configured(self.task, self.recipe.get("task", {}), train), train, self.rule.test())

    def kinds(self) -> Iterator[tuple[Family, type[Objective]]]:
        """Each cell of the task's row: a family and an objective that serves it."""
        for family, kinds in self.task.row().items():
            yield from ((family, kind) for kind in kinds)


@dataclass(frozen=True, eq=False)
class TaskCell:
    """A task on one architecture, with trainings that the lab keeps."""

    subject: TaskSubject
    architecture: str
    lab: Lab

    @property
    def task(self) -> type[AnyTask]:
        """The task's class."""
        return self.subject.task

    @property
    def rule(self) -> Rule:
        """The rule, for checks that have asked for one."""
        assert self.subject.rule is not None
        return self.subject.rule

    def tiny(self, *, samples: bool = False) -> Path:
        """The tiny base checkpoint that trainings start from: one for the rule's words, one for the samples'."""
        if samples:
            return self.lab.tiny(self.architecture, self.subject.sample_words, ROOM)
        return self.lab.tiny(self.architecture, self.subject.words, POSITIONS if self.subject.rule else ROOM)

    def recipe(self, train: Sequence[Any], test: Sequence[Any], /, *, samples: bool = False, **changes: Any) -> Recipe:
        """A recipe on these Examples: the kit's defaults, then the author's settings, then `changes`."""
        from nlpipe.recipe import build

        sections: dict[str, Any] = {
            "task": {"name": self.task.name},
            "model": {"backbone": str(self.tiny(samples=samples))},
            "data": {"train": rows_of(train), "test": rows_of(test), "check": "off"},  # samples are learnt and asked
            "output": {"dir": str(self.lab.place(f"{self.task.name}-{self.architecture}"))},
        }
        for more in (DEFAULTS, self.subject.recipe, self.subject.per_architecture.get(self.architecture, {}), changes):
            for name, section in more.items():
                sections[name] = {**sections.get(name, {}), **section}
        return build(sections, self.subject.plugins.tasks)

    def run(self, recipe: Recipe, **how: Any) -> RunReport:
        """Do what the recipe says."""
        from nlpipe.running import run

        return run(recipe, plugins=self.subject.plugins, **how)

    def load(self, report: RunReport) -> Pipeline:
        """A fresh load of what a run saved."""
        from nlpipe.loading import load

        assert report.model is not None
        return load(report.model, plugins=self.subject.plugins)

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """Something of this cell that is made once."""
        return self.lab.once((id(self.subject), self.architecture, what), make)

    @property
    def learnt(self) -> RunReport:
        """The training on the rule that all checks read; without a rule, that on the samples."""
        if self.subject.rule is None:
            return self.fitted
        rows = self.subject.rows
        report: RunReport = self.once("learnt", lambda: self.run(self.recipe(rows.train, rows.examples)))
        return report

    @property
    def fitted(self) -> RunReport:
        """The training on the samples, asked about them."""
        samples = self.subject.samples.examples
        settings = {**FIT, **self.subject.fit}
        report: RunReport = self.once(
            "fitted", lambda: self.run(self.recipe(samples, samples, samples=True, train=settings, evaluate=UNSLICED))
        )
        return report

    @property
    def briefly(self) -> RunReport:
        """A training of a few steps."""
        report: RunReport = self.once("briefly", lambda: self.run(self.brief()))
        return report

    def brief(self, train: Settings = BRIEF, **changes: Any) -> Recipe:
        """The recipe of a training of a few steps on a few rows, which are asked about as well."""
        rows = self.subject.rows.train[:FEW]
        return self.recipe(rows, rows, train=train, evaluate=UNSLICED, **changes)

    def shortened(self, share: float) -> Settings:
        """`train` settings with this share of the steps that the rule takes."""
        steps = self.recipe(self.subject.rows.train, self.subject.rows.examples).train
        assert steps is not None
        return {"steps": max(1, round(share * (steps.steps or 1)))}

    def pipe(self) -> Pipeline:
        """A fresh load of the training that all checks read, over its rows' collection where there is one."""
        return self.over(self.load(self.learnt), self.subject.rows.examples)

    def over(self, pipe: Pipeline, examples: Sequence[Any]) -> Pipeline:
        """The pipeline answering from the examples' collection, for a task that answers from one."""
        items = pipe.task.items_in(examples)
        return pipe.index(items) if items else pipe

    def given(self, example: Any) -> Any:
        """An example without its gold fields."""
        return self.subject.rows.task.given(example)

    def fresh(self) -> Fresh:
        """A model with a new head, and a few rows to learn, as a training has them before its first step."""
        from nlpipe import data, locating, preparing

        recipe = self.brief()
        split = data.load_splits({"train": recipe.data.train}, self.task.Example, {}, item=self.task.Item, seed=0)[
            "train"
        ]
        task = self.subject.rows.task
        assert recipe.model.backbone is not None
        place = locating.locate(recipe.model.backbone, revision=recipe.model.revision, offline=True)
        objective, base = preparing.model(recipe, task, preparing.Start(place, place.folder))
        examples, objective = preparing.encode(task, objective, base, split)
        return Fresh(base.model, objective, base.tokenizers, examples[:8])


@dataclass(frozen=True, eq=False)
class Fresh:
    """What the training loop is handed: the rows of a few examples, and all that turns them into a loss."""

    model: nn.Module
    objective: Objective
    tok: Tokenizers
    examples: Sequence[list[Row]]

    @property
    def rows(self) -> list[Row]:
        """All rows of the examples."""
        return [row for rows in self.examples for row in rows]

    def loss(self, rows: Sequence[Row]) -> tuple[Any, float]:
        """The loss of rows as one batch, a tensor, and how many terms it sums over."""
        batch = self.batch(rows, 0)
        return self.objective.loss(self.objective.compute(self.model, batch), batch), batch.terms

    def batch(self, rows: Sequence[Row], seed: int) -> Batch:
        """Rows as a training batch."""
        from nlpipe.batching import rng

        draw = rng(seed, "collate")
        arranged = list(self.objective.arrange(rows, draw))
        return self.objective.collate(arranged, self.tok, answering=False, rng=draw).to("cpu")

    @property
    def draws(self) -> bool:
        """Whether chance decides what is learnt of a row (masks), or rows are put together anew (packing)."""
        from nlpipe.batching import rng

        one, other = self.batch(self.rows, 0), self.batch(self.rows, 1)
        parts = [
            (a[name], b[name]) for a, b in ((one.inputs, other.inputs), (one.targets, other.targets)) for name in a
        ]
        same = all(x.shape == y.shape and bool((x == y).all()) for x, y in parts)
        return not same or list(self.objective.arrange(self.rows, rng(0, "collate"))) != self.rows


def rows_of(examples: Sequence[Any]) -> list[dict[str, Any]]:
    """Examples as rows of data."""
    return [example.model_dump(mode="json", exclude_none=True) for example in examples]


def configured(task: type[AnyTask], settings: Settings, rows: Sequence[Any]) -> AnyTask:
    """The task as a recipe with these settings configures it for these training rows."""
    own = {key: value for key, value in settings.items() if key not in {"name", "labels"}}
    options = task.options_in(rows, task.Options.model_validate(own))
    return task(settings.get("labels") or task.labels_in(rows, options), options)


def alone(task: type[AnyTask]) -> Plugins:
    """Plugins with this task and no other: it need not be installed to be tested."""

    class Module:
        @staticmethod
        @hookimpl
        def nlpipe_tasks() -> list[type[AnyTask]]:
            return [task]

    class Entry:
        name, value, group, dist = task.name, f"{task.__module__}:{task.__qualname__}", "nlpipe", None

        @staticmethod
        def load() -> object:
            return Module()

    found = Plugins.discover(entry_points=[Entry()], strict=True)  # type: ignore[list-item]
    if task.name not in found.tasks:
        raise UnsupportedError(f"{task.__name__} is not a task that nlpipe can load")
    return found
