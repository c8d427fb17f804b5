"""Calls of a task's methods whose answers are checked, and whose fault it is where something goes wrong.

What a plugin does wrong when it is used must not look like a fault of nlpipe: messages name the plugin, its
distribution and its version.
"""

from __future__ import annotations

import importlib.metadata
import traceback
from typing import Any

from nlpipe.errors import PluginError
from nlpipe.objectives.base import Answer, Objective, Query
from nlpipe.plugin_contract import AnyTask
from nlpipe.plugin_records import unread
from nlpipe.results import Result


def query(task: AnyTask, given: Any, objective: Objective) -> Query:
    """What the task asks of the objective. Raises PluginError where that is no Query."""
    found: object = task.query(given, objective)
    if isinstance(found, Query):
        return found
    raise PluginError(f"{_who(task)}: query gave a {type(found).__name__}, which is no Query for {_name(objective)}")


def result(task: AnyTask, answer: Answer, given: Any) -> Result | Query:
    """What the task makes of an answer. Raises PluginError where that is neither its Result nor a Query."""
    found: object = task.result(answer, given)
    kind = getattr(type(task), "Result", Result)
    if isinstance(found, Query | kind):
        return found
    said = type(found).__name__
    raise PluginError(f"{_who(task)}: result gave a {said}; it gives a {kind.__name__}, or a Query to ask again")


def owner(module: str) -> str | None:
    """The plugin that a module belongs to, with distribution and version; None where it belongs to none."""
    top = module.partition(".")[0]
    for entry in importlib.metadata.entry_points(group="nlpipe"):
        if entry.module.partition(".")[0] == top:
            return str(unread(entry))
    return None


def culprit(error: BaseException) -> str | None:
    """The plugin in whose code an exception was raised, or which was called last on the way there."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        if found := owner(str(frame.f_globals.get("__name__", ""))):
            return found
    return None


def _who(task: AnyTask) -> str:
    module = type(task).__module__
    return f"task '{task.name}' of {owner(module) or f'the module {module}'}"


def _name(objective: Objective) -> str:
    return type(objective).__name__
