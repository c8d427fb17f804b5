"""Real distributions are written to a folder and found there, as installed ones are."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from itertools import chain
from pathlib import Path
from textwrap import dedent

import pytest

import nlpipe.plugins
from nlpipe.errors import PluginError
from nlpipe.events import RunInterrupted, Saved
from nlpipe.plugins import Plugins

TASK = '''
from dataclasses import dataclass
import nlpipe
from nlpipe.events import Event

class In(nlpipe.Record):
    text: str

class Ex(In):
    label: str

@dataclass(frozen=True, slots=True)
class Out(nlpipe.Result):
    label: str = ""

METRIC = nlpipe.Metric("accuracy", "toy", lambda results, examples: None, lambda rows: 1.0)

class Toy(nlpipe.Task):
    """A task that answers nothing."""

    name, summary = "toy", "for tests"
    Input, Example, Result, metrics = In, Ex, Out, (METRIC,)

    @classmethod
    def row(cls): return {}
    @classmethod
    def samples(cls): return []
    def objective(self, kind): ...
    def query(self, given, objective): ...
    def gold(self, example, objective): ...
    def result(self, answer, given): ...
'''

HOOK = """
@nlpipe.hookimpl
def nlpipe_tasks(): return [Toy]
"""


class Site:
    """A folder that stands in for site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, module: str, source: str, *, name: str = "", value: str = "", dist: str = "") -> None:
        """A distribution (version 2.0) of one module with one entry point."""
        dist = dist or f"{module}-dist"
        if source:
            (self.folder / f"{module}.py").write_text(dedent(source))
        info = self.folder / f"{dist.replace('-', '_')}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[nlpipe]\n{name or module} = {value or module}\n")

    def entry_points(self) -> list[EntryPoint]:
        found = distributions(path=[str(self.folder)])
        return list(chain.from_iterable(d.entry_points.select(group="nlpipe") for d in found))

    def discover(self, *, blocked: tuple[str, ...] = (), strict: bool = False) -> Plugins:
        return Plugins.discover(blocked=blocked, strict=strict, entry_points=self.entry_points())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("NLPIPE_NO_PLUGIN", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path)
    for module in set(sys.modules) - before:  # two tests may call their plugins alike
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(sys.modules[module].__file__):
            del sys.modules[module]


def test_tasks_and_records_of_a_good_plugin(site: Site) -> None:
    site.add("good", TASK + HOOK)
    plugins = site.discover(strict=True)
    assert list(plugins.tasks) == ["toy"]
    assert plugins.task("toy") is plugins.tasks["toy"]
    record = plugins.origin("toy")
    assert plugins.records == (record,)
    assert (record.name, record.distribution, record.version) == ("good", "good-dist", "2.0")
    assert (record.module, record.tasks, record.state) == ("good", ("toy",), "loaded")
    assert record.error is None
    assert record.heavy == ()
    assert 0 < record.seconds < 60
    assert record.to_dict()["tasks"] == ["toy"]
    with pytest.raises(TypeError):
        plugins.tasks["other"] = plugins.task("toy")  # type: ignore[index]


def test_no_registry_is_shared(site: Site) -> None:
    site.add("good", TASK + HOOK)
    site.discover()
    assert Plugins().tasks == {}
    assert list(site.discover().tasks) == ["toy"]


def test_built_in_tasks_come_through_the_installed_entry_points() -> None:
    """Of the same group as a stranger's: nothing else says where they are."""
    mine = [record for record in Plugins.discover().records if record.distribution == "nlpipe"]
    assert mine
    assert {record.state for record in mine} == {"loaded"}


FAULTS: dict[str, tuple[str, str]] = {
    "raises": ("raise ValueError('no\\n  luck')", "ValueError: no luck (broken.py, line 1)"),
    "needs another package": ("import surely_not_installed", "ModuleNotFoundError: No module named"),
    "syntax": ("def", "SyntaxError: invalid syntax"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "panics": ("class Panic(BaseException): ...\nraise Panic('at the disco')", "Panic: at the disco"),
    "asks for an argument that the hook has not": (
        TASK + HOOK + "@nlpipe.hookimpl\ndef nlpipe_event(evt): ...",
        "Argument(s) {'evt'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "misspells a hook": (
        TASK + HOOK + "@nlpipe.hookimpl\ndef nlpipe_evnt(event): ...",
        "unknown hook 'nlpipe_evnt'; did you mean 'nlpipe_event'?",
    ),
    "forgets the marker": (
        TASK + "def nlpipe_tasks(): return [Toy]",
        "nlpipe_tasks is not marked with @nlpipe.hookimpl",
    ),
    "forgets one marker": (TASK + HOOK + "def nlpipe_event(event): ...", "nlpipe_event is not marked with"),
    "has no hook": (TASK, "it implements no hook; there are: nlpipe_tasks, nlpipe_dataset, nlpipe_event"),
    "raises in nlpipe_tasks": (
        "import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_tasks(): return 1 / 0",
        "ZeroDivisionError: division by zero (broken.py, line 3)",
    ),
    "raises while its tasks are read": (
        TASK + "@nlpipe.hookimpl\ndef nlpipe_tasks():\n    yield Toy\n    raise OSError('late')",
        "OSError: late",
    ),
    "returns nothing": (TASK + HOOK.replace("[Toy]", "None"), "nlpipe_tasks returned None"),
    "returns the class itself": (
        TASK + HOOK.replace("[Toy]", "Toy"),
        "nlpipe_tasks returned <class 'broken.Toy'>",
    ),
    "returns a text": (TASK + HOOK.replace("[Toy]", "'Toy'"), "nlpipe_tasks returned 'Toy'"),
    "returns an object": (TASK + HOOK.replace("[Toy]", "[Toy()]"), "which is not a subclass of nlpipe.Task"),
    "returns a name": (TASK + HOOK.replace("[Toy]", "['toy']"), "gave 'toy', which is not a subclass"),
    "leaves methods out": (
        TASK.replace("def query(self, given, objective)", "def qery(self, given, objective)").replace(
            "def samples(cls)", "def sample(cls)"
        )
        + HOOK,
        "task class Toy lacks query, samples",
    ),
    "leaves attributes out": (
        TASK.replace("name, summary =", "title, about =").replace(
            "Result, metrics = In, Ex, Out, (METRIC,)", "_ = In, Ex, 0"
        )
        + HOOK,
        "task class Toy lacks name, summary, Result, metrics",
    ),
    "has attributes of another kind": (
        TASK.replace("In, Ex, Out, (METRIC,)", "dict, Ex, list, ()") + HOOK,
        "Input is not a subclass of Record; Result is not a subclass of Result; metrics is not a tuple of",
    ),
    "names a task with a number": (TASK.replace('"toy",', "7,") + HOOK, "task class Toy name is not a text"),
    "gives metrics by name": (
        TASK.replace("(METRIC,)", '("accuracy",)') + HOOK,
        "metrics is not a tuple of one or more",
    ),
    "brings two tasks of one name": (
        TASK + "class Other(Toy): ...\n" + HOOK.replace("[Toy]", "[Toy, Other]"),
        "two of its tasks are called 'toy': Toy and Other",
    ),
}


@pytest.mark.parametrize(("source", "message"), FAULTS.values(), ids=FAULTS)
def test_a_broken_plugin_costs_itself(site: Site, caplog: pytest.LogCaptureFixture, source: str, message: str) -> None:
    site.add("broken", source)
    # One before and one after it in the order of names, so that neither the past nor the future is lost.
    site.add("about", TASK.replace('"toy"', '"first"') + HOOK)
    site.add("good", TASK.replace('"toy"', '"last"') + HOOK)
    with caplog.at_level(logging.WARNING, "nlpipe"):
        plugins = site.discover()

    assert list(plugins.tasks) == ["first", "last"]
    about, broken, good = plugins.records
    assert (about.state, broken.state, good.state) == ("loaded", "failed", "loaded")
    assert broken.error is not None
    assert message in broken.error
    assert "\n" not in broken.error
    assert broken.tasks == ()
    (record,) = caplog.records
    assert "plugin 'broken' (broken-dist 2.0) is skipped: " in record.message
    assert message in record.message
    plugins.emit(Saved(1, "here", "model"))  # it left nothing behind that would be called
    assert len(caplog.records) == 1

    with pytest.raises(PluginError) as caught:
        site.discover(strict=True)
    for part in ("1 plugin could not be loaded", "broken-dist 2.0", message):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("good:missing", "AttributeError: module 'good' has no attribute 'missing'"),
        ("not an import path", "AttributeError"),
        ("good:NOTHING", "it implements no hook"),
    ],
)
def test_an_entry_point_to_nothing(site: Site, value: str, message: str) -> None:
    site.add("good", TASK + HOOK + "NOTHING = 7")
    site.add("lost", "", value=value)
    plugins = site.discover()
    assert list(plugins.tasks) == ["toy"]
    (record,) = (record for record in plugins.records if record.state == "failed")
    assert (record.name, record.module) == ("lost", value)
    assert message in (record.error or "")


def test_strict_names_every_failure(site: Site) -> None:
    site.add("one", "raise ValueError('first')")
    site.add("two", "raise ValueError('second')")
    with pytest.raises(PluginError, match="2 plugins could not be loaded") as caught:
        site.discover(strict=True)
    assert [problem.key for problem in caught.value.problems] == ["one", "two"]


def test_ctrl_c_passes(site: Site) -> None:
    site.add("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.discover()


def test_a_distribution_without_metadata(site: Site) -> None:
    class Gone:
        @property
        def name(self) -> str:
            raise KeyError("METADATA")

    site.add("good", TASK + HOOK)
    entry = EntryPoint("good", "good", "nlpipe")
    vars(entry)["dist"] = Gone()
    assert str(Plugins.discover(entry_points=[entry]).origin("toy")) == "plugin 'good' (unknown distribution)"


def test_no_hook_of_a_failed_plugin_is_called(site: Site) -> None:
    source = "import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_dataset(source): return {'train': 1}\n"
    site.add("broken", source + "@nlpipe.hookimpl\ndef nlpipe_tasks(): return 1 / 0")
    assert site.discover().hook.nlpipe_dataset(source="mydb://reviews") is None


def test_one_module_under_two_names(site: Site) -> None:
    site.add("good", TASK + HOOK)
    site.add("more", "", value="good")
    plugins = site.discover()
    assert [record.state for record in plugins.records] == ["loaded", "failed"]
    assert "the same module or object as plugin 'good' (good-dist 2.0)" in (plugins.records[1].error or "")
    assert list(plugins.tasks) == ["toy"]


def test_two_tasks_of_one_name(site: Site) -> None:
    site.add("acme", TASK + HOOK)
    site.add("good", TASK + HOOK)
    with pytest.raises(PluginError) as caught:
        site.discover()
    assert str(caught.value) == (
        "two plugins bring a task called 'toy': "
        "plugin 'acme' (acme-dist 2.0) and plugin 'good' (good-dist 2.0). "
        "Leave one out with --no-plugin acme or --no-plugin good, or name it in NLPIPE_NO_PLUGIN."
    )
    assert site.discover(blocked=("acme",)).origin("toy").name == "good"


def test_two_plugins_of_one_name_are_told_apart_by_distribution(site: Site) -> None:
    site.add("acme", TASK + HOOK, name="same")
    site.add("good", TASK + HOOK, name="same")
    with pytest.raises(PluginError, match="--no-plugin acme-dist or --no-plugin good-dist"):
        site.discover()
    assert site.discover(blocked=("acme-dist",)).origin("toy").distribution == "good-dist"


def _by_argument(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    return site.discover(blocked=("bad",))


def _by_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.setenv("NLPIPE_NO_PLUGIN", "elsewhere, bad")
    return site.discover()


@pytest.mark.parametrize("how", [_by_argument, _by_environment])
def test_a_blocked_plugin_is_not_imported(
    site: Site, monkeypatch: pytest.MonkeyPatch, how: Callable[[Site, pytest.MonkeyPatch], Plugins]
) -> None:
    site.add("bad", "raise KeyboardInterrupt")
    site.add("good", TASK + HOOK)
    plugins = how(site, monkeypatch)
    assert "bad" not in sys.modules
    assert [record.state for record in plugins.records] == ["blocked", "loaded"]
    assert list(plugins.tasks) == ["toy"]


def test_a_mistyped_name_to_leave_out(site: Site) -> None:
    site.add("good", TASK + HOOK)
    with pytest.raises(PluginError, match=r"no plugin 'god' to leave out; did you mean 'good'\?"):
        site.discover(blocked=("god",))


def test_an_unknown_task(site: Site) -> None:
    site.add("good", TASK + HOOK)
    for ask in (site.discover().task, site.discover().origin):
        with pytest.raises(PluginError) as caught:
            ask("tyo")
        assert str(caught.value) == "unknown task 'tyo'; did you mean 'toy'? installed tasks: toy"
    with pytest.raises(PluginError, match=r"unknown task 'toy'; installed tasks: none$"):
        Plugins().task("toy")


def test_an_unknown_task_names_the_plugins_that_are_missing(site: Site) -> None:
    site.add("broken", "raise ValueError")
    site.add("good", TASK + HOOK)
    with pytest.raises(PluginError) as caught:
        site.discover(blocked=("good",)).task("toy")
    assert str(caught.value) == (
        "unknown task 'toy'; installed tasks: none; plugin 'broken' (broken-dist 2.0) failed to load; "
        "plugin 'good' (good-dist 2.0) is left out"
    )


def test_heavy_imports_are_noted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nlpipe.plugins, "HEAVY", ("heavy_at_import", "heavy_in_hook", "heavy_later"))
    for module in ("heavy_at_import", "heavy_in_hook", "heavy_later"):
        (site.folder / f"{module}.py").touch()
    hook = HOOK.replace("return", "import heavy_in_hook; return")
    site.add("greedy", "import heavy_at_import\n" + TASK + hook + "def later(): import heavy_later")
    site.add("second", "import heavy_at_import\n" + TASK.replace('"toy"', '"other"') + HOOK)
    greedy, second = site.discover().records
    assert greedy.heavy == ("heavy_at_import", "heavy_in_hook")
    assert second.heavy == ()


LISTENER = """
import nlpipe
heard = []
@nlpipe.hookimpl
def nlpipe_event(event):
    heard.append(event)
    {then}
"""


def test_a_failing_listener_is_reported_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for module, then in (("first", "pass"), ("loud", "raise RuntimeError('too loud')"), ("then", "pass")):
        site.add(module, LISTENER.format(then=then))
    plugins = site.discover()
    events = [Saved(1, "here", "model"), RunInterrupted(2)]
    with caplog.at_level(logging.WARNING, "nlpipe"):
        for event in events:
            plugins.emit(event)
    assert [sys.modules[module].heard for module in ("first", "loud", "then")] == [events] * 3
    (record,) = caplog.records
    assert record.message == (
        "plugin 'loud' (loud-dist 2.0) failed on Saved; the run goes on: RuntimeError: too loud (loud.py, line 7)"
    )


def test_a_listener_cannot_hide_ctrl_c(site: Site) -> None:
    site.add("loud", LISTENER.format(then="raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        site.discover().emit(RunInterrupted(2))


def test_the_first_plugin_that_knows_a_source_reads_it(site: Site) -> None:
    for module, answer in (("first", "{'train': 1}"), ("knows_none", "None")):
        source = f"import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_dataset(source): return {answer}"
        site.add(module, source)
    hook = site.discover(strict=True).hook
    assert hook.nlpipe_dataset(source="mydb://reviews") == {"train": 1}
    assert Plugins().hook.nlpipe_dataset(source="mydb://reviews") is None


def test_an_installed_plugin_is_found(site: Site) -> None:
    """Without the argument, from a fresh interpreter: the real group on the real path."""
    site.add("good", TASK + HOOK)
    code = "from nlpipe.plugins import Plugins; print(Plugins.discover().origin('toy'))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site.folder), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plugin 'good' (good-dist 2.0)"
