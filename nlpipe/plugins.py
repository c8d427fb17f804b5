"""Finds the plugins, loads each behind a guard, checks what it brings, and reports what became of it.

A plugin is an entry point of the group `nlpipe`; the built-in tasks come through the same door. One that
cannot be loaded costs itself and nothing else. There is no global registry: `Plugins.discover()` makes a new
one, and whoever needs it is handed it. This module knows no task by name.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
import time
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import pluggy

from nlpipe import hookspecs
from nlpipe.errors import NlpipeError, PluginError, Problem, nearest
from nlpipe.plugin_contract import HOOKS, AnyTask, check_hooks, checked_tasks
from nlpipe.plugin_records import PluginRecord, line, refused, unread
from nlpipe.plugin_settings import NO_PLUGIN, left_out

if TYPE_CHECKING:
    from nlpipe.events import Event

__all__ = ["HEAVY", "HOOKS", "NO_PLUGIN", "AnyTask", "PluginRecord", "Plugins"]

log = logging.getLogger("nlpipe")

HEAVY = ("torch", "transformers", "pandas", "peft", "datasets", "evaluate", "accelerate", "sklearn")
"""Packages that cost seconds to import, so that a plugin imports them inside functions or not at all."""

_ABSENT = {"blocked": "is left out", "failed": "failed to load"}


class Plugins:
    """The plugins at hand and the tasks they bring: none in `Plugins()`, the installed ones by `discover`."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("nlpipe")
        self._manager.add_hookspecs(hookspecs)
        self._records: list[PluginRecord] = []
        self._loaded: list[tuple[PluginRecord, object]] = []
        self._brought: dict[str, list[tuple[PluginRecord, type[AnyTask]]]] = {}
        self._tasks: dict[str, type[AnyTask]] = {}
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
        variable NLPIPE_NO_PLUGIN or a settings file lists join them (`nlpipe.plugin_settings`). `entry_points`
        replaces the installed ones.

        A plugin that fails is skipped, logged as a warning and kept in `records`; so is one that is written for
        another version of the API, which is not even imported. A task name that two plugins bring belongs to
        neither. Raises PluginError for a name in `blocked` that no plugin has, for a settings file that cannot be
        read and, where `strict`, for plugins that failed or clash. Ctrl-C during an import passes through.
        """
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group="nlpipe")
        found = sorted(((unread(entry), entry) for entry in entry_points), key=lambda pair: str(pair[0]))
        absent = left_out(blocked, [record for record, _ in found])
        plugins = cls()
        for record, entry in found:
            why = absent.get(record.name) or absent.get(record.distribution or "")
            if why:
                plugins._records.append(replace(record, error=f"left out by {why}"))
            else:
                plugins._add(record, entry)
        plugins._settle()
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

    def task(self, name: str) -> type[AnyTask]:
        """The task class called `name`.

        Raises PluginError where there is none, with the nearest name, and where two plugins bring one.
        """
        if not isinstance(name, str):
            raise PluginError(
                f"a task is named by a text, such as {next(iter(self._tasks), '…')!r}, not by {type(name).__name__}"
            )
        if name in self._tasks:
            return self._tasks[name]
        if name in self._brought:
            raise PluginError(_clash(name, [record for record, _ in self._brought[name]]))
        near = " or ".join(self._called(name)) or nearest(name, self._tasks)
        hint = f"did you mean '{near}'? " if near else ""
        message = f"unknown task '{name}'; {hint}installed tasks: {', '.join(sorted(self._tasks)) or 'none'}"
        absent = [f"{record} {_ABSENT[record.state]}" for record in self._records if record.state in _ABSENT]
        raise PluginError("; ".join([message, *absent]))

    def _called(self, name: str) -> list[str]:
        """The tasks that the Hub, and transformers with it, calls by this name, without special cases of others."""
        found = {own: kind for own, kind in self._tasks.items() if name in set(map(kind.hub_task, kind.row()))}
        return [
            own for own, kind in found.items() if not any(kind is not o and issubclass(kind, o) for o in found.values())
        ]

    def origin(self, task: str) -> PluginRecord:
        """The plugin that brought the task called `task`. Raises PluginError where there is no such task."""
        self.task(task)
        return self._brought[task][0][0]

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
                log.warning("%s failed on %s; the run goes on: %s", record, what, line(error))
                log.debug("its traceback", exc_info=error)

    def dataset(self, *, source: str) -> Mapping[str, Any] | None:
        """What the first plugin that knows `source` reads there; None where none does.

        Raises PluginError, naming the plugin, where one fails or answers with anything but tables by split; a
        NlpipeError of the plugin's own is the user's to mend and passes as it is.
        """
        named = {str(record): record for record, _ in self._loaded}
        for impl in reversed(self._manager.hook.nlpipe_dataset.get_hookimpls()):  # pluggy calls the last one first
            record = named[impl.plugin_name]
            try:
                answer = self._alone("nlpipe_dataset", impl.plugin)(source=source)
            except NlpipeError:
                raise
            except Exception as error:
                raise PluginError(f"{record} failed to read '{source}': {line(error)}") from error
            if answer is not None:
                return _splits(answer, f"{record} answered '{source}'")
        return None

    def _add(self, record: PluginRecord, entry: importlib.metadata.EntryPoint) -> None:
        """Load one plugin, or note why it failed."""
        before = set(sys.modules)
        start = time.perf_counter()
        plugin: object = None
        kinds: list[type[AnyTask]] = []
        told: list[str] = []
        error: BaseException | None = None
        try:
            _check_api(record.api)
            plugin = entry.load()
            _check_api(getattr(plugin, "nlpipe_api", None))  # as it is where its text could not be read
            kinds, told = self._register(plugin, str(record))
        except KeyboardInterrupt:
            raise
        except BaseException as caught:  # SystemExit and a Rust extension's panic are not Exceptions
            error = caught
        record = replace(
            record,
            state="failed" if error else "loaded",
            tasks=tuple(kind.name for kind in kinds),
            families=tuple(dict.fromkeys(str(family) for kind in kinds for family in kind.row())),
            hooks=() if error else tuple(name for name in HOOKS if name in self._implemented(plugin)),
            seconds=time.perf_counter() - start,
            heavy=tuple(name for name in HEAVY if name in sys.modules and name not in before),
            error=line(error) if error else None,
            warnings=tuple(told),
        )
        self._records.append(record)
        if error:
            log.warning("%s is skipped: %s", record, record.error)
            log.debug("its traceback", exc_info=error)
            return
        for text in told:
            log.warning("%s: %s", record, text)
        self._loaded.append((record, plugin))
        for kind in kinds:
            self._brought.setdefault(kind.name, []).append((record, kind))

    def _settle(self) -> None:
        """Give each task name to the plugin that brought it; where two did, to none, and say so."""
        for name, brought in self._brought.items():
            if len(brought) == 1:
                self._tasks[name] = brought[0][1]
                continue
            owners = [record for record, _ in brought]
            message = _clash(name, owners)
            log.warning("%s", message)
            self._records = [
                replace(record, warnings=(*record.warnings, message)) if record in owners else record
                for record in self._records
            ]

    def _register(self, plugin: object, name: str) -> tuple[list[type[AnyTask]], list[str]]:
        """Register a plugin and ask it for its tasks; one that fails anywhere is not left registered.

        Also gives what it uses that is going away: pluggy warns of it (`warn_on_impl` and `warn_on_impl_args` of a
        hook's specification), but does not say who it is.
        """
        if self._manager.is_registered(plugin):
            raise PluginError(f"it is the same module or object as {self._manager.get_name(plugin)}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._manager.register(plugin, name)
        try:
            implemented = self._implemented(plugin)
            check_hooks(plugin, implemented)
            kinds = checked_tasks(self._tasks_of(plugin)) if "nlpipe_tasks" in implemented else []
        except BaseException:
            self._manager.unregister(plugin)
            raise
        return kinds, [str(warning.message) for warning in caught]

    def _implemented(self, plugin: object) -> dict[str, bool]:
        """The hooks that a registered plugin marks, by name; True for one that nobody need call."""
        callers = self._manager.get_hookcallers(plugin) or ()
        return {caller.name: all(impl.optionalhook for impl in caller.get_hookimpls()) for caller in callers}

    def _tasks_of(self, plugin: object) -> list[Any]:
        return self._alone("nlpipe_tasks", plugin)() or [None]  # pluggy drops a None

    def _alone(self, hook: str, plugin: object) -> pluggy.HookCaller:
        """Calls `hook` of `plugin` and of no other, so that what goes wrong has a name."""
        return self._manager.subset_hook_caller(hook, self._manager.get_plugins() - {plugin})

    def _refuse_failures(self) -> None:
        failed = [record for record in self._records if record.state == "failed"]
        problems = [Problem(record.source, record.name, record.error or "") for record in failed]
        if failed:
            count = "1 plugin" if len(failed) == 1 else f"{len(failed)} plugins"
            raise PluginError(f"{count} could not be loaded", problems)
        clashes = {name: [record for record, _ in brought] for name, brought in self._brought.items()}
        if faults := [_clash(name, owners) for name, owners in clashes.items() if len(owners) > 1]:
            raise PluginError("; ".join(faults))


def _check_api(api: object) -> None:
    """Raise PluginError for a plugin that is written for another version of the API."""
    if api is not None and not isinstance(api, str):
        raise PluginError(f"nlpipe_api is {api!r}; it is a range of versions, such as '>=1.0,<2'")
    if why := refused(api, hookspecs.API_VERSION):
        raise PluginError(why)


def _splits(answer: object, what: str) -> Mapping[str, Any]:
    """A plugin's answer, if it is a mapping of tables; PluginError, beginning with `what`, where it is not."""
    form = "nlpipe_dataset gives a mapping from split names to DataFrames, or a DatasetDict"
    if not isinstance(answer, Mapping):
        raise PluginError(f"{what} with a {type(answer).__name__}; {form}")
    for name, table in answer.items():
        if not (hasattr(table, "iloc") or hasattr(table, "features")):  # a DataFrame, or a Dataset
            raise PluginError(f"{what} with a {type(table).__name__} for {name!r}; {form}")
    return answer


def _clash(task: str, owners: Collection[PluginRecord]) -> str:
    names = [record.name for record in owners]
    if len(set(names)) < len(names):  # plugins that share a name too are told apart by their distributions
        names = [record.distribution or record.name for record in owners]
    count = "two" if len(owners) == 2 else str(len(owners))
    return (
        f"{count} plugins bring a task called '{task}': {' and '.join(map(str, owners))}. "
        f"Leave one out with {' or '.join(f'--no-plugin {name}' for name in names)}, or name it in {NO_PLUGIN}."
    )
