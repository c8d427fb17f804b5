"""What an author writes: a decorator for each kind of thing that a plugin brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlpipe.errors import UnsupportedError
from nlpipe.events import Event
from nlpipe.objectives.base import Objective
from nlpipe.task import Family, Record, Task
from nlpipe.testing import answering, keeping, learning, meaning, tiny
from nlpipe.testing.cases import Case, Check, chosen
from nlpipe.testing.datasets import DATASET_CHECKS, DatasetSubject
from nlpipe.testing.lab import Lab
from nlpipe.testing.listeners import LISTENER_CHECKS, ListenerSubject
from nlpipe.testing.making import Decorated, tests_of
from nlpipe.testing.objectives import OBJECTIVE_CHECKS, ObjectiveCell, ObjectiveSubject, Pairs
from nlpipe.testing.rule import Examples, Rule
from nlpipe.testing.subjects import Settings, TaskCell, TaskSubject

REPRESENTATIVES: tuple[str, ...] = ("bert", "modernbert", "gpt2", "llama", "bart", "t5")
"""Of each family one architecture with absolute positions and one with rotary or relative ones."""

TASK_CHECKS: tuple[Check, ...] = (*meaning.CHECKS, *learning.CHECKS, *answering.CHECKS, *keeping.CHECKS)
"""All checks of a task, in the order in which their failures are best read."""


def task_cases(
    task: type[Task[Any, Any, Any, Any]],
    *,
    rule: Rule | Examples | None = None,
    recipe: Settings | None = None,
    per_architecture: Mapping[str, Settings] | None = None,
    architectures: Sequence[str] = REPRESENTATIVES,
    fit: Settings | None = None,
    samples: Sequence[Record] | None = None,
    slow: bool = False,
    perfect: Callable[[Any], Any] | None = None,
    without: Mapping[str, str] | None = None,
) -> list[Case]:
    """The checks of a task as cases, for who runs them without pytest: `for case in task_cases(T): case.run(lab)`.

    The parameters are those of `task_checks`. Architectures of families that the task does not serve are left out.
    Raises UnsupportedError for an unknown architecture or check.
    """
    made = rule if rule is None or isinstance(rule, Rule) else Rule(examples=rule)
    subject = TaskSubject(task, made, recipe or {}, per_architecture or {}, fit or {}, samples, perfect)
    served, others = _split(task, architectures)
    cases = []
    for check in chosen(TASK_CHECKS, subject, without or {}):
        if check.on == "alone":
            cases.append(Case(check, task.name, "", "", slow, task.name, lambda lab: subject))
        places = {"served": served, "others": others, "alone": {}}[check.on]
        for at, (name, later) in enumerate(places.items()):
            left, group = slow or later or (check.costly and at > 0), f"{task.name}-{name}"
            cases.append(Case(check, task.name, name, tiny.family(name), left, group, _cell(subject, name)))
    return cases


def _split(
    task: type[Task[Any, Any, Any, Any]], architectures: Sequence[str]
) -> tuple[dict[str, bool], dict[str, bool]]:
    """The architectures that the task serves, and one of each other family; true for those after a family's first."""
    row = task.row()
    served: dict[str, bool] = {}
    for name in architectures:
        if Family(tiny.family(name)) in row:
            served[name] = tiny.family(name) in {tiny.family(other) for other in served}
    if not served:
        raise UnsupportedError(f"{task.name} serves no family of {', '.join(architectures)}")
    others = [name for name in REPRESENTATIVES if Family(tiny.family(name)) not in row]
    firsts = {tiny.family(name): name for name in reversed(others)}.values()
    return served, {name: False for name in others if name in firsts}


def _cell(subject: TaskSubject, architecture: str) -> Callable[[Any], TaskCell]:
    return lambda lab: TaskCell(subject, architecture, lab)


def task_checks(
    task: type[Task[Any, Any, Any, Any]],
    *,
    rule: Rule | Examples | None = None,
    recipe: Settings | None = None,
    per_architecture: Mapping[str, Settings] | None = None,
    architectures: Sequence[str] = REPRESENTATIVES,
    fit: Settings | None = None,
    samples: Sequence[Record] | None = None,
    slow: bool = False,
    perfect: Callable[[Any], Any] | None = None,
    without: Mapping[str, str] | None = None,
) -> Callable[[Decorated], Decorated]:
    """Test a task: a test for each check and architecture.

        @task_checks(Politeness, rule=lambda rows, seed: […])
        class TestPoliteness: ...

    On a class each check becomes a method, unless the class has a method of its name; a function is called
    with each case as `nlpipe_check`, and calls it. The first architecture of each family belongs to a quick run; the
    others, and what is costly on any but the first of all, are marked slow.

    `rule` is a function (rows, seed) → Examples whose right answers follow from what is asked, or a `Rule` that says
    more; without it the checks read a training on the samples, and that a rule is learnt goes unchecked. `recipe`
    has sections of a recipe for every training (`{"train": {"steps": 300}, "task": {"top": 5}}`), `per_architecture`
    more of them by architecture, and `fit` the `train` section of the training on the samples. `samples` are
    learnt in place of the task's own where a tiny model cannot be asked those: it has no chat template, is told no
    languages, and some write lower case alone. With `slow` nothing belongs to a quick run. `perfect(example)` is the
    Result that deserves the best score, where the objectives' answers do not lead to it by themselves. `without` names
    checks to leave out, each with the reason.

    Raises UnsupportedError for an unknown architecture or check.
    """
    return tests_of(
        task_cases(
            task,
            rule=rule,
            recipe=recipe,
            per_architecture=per_architecture,
            architectures=architectures,
            fit=fit,
            samples=samples,
            slow=slow,
            perfect=perfect,
            without=without,
        )
    )


def objective_cases(
    objective: Objective,
    *,
    pairs: Pairs,
    labels: Sequence[str] = (),
    architectures: Sequence[str] = REPRESENTATIVES,
    without: Mapping[str, str] | None = None,
) -> list[Case]:
    """The checks of an objective as cases; the parameters are those of `objective_checks`."""
    name, subject = type(objective).__name__, ObjectiveSubject(objective, pairs, tuple(labels))

    def cell(architecture: str) -> Callable[[Lab], ObjectiveCell]:
        return lambda lab: ObjectiveCell(subject, architecture, lab)

    cases = []
    for check in chosen(OBJECTIVE_CHECKS, subject, without or {}):
        if check.on == "alone":
            cases.append(Case(check, name, "", "", False, name, lambda lab: subject))
            continue
        seen: set[str] = set()
        for architecture in architectures:
            family = tiny.family(architecture)
            cases.append(Case(check, name, architecture, family, family in seen, name, cell(architecture)))
            seen.add(family)
    return cases


def objective_checks(
    objective: Objective,
    *,
    pairs: Pairs,
    labels: Sequence[str] = (),
    architectures: Sequence[str] = REPRESENTATIVES,
    without: Mapping[str, str] | None = None,
) -> Callable[[Decorated], Decorated]:
    """Test an objective, configured as a task would: a test for each check and architecture, as in `task_checks`.

    `pairs` are queries with their golds, of unlike lengths; the last is longer than the 64 tokens that the
    tiny models read, and is read in windows. `labels` are the names of the head's outputs, where it has names.
    """
    return tests_of(
        objective_cases(objective, pairs=pairs, labels=labels, architectures=architectures, without=without)
    )


def dataset_cases(
    read: Callable[[str], Any],
    *,
    sources: Sequence[str],
    task: type[Task[Any, Any, Any, Any]] | None = None,
    without: Mapping[str, str] | None = None,
) -> list[Case]:
    """The checks of a data reader as cases; the parameters are those of `dataset_checks`."""
    return _alone(DATASET_CHECKS, DatasetSubject(read, sources, task), read.__module__, without)


def dataset_checks(
    read: Callable[[str], Any],
    *,
    sources: Sequence[str],
    task: type[Task[Any, Any, Any, Any]] | None = None,
    without: Mapping[str, str] | None = None,
) -> Callable[[Decorated], Decorated]:
    """Test a reader of data: `read` is the plugin's `nlpipe_dataset`.

    `sources` are what it reads, as a recipe's `data:` would say them (tests make the files they name); each row is
    to be an Example of `task`, where one is given.
    """
    return tests_of(dataset_cases(read, sources=sources, task=task, without=without))


def listener_cases(listen: Callable[[Event], None], *, without: Mapping[str, str] | None = None) -> list[Case]:
    """The checks of an event listener as cases."""
    return _alone(LISTENER_CHECKS, ListenerSubject(listen), listen.__module__, without)


def listener_checks(
    listen: Callable[[Event], None], *, without: Mapping[str, str] | None = None
) -> Callable[[Decorated], Decorated]:
    """Test a listener to events: `listen` is the plugin's `nlpipe_event`."""
    return tests_of(listener_cases(listen, without=without))


def _alone(checks: Sequence[Check], subject: Any, name: str, without: Mapping[str, str] | None) -> list[Case]:
    found = chosen(checks, subject, without or {})
    return [Case(check, name, "", "", False, name, lambda lab: subject) for check in found]
