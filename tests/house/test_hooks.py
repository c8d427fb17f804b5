"""A hook that is not shown and not tried is not part of the contract."""

from __future__ import annotations

import re

import pytest

from nlpipe.plugins import HOOKS

from .source import ROOT


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_section_in_the_docs(hook: str) -> None:
    page = ROOT / "docs" / "plugins.md"
    headings = re.findall(r"^#+ .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(re.search(rf"\b{hook}\b", heading) for heading in headings), f"no section on {hook} in {page}"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test(hook: str) -> None:
    house = ROOT / "tests" / "house"
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if house not in path.parents]
    assert any(re.search(rf"\b{hook}\b", path.read_text(encoding="utf-8")) for path in tests)


def test_there_are_three_hooks() -> None:
    """A fourth needs two real users (and this number)."""
    assert HOOKS == ("nlpipe_tasks", "nlpipe_dataset", "nlpipe_event")
