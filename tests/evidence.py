"""Which cells of the grid passed: from the reports of the kit's tests to nlpipe/grid.json."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from nlpipe import grid
from nlpipe.testing.cases import CELL

Cell = tuple[str, str, str]  # task, family, architecture


class Evidence:
    """Listens to the reports of all tests; under xdist in the process that hands them out.

    A cell counts where every check that any architecture of its task has passed, and none failed.
    """

    def __init__(self) -> None:
        self.passed: defaultdict[Cell, set[str]] = defaultdict(set)
        self.failed: set[Cell] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test."""
        for name, value in report.user_properties:
            if name == CELL:
                task, family, architecture, check = value  # type: ignore[misc]  # our own four strings
                cell = (str(task), str(family), str(architecture))
                if report.outcome != "passed":
                    self.failed.add(cell)
                elif report.when == "call":
                    self.passed[cell].add(str(check))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the file, after a run that came to its end."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            content = {"commit": _commit(), "passed": self.cells()}
            grid.EVIDENCE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def cells(self) -> dict[str, dict[str, list[str]]]:
        """Task → family → architectures that passed."""
        checks: defaultdict[str, set[str]] = defaultdict(set)
        for (task, _, _), passed in self.passed.items():
            checks[task] |= passed
        ordered: dict[str, dict[str, list[str]]] = {}
        for cell, passed in sorted(self.passed.items()):
            task, family, architecture = cell
            if cell not in self.failed and passed == checks[task]:
                ordered.setdefault(task, {}).setdefault(family, []).append(architecture)
        return ordered


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip()
