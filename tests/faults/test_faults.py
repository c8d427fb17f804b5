"""A run killed at any moment, or whose disk fills up, is resumed and ends with the very bytes of an unbroken one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlpipe import checkpoint
from nlpipe.recipe import Recipe
from nlpipe.testing import rules
from tests.faults.campaign import Campaign, Table, begun, files, full_disks, kills, state
from tests.faults.disk import Disk
from tests.support import labelled, recipe, tiny

Show = Callable[[Table], None]
KILLS, IN_A_ROW = 10, 4  # of the command line, which takes seconds to start
SEED = int(os.environ.get("NLPIPE_FAULT_SEED", "20"))
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="children are forked, and their files looked up in /proc"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]


def rows(count: int, seed: int) -> list[dict[str, str]]:
    return labelled(rules.first_keyword(count, seed=seed))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    assert transformers.BertForSequenceClassification  # imported here once, not by each child
    return tiny("bert", tmp_path_factory.mktemp("tiny"))


def campaign(root: Path, backbone: Path, count: int, **train: Any) -> Campaign:
    """Runs of a tiny BERT with dropout: `count` rows, validation rows, the best weights not the last."""
    data = {"train": rows(count, 1), "validation": rows(20, 2)}
    settings = {"batch_size": 16, "learning_rate": 1e-3, "seed": 3, "checkpoint_every": 2, "evaluate_every": 3}

    def made(out: Path) -> Recipe:
        return recipe(backbone, out, data=data, train=settings | train)

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork
    return Campaign(root, made)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Print a table, captured or not, and ask that nothing was wrong."""

    def shown(table: Table) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{table}\n")
        assert not table.faults, str(table)

    return shown


def test_a_few_kills(tmp_path: Path, backbone: Path, show: Show) -> None:
    show(kills(campaign(tmp_path, backbone, 64, epochs=2), 6, SEED))


def test_a_few_full_disks(tmp_path: Path, backbone: Path, show: Show) -> None:
    show(full_disks(campaign(tmp_path, backbone, 32, epochs=1), every=37))


def test_the_watched_disk_sees_every_file_that_a_run_leaves(tmp_path: Path, backbone: Path) -> None:
    """What it does not see, it could not strike at."""
    made = campaign(tmp_path, backbone, 32, epochs=1)
    seen = {call.path for call in made.calls}
    left = [path for path in files(made.whole) if (made.whole / path).is_file()]
    # A file of a folder that is renamed whole was seen under the folder's temporary name.
    names = {Path(path).name for path in seen}
    assert len(left) > 10
    assert not [path for path in left if Path(path).name not in names and "tokenizer" not in path]


@pytest.mark.slow
def test_kills_at_any_moment(tmp_path: Path, backbone: Path, show: Show) -> None:
    show(kills(campaign(tmp_path, backbone, 64, epochs=2), 190, SEED))


@pytest.mark.slow
def test_every_call_to_a_full_disk(tmp_path: Path, backbone: Path, show: Show) -> None:
    show(full_disks(campaign(tmp_path, backbone, 32, epochs=1)))


class Command:
    """`nlpipe run` in a process of its own, on a campaign's recipe written to a file."""

    def __init__(self, made: Campaign, **train: Any) -> None:
        self.made, self.train = made, train
        for name, given in (("train", rows(64, 1)), ("validation", rows(20, 2))):
            lines = (json.dumps(row) + "\n" for row in given)
            (made.root / f"{name}.jsonl").write_text("".join(lines))

    def start(self, folder: Path, *options: str) -> subprocess.Popen[str]:
        content = self.made.recipe(folder).model_dump(
            mode="json", exclude={"data", "generation"}, exclude_defaults=True
        )
        content["data"] = {name: str(self.made.root / f"{name}.jsonl") for name in ("train", "validation")}
        content["train"] |= self.train
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "nlpipe", "run", str(file), "--quiet", *options]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def finish(self, folder: Path, *options: str) -> None:
        child = self.start(folder, *options)
        _, said = child.communicate()
        assert child.returncode == 0, said


@pytest.mark.slow
def test_kills_of_the_command_line(tmp_path: Path, backbone: Path, show: Show) -> None:
    """The real thing: `nlpipe run`, SIGKILL somewhere in it, `nlpipe run --resume`, which is killed in its turn."""
    made = campaign(tmp_path, backbone, 64, epochs=2)
    command, draw = Command(made), random.Random(SEED)
    table = Table(f"kills of the command line (seed {SEED})")
    made.whole = made.folder()
    command.finish(made.whole)
    lines = _log(made.whole).count("\n")
    made.expected = {name: (made.whole / name).read_bytes() for name in made.expected}
    while table.tried.total() < KILLS:
        folder, struck = made.folder(), list[str]()
        for _ in range(min(IN_A_ROW, KILLS - table.tried.total())):
            child = command.start(folder, *(["--resume"] if begun(folder) else []))
            _begun(folder, child)  # before that it imports, and there is nothing to kill
            _until(folder, child, draw.randint(0, lines - 1))
            time.sleep(draw.uniform(0.0, 0.3))
            child.kill()
            child.communicate()
            struck.append("over" if "RunFinished" in _log(folder) else state(folder))
            if struck[-1] == "over":
                break
        if struck[-1] != "over":
            command.finish(folder, *(["--resume"] if begun(folder) else []))
        found = made.faults(folder)
        for where in struck:
            table.note(where, found)
    show(table)


@pytest.mark.slow
def test_a_signal_ends_the_command_with_a_checkpoint_and_the_way_on(tmp_path: Path, backbone: Path) -> None:
    made = campaign(tmp_path, backbone, 64, epochs=2)
    command, folder = Command(made, epochs=500), made.folder()
    child = command.start(folder)
    while "StepDone" not in _log(folder) and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate()
    assert child.returncode == 130, said
    assert f"interrupted; go on with: nlpipe run {folder.with_suffix('.yaml')} --resume" in " ".join(said.split())
    entries = [json.loads(line) for line in _log(folder).splitlines()]
    steps = [entry["step"] for entry in entries if entry["event"] == "StepDone"]
    assert entries[-1] == {"event": "RunInterrupted", "step": steps[-1]}
    found = checkpoint.latest(folder / "checkpoints").checkpoint
    assert found is not None
    assert found.step == steps[-1]


def _begun(folder: Path, child: subprocess.Popen[str]) -> None:
    """Wait for a command to make its run's folder, or to go on in its log."""
    there, before = folder.exists(), _log(folder)
    while child.poll() is None and (_log(folder) == before if there else not folder.exists()):
        time.sleep(0.01)


def _until(folder: Path, child: subprocess.Popen[str], lines: int) -> None:
    """Wait for so many lines in a command's log: the clock alone would mostly strike before the run or after it."""
    while child.poll() is None and _log(folder).count("\n") < lines:
        time.sleep(0.003)


def _log(folder: Path) -> str:
    file = folder / "events.jsonl"
    return file.read_text() if file.exists() else ""


def test_a_strike_is_where_it_was_asked_for(tmp_path: Path) -> None:
    """The means itself: the third write to a file is refused, and what needs no room is not."""
    child = os.fork()
    if not child:
        code = 1
        try:
            disk = Disk(tmp_path, at=4)
            disk.install()
            with (tmp_path / "a").open("wb", buffering=0) as stream:
                stream.write(b"1")
                stream.write(b"2")
                try:
                    stream.write(b"3")
                except OSError:
                    (tmp_path / "a").rename(tmp_path / "b")
                    code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "b").read_bytes() == b"12"
