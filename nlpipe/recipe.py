"""Recipes: what to do, as one typed and versioned file. Reading, checking, writing and describing them.

    recipe = read("recipes/base.yaml", tasks, overrides=["train.epochs=1"])
    options = check(recipe, tasks)

`tasks` is the registry, name to class, handed in: this module knows no task, no data and no model.
All that is wrong with a recipe is raised at once, with file, line, key and the nearest known name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nlpipe import recipe_new
from nlpipe.errors import Problem, RecipeError, nearest
from nlpipe.recipe_adapter import against_method
from nlpipe.recipe_files import load, shipped
from nlpipe.recipe_sections import (
    AdapterSection,
    DataSection,
    EvaluateSection,
    ModelSection,
    OutputSection,
    Recipe,
    RunSection,
    Split,
    TaskSection,
    TokenizerSection,
)
from nlpipe.recipe_sources import FileSource, HubSource, Source, without_nulls
from nlpipe.recipe_text import dump, schema, template
from nlpipe.recipe_training import TrainSection
from nlpipe.recipe_words import Key, dotted, explain, shown
from nlpipe.recipe_yaml import Document, Mark
from nlpipe.task import Task, TaskOptions

__all__ = [
    "AdapterSection",
    "DataSection",
    "EvaluateSection",
    "FileSource",
    "HubSource",
    "ModelSection",
    "OutputSection",
    "Recipe",
    "RunSection",
    "Source",
    "Split",
    "TaskSection",
    "Tasks",
    "TokenizerSection",
    "TrainSection",
    "build",
    "check",
    "dump",
    "options_of",
    "read",
    "schema",
    "shipped",
    "template",
]

Tasks = Mapping[str, type[Task[Any, Any, Any, Any]]]
"""The installed tasks by name."""


def read(
    path: str | os.PathLike[str], tasks: Tasks, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe in a YAML file (or of that name among `shipped()`), checked against its task.

    `overrides` are `KEY=VALUE` with a dotted key and a YAML value; `environ` (the process's by default) fills
    `${VAR}` and `${VAR:-default}`. `extends: ../base.yaml` puts the recipe over another. Relative paths of data
    and models become absolute: they belong to the file that wrote them.
    Raises RecipeError with every problem found.
    """
    document = load(path, overrides, os.environ if environ is None else environ)
    return _validated(document, tasks, str(path))


def build(settings: Mapping[str, Any], tasks: Tasks) -> Recipe:
    """The recipe that a mapping of settings describes, as YAML would: the task's options stand beside its name.

    For Python callers who want a RecipeError with all problems rather than pydantic's ValidationError.
    """
    value = dict(settings)
    if isinstance(value.get("task"), str):
        value["task"] = {"name": value["task"]}
    return _validated(Document(value), tasks, "")


def check(recipe: Recipe, tasks: Tasks) -> TaskOptions:
    """The task's validated options. Raises RecipeError where the task or objective is unknown or options do not fit.

    `read` has done this; a recipe made in Python has not been compared with its task.
    """
    wrong = recipe_new.problems(recipe.model.new)
    if recipe.adapter is not None:
        wrong |= against_method(recipe.adapter.written)
    if wrong:
        raise _error("", Document({}), wrong)
    return options_of(recipe.task.name, recipe.task.options, tasks, recipe.model.objective)


def options_of(task: str, settings: Mapping[str, Any], tasks: Tasks, objective: str = "auto") -> TaskOptions:
    """The validated options of a task. Raises RecipeError where it is unknown or they do not fit."""
    options, wrong = _against_task(task, settings, objective, tasks)
    if options is None or wrong:
        raise _error("", Document({}), wrong)
    return options


def _validated(document: Document, tasks: Tasks, title: str) -> Recipe:
    value, recipe = document.value, None
    wrong: dict[Key, str] = {}
    try:
        recipe = Recipe.model_validate(value, context={"file": bool(title)})
    except ValidationError as error:
        wrong = explain(error, value, Recipe, root=Recipe)
        wrong |= _half_read(value, tasks)
    else:
        task = recipe.task
        wrong = _against_task(task.name, task.options, recipe.model.objective, tasks)[1]
        wrong |= recipe_new.problems(recipe.model.new)
    if isinstance(value.get("adapter"), Mapping):
        wrong = {**against_method(value["adapter"]), **wrong}
        if title and "fields" in value["adapter"]:
            wrong["adapter", "fields"] = "unknown setting; the method's own settings stand beside its name"
    if title and isinstance(value.get("task"), dict) and "options" in value["task"]:
        wrong["task", "options"] = "unknown setting; the task's own settings stand beside its name"
    wrong = {key: message for key, message in wrong.items() if not _explained(key, document)}
    if recipe is None or wrong or document.faults:
        raise _error(title, document, wrong)
    return recipe


def _half_read(value: Mapping[str, Any], tasks: Tasks) -> dict[Key, str]:
    """What is wrong with the task or new model of a recipe whose other parts do not fit: all problems come at once."""
    task, model = value.get("task"), value.get("model")
    wrong = recipe_new.problems(model.get("new")) if isinstance(model, Mapping) else {}
    if not isinstance(task, Mapping) or not isinstance(task.get("name"), str):
        return wrong
    own = {key: setting for key, setting in task.items() if key not in TaskSection.model_fields}
    objective = model.get("objective") if isinstance(model, Mapping) else None
    return wrong | _against_task(task["name"], own, objective, tasks)[1]


def _against_task(
    name: str, settings: Mapping[str, Any], objective: Any, tasks: Tasks
) -> tuple[TaskOptions | None, dict[Key, str]]:
    """The options, and a message for each key that does not fit the task."""
    task = tasks.get(name)
    if task is None:
        near = nearest(name, tasks)
        hint = f"did you mean '{near}'? " if near else ""
        installed = ", ".join(sorted(tasks)) or "none"
        return None, {("task", "name"): f"unknown task {shown(name)}; {hint}installed tasks: {installed}"}
    wrong = _objective(task, objective)
    given = without_nulls(task.Options, settings)
    try:
        return task.Options.model_validate(given), wrong
    except ValidationError as error:
        found = explain(error, given, task.Options, root=Recipe, beside=("name", "labels"), section="task")
        return None, wrong | {("task", *key): message for key, message in found.items()}


def _objective(task: type[Task[Any, Any, Any, Any]], name: Any) -> dict[Key, str]:
    if not isinstance(name, str) or not name or name == "auto":
        return {}
    known = sorted({kind.__name__ for kinds in task.row().values() for kind in kinds})
    if name in known:
        return {}
    near = nearest(name, known)
    hint = f"did you mean '{near}'? " if near else ""
    known_here = f"task '{task.name}' has: auto, {', '.join(known)}"
    return {("model", "objective"): f"unknown objective {shown(name)}; {hint}{known_here}"}


def _explained(key: Key, document: Document) -> bool:
    """Whether a fault in the value at `key`, around it or inside it is reported already."""
    return any(fault[: len(key)] == key or key[: len(fault)] == fault for fault in document.faults)


def _error(title: str, document: Document, wrong: Mapping[Key, str]) -> RecipeError:
    rows = [(mark, key, message) for key, (mark, message) in document.faults.items()]
    rows += [(document.mark(key), key, message) for key, message in wrong.items()]
    rows.sort(key=lambda row: _order(row[0]))
    problems = [Problem(str(mark), dotted(key), message) for mark, key, message in rows]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return RecipeError(f"{title or 'the recipe'} has {count}", problems)


def _order(mark: Mark) -> tuple[bool, str, int]:
    """The recipe's own lines, then its parents', then the command line."""
    return (mark.file == "--set", mark.file, mark.line)
