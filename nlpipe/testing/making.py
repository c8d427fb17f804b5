"""Cases to pytest's tests: the one place of the kit that knows pytest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from nlpipe.testing.cases import Case

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FIXTURE = "nlpipe_check"


def tests_of(cases: Sequence[Case]) -> Callable[[Decorated], Decorated]:
    """A decorator: a class gets a method for each check, a function is called with each case as `nlpipe_check`.

    A method that the class has already stays: that is how an author says a check in other words.
    """

    def decorate(target: Decorated) -> Decorated:
        if not isinstance(target, type):
            made: Decorated = _over(cases, lambda case: "-".join([case.check.name, case.id]))(target)
            return made
        for check in dict.fromkeys(case.check for case in cases):
            name = f"test_{check.name}"
            if name not in vars(target):
                own = [case for case in cases if case.check is check]
                setattr(target, name, _over(own, lambda case: case.id)(_method(name, check.about)))
        return target

    return decorate


def _over(cases: Sequence[Case], name: Callable[[Case], str]) -> Any:
    import pytest

    def marks(case: Case) -> list[pytest.MarkDecorator]:
        # xdist keeps a group in one process, so that the group's training is done once.
        return [pytest.mark.xdist_group(case.group), *([pytest.mark.slow] if case.slow else [])]

    parameters = [pytest.param(case, id=name(case), marks=marks(case)) for case in cases]
    return pytest.mark.parametrize(FIXTURE, parameters, indirect=True)


def _method(name: str, about: str) -> Callable[..., None]:
    def test(self: object, nlpipe_check: Callable[[], None]) -> None:
        __tracebackhide__ = True
        nlpipe_check()

    test.__name__ = test.__qualname__ = name
    test.__doc__ = about
    return test
