"""The user's mistakes. Each carries one complete message; the command line prints it without a traceback.

A bug is anything else and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One of several things wrong with an input: where it stands, which key or column, and what is wrong."""

    where: str
    key: str
    message: str


class NlpipeError(Exception):
    """What was wrong, where, what there is instead and what to do.

    `problems` lists all that is wrong with one input; they are printed as a table below the message.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.message = message
        self.problems = tuple(problems)
        super().__init__(message)

    def __str__(self) -> str:
        if not self.problems:
            return self.message
        where = max(len(p.where) for p in self.problems)
        key = max(len(p.key) for p in self.problems)
        keys = {id(p): f"{p.key:<{key}}  " if key else "" for p in self.problems}
        rows = (f"  {p.where:<{where}}  {keys[id(p)]}{p.message}".rstrip() for p in self.problems)
        return "\n".join([self.message, *rows])


class RecipeError(NlpipeError):
    """A recipe that cannot be read or does not fit its task."""


class PluginError(NlpipeError):
    """A plugin that cannot be loaded, or two that clash."""


class DataError(NlpipeError):
    """A data file, a column or a row that does not fit."""


class ArtifactError(NlpipeError):
    """A model folder that cannot be read or is not what it claims to be."""


class UnsupportedError(NlpipeError):
    """Something asked of a task, an objective or a model that it cannot do; the message says which can."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like `word`, or None where none is alike (difflib ratio under 0.6)."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), names, n=1)
    return names[found[0]] if found else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? there are: …`, ready to be put behind "unknown …"."""
    names = list(known)
    near = nearest(word, names)
    hint = f"did you mean '{near}'? " if near else ""
    return f"{hint}there {'is' if len(names) == 1 else 'are'}: {', '.join(names) if names else 'none'}"
