"""What a check is, and the cases that a decorator or a program runs: checks × architectures of one subject.

Nothing here needs pytest: a case is run with a `Lab` and raises CheckFailed, so that a program can run it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from nlpipe.errors import UnsupportedError, suggest

if TYPE_CHECKING:
    from nlpipe.testing.lab import Lab


CELL = "nlpipe_cell"
"""The property of a test's report that says what it is evidence for: (task, family, architecture, check)."""


class CheckFailed(AssertionError):
    """What a check found wrong. The case that raised it adds whose check it was and what to look at."""


@dataclass(frozen=True)
class Check:
    """One promise that a plugin keeps.

    `name` is the test's name behind `test_`, `about` the promise in one sentence, `look_at` where the fault usually
    lies. `run` raises CheckFailed; it gets the subject alone, or on an architecture of a family that it serves
    (`on: served`) or does not (`others`). `when` says of a subject whether the check has anything to look at. One that
    is `costly`, because it trains by itself, runs on the first architecture alone in a quick run of the tests.
    """

    name: str
    about: str
    look_at: str
    run: Callable[[Any], None]
    on: Literal["alone", "served", "others"] = "served"
    costly: bool = False
    when: Callable[[Any], bool] = lambda subject: True


@dataclass(frozen=True)
class Case:
    """A check of one subject, on one architecture where it needs a model (else `architecture` and `family` are "").

    `subject` is what a reader knows it by, such as the task's name. `slow` says that a quick run may leave it out.
    `group` is shared by all cases that read one cached training, which are best run in one process.
    """

    check: Check
    subject: str
    architecture: str
    family: str
    slow: bool
    group: str
    prepare: Callable[[Lab], Any]

    @property
    def id(self) -> str:
        """The case's name among those of its check."""
        return self.architecture or self.subject

    def run(self, lab: Lab) -> None:
        """Do the check. Raises CheckFailed with what is wrong and where to look; other errors are the plugin's own."""
        __tracebackhide__ = True
        try:
            self.check.run(self.prepare(lab))
        except CheckFailed as error:
            where = f"{self.subject} on {self.architecture}" if self.architecture else self.subject
            raise CheckFailed(f"{where}: {error}\n\nLook at: {self.check.look_at}") from None


def fail(message: str) -> NoReturn:
    """Raise CheckFailed."""
    __tracebackhide__ = True
    raise CheckFailed(message)


def require(condition: object, message: str) -> None:
    """Raise CheckFailed with `message` unless `condition` holds."""
    __tracebackhide__ = True
    if not condition:
        raise CheckFailed(message)


def chosen(checks: Sequence[Check], subject: Any, without: Mapping[str, str]) -> Iterator[Check]:
    """The checks that have something to look at, but for those left out by name, each with a reason.

    Raises UnsupportedError for a name that no check has, or a reason that says nothing.
    """
    names = [check.name for check in checks]
    for name, reason in without.items():
        if name not in names:
            raise UnsupportedError(f"without: no check is called {name!r}; {suggest(name, names)}")
        if not reason.strip():
            raise UnsupportedError(f"without: say why {name!r} is left out")
    yield from (check for check in checks if check.name not in without and check.when(subject))
