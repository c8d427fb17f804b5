"""Every recipe that we ship is valid and says how it is used."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest

from nlpipe.plugins import Plugins
from nlpipe.recipe import read

from .source import ROOT

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
IDS = [str(path.relative_to(ROOT)) for path in RECIPES]


def head(path: Path) -> str:
    """The comment that a recipe begins with, without its marks."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.lstrip("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))


def faults(text: str, path: str) -> list[str]:
    """What the head of the recipe at `path` (from the project's root) leaves out."""
    first = text.partition("\n")[0]
    return [
        fault
        for fault, missing in {
            "its first line does not say what it does": len(first.split()) < 3 or "nlpipe run" in first,
            f"it does not give the command 'nlpipe run {path}'": f"nlpipe run {path}" not in text,
            "it does not say what it needs ('Needs: …')": not re.search(r"\bneeds?\b", text, re.IGNORECASE),
            "it does not say what score to expect ('Expect: …')": not re.search(
                r"\bexpect\b[^#]*\d", text, re.IGNORECASE
            ),
        }.items()
        if missing
    ]


def test_there_are_recipes() -> None:
    assert RECIPES


def test_names_of_recipes_are_spelled_alike() -> None:
    """Words in small letters with hyphens between; a family's recipe is called as the family is."""
    names = [path.name for path in RECIPES if path.parent.name != "quickstart"]  # there they are tasks' names
    assert not [name for name in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*\.yaml", name)]


@pytest.mark.parametrize("path", RECIPES, ids=IDS)
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    read(path, Plugins.discover().tasks)


@pytest.mark.parametrize("path", RECIPES, ids=IDS)
def test_a_shipped_recipe_says_how_it_is_used(path: Path) -> None:
    wrong = faults(head(path), path.relative_to(ROOT).as_posix())
    assert not wrong, f"the comment at the top of {path}: {'; '.join(wrong)}"


def test_the_reader_of_heads() -> None:
    good = "Tells good from bad.\nnlpipe run recipes/a.yaml\nNeeds: nothing.\nExpect: accuracy 0.9."
    assert faults(good, "recipes/a.yaml") == []
    assert len(faults(good, "recipes/b.yaml")) == 1
    for line in good.splitlines():
        assert len(faults(good.replace(line, "").strip(), "recipes/a.yaml")) == 1
