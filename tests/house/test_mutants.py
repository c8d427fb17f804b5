"""The defects that the kit is tried on fit the code as it is."""

from __future__ import annotations

import subprocess

import pytest

from tests.mutants.run import HERE, Mutant, mutants

from .source import ROOT

ALL = list(mutants())


def test_there_are_as_many_as_promised() -> None:
    assert len(ALL) >= 24


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_defect_can_still_be_put_in(mutant: Mutant) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(mutant.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"write {mutant.path.name} anew; the code it changes is another now:\n{done.stderr}"


def test_every_file_is_one() -> None:
    assert {path.name for path in HERE.iterdir()} - {"run.py", "__init__.py", "__pycache__"} == {
        m.path.name for m in ALL
    }
