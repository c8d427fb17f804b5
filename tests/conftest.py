"""What all tests share: no network, the real data where they are, and no silent skips in CI."""

from __future__ import annotations

import os

# All are read once, when the libraries are imported; so they stand before anything that could import one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# Tests compare to the last digits, where a GPU rounds otherwise.
if os.environ.get("NLPIPE_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.evidence import Evidence

if TYPE_CHECKING:
    from tests.support import Trainings  # imports torch: late, so that a session without a training starts at once

# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("nlpipe", deadline=None)
hypothesis.settings.load_profile("nlpipe")

pytest_plugins = ["nlpipe.testing"]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real data sets (`data/`) and models (`models/`); tests without it are skipped."""
    given = os.environ.get("NLPIPE_TEST_DATA")
    if not given:
        pytest.skip("NLPIPE_TEST_DATA is not set: real data are not on this machine")
    folder = Path(given).resolve()
    for part in ("data", "models"):
        if not (folder / part).is_dir():
            pytest.fail(f"NLPIPE_TEST_DATA is {given}, and there is no folder {folder / part}")
    return folder


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """Cached trainings on tiny models (tests/support.py)."""
    from tests.support import Trainings

    return Trainings(tmp_path_factory.mktemp("trainings"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--evidence`: record which architectures passed, after a full run."""
    parser.addoption("--evidence", action="store_true", help="write nlpipe/grid.json from what passed")


def pytest_configure(config: pytest.Config) -> None:
    """Gather the evidence where all reports arrive: not in one of xdist's workers."""
    if config.getoption("--evidence") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Evidence(), "evidence")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, but for the kit's, which say themselves what belongs together."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that are not kept together are twice the work, and nothing else would tell."""
    if getattr(session.config.option, "loadgroup", False):  # xdist's, in the processes that it starts
        lost = [item.nodeid for item in session.items if "@" not in item.nodeid.rpartition("]")[2]]
        if lost:
            raise pytest.UsageError(f"xdist does not know the group of {lost[0]} (nlpipe/testing/_plugin.py)")


def _skips_fail() -> bool:
    """In CI nothing that the machine could test goes untested; without the real data it could not."""
    return os.environ.get("CI", "").lower() in {"1", "true"} and bool(os.environ.get("NLPIPE_TEST_DATA"))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip, which pytest keeps as (file, line, "Skipped: reason")."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, item: pytest.Item | pytest.Collector) -> None:
    expected = hasattr(report, "wasxfail") or item.get_closest_marker("may_skip")
    if report.skipped and not expected and _skips_fail():
        reason = _reason(report)
        report.outcome = "failed"
        report.longrepr = f"a skip counts as a failure in CI; mark the test may_skip if it is one. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails in CI."""
    report = yield
    _fail_if_skipped(report, item)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself while it is collected fails in CI."""
    report = yield
    _fail_if_skipped(report, collector)
    return report
