"""The pytest plugin behind `pytest_plugins = ["nlpipe.testing"]`: two fixtures, two marks, and no network.

It also has xdist keep groups where pytest is too new for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from nlpipe.testing.cases import CELL, Case
from nlpipe.testing.lab import Lab


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks, and keep the Hub out of it: tiny models are made here."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    config.addinivalue_line("markers", "slow: more architectures and long runs")
    config.addinivalue_line("markers", "xdist_group(name): tests that share a training, kept in one process")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests the names by which xdist keeps a group in one process.

    xdist 3.8 writes a group into `_nodeid`, which pytest 9.2 no longer reads: each process would then do all
    trainings for itself, and nobody would be told (pytest-dev/pytest-xdist#1386).
    """
    for item in items:
        grouped = vars(item).pop("_nodeid", None)
        if grouped is not None and grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)


@pytest.fixture(scope="session")
def nlpipe_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The session's tiny models and trainings."""
    return Lab(tmp_path_factory.mktemp("nlpipe"))


@pytest.fixture
def nlpipe_check(request: pytest.FixtureRequest, nlpipe_lab: Lab) -> Callable[[], None]:
    """The case that a test is about: call it."""
    case: Case = request.param
    if case.check.on == "served":
        request.node.user_properties.append((CELL, [case.subject, case.family, case.architecture, case.check.name]))
    return partial(case.run, nlpipe_lab)
