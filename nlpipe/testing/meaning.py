"""Checks of a task without a model: what its rows, golds, results, scores and options mean."""

from __future__ import annotations

import subprocess
import sys

from nlpipe.plugins import HEAVY
from nlpipe.testing.cases import Check, require
from nlpipe.testing.subjects import TaskSubject

_IMPORT = """
import sys
{paths}
before = set(sys.modules)
import {module}
print(*sorted({heavy!r} & (set(sys.modules) - before)))
"""


def imports_lightly(subject: TaskSubject) -> None:
    """Import the task's module in a fresh interpreter."""
    light_import(subject.task.__module__)


def light_import(module: str) -> None:
    """Raise CheckFailed where importing `module` loads a library that costs seconds."""
    code = _IMPORT.format(paths=f"sys.path[:0] = {sys.path!r}", module=module, heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"`import {module}` fails by itself:\n{done.stderr.strip()[-1500:]}")
    loaded = done.stdout.split()
    require(not loaded, f"`import {module}` imports {', '.join(loaded)}, for which every start of nlpipe would wait")


def samples_are_valid(subject: TaskSubject) -> None:
    """Samples are Examples that can be asked, learnt and written to a file."""
    task, samples = subject.task, subject.task.samples()
    require(len(samples) >= 2, f"samples() gives {len(samples)} examples; give two or more")
    for number, sample in enumerate(samples):
        require(
            type(sample) is task.Example, f"sample {number} is a {type(sample).__name__}, not {task.Example.__name__}"
        )
    missing = sorted(set(task.Input.model_fields) - set(task.Example.model_fields))
    require(not missing, f"{task.Example.__name__} lacks {', '.join(missing)} of {task.Input.__name__}")


CHECKS = (
    Check(
        "imports_lightly",
        "Importing the plugin loads nothing that costs seconds: every start of nlpipe imports it.",
        "imports at the top of the plugin's modules; move those of torch, transformers, pandas and scikit-learn into "
        "the functions that need them.",
        imports_lightly,
        needs_model=False,
    ),
    Check(
        "samples_are_valid",
        "samples() gives Examples of the task that can be asked and learnt.",
        "samples(), and the fields of Input and Example.",
        samples_are_valid,
        needs_model=False,
    ),
)
