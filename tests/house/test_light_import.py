"""What a user does before anything is computed must not wait for libraries that compute."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "pandas", "peft", "datasets", "evaluate", "accelerate", "sklearn"}

RUN = """
import runpy, sys
sys.argv = ["nlpipe", *{arguments}]
try:
    runpy.run_module("nlpipe", run_name="__main__", alter_sys=True)
except SystemExit as done:
    assert not done.code, done.code
"""

CASES = {
    "import nlpipe": "import nlpipe",
    "the objectives": "import nlpipe.objectives",
    "the tasks": "from nlpipe.plugins import Plugins; assert Plugins.discover(strict=True).tasks",
    "nlpipe --help": RUN.format(arguments=["--help"]),
    "nlpipe tasks": RUN.format(arguments=["tasks"]),
    "nlpipe plugin list": RUN.format(arguments=["plugin", "list"]),
}


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`, which must not fail."""
    report = "\nimport sys; sys.stderr.write('\\nLOADED ' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_no_heavy_library_is_loaded(code: str) -> None:
    heavy = loaded(code) & HEAVY
    assert not heavy


def test_the_reader_of_modules_sees_a_heavy_one() -> None:
    assert "sklearn" in loaded("import sys; sys.modules['sklearn'] = sys")
