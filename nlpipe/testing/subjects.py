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
    from nlpipe.objectives.base import Objective
    from nlpipe.pipelines import Pipeline
    from nlpipe.recipe import Recipe
    from nlpipe.running import RunReport
    from nlpipe.testing.lab import Lab

AnyTask = Task[Any, Any, Any, Any]
Settings = Mapping[str, Any]
"""Sections of a recipe, as in YAML: {"train": {"steps": 100}}."""

POSITIONS = 64  # tokens that a tiny model reads at once: windows begin early

# What every training of the kit has in common. Without a file for its checkpoints' optimizer state in between.
DEFAULTS: Settings = {
    "train": {"steps": 200, "batch_size": 32, "learning_rate": 3e-3, "warmup": 0.1, "seed": 3},
    "evaluate": {"bootstrap": 0},
    "run": {"threads": 1},
}


@dataclass(frozen=True, eq=False)
class TaskSubject:
    """A task and all that its author says of testing it (nlpipe.testing.task_checks)."""

    task: type[AnyTask]
    rule: Rule | None = None
    recipe: Settings = field(default_factory=dict)
    per_architecture: Mapping[str, Settings] = field(default_factory=dict)
    perfect: Callable[[Any], Any] | None = None

    @cached_property
    def plugins(self) -> Plugins:
        """The installed plugins, if the task under test is among them; else it alone."""
        found = Plugins.discover()
        return found if found.tasks.get(self.task.name) is self.task else alone(self.task)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What a tiny tokenizer should know, so that a word of the rule is a token."""
        return words_of(self.rule.train()) if self.rule else ()

    @cached_property
    def examples(self) -> Sequence[Any]:
        """Labelled rows without a model: those that the rule asks, else the samples."""
        return self.rule.test() if self.rule else self.task.samples()

    @cached_property
    def configured(self) -> AnyTask:
        """The task with the options of its recipe, and the labels of the rows."""
        rows = self.rule.train() if self.rule else self.task.samples()
        return configured(self.task, self.recipe.get("task", {}), rows)

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

    @property
    def backbone(self) -> Path:
        """The tiny base checkpoint that every training of this cell starts from."""
        return self.lab.tiny(self.architecture, self.subject.words, POSITIONS)

    def recipe(self, train: Sequence[Any], test: Sequence[Any] | None, **changes: Any) -> Recipe:
        """A recipe on these Examples: the kit's defaults, then the author's settings, then `changes`."""
        from nlpipe.recipe import build

        sections: dict[str, Any] = {
            "task": {"name": self.task.name},
            "model": {"backbone": str(self.backbone)},
            "data": {"train": rows_of(train), **({} if test is None else {"test": rows_of(test)})},
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
        from nlpipe.pipelines import load

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

        def make() -> RunReport:
            return self.run(self.recipe(self.rule.train(), self.rule.test()))

        report: RunReport = self.once("learnt", make)
        return report

    @property
    def fitted(self) -> RunReport:
        """The training on the samples, asked about them."""

        def make() -> RunReport:
            samples = self.task.samples()
            return self.run(self.recipe(samples, samples))

        report: RunReport = self.once("fitted", make)
        return report

    def pipe(self) -> Pipeline:
        """A fresh load of the training that all checks read, asked over its rows' collection where there is one."""
        return self.over(self.load(self.learnt))

    def over(self, pipe: Pipeline) -> Pipeline:
        """The pipeline answering from the examples' collection, for a task that answers from one."""
        items = pipe.task.items_in(self.subject.examples)
        return pipe.index(items) if items else pipe


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
