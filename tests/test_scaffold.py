"""`nlpipe plugin new` and `nlpipe plugin check`: what is written works as it is, and what does not work is said."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from nlpipe import plugin_check, scaffold
from nlpipe.errors import PluginError
from nlpipe.plugins import Plugins
from nlpipe.recipe import read
from tests.children import FORKING, in_a_fork, nlpipe

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
KINDS: tuple[scaffold.Kind, ...] = get_args(scaffold.Kind)


@pytest.fixture(scope="module")
def installed() -> Plugins:
    return Plugins.discover()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is imported from a new package is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("nlpipe_"):
            del sys.modules[name]


def command(*arguments: str, cwd: Path, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def checked(folder: Path, *, afresh: bool = False) -> dict[str, Any]:
    """What `nlpipe plugin check` says; what it says of heavy imports only `afresh`, where nothing is imported yet."""
    words = ["plugin", "check", str(folder), "--json", "--quiet"]
    if afresh or not FORKING:
        done = command("nlpipe", *words, cwd=folder.parent)
    else:
        done = in_a_fork(partial(nlpipe, words), folder.parent)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["passed"] == (done.returncode == 0)
    return report


def failures(report: dict[str, Any]) -> dict[str, str]:
    return {outcome["check"]: outcome["reason"] for outcome in report["outcomes"] if outcome["state"] == "failed"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["demo", "quite_a_long_name_of_3_or_more"])
def test_a_new_plugin_is_whole(tmp_path: Path, installed: Plugins, clean: None, kind: scaffold.Kind, name: str) -> None:
    folder = tmp_path / "deep" / name
    written = scaffold.write(name, kind, folder, installed)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == written
    there = {path.relative_to(folder).as_posix() for path in written}
    assert {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml"} <= there
    assert {f"src/nlpipe_{name}/__init__.py", f"src/nlpipe_{name}/py.typed", f"tests/test_{name}.py"} <= there
    text = {path.name: path.read_text(encoding="utf-8") for path in written}
    assert not [file for file, content in text.items() if "{{" in content.replace("${{", "")]
    assert tomllib.loads(text["pyproject.toml"])["project"]["name"] == f"nlpipe-{name}"

    source = plugin_check._Source(folder)
    sys.path.insert(0, str(folder / "src"))
    (record,) = Plugins.discover(entry_points=source.entry_points, strict=True).records
    assert (record.distribution, record.version, record.notes) == (f"nlpipe-{name}", "0.1.0", ())
    assert record.api == ">=1.0,<2"
    if kind in {"task", "objective"}:
        tasks = Plugins.discover(entry_points=source.entry_points).tasks
        assert tasks[name].row().keys() == {"encoder", "decoder"}
        recipe = read(folder / "recipes" / f"{name}.yaml", tasks)
        assert len(Path(str(recipe.data.train)).read_text(encoding="utf-8").splitlines()) > 10


@pytest.mark.may_skip(reason="ruff comes with the extra dev")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_formatted(tmp_path: Path, installed: Plugins, kind: scaffold.Kind) -> None:
    pytest.importorskip("ruff")
    scaffold.write("demo", kind, tmp_path / "demo", installed)
    for arguments in (["format", "--check"], ["check", "--select", "E,F,W,I,B,UP"]):
        done = command("ruff", *arguments, "--no-cache", ".", cwd=tmp_path / "demo")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Key-Phrases",
            "cannot be the name of a task and of a Python module: lower-case letters.*; 'key_phrases' would do",
        ),
        ("class", "no word that Python keeps for itself$"),
        ("match", "no word that Python keeps for itself$"),
        ("1st", "cannot be the name of a task"),
        ("", "cannot be the name of a task"),
        ("../up", "; 'up' would do$"),
        ("nlpipe_mine", "the package will be called nlpipe-nlpipe_mine; leave 'nlpipe' out of the name"),
        ("sentiment", r"the name 'sentiment' is taken by plugin 'classification' \(nlpipe"),
        ("ner", r"the name 'ner' is taken by plugin 'ner' \(nlpipe"),
    ],
)
def test_a_name_that_cannot_be_one(tmp_path: Path, installed: Plugins, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        scaffold.write(name, "task", tmp_path / "new", installed)
    assert not (tmp_path / "new").exists()


def test_a_module_that_is_there_already(tmp_path: Path, clean: None) -> None:
    (tmp_path / "nlpipe_there.py").touch()
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(PluginError, match="there is a Python module nlpipe_there already"):
        scaffold.write("there", "task", tmp_path / "new", Plugins())


def test_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    scaffold.write("demo", "listener", tmp_path / "demo", Plugins())  # an empty one will do
    with pytest.raises(PluginError, match="demo is there already; say --path FOLDER, or remove it"):
        scaffold.write("demo", "listener", tmp_path / "demo", Plugins())


@pytest.mark.parametrize("kind", ["dataset", "listener"])
def test_a_new_plugin_passes_its_own_tests(tmp_path: Path, installed: Plugins, kind: scaffold.Kind) -> None:
    scaffold.write("demo", kind, tmp_path / "demo", installed)
    report = checked(tmp_path / "demo")
    assert failures(report) == {}
    assert {"loads", "loads_lightly", "states_its_api", "gets_along"} < {one["check"] for one in report["outcomes"]}
    assert len(report["outcomes"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["task", "objective"])
def test_a_new_task_passes_the_kit(tmp_path: Path, installed: Plugins, kind: scaffold.Kind) -> None:
    scaffold.write("demo", kind, tmp_path / "demo", installed)
    report = checked(tmp_path / "demo")
    assert failures(report) == {}
    learnt = {one["on"] for one in report["outcomes"] if one["check"] == "learns_the_rule"}
    assert learnt == {"bert", "gpt2"}


def _break(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_wrong_is_in_the_table(tmp_path: Path, installed: Plugins) -> None:
    """A failing test, no range of API versions, a heavy import: each with its reason, and the exit code is 1."""
    folder = tmp_path / "demo"
    scaffold.write("demo", "listener", folder, installed)
    module = folder / "src" / "nlpipe_demo" / "__init__.py"
    _break(module, 'nlpipe_api = ">=1.0,<2"', "import pandas")
    _break(folder / "tests" / "test_demo.py", '"outcome": "failed"', '"outcome": "lost"')
    (folder / "tests" / "test_broken.py").write_text("import surely_not_installed\n")
    found = failures(checked(folder, afresh=True))
    assert set(found) == {"loads_lightly", "states_its_api", "tests/test_broken.py"}  # as pytest, it stops there
    assert found["loads_lightly"].startswith("loading it imports pandas: ")
    assert "nlpipe_api" in found["states_its_api"]
    assert "surely_not_installed" in found["tests/test_broken.py"]
    (folder / "tests" / "test_broken.py").unlink()
    reason = failures(checked(folder))["a_line_for_each_run"]
    assert reason.startswith("AssertionError: ")
    assert "\n" not in reason


def test_a_plugin_that_does_not_load_is_not_tested(tmp_path: Path, installed: Plugins) -> None:
    scaffold.write("demo", "task", tmp_path / "demo", installed)
    _break(tmp_path / "demo" / "src" / "nlpipe_demo" / "__init__.py", "def nlpipe_tasks", "def nlpipe_task")
    report = checked(tmp_path / "demo")
    assert [one["check"] for one in report["outcomes"]] == ["loads"]
    assert failures(report)["loads"] == "unknown hook 'nlpipe_task'; did you mean 'nlpipe_tasks'? there are: " + (
        "nlpipe_tasks, nlpipe_dataset, nlpipe_event"
    )


def _no_pytest(folder: Path, patch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    patch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pytest" else found(name, *rest))


def _no_entry_point(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _break(folder / "pyproject.toml", "[project.entry-points.nlpipe]", "[project.entry-points.other]")


def _not_toml(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "pyproject.toml").write_text("[project")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_no_pytest, r"run by pytest, which is not installed: pip install 'pytest>=8\.3'$"),
        (_no_entry_point, r"has no \[project\.entry-points\.nlpipe\], so nlpipe would not find the plugin"),
        (_not_toml, r"pyproject\.toml cannot be read: "),
    ],
)
def test_a_folder_that_cannot_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Path, pytest.MonkeyPatch], None], message: str
) -> None:
    scaffold.write("demo", "listener", tmp_path / "demo", Plugins())
    wrong(tmp_path / "demo", monkeypatch)
    with pytest.raises(PluginError, match=message):
        plugin_check.check(str(tmp_path / "demo"), Plugins())


def test_neither_a_folder_nor_a_plugin(tmp_path: Path, installed: Plugins) -> None:
    for what in ("clasification", str(tmp_path)):
        with pytest.raises(PluginError, match=r"is neither a folder with a pyproject.toml nor an installed plugin"):
            plugin_check.check(what, installed)


def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    done = command("hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    templates = ROOT / "nlpipe" / "scaffold"
    there = {
        path.relative_to(ROOT).as_posix() for kind in ("common", *KINDS) for path in (templates / kind).rglob("*.*")
    }
    assert len(there) > 20
    assert {path for path in there if (ROOT / path).is_file()} <= shipped
