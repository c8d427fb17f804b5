"""Writes the reference in docs/plugins.md from the docstrings: `python docs/reference.py`. A test holds it equal."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nlpipe
from nlpipe import events, hookspecs, objectives, results, task
from nlpipe.objectives.base import Objective

PAGE = Path(__file__).with_name("plugins.md")
BEGIN, END = "<!-- reference: `python docs/reference.py` -->", "<!-- /reference -->"


def reference() -> str:
    """Hooks, base classes, and what there is to build with, as Markdown."""
    parts = [f"The plugin API has version {nlpipe.API_VERSION}.", "### Hooks, as they are called"]
    parts += [entry(hook, name) for name, hook in vars(hookspecs).items() if name.startswith("nlpipe_")]
    parts += ["### `nlpipe.Task`", *whole(task.Task)]
    parts += ["### Records, options, metrics and results"]
    parts += [entry(kind) for kind in (task.Family, task.Record, task.TaskOptions, task.Note, nlpipe.Metric)]
    parts += [
        entry(kind) for kind in vars(results).values() if inspect.isclass(kind) and kind.__module__ == results.__name__
    ]
    parts += ["### `nlpipe.Objective`", *whole(Objective)]
    parts += ["### Objectives, queries and answers: `nlpipe.objectives`"]
    named = [getattr(objectives, name) for name in objectives.__all__]
    parts += [entry(kind) for kind in named if inspect.isclass(kind) and kind is not Objective]
    parts += ["### Events: `nlpipe.events`"]
    parts += [entry(kind) for kind in vars(events).values() if inspect.isclass(kind) and issubclass(kind, events.Event)]
    return "\n\n".join(parts)


def whole(kind: type) -> Iterator[str]:
    """A base class and each of its public methods, in the order of the source."""
    yield text(kind)
    for name, member in vars(kind).items():
        function = member.__func__ if isinstance(member, classmethod) else member
        if isinstance(function, property) and not name.startswith("_"):
            yield f"**`{name}`** (property): {text(function)}"
        elif inspect.isfunction(function) and not name.startswith("_"):
            marks = ["classmethod"] if isinstance(member, classmethod) else []
            marks += ["to be written"] if getattr(function, "__isabstractmethod__", False) else []
            yield entry(function, name, marks)


def entry(thing: Any, name: str = "", marks: list[str] | None = None) -> str:
    """A class or function with its signature and its docstring."""
    said = f" ({', '.join(marks)})" if marks else ""
    return f"**`{name or thing.__name__}{signature(thing)}`**{said}: {text(thing)}"


def signature(thing: Any) -> str:
    """The fields of a dataclass or the parameters of a function, as they are written."""
    if inspect.isfunction(thing):
        found = inspect.signature(thing)
        kept = [given for given in found.parameters.values() if given.name not in {"self", "cls"}]
        return str(found.replace(parameters=kept)).replace("'", "")
    if dataclasses.is_dataclass(thing) and not issubclass(thing, Objective):
        return f"({', '.join(inspect.signature(thing).parameters)})"
    return ""


def text(thing: Any) -> str:
    """The docstring, its indentation taken away."""
    return inspect.cleandoc(thing.__doc__ or "")


def page() -> str:
    """docs/plugins.md with the reference as it is now."""
    now = PAGE.read_text(encoding="utf-8")
    before, _, rest = now.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
