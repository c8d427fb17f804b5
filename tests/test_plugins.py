"""Real distributions are written to a folder and found there, as installed ones are."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from itertools import chain
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import nlpipe.hookspecs
import nlpipe.plugins
from nlpipe import cli, plugin_calls
from nlpipe.errors import DataError, PluginError
from nlpipe.events import RunInterrupted, Saved
from nlpipe.objectives import SequenceLabel
from nlpipe.objectives.base import Answer, Text
from nlpipe.plugins import Plugins

TASK = '''
from dataclasses import dataclass
import nlpipe
from nlpipe.events import Event
from nlpipe.objectives import SequenceLabel

ROW = {nlpipe.Family.ENCODER: (SequenceLabel,)}

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
    def row(cls): return ROW
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
    (tmp_path / "pyproject.toml").write_text("[tool.nlpipe]")  # whatever lies above is none of ours
    monkeypatch.chdir(tmp_path)
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
    "gives a row that is none": (
        TASK.replace("return ROW", "return [nlpipe.Objective]") + HOOK,
        "row() gave [<class 'nlpipe.objectives.base.Objective'>], which is no mapping from one or more families to",
    ),
    "serves no family": (TASK.replace("return ROW", "return {}") + HOOK, "row() gave {}, which is no mapping"),
    "gives a row of other families": (
        TASK.replace("return ROW", "return {'encodr': (nlpipe.Objective,)}") + HOOK,
        "row() has the key 'encodr'; there are: encoder, decoder, encoder-decoder",
    ),
    "gives a row of names": (
        TASK.replace("return ROW", "return {nlpipe.Family.ENCODER: ('TokenLabel',)}") + HOOK,
        "row() gives encoder the objective 'TokenLabel', which is no subclass of nlpipe.Objective",
    ),
    "gives a row without a tuple": (
        TASK.replace("return ROW", "return {nlpipe.Family.ENCODER: nlpipe.Objective}") + HOOK,
        "row() gives encoder: <class 'nlpipe.objectives.base.Objective'>, which is no tuple",
    ),
    "gives two objectives of one name": (
        TASK.replace(
            "return ROW",
            "return {nlpipe.Family.ENCODER: tuple(type('One', (nlpipe.Objective,), {}) for _ in 'ab')}",
        )
        + HOOK,
        "row() has two objectives called One",
    ),
    "raises in row": (TASK.replace("return ROW", "return 1 / 0") + HOOK, "ZeroDivisionError: division by zero (broken"),
    "has two metrics of one name": (
        TASK.replace("(METRIC,)", "(METRIC, METRIC)") + HOOK,
        "has two metrics called 'accuracy'",
    ),
    "is written for a later API": (
        "nlpipe_api = '>=2,<3'\nraise KeyboardInterrupt",  # never run: what it says is read in its text
        "it is written for the plugin API >=2,<3, and this nlpipe has 1.0: install versions that go together",
    ),
    "is written for an earlier API": (TASK + HOOK + "nlpipe_api: str = '<1'", "written for the plugin API <1, and"),
    "works out for which API": (TASK + HOOK + "nlpipe_api = '>=' + '2'", "written for the plugin API >=2, and"),
    "states no range": (TASK + HOOK + "nlpipe_api = 'one'", "nlpipe_api is 'one', which is no range of versions"),
    "states a number": (TASK + HOOK + "nlpipe_api = 1.0", "nlpipe_api is 1.0; it is a range of versions, such as"),
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
    assert site.discover().dataset(source="mydb://reviews") is None


def test_one_module_under_two_names(site: Site) -> None:
    site.add("good", TASK + HOOK)
    site.add("more", "", value="good")
    plugins = site.discover()
    assert [record.state for record in plugins.records] == ["loaded", "failed"]
    assert "the same module or object as plugin 'good' (good-dist 2.0)" in (plugins.records[1].error or "")
    assert list(plugins.tasks) == ["toy"]


CLASH = (
    "two plugins bring a task called 'toy': "
    "plugin 'acme' (acme-dist 2.0) and plugin 'good' (good-dist 2.0). "
    "Leave one out with --no-plugin acme or --no-plugin good, or name it in NLPIPE_NO_PLUGIN."
)


def test_two_tasks_of_one_name(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither gets the name, and everything else goes on."""
    for module in ("acme", "good"):
        site.add(module, TASK + HOOK.replace("[Toy]", f"[Toy, type('Own', (Toy,), {{'name': 'of_{module}'}})]"))
    plugins = site.discover()
    assert list(plugins.tasks) == ["of_acme", "of_good"]
    assert [record.message for record in caplog.records] == [CLASH]
    assert [(record.state, record.warnings) for record in plugins.records] == [("loaded", (CLASH,))] * 2
    for ask in (plugins.task, plugins.origin):
        with pytest.raises(PluginError) as caught:
            ask("toy")
        assert str(caught.value) == CLASH
    with pytest.raises(PluginError, match="two plugins bring a task called 'toy'"):
        site.discover(strict=True)
    assert site.discover(blocked=("acme",)).origin("toy").name == "good"


def test_three_tasks_of_one_name(site: Site) -> None:
    for module in ("acme", "good", "third"):
        site.add(module, TASK + HOOK)
    plugins = site.discover()
    assert plugins.tasks == {}
    with pytest.raises(PluginError, match=r"3 plugins bring a task called 'toy'.*or --no-plugin third"):
        plugins.task("toy")


def test_two_plugins_of_one_name_are_told_apart_by_distribution(site: Site) -> None:
    site.add("acme", TASK + HOOK, name="same")
    site.add("good", TASK + HOOK, name="same")
    with pytest.raises(PluginError, match="--no-plugin acme-dist or --no-plugin good-dist"):
        site.discover().task("toy")
    assert site.discover(blocked=("acme-dist",)).origin("toy").distribution == "good-dist"


def _by_argument(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    return site.discover(blocked=("bad",))


def _by_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.setenv("NLPIPE_NO_PLUGIN", "elsewhere, bad")
    return site.discover()


def _by_settings(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    (site.folder / "nlpipe.toml").write_text('disable_plugins = ["bad"]')
    monkeypatch.chdir(site.folder)
    return site.discover()


def _by_project(site: Site, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    (site.folder / "pyproject.toml").write_text('[tool.nlpipe]\ndisable_plugins = ["elsewhere", "bad-dist"]')
    below = site.folder / "some" / "where"
    below.mkdir(parents=True)
    (below.parent / "pyproject.toml").write_text("[project]\nname = 'not-nlpipe'")  # says nothing to us
    monkeypatch.chdir(below)
    return site.discover()


@pytest.mark.parametrize("how", [_by_argument, _by_environment, _by_settings, _by_project])
def test_a_blocked_plugin_is_not_imported(
    site: Site, monkeypatch: pytest.MonkeyPatch, how: Callable[[Site, pytest.MonkeyPatch], Plugins]
) -> None:
    site.add("bad", "raise KeyboardInterrupt")
    site.add("good", TASK + HOOK)
    plugins = how(site, monkeypatch)
    assert "bad" not in sys.modules
    assert [record.state for record in plugins.records] == ["blocked", "loaded"]
    assert list(plugins.tasks) == ["toy"]
    why = {_by_argument: "--no-plugin", _by_environment: "NLPIPE_NO_PLUGIN", _by_settings: "nlpipe.toml"}
    assert (plugins.records[0].error or "").startswith("left out by ")
    assert (plugins.records[0].error or "").endswith(why.get(how, "pyproject.toml"))


def test_the_nearest_settings_hold_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("good", TASK + HOOK)
    (site.folder / "nlpipe.toml").write_text('disable_plugins = ["good"]')
    below = site.folder / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text("[tool.nlpipe]")
    monkeypatch.chdir(below)
    assert list(site.discover().tasks) == ["toy"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("disable = ['good']", "unknown setting 'disable'; did you mean 'disable_plugins'?"),
        ("disable_plugins = 'good'", "disable_plugins is a list of names, such as"),
        ("disable_plugins = [1]", "disable_plugins is a list of names, such as"),
        ("disable_plugins = [", "cannot be read: "),
    ],
)
def test_settings_that_do_nothing_are_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    (site.folder / "nlpipe.toml").write_text(content)
    monkeypatch.chdir(site.folder)
    with pytest.raises(PluginError) as caught:
        site.discover()
    assert f"{site.folder / 'nlpipe.toml'}" in str(caught.value)
    assert message in str(caught.value)


def test_a_mistyped_name_in_the_settings_is_warned_of(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("good", TASK + HOOK)
    monkeypatch.setenv("NLPIPE_NO_PLUGIN", "god, quite-another")
    assert list(site.discover().tasks) == ["toy"]
    (record,) = caplog.records
    assert record.message == ("NLPIPE_NO_PLUGIN leaves out 'god', and there is no such plugin; did you mean 'good'?")


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


@pytest.mark.parametrize("api", [">=1.0,<2", "~=1.0", "==1.*", ""])
def test_a_plugin_for_this_api(site: Site, api: str) -> None:
    site.add("good", TASK + HOOK + f"nlpipe_api = {api!r}")
    assert site.discover(strict=True).origin("toy").api == api


def test_what_is_known_without_loading(site: Site) -> None:
    """Also of a module inside a package, which importlib's own search would import."""
    package = site.folder / "outer"
    package.mkdir()
    (package / "__init__.py").write_text("raise KeyboardInterrupt")
    (package / "inner.py").write_text("nlpipe_api = '>=7'\nraise KeyboardInterrupt")
    site.add("outer", "", value="outer.inner:Thing")
    (record,) = site.discover().records
    assert (record.api, record.folder, record.state) == (">=7", str(package), "failed")
    assert "outer" not in sys.modules


def test_what_is_going_away_warns_with_the_plugins_name(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    marked = nlpipe.hookspecs.hookspec

    class Specs:
        @marked(warn_on_impl_args={"path": DeprecationWarning("the argument `path` goes in API 2; take `source`")})
        def nlpipe_dataset(self, source: str, path: str) -> None: ...

        @marked(warn_on_impl=DeprecationWarning("nlpipe_event goes in API 2; use a listener"))
        def nlpipe_event(self, event: object) -> None: ...

    monkeypatch.setattr(nlpipe.plugins, "hookspecs", Specs())
    monkeypatch.setattr(Specs, "API_VERSION", "1.1", raising=False)
    site.add("ahead", "import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_dataset(source): ...")
    site.add("behind", "import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_dataset(path): ...")
    site.add("worse", "import nlpipe\n@nlpipe.hookimpl\ndef nlpipe_event(): ...")
    records = {record.name: record for record in site.discover().records}
    assert {record.state for record in records.values()} == {"loaded"}
    assert [record.message for record in caplog.records] == [
        "plugin 'behind' (behind-dist 2.0): the argument `path` goes in API 2; take `source`",
        "plugin 'worse' (worse-dist 2.0): nlpipe_event goes in API 2; use a listener",
    ]
    assert records["ahead"].warnings == ()
    assert records["behind"].notes == ("the argument `path` goes in API 2; take `source`",)


def test_heavy_imports_are_noted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nlpipe.plugins, "HEAVY", ("heavy_at_import", "heavy_in_hook", "heavy_later"))
    for module in ("heavy_at_import", "heavy_in_hook", "heavy_later"):
        (site.folder / f"{module}.py").touch()
    hook = HOOK.replace("return", "import heavy_in_hook; return")
    site.add("greedy", "import heavy_at_import\n" + TASK + hook + "def later(): import heavy_later")
    site.add("second", "import heavy_at_import\n" + TASK.replace('"toy"', '"other"') + HOOK)
    greedy, second = site.discover().records
    assert greedy.heavy == ("heavy_at_import", "heavy_in_hook")
    (note,) = greedy.notes
    cost = f"takes {1000 * greedy.seconds:,.0f} ms to load because it imports heavy_at_import, heavy_in_hook at once"
    assert note.startswith(cost)
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


READER = """
import nlpipe
import pandas
@nlpipe.hookimpl
def nlpipe_dataset(source):
    {then}
"""


def test_the_first_plugin_that_knows_a_source_reads_it(site: Site) -> None:
    for module, then in (
        ("first", "return {'train': pandas.DataFrame({'text': ['a']})}"),
        ("knows_none", "return None"),
        ("after", "return {'train': pandas.DataFrame()} if source == 'other' else None"),
    ):
        site.add(module, READER.format(then=then))
    plugins = site.discover(strict=True)
    assert list((plugins.dataset(source="mydb://reviews") or {})["train"].columns) == ["text"]
    assert Plugins().dataset(source="mydb://reviews") is None


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("return 1 / 0", "failed to read 'mydb://x': ZeroDivisionError: division by zero (reader.py, line 6)"),
        ("return [1]", "answered 'mydb://x' with a list; nlpipe_dataset gives a mapping from split names"),
        ("return {'train': [1]}", "answered 'mydb://x' with a list for 'train'; nlpipe_dataset gives a mapping"),
    ],
)
def test_a_failing_reader_is_named(site: Site, then: str, message: str) -> None:
    site.add("reader", READER.format(then=then))
    with pytest.raises(PluginError) as caught:
        site.discover(strict=True).dataset(source="mydb://x")
    assert str(caught.value).startswith(f"plugin 'reader' (reader-dist 2.0) {message}")


def test_a_readers_own_message_is_the_users(site: Site) -> None:
    site.add("reader", READER.format(then="raise nlpipe.DataError('mydb://x: no such table; there are: a, b')"))
    with pytest.raises(DataError, match=r"^mydb://x: no such table; there are: a, b$"):
        site.discover(strict=True).dataset(source="mydb://x")


def test_an_installed_plugin_is_found(site: Site) -> None:
    """Without the argument, from a fresh interpreter: the real group on the real path."""
    site.add("good", TASK + HOOK)
    code = "from nlpipe.plugins import Plugins; print(Plugins.discover().origin('toy'))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site.folder), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plugin 'good' (good-dist 2.0)"


def test_a_task_that_lies_about_its_types_is_named(site: Site) -> None:
    site.add("liar", TASK + HOOK)
    toy: Any = site.discover(strict=True).task("toy")()
    objective = SequenceLabel(labels=("a", "b"))
    who = "task 'toy' of plugin 'liar' (liar-dist 2.0): "
    with pytest.raises(PluginError) as caught:
        plugin_calls.query(toy, None, objective)
    assert str(caught.value) == f"{who}query gave a NoneType, which is no Query for SequenceLabel"
    with pytest.raises(PluginError) as caught:
        plugin_calls.result(toy, Answer(), None)
    assert str(caught.value) == f"{who}result gave a NoneType; it gives a Out, or a Query to ask again"
    toy.result = lambda answer, given: Text("again")
    assert plugin_calls.result(toy, Answer(), None) == Text("again")


def test_a_bug_in_a_plugin_is_laid_at_its_door(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("buggy", TASK.replace("def samples(cls): return []", "def samples(cls): return 1 / 0") + HOOK)
    monkeypatch.setattr(sys, "argv", ["nlpipe", "recipe", "new", "toy"])
    with pytest.raises(ZeroDivisionError) as caught:
        cli.main()
    assert caught.value.__notes__ == [
        "This is a bug in plugin 'buggy' (buggy-dist 2.0); --no-plugin leaves a plugin out."
    ]
    try:
        raise ValueError("in no plugin")
    except ValueError as error:
        assert plugin_calls.culprit(error) is None


def test_the_command_line_goes_on_beside_all_of_them(site: Site) -> None:
    """Every kind of fault at once: each is named with its distribution and version, and the rest is there."""
    site.add("good", TASK + HOOK)
    site.add("raises", "raise ValueError('no luck')")
    site.add("misspells", TASK + HOOK.replace("nlpipe_tasks", "nlpipe_task"))
    site.add("later", "nlpipe_api = '>=2'\nraise KeyboardInterrupt")
    site.add("nothing", "", value="nowhere.at:all")
    site.add("liar", TASK.replace("return ROW", "return {'encodr': ()}") + HOOK)
    site.add("clash", TASK.replace('"toy"', '"sentiment"') + HOOK)
    paths = os.pathsep.join([str(site.folder), *filter(None, sys.path)])

    def nlpipe(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": paths, "COLUMNS": "300"}
        command = [sys.executable, "-m", "nlpipe", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = nlpipe("tasks", "--json")
    assert done.returncode == 0, done.stderr
    names = {row["task"] for row in json.loads(done.stdout)}
    assert {"toy", "classification", "ner"} < names
    assert "sentiment" not in names
    said = " ".join(done.stderr.split())
    for culprit in ("raises", "misspells", "later", "nothing", "liar"):
        assert f"plugin '{culprit}' ({culprit}-dist 2.0) is skipped: " in said
    assert "two plugins bring a task called 'sentiment': " in said
    assert "Traceback" not in said
    strict = nlpipe("--strict-plugins", "tasks")
    assert strict.returncode == 2
    assert "5 plugins could not be loaded" in strict.stderr
