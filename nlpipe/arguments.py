"""What is wrong with how a function of ours was called, in one message. Knows no function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nlpipe.errors import UnsupportedError, suggest

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which raises UnsupportedError with the nearest name for an option that it has not.

    Python itself says that the name is unexpected, and not which are there.
    """
    taken = inspect.signature(function).parameters
    known = [name for name, one in taken.items() if one.kind is one.KEYWORD_ONLY]

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> R:
        if unknown := [name for name in options if name not in taken]:
            raise UnsupportedError(f"{function.__name__} has no option {unknown[0]!r}; {suggest(unknown[0], known)}")
        return function(*args, **options)

    return called
