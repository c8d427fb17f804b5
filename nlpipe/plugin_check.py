"""`nlpipe plugin check`: whether a plugin keeps its promises, as a table.

Of a folder with a plugin's source: whether it can be found and loaded, and its own tests, which use the kit
(`nlpipe.testing`). Of an installed plugin, which comes without tests: the kit's checks on the samples of its tasks.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nlpipe.errors import PluginError, suggest
from nlpipe.plugin_records import PluginRecord, line
from nlpipe.plugins import Plugins

Watch = Callable[[str], None]
"""Told what is being checked, before it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one check of one subject; `on` is an architecture, a parameter of a test, or ""."""

    check: str
    on: str
    state: Literal["passed", "failed", "skipped"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was checked of a plugin."""

    plugin: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(outcome.state != "failed" for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"plugin": self.plugin, "passed": self.passed, "outcomes": [asdict(one) for one in self.outcomes]}


def check(what: str, installed: Plugins, *, everything: bool = False, watch: Watch = lambda what: None) -> Report:
    """Check the plugin in a folder, or an installed one by its name or its distribution's.

    `everything` runs what is marked slow as well. Raises PluginError where there is no such plugin, or no
    pytest to run a folder's tests with.
    """
    folder = Path(what).expanduser()
    if (folder / "pyproject.toml").is_file():
        return _of_folder(folder.resolve(), installed, everything, watch)
    for record in installed.records:
        if what in {record.name, record.distribution}:
            outcomes = [*_contract(record), *_kit(installed, record.tasks, everything, watch)]
            return Report(str(record), tuple(outcomes))
    names = [record.name for record in installed.records]
    raise PluginError(
        f"{what!r} is neither a folder with a pyproject.toml nor an installed plugin; {suggest(what, names)}"
    )


class _Source(importlib.metadata.Distribution):
    """The distribution that a folder's pyproject.toml describes, as if it were installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        except (OSError, ValueError) as error:
            raise PluginError(f"{folder / 'pyproject.toml'} cannot be read: {error}") from error
        self.label, self.number = project.get("name", folder.name), project.get("version", "0")
        self.points = project.get("entry-points", {}).get("nlpipe", {})
        if not self.points:
            raise PluginError(
                f"{folder / 'pyproject.toml'} has no [project.entry-points.nlpipe], so nlpipe would not find the "
                'plugin; it takes a line such as: mine = "nlpipe_mine"'
            )

    def read_text(self, filename: str) -> str | None:
        """The two files that importlib asks for."""
        points = "\n".join(f"{name} = {value}" for name, value in self.points.items())
        files = {
            "METADATA": f"Metadata-Version: 2.1\nName: {self.label}\nVersion: {self.number}\n",
            "entry_points.txt": f"[nlpipe]\n{points}\n",
        }
        return files.get(filename)

    def locate_file(self, path: Any) -> Path:
        """A file of the distribution."""
        return self.folder / str(path)


def _of_folder(folder: Path, installed: Plugins, everything: bool, watch: Watch) -> Report:
    if importlib.util.find_spec("pytest") is None:
        raise PluginError("the tests of a plugin are run by pytest, which is not installed: pip install 'pytest>=8.3'")
    source = _Source(folder)
    sys.path[:0] = [str(place) for place in (folder / "src", folder) if place.is_dir()]
    plugins = Plugins.discover(entry_points=source.entry_points)
    outcomes = [outcome for record in plugins.records for outcome in _contract(record, installed)]
    if all(record.state == "loaded" for record in plugins.records):
        tests = list(_tests(folder, everything, watch))
        outcomes += tests or _kit(plugins, plugins.tasks, everything, watch)
    return Report(f"{source.label} {source.number} in {folder}", tuple(outcomes))


def _contract(record: PluginRecord, others: Plugins | None = None) -> Iterator[Outcome]:
    """What shows when a plugin is loaded."""
    if record.state != "loaded":
        yield Outcome("loads", record.name, "failed", record.error or record.state)
        return
    yield Outcome("loads", record.name, "passed")
    cost = f"loading it imports {', '.join(record.heavy)}: {record.seconds:.1f} s at every start of nlpipe"
    yield Outcome("loads_lightly", record.name, *(("failed", cost) if record.heavy else ("passed",)))
    if record.distribution != "nlpipe":  # what is released together goes together
        ask = 'its module says no nlpipe_api, the versions of the plugin API it works with, such as ">=1.0,<2"'
        yield Outcome("states_its_api", record.name, *(("passed",) if record.api else ("failed", ask)))
    taken = _taken(record, others.records if others else ())
    problems = [*record.warnings, *taken]
    yield Outcome("gets_along", record.name, *(("failed", "; ".join(problems)) if problems else ("passed",)))


def _taken(record: PluginRecord, others: Iterable[PluginRecord]) -> Iterator[str]:
    """The names of tasks that another distribution has as well."""
    for other in others:
        if other.distribution != record.distribution:
            yield from (f"{other} brings a task called '{task}' too" for task in record.tasks if task in other.tasks)


def _kit(plugins: Plugins, tasks: Iterable[str], everything: bool, watch: Watch) -> Iterator[Outcome]:
    """The kit's checks on the samples of some tasks."""
    from nlpipe.testing.cases import CheckFailed
    from nlpipe.testing.decorators import task_cases
    from nlpipe.testing.lab import Lab

    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for task in tasks:
            for case in task_cases(plugins.task(task)):
                if case.slow and not everything:
                    continue
                watch(f"{task}: {case.check.name} {case.architecture}")
                reason = ""
                try:
                    case.run(lab)
                except CheckFailed as error:
                    reason = str(error).partition("\n")[0]
                except Exception as error:
                    reason = line(error)
                yield Outcome(case.check.name, case.id, "failed" if reason else "passed", reason)


def _tests(folder: Path, everything: bool, watch: Watch) -> Iterator[Outcome]:
    """The folder's own tests, run by pytest as it would be run there."""
    import pytest

    seen = _Reports(watch)
    arguments = ["-m", "" if everything else "not slow", "-p", "no:cacheprovider", str(folder)]
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = pytest.main(arguments, plugins=[seen])
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED):
        last = [text for text in printed.getvalue().splitlines() if text.strip()][-1:]
        if all(outcome.state != "failed" for outcome in seen.outcomes):
            yield Outcome(
                "tests_run", "pytest", "failed", last[0].strip("= ") if last else f"pytest ended with {status}"
            )
    yield from seen.outcomes


class _Reports:
    """A plugin of pytest's that keeps what became of each test."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.outcomes: list[Outcome] = []

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """Say what comes next."""
        self.watch(nodeid.rpartition("::")[2].removeprefix("test_"))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the test itself, and whatever else of it did not pass."""
        if report.when == "call" or not report.passed:
            name, _, on = report.nodeid.rpartition("::")[2].partition("[")
            self._keep(name.removeprefix("test_"), on.removesuffix("]"), report)

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot even be imported."""
        if report.failed:
            self._keep(report.nodeid, "", report)

    def _keep(self, check: str, on: str, report: Any) -> None:
        self.outcomes.append(Outcome(check, on, report.outcome, "" if report.passed else _reason(report.longrepr)))


def _reason(found: Any) -> str:
    """The first line of what a test says went wrong; pytest keeps a skip as (file, line, reason)."""
    if isinstance(found, tuple):
        return str(found[2]).removeprefix("Skipped: ")
    crash = getattr(found, "reprcrash", None)
    text = crash.message if crash else str(found).strip().rpartition("\n")[2]
    first = str(text).strip().partition("\n")[0]
    return first.removeprefix("nlpipe.testing.cases.CheckFailed: ").removeprefix("CheckFailed: ")
