"""Whether a plugin keeps its side of the contract, as far as that shows when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from nlpipe import hookspecs
from nlpipe.errors import PluginError, suggest
from nlpipe.metrics import Metric
from nlpipe.results import Result
from nlpipe.task import Family, Record, Task, TaskOptions

AnyTask: TypeAlias = Task[Any, Any, Any, Any]
"""A task of whatever rows and results."""

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("nlpipe_"))
"""The names of all hooks."""

_BASES: dict[str, type] = {"Input": Record, "Example": Record, "Result": Result, "Options": TaskOptions}


def check_hooks(plugin: object, implemented: Mapping[str, bool]) -> None:
    """Raise PluginError for a hook that would never be called.

    `implemented` has the names of the hooks that the plugin marks, and whether one that nobody calls is meant so.
    pluggy's `check_pending` finds the misspelt ones too, but suggests no name.
    """
    for name, optional in implemented.items():
        if name not in HOOKS and not optional:
            raise PluginError(f"unknown hook '{name}'; {suggest(name, HOOKS)}")
    for name in HOOKS:
        if hasattr(plugin, name) and name not in implemented:
            raise PluginError(f"{name} is not marked with @nlpipe.hookimpl, so it would never be called")
    if not implemented:
        raise PluginError(f"it implements no hook; there are: {', '.join(HOOKS)}")


def checked_tasks(answers: Iterable[Any]) -> list[type[AnyTask]]:
    """The task classes that a plugin gave, each checked. Raises PluginError with all that is wrong with one."""
    kinds: list[type[AnyTask]] = []
    for answer in answers:
        if isinstance(answer, type | str) or not isinstance(answer, Iterable):
            raise PluginError(f"nlpipe_tasks returned {answer!r}; it must return a list of Task classes")
        kinds.extend(_checked(kind) for kind in answer)
    named: dict[str, type[AnyTask]] = {}
    for kind in kinds:
        if kind.name in named:
            both = f"{named[kind.name].__name__} and {kind.__name__}"
            raise PluginError(f"two of its tasks are called '{kind.name}': {both}")
        named[kind.name] = kind
    return kinds


def _checked(kind: object) -> type[AnyTask]:
    """`kind`, if it is a complete Task class; else PluginError with all that it lacks."""
    if not isinstance(kind, type) or not issubclass(kind, Task):
        raise PluginError(f"nlpipe_tasks gave {kind!r}, which is not a subclass of nlpipe.Task")
    needed = ("name", "summary", "Input", "Example", "Result", "metrics")
    lacking = [name for name in needed if not hasattr(kind, name)] + sorted(kind.__abstractmethods__)
    faults = [f"lacks {', '.join(lacking)}"] if lacking else []
    for name in ("name", "summary"):
        if not isinstance(getattr(kind, name, ""), str):
            faults.append(f"{name} is not a text")
    for name, base in _BASES.items():
        given = getattr(kind, name, base)
        if not isinstance(given, type) or not issubclass(given, base):
            faults.append(f"{name} is not a subclass of {base.__name__}")
    faults += [*_metrics(kind), *([] if "row" in lacking else _row(kind))]
    if faults:
        raise PluginError(f"task class {kind.__name__} {'; '.join(faults)}")
    return kind


def _metrics(kind: type[AnyTask]) -> list[str]:
    metrics = getattr(kind, "metrics", None)
    if metrics is None:
        return []
    if not (isinstance(metrics, tuple) and metrics and all(isinstance(metric, Metric) for metric in metrics)):
        return ["metrics is not a tuple of one or more Metric objects"]
    names = [metric.name for metric in metrics]
    return [f"has two metrics called '{name}'" for name in dict.fromkeys(names) if names.count(name) > 1]


def _row(kind: type[AnyTask]) -> list[str]:
    """What is wrong with the row of the grid: every command that lists tasks reads it."""
    from nlpipe.objectives.base import Objective

    row: object = kind.row()
    if not isinstance(row, Mapping) or not row:
        return [f"row() gave {row!r}, which is no mapping from one or more families to objectives"]
    faults, classes = [], dict[str, type]()
    for family, kinds in row.items():
        if not isinstance(family, Family):
            faults.append(f"row() has the key {family!r}; there are: {', '.join(Family)}")
        if not isinstance(kinds, tuple) or not kinds:
            faults.append(f"row() gives {family}: {kinds!r}, which is no tuple of one or more objectives")
            continue
        for one in kinds:
            if not isinstance(one, type) or not issubclass(one, Objective):
                faults.append(f"row() gives {family} the objective {one!r}, which is no subclass of nlpipe.Objective")
            elif classes.setdefault(one.__name__, one) is not one:
                faults.append(f"row() has two objectives called {one.__name__}; a model's Card tells them by name")
    return faults
