"""The kit for plugin authors: what a plugin promises, as tests on tiny models that are made in under a second.

    pytest_plugins = ["nlpipe.testing"]          # in conftest.py

    @task_checks(MyTask, rule=my_rule)           # in a test file
    class TestMyTask: ...

docs/testing.md says what is checked and how a rule is written. Without pytest, `task_cases` gives the same as cases
that a program runs in a `Lab`. Nothing here is loaded by nlpipe itself. (PYTEST_DONT_REWRITE: a failed check
says by itself what to look at.)
"""

from __future__ import annotations

from nlpipe.testing.cases import Case, Check, CheckFailed, fail, require
from nlpipe.testing.datasets import DATASET_CHECKS
from nlpipe.testing.decorators import (
    REPRESENTATIVES,
    TASK_CHECKS,
    dataset_cases,
    dataset_checks,
    listener_cases,
    listener_checks,
    objective_cases,
    objective_checks,
    task_cases,
    task_checks,
)
from nlpipe.testing.lab import Lab
from nlpipe.testing.listeners import LISTENER_CHECKS
from nlpipe.testing.objectives import OBJECTIVE_CHECKS
from nlpipe.testing.rule import Rule
from nlpipe.testing.tiny import ARCHITECTURES, family, tiny_model

__all__ = [
    "ARCHITECTURES",
    "DATASET_CHECKS",
    "LISTENER_CHECKS",
    "OBJECTIVE_CHECKS",
    "REPRESENTATIVES",
    "TASK_CHECKS",
    "Case",
    "Check",
    "CheckFailed",
    "Lab",
    "Rule",
    "dataset_cases",
    "dataset_checks",
    "fail",
    "family",
    "listener_cases",
    "listener_checks",
    "objective_cases",
    "objective_checks",
    "require",
    "task_cases",
    "task_checks",
    "tiny_model",
]

pytest_plugins = ["nlpipe.testing._plugin"]
