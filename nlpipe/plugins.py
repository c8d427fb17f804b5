"""Finds the plugins, loads each behind a guard, checks what it brings, and reports what became of it.

A plugin is an entry point of the group `nlpipe`; the built-in tasks come through the same door. One that
cannot be loaded costs itself and nothing else. There is no global registry: `Plugins.discover()` makes a new
one, and whoever needs it is handed it. This module knows no task by name.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

import pluggy

from nlpipe import hookspecs
from nlpipe.errors import PluginError, Problem, nearest, suggest
from nlpipe.events import Event
from nlpipe.metrics import Metric
from nlpipe.results import Result
from nlpipe.task import Record, Task, TaskOptions

log = logging.getLogger("nlpipe")

AnyTask: TypeAlias = Task[Any, Any, Any, Any]
"""A task of whatever rows and results."""

NO_PLUGIN = "NLPIPE_NO_PLUGIN"
"""The environment variable with the names of plugins to leave out, separated by commas."""

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("nlpipe_"))
"""The names of all hooks."""

HEAVY = ("torch", "transformers", "pandas", "peft", "datasets", "evaluate", "accelerate", "sklearn")
"""Packages that cost seconds to import, so that a plugin imports them inside functions or not at all."""

_ABSENT = {"blocked": "is left out", "failed": "failed to load"}


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one plugin.

    `name` is the entry point's and `module` what it points at. `distribution` and `version` are None where
    the metadata do not say. `seconds` is the time that loading took, and `heavy` which of `HEAVY` it was the
    first to import; both cover the import, the check of its hooks and `nlpipe_tasks`. `error` is one line,
    and only a failed plugin has one.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    state: Literal["loaded", "blocked", "failed"]
    tasks: tuple[str, ...] = ()
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.source})"

    @property
    def source(self) -> str:
        """The distribution and its version, as messages name them."""
        return f"{self.distribution or 'unknown distribution'} {self.version or ''}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {"tasks": list(self.tasks), "heavy": list(self.heavy)}


class Plugins:
    """The plugins at hand and the tasks they bring: none in `Plugins()`, the installed ones by `discover`."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("nlpipe")
        self._manager.add_hookspecs(hookspecs)
        self._records: list[PluginRecord] = []
        self._loaded: list[tuple[PluginRecord, object]] = []
        self._tasks: dict[str, type[AnyTask]] = {}
        self._origins: dict[str, PluginRecord] = {}
        self._reported: set[str] = set()

    @classmethod
    def discover(
        cls,
        *,
        blocked: Collection[str] = (),
        strict: bool = False,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    ) -> Self:
        """Load the installed plugins one by one, in the order of their names.

        `blocked` names plugins or whole distributions that are not even imported; those that the environment
        variable NLPIPE_NO_PLUGIN lists join them. `entry_points` replaces the installed ones.

        A plugin that fails is skipped, logged as a warning and kept in `records`. Raises PluginError for two
        tasks of one name, for a name in `blocked` that no plugin has and, where `strict`, for plugins that
        failed. Ctrl-C during an import passes through.
        """
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group="nlpipe")
        found = sorted(((_unread(entry), entry) for entry in entry_points), key=lambda pair: str(pair[0]))
        left_out = _left_out(blocked, [record for record, _ in found])
        plugins = cls()
        for record, entry in found:
            if record.name in left_out or record.distribution in left_out:
                plugins._records.append(record)
            else:
                plugins._add(record, entry)
        if strict:
            plugins._refuse_failures()
        return plugins

    @property
    def tasks(self) -> Mapping[str, type[AnyTask]]:
        """The task classes by task name; a view that cannot be written to."""
        return MappingProxyType(self._tasks)

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """What became of each plugin found: loaded, blocked or failed."""
        return tuple(self._records)

    @property
    def hook(self) -> pluggy.HookRelay:
        """Calls a hook of all loaded plugins: `plugins.hook.nlpipe_dataset(source=…)`."""
        return self._manager.hook

    def task(self, name: str) -> type[AnyTask]:
        """The task class called `name`. Raises PluginError, with the nearest name, if there is none."""
        if name in self._tasks:
            return self._tasks[name]
        near = nearest(name, self._tasks)
        hint = f"did you mean '{near}'? " if near else ""
        message = f"unknown task '{name}'; {hint}installed tasks: {', '.join(sorted(self._tasks)) or 'none'}"
        absent = [f"{record} {_ABSENT[record.state]}" for record in self._records if record.state in _ABSENT]
        raise PluginError("; ".join([message, *absent]))

    def origin(self, task: str) -> PluginRecord:
        """The plugin that brought the task called `task`. Raises PluginError where there is no such task."""
        self.task(task)
        return self._origins[task]

    def emit(self, event: Event) -> None:
        """Hand `event` to every plugin that listens. One that raises is reported once; the others hear."""
        for record, plugin in self._loaded:
            try:
                self._alone("nlpipe_event", plugin)(event=event)
            except Exception as error:  # whatever a listener does wrong, the run is worth more
                if str(record) in self._reported:
                    continue
                self._reported.add(str(record))
                what = type(event).__name__
                log.warning("%s failed on %s; the run goes on: %s", record, what, _line(error))
                log.debug("its traceback", exc_info=error)

    def _add(self, record: PluginRecord, entry: importlib.metadata.EntryPoint) -> None:
        """Load one plugin, or note why it failed."""
        before = set(sys.modules)
        start = time.perf_counter()
        plugin: object = None
        kinds: list[type[AnyTask]] = []
        error: BaseException | None = None
        try:
            plugin = entry.load()
            kinds = self._register(plugin, str(record))
        except KeyboardInterrupt:
            raise
        except BaseException as caught:  # SystemExit and a Rust extension's panic are not Exceptions
            error = caught
        record = replace(
            record,
            state="failed" if error else "loaded",
            tasks=tuple(kind.name for kind in kinds),
            seconds=time.perf_counter() - start,
            heavy=tuple(name for name in HEAVY if name in sys.modules and name not in before),
            error=_line(error) if error else None,
        )
        self._records.append(record)
        if error:
            log.warning("%s is skipped: %s", record, record.error)
            log.debug("its traceback", exc_info=error)
            return
        self._loaded.append((record, plugin))
        for kind in kinds:
            if kind.name in self._tasks:
                raise PluginError(_clash(kind.name, self._origins[kind.name], record))
            self._tasks[kind.name] = kind
            self._origins[kind.name] = record

    def _register(self, plugin: object, name: str) -> list[type[AnyTask]]:
        """Register a plugin and ask it for its tasks; one that fails anywhere is not left registered."""
        if self._manager.is_registered(plugin):
            raise PluginError(f"it is the same module or object as {self._manager.get_name(plugin)}")
        self._manager.register(plugin, name)
        try:
            self._check_hooks(plugin)
            return self._tasks_of(plugin)
        except BaseException:
            self._manager.unregister(plugin)
            raise

    def _check_hooks(self, plugin: object) -> None:
        """Raise PluginError for a hook that would never be called.

        pluggy's `check_pending` finds the misspelt ones too, but suggests no name.
        """
        callers = {caller.name: caller for caller in self._manager.get_hookcallers(plugin) or ()}
        for name, caller in callers.items():
            if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls()):
                raise PluginError(f"unknown hook '{name}'; {suggest(name, HOOKS)}")
        for name in HOOKS:
            if hasattr(plugin, name) and name not in callers:
                raise PluginError(f"{name} is not marked with @nlpipe.hookimpl, so it would never be called")
        if not callers:
            raise PluginError(f"it implements no hook; there are: {', '.join(HOOKS)}")

    def _tasks_of(self, plugin: object) -> list[type[AnyTask]]:
        """The task classes of one registered plugin, each checked."""
        if "nlpipe_tasks" not in {caller.name for caller in self._manager.get_hookcallers(plugin) or ()}:
            return []
        answers = self._alone("nlpipe_tasks", plugin)() or [None]  # pluggy drops a None
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

    def _alone(self, hook: str, plugin: object) -> pluggy.HookCaller:
        """Calls `hook` of `plugin` and of no other, so that what goes wrong has a name."""
        return self._manager.subset_hook_caller(hook, self._manager.get_plugins() - {plugin})

    def _refuse_failures(self) -> None:
        failed = [record for record in self._records if record.state == "failed"]
        if failed:
            count = "1 plugin" if len(failed) == 1 else f"{len(failed)} plugins"
            problems = [Problem(record.source, record.name, record.error or "") for record in failed]
            raise PluginError(f"{count} could not be loaded", problems)


def _unread(entry: importlib.metadata.EntryPoint) -> PluginRecord:
    """The record of a plugin that was not imported."""
    try:
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else (None, None)
    except Exception:  # a half removed distribution has entry points and no metadata
        name, version = None, None
    return PluginRecord(entry.name, name, version, entry.value, "blocked")


def _left_out(blocked: Collection[str], found: Iterable[PluginRecord]) -> set[str]:
    """The names to leave out: the caller's, each of which must exist, and the environment's.

    The environment's may be set once for many machines, so a name that this one lacks is no mistake there.
    """
    known = dict.fromkeys(name for record in found for name in (record.name, record.distribution) if name)
    unknown = [name for name in blocked if name not in known]
    if unknown:
        raise PluginError(f"no plugin '{unknown[0]}' to leave out; {suggest(unknown[0], known)}")
    return {*blocked, *(name.strip() for name in os.environ.get(NO_PLUGIN, "").split(","))}


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
    bases = {"Input": Record, "Example": Record, "Result": Result, "Options": TaskOptions}
    for name, base in bases.items():
        given = getattr(kind, name, base)
        if not isinstance(given, type) or not issubclass(given, base):
            faults.append(f"{name} is not a subclass of {base.__name__}")
    metrics = getattr(kind, "metrics", None)
    listed = isinstance(metrics, tuple) and all(isinstance(metric, Metric) for metric in metrics)
    if metrics is not None and not (metrics and listed):
        faults.append("metrics is not a tuple of one or more Metric objects")
    if faults:
        raise PluginError(f"task class {kind.__name__} {'; '.join(faults)}")
    return kind


def _clash(task: str, one: PluginRecord, other: PluginRecord) -> str:
    # Where the plugins share a name too, only their distributions tell them apart.
    names = (one.name, other.name) if one.name != other.name else (one.distribution, other.distribution)
    return (
        f"two plugins bring a task called '{task}': {one} and {other}. "
        f"Leave one out with --no-plugin {names[0]} or --no-plugin {names[1]}, or name it in {NO_PLUGIN}."
    )


def _line(error: BaseException) -> str:
    """What went wrong, in one line, and where in the plugin it did."""
    if isinstance(error, PluginError):
        return error.message
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    place = traceback.extract_tb(error.__traceback__)[-1]
    if "importlib" in place.filename or "pluggy" in place.filename:  # the plugin was not running
        return text
    return f"{text} ({Path(place.filename).name}, line {place.lineno})"
