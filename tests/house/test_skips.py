"""What could be tested and was not is a failure in CI."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.children import FORKING, in_a_fork

from .source import ROOT

pytestmark = [
    pytest.mark.skipif(not FORKING, reason="processes are forked"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]

SKIPS = {
    "skips itself": "import pytest\ndef test_it(): pytest.skip('no luck')",
    "is marked": "import pytest\n@pytest.mark.skipif(True, reason='no luck')\ndef test_it(): ...",
    "as a whole": "import pytest\npytest.skip('no luck', allow_module_level=True)",
    "in a fixture": ("import pytest\n@pytest.fixture\ndef thing(): pytest.skip('no luck')\ndef test_it(thing): ..."),
}
FAILS_AS_EXPECTED = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"
NEEDS_DATA = "def test_it(test_data): assert (test_data / 'data').is_dir()"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A folder with our conftest and nothing else."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    may_skip: as ours\n")
    for name in ("data", "models"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(session: Path, test: str, **environment: str) -> tuple[int, str]:
    """pytest's exit status (0 passed, 1 failed, 2 not even collected) and output for a file with `test`."""
    (session / "test_it.py").write_text(test)

    def work() -> None:
        for key in ("CI", "NLPIPE_TEST_DATA"):
            os.environ.pop(key, None)
        os.environ.update(environment)
        sys.exit(pytest.main(["-ra", "-p", "no:cacheprovider"]))

    done = in_a_fork(work, session)
    return done.returncode, done.stdout


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS)
def test_a_skip_fails_in_ci_where_the_data_are(session: Path, test: str) -> None:
    status, output = run(session, test, CI="true", NLPIPE_TEST_DATA=str(session))
    assert status in (1, 2)
    assert "a skip counts as a failure in CI" in output
    assert "no luck" in output


def test_a_skip_is_a_skip_elsewhere(session: Path) -> None:
    test = SKIPS["skips itself"]
    assert run(session, test)[0] == 0
    assert run(session, test, CI="true")[0] == 0
    assert run(session, test, NLPIPE_TEST_DATA=str(session))[0] == 0


def test_a_test_that_may_skip_does(session: Path) -> None:
    test = SKIPS["skips itself"].replace("def", "@pytest.mark.may_skip(reason='needs a GPU')\ndef")
    status, output = run(session, test, CI="true", NLPIPE_TEST_DATA=str(session))
    assert (status, "1 skipped" in output) == (0, True)


def test_an_expected_failure_is_no_skip(session: Path) -> None:
    status, output = run(session, FAILS_AS_EXPECTED, CI="true", NLPIPE_TEST_DATA=str(session))
    assert (status, "1 xfailed" in output) == (0, True)


def test_real_data_are_found_or_missed_with_a_reason(session: Path) -> None:
    assert run(session, NEEDS_DATA, NLPIPE_TEST_DATA=".")[0] == 0
    status, output = run(session, NEEDS_DATA)
    assert status == 0
    assert "NLPIPE_TEST_DATA is not set: real data are not on this machine" in output
    status, output = run(session, NEEDS_DATA, NLPIPE_TEST_DATA="nowhere")
    assert status == 1
    assert "NLPIPE_TEST_DATA is nowhere, and there is no folder" in output
