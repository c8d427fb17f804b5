"""The plugins under examples/ are what a stranger could have written, with public names alone; the kit tests them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nlpipe
from nlpipe import metrics, objectives, results, testing
from nlpipe.events import Event
from nlpipe.plugin_check import _Source
from nlpipe.plugins import Plugins
from nlpipe.recipe import read
from tests.house.source import imports

EXAMPLES = sorted(path for path in (Path(__file__).parents[1] / "examples").iterdir() if path.is_dir())

# Modules that the docs name, and what is public in them.
PUBLIC = {
    "nlpipe": set(nlpipe.__all__),
    "nlpipe.objectives": set(objectives.__all__),
    "nlpipe.testing": {*testing.__all__, "rules"},
    "nlpipe.events": {kind.__name__ for kind in Event.__subclasses__()} | {"Event"},
    "nlpipe.metrics": {"Metric"},
    "nlpipe.results": {kind.__name__ for kind in results.Result.__subclasses__()},
}
assert metrics.Metric is nlpipe.Metric

each = pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)


@each
def test_it_uses_public_names_alone(folder: Path) -> None:
    wrong = []
    for path in folder.rglob("*.py"):
        for found in imports(ast.parse(path.read_text(encoding="utf-8")), ""):
            module, _, name = found.target.rpartition(".")
            public = found.target in PUBLIC or (module in PUBLIC and name in PUBLIC[module])
            if found.package == "nlpipe" and not public:
                wrong.append(f"{path.relative_to(folder)}:{found.line} {found.target}")
            if found.package.startswith("nlpipe_") and found.package != folder.name:
                wrong.append(f"{path.relative_to(folder)}:{found.line} {found.target}")
    assert not wrong, wrong


@each
def test_it_loads_and_its_recipes_are_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder / "src")
    plugins = Plugins.discover(entry_points=_Source(folder).entry_points, strict=True)
    (record,) = plugins.records
    assert (record.notes, record.api) == ((), ">=1.0,<2")
    recipes = sorted(folder.glob("recipes/*.yaml"))
    assert recipes
    for recipe in recipes:
        read(recipe, plugins.tasks)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@each
def test_its_tests_without_a_model_pass(folder: Path) -> None:
    files = [str(path) for path in folder.glob("tests/test_*.py") if path.name != "test_kit.py"]
    assert files
    done = run("pytest", "-q", "-p", "no:cacheprovider", *files, cwd=folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@each
def test_it_passes_the_kit(folder: Path) -> None:
    done = run("nlpipe", "plugin", "check", ".", "--json", "--quiet", cwd=folder)
    report = json.loads(done.stdout)
    failed = [outcome for outcome in report["outcomes"] if outcome["state"] == "failed"]
    assert not failed
    learnt = {outcome["on"] for outcome in report["outcomes"] if outcome["check"] == "learns_the_rule"}
    assert learnt == {"bert", "gpt2", "bart"}
