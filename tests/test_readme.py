"""The README and the pages of docs/ are true: their commands run, their Python runs, their grid is the grid."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from nlpipe import grid
from nlpipe.plugins import Plugins
from tests.children import FORKING, in_a_fork, nlpipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPUTES = {"run", "predict", "evaluate", "inspect"}  # commands that import torch; the others prove the one installed

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of all shell blocks, without what stands behind a #."""
    lines = [line.split(" #")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkout's recipes in it, as if one stood in the checkout."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    return folder


def shell(command: str, folder: Path) -> str:
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def followed(line: str, folder: Path) -> str:
    """What a command prints: as one types it, or where it computes in a fork, which imports nothing anew."""
    words = shlex.split(line)
    if not FORKING or words[1] not in COMPUTES:
        return shell(line, folder)
    done = in_a_fork(partial(nlpipe, words[1:]), folder)
    assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(code: str, folder: Path) -> str:
    def work() -> None:
        exec(compile(code, "<the page>", "exec"), {"__name__": "__main__"})

    arguments = [sys.executable, "-c", code]
    done = (
        in_a_fork(work, folder)
        if FORKING
        else subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_can_be_followed(workplace: Path) -> None:
    """Every command but the two that would recurse, in order, then its Python."""
    run = [line for line in commands(README) if not line.startswith("make ")]
    assert len(run) >= 5
    shorter = [f"{line} --set train.epochs=1" if " run " in line else line for line in run]
    printed = [followed(line, workplace) for line in shorter]
    assert "accuracy" in "".join(printed)
    code = blocks(README, "python")
    assert len(code) == 1
    assert 8 <= len([line for line in code[0].splitlines() if line]) <= 12, "ten lines of Python, more or less"
    assert "positive" in python(code[0], workplace)
    pages = blocks((ROOT / "docs" / "python.md").read_text(encoding="utf-8"), "python")
    assert len(pages) == 4
    assert "runs/python/model" in python("\n".join(pages), workplace)


def test_the_recipe_page_can_be_followed(workplace: Path) -> None:
    run = [line for line in commands((ROOT / "docs" / "recipes.md").read_text()) if " run " not in line]
    assert len(run) >= 4
    # The new recipe names data that are not there; everything before a run works without them.
    for line in run:
        shell(line, workplace)
    assert (workplace / "recipe.schema.json").stat().st_size > 1000


def test_the_readme_has_the_grid_of_the_classes() -> None:
    there = README.split("<!-- grid")[1].split("-->", 1)[1].split("<!-- /grid -->")[0].strip()
    assert there == grid.markdown(Plugins.discover().tasks)


def test_the_tree_names_what_is_there() -> None:
    named = re.findall(r"^    ([\w.]+)/? ", README.split("## The tree")[1], re.MULTILINE)
    assert len(named) >= 8
    assert all((ROOT / name).exists() for name in named)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
