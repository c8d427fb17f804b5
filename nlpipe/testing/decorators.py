"""What an author writes: a decorator for each kind of thing that a plugin brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlpipe.errors import UnsupportedError
from nlpipe.task import Family, Task
from nlpipe.testing import learning, meaning, tiny
from nlpipe.testing.cases import Case, Check, chosen
from nlpipe.testing.making import Decorated, tests_of
from nlpipe.testing.rule import Examples, Rule
from nlpipe.testing.subjects import Settings, TaskCell, TaskSubject

REPRESENTATIVES: tuple[str, ...] = ("bert", "modernbert", "gpt2", "llama", "bart", "t5")
"""Of each family one architecture with absolute positions and one with rotary or relative ones."""

TASK_CHECKS: tuple[Check, ...] = (*meaning.CHECKS, *learning.CHECKS)
"""All checks of a task, in the order in which their failures are best read."""


def task_cases(
    task: type[Task[Any, Any, Any, Any]],
    *,
    rule: Rule | Examples | None = None,
    recipe: Settings | None = None,
    per_architecture: Mapping[str, Settings] | None = None,
    architectures: Sequence[str] = REPRESENTATIVES,
    perfect: Callable[[Any], Any] | None = None,
    without: Mapping[str, str] | None = None,
) -> list[Case]:
    """The checks of a task as cases, for who runs them without pytest: `for case in task_cases(T): case.run(lab)`.

    The parameters are those of `task_checks`. Architectures of families that the task does not serve are left out.
    Raises UnsupportedError for an unknown architecture or check.
    """
    made = rule if rule is None or isinstance(rule, Rule) else Rule(examples=rule)
    subject = TaskSubject(task, made, recipe or {}, per_architecture or {}, perfect)
    served = [name for name in architectures if Family(tiny.family(name)) in task.row()]
    if not served:
        raise UnsupportedError(f"{task.name} serves no family of {', '.join(architectures)}")
    cases = []
    for check in chosen(TASK_CHECKS, subject, without or {}):
        if not check.needs_model:
            cases.append(Case(check, task.name, "", "", False, f"{task.name}", lambda lab: subject))
            continue
        seen: set[str] = set()
        for name in served:
            family = tiny.family(name)
            slow, group = family in seen, f"{task.name}-{name}"
            seen.add(family)
            cases.append(Case(check, task.name, name, family, slow, group, _cell(subject, name)))
    return cases


def _cell(subject: TaskSubject, architecture: str) -> Callable[[Any], TaskCell]:
    return lambda lab: TaskCell(subject, architecture, lab)


def task_checks(
    task: type[Task[Any, Any, Any, Any]],
    *,
    rule: Rule | Examples | None = None,
    recipe: Settings | None = None,
    per_architecture: Mapping[str, Settings] | None = None,
    architectures: Sequence[str] = REPRESENTATIVES,
    perfect: Callable[[Any], Any] | None = None,
    without: Mapping[str, str] | None = None,
) -> Callable[[Decorated], Decorated]:
    """Test a task: a test for each check and architecture (those after the first of a family are marked slow).

        @task_checks(Politeness, rule=lambda rows, seed: […])
        class TestPoliteness: ...

    On a class each check becomes a method, unless the class has a method of its name; a function is called
    with each case as `nlpipe_check`, and calls it.

    `rule` is a function (rows, seed) → Examples whose right answers follow from what is asked, or a `Rule` that says
    more; without it the checks read a training on the samples, and that a rule is learnt goes unchecked. `recipe`
    has sections of a recipe for every training (`{"train": {"steps": 300}, "task": {"top": 5}}`), `per_architecture`
    more of them by architecture. `perfect(example)` is the Result that deserves the best score, where the objectives'
    answers do not lead to it by themselves. `without` names checks to leave out, each with the reason.

    Raises UnsupportedError for an unknown architecture or check.
    """
    return tests_of(
        task_cases(
            task,
            rule=rule,
            recipe=recipe,
            per_architecture=per_architecture,
            architectures=architectures,
            perfect=perfect,
            without=without,
        )
    )
