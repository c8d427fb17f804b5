"""The grid of tasks and families, from the task classes and from recorded test evidence.

A tick stands only where `make test-all` wrote down which architectures passed; a task without evidence shows
what it claims, marked as untested.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpipe.task import Family, Task

EVIDENCE = Path(__file__).with_name("grid.json")


@dataclass(frozen=True, slots=True)
class Cell:
    """One task on one family: the objectives that serve it, and the architectures that passed the tests."""

    objectives: tuple[str, ...]
    passed: tuple[str, ...]

    def __str__(self) -> str:
        if not self.objectives:
            return "–"
        return f"{'✓' if self.passed else 'untested'} {', '.join(self.objectives)}"


def grid(tasks: Mapping[str, type[Task[Any, Any, Any, Any]]]) -> dict[str, dict[Family, Cell]]:
    """A row of cells per task."""
    passed = evidence()
    return {
        name: {
            family: Cell(
                objectives=tuple(kind.__name__ for kind in task.row().get(family, ())),
                passed=tuple(passed.get(name, {}).get(str(family), ())),
            )
            for family in Family
        }
        for name, task in sorted(tasks.items())
    }


def evidence() -> dict[str, dict[str, list[str]]]:
    """Task → family → architectures that passed, as recorded by the last full run of the tests."""
    if not EVIDENCE.is_file():
        return {}
    content: dict[str, dict[str, list[str]]] = json.loads(EVIDENCE.read_text(encoding="utf-8"))["passed"]
    return content


def markdown(tasks: Mapping[str, type[Task[Any, Any, Any, Any]]]) -> str:
    """The grid as the README has it."""
    head = "| task | " + " | ".join(Family) + " |"
    rule = "|---|" + "---|" * len(Family)
    rows = [
        f"| `{name}` | " + " | ".join(str(cells[family]) for family in Family) + " |"
        for name, cells in grid(tasks).items()
    ]
    return "\n".join([head, rule, *rows])
