"""Several processes train as one does: the same weights, the same scores, one voice, and no waiting for the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlpipe.errors import NlpipeError, RecipeError
from nlpipe.launchers import wanted_processes
from nlpipe.launching import LOST, launch
from nlpipe.recipe import Recipe, dump
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.world import World
from tests import process_worker
from tests.children import FORKING, forked
from tests.support import labelled, recipe, tiny

forking = pytest.mark.skipif(not FORKING, reason="processes are forked")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
CASES = ("whole", "adapter", "coupled")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the same runs by one process and by two."""
    folder = tmp_path_factory.mktemp("processes")
    process_worker.backbones(folder)

    def work(rank: int) -> None:
        process_worker.work(folder, folder / "two")

    assert forked(2, work) == [0, 0]
    for case in process_worker.cases(folder, folder / "one").values():
        run(case)
    return folder / "one", folder / "two"


def events(folder: Path, kind: str) -> list[Mapping[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


@forking
@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_model_that_one_makes(both: tuple[Path, Path], case: str) -> None:
    one, two = both[0] / case, both[1] / case
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    start = load_file(both[0].parent / ("gpt2" if case == "adapter" else "bert") / "model.safetensors")
    assert before.keys() == after.keys()
    # A key's bias has no gradient but rounding, which AdamW scales up to whole steps.
    gaps = {name: float((before[name] - after[name]).abs().max()) for name in before if "key.bias" not in name}
    assert max(gaps.values()) <= 1e-6, {name: gap for name, gap in gaps.items() if gap > 1e-6}
    known = {name: start.get(name, start.get(f"bert.{name}")) for name in before}
    moved = [float((before[name] - tensor).abs().max()) for name, tensor in known.items() if tensor is not None]
    assert max(moved) > 1e-5  # or there would be nothing to agree on


@forking
@pytest.mark.parametrize("case", CASES)
def test_two_processes_tell_what_one_tells(both: tuple[Path, Path], case: str) -> None:
    one, two = both[0] / case, both[1] / case
    scores = [json.loads((folder / "metrics.json").read_text())["scores"] for folder in (one, two)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    for kind, key in (("StepDone", "loss"), ("StepDone", "norm"), ("Evaluated", "step"), ("Saved", "step")):
        told = [[event[key] for event in events(folder, kind)] for folder in (one, two)]
        assert told[0] == pytest.approx(told[1], rel=1e-4), (kind, key)
    looked = [[event["scores"] for event in events(folder, "Evaluated")] for folder in (one, two)]
    assert len(looked[0]) == len(looked[1])
    assert all(a == pytest.approx(b, abs=1e-6) for a, b in zip(*looked, strict=True))


@forking
def test_a_process_without_rows_took_part(both: tuple[Path, Path]) -> None:
    assert min(event["examples"] for event in events(both[1] / "whole", "StepDone")) == 1


@forking
def test_those_that_are_started_know_what_forked_ones_know(tmp_path: Path) -> None:
    """The world of `launch` is the one that the tests above compare."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
    started, by_hand = tmp_path / "started", tmp_path / "forked"
    code = f"import os; open('{started}-' + os.environ['RANK'], 'w').write(str([os.environ[n] for n in {names}]))"
    assert launch([sys.executable, "-c", code], 2) == 0

    def told(rank: int) -> None:
        Path(f"{by_hand}-{rank}").write_text(str([os.environ[name] for name in names]))

    assert forked(2, told) == [0, 0]
    for rank in range(2):
        said = Path(f"{started}-{rank}").read_text()
        assert said == str([str(rank), str(rank), "2", "127.0.0.1"]) == Path(f"{by_hand}-{rank}").read_text()


def script(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "script.py").write_text(text)
    return [sys.executable, str(tmp_path / "script.py")]


def test_a_dead_process_ends_the_others(tmp_path: Path) -> None:
    """By a signal, and with its last words; the others, which would wait for a minute, are ended."""
    command = script(
        tmp_path,
        "import os, signal, sys, time\n"
        "if os.environ['RANK'] == '1':\n"
        "    print('the last thing I saw', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(60)\n",
    )
    start = time.monotonic()
    with pytest.raises(NlpipeError, match=r"(?s)process 1 of 3 was ended by SIGKILL.*the last thing I saw"):
        launch(command, 3)
    assert time.monotonic() - start < 20


def test_the_first_one_may_be_the_dead_one(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\nif os.environ['RANK'] == '0': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)\n"
    )
    with pytest.raises(NlpipeError, match="process 0 of 2 was ended by SIGKILL"):
        launch(script(tmp_path, code), 2)


def test_the_first_one_speaks_for_a_mistake_that_all_made(tmp_path: Path) -> None:
    command = script(tmp_path, "import os, time, sys\ntime.sleep(0.5 * (os.environ['RANK'] == '0'))\nsys.exit(2)\n")
    assert launch(command, 2) == 2


def test_who_left_because_another_had_is_not_blamed(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, time, sys\n"
        "if os.environ['RANK'] == '0': sys.exit(3)\n"
        "time.sleep(0.5); sys.stderr.write('no such file'); sys.exit(2)\n",
    )
    assert LOST == 3
    with pytest.raises(NlpipeError, match=r"(?s)process 1 of 2 ended with exit code 2.*no such file"):
        launch(command, 2)


def test_ctrl_c_reaches_all(tmp_path: Path) -> None:
    code = (
        "import sys; from nlpipe.launching import launch\n"
        "sys.exit(launch([sys.executable, '-c', \"import os, signal, sys, time\\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\\n"
        "open(os.environ['RANK'], 'w').close()\\ntime.sleep(60)\"], 2))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    until = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=30) == 130


def test_accelerate_launch_that_starts_one_is_noticed(tmp_path: Path) -> None:
    line = ["/usr/bin/python", "/env/bin/accelerate", "launch", "--cpu", "--num_processes", "2", "-m", "nlpipe", "run"]
    assert wanted_processes(line, {}) == 2
    assert wanted_processes([*line[:4], "--num-processes=3", "-m", "nlpipe"], {}) == 3
    (tmp_path / "config.yaml").write_text("distributed_type: MULTI_CPU\nnum_processes: 4\n")
    assert wanted_processes([*line[:3], "--config_file", str(tmp_path / "config.yaml"), "-m", "nlpipe"], {}) == 4
    assert wanted_processes([*line[:4], "-m", "nlpipe"], {"HF_HOME": str(tmp_path)}) == 1
    assert wanted_processes(["bash"], {}) == 1


def test_a_call_from_python_is_one_process(tmp_path: Path) -> None:
    made = recipe(tiny("bert", tmp_path), tmp_path / "run", run={"processes": 2})
    with pytest.raises(RecipeError, match=r"run\.processes is 2"):
        run(made)


def test_a_world_of_one() -> None:
    alone = World()
    assert alone.first and alone.once(lambda: 3) == 3 and alone.in_turn(lambda: 4) == 4
    assert alone.gathered("a") == ["a"] and alone.any(True) and not alone.any(False)
    assert alone.shared([1, 2, 3], lambda items: [2 * item for item in items]) == [2, 4, 6]
    rows = torch.ones(2, 3, requires_grad=True)
    assert alone.rows(rows, [2]) is rows


def nlpipe(*words: str, cwd: Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(launcher or ("-m", "nlpipe")), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def written(tmp_path: Path, **train: Any) -> Path:
    """A recipe file over rows in files, on a tiny model."""
    rows = labelled(rules.first_keyword(48, seed=1))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Recipe(
        task="classification",
        model={"backbone": str(tiny("bert", tmp_path))},
        data={"train": str(tmp_path / "rows.jsonl"), "validation": 0.2},
        train={"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, **train},
        evaluate={"bootstrap": 0},
        output={"dir": str(tmp_path / "run")},
    )
    (tmp_path / "recipe.yaml").write_text(dump(made))
    return tmp_path / "recipe.yaml"


@pytest.mark.slow
def test_the_command_starts_them(tmp_path: Path) -> None:
    done = nlpipe("run", str(written(tmp_path)), "--processes", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1 and json.loads(done.stdout)["task"] == "classification"
    assert done.stderr.count("loading the libraries") == 1
    again = nlpipe("run", str(tmp_path / "recipe.yaml"), "--processes", "2", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.count("error: ") == 1 and "is in use" in again.stderr


@pytest.mark.slow
def test_torchrun_and_accelerate(tmp_path: Path) -> None:
    file = str(written(tmp_path))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "nlpipe")
    done = nlpipe("run", file, "--json", cwd=tmp_path, launcher=torchrun)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["task"] == "classification"
    accelerate = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "nlpipe")
    done = nlpipe("run", file, "--set", "output.dir=other", cwd=tmp_path, launcher=accelerate)
    assert done.returncode == 0, done.stderr
    assert "asked for 2 processes and started one" in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_run_and_it_can_be_resumed(tmp_path: Path, victim: int) -> None:
    file = written(tmp_path, steps=400, evaluate_every=5)
    command = [sys.executable, "-m", "nlpipe", "run", str(file), "--processes", "2", "--quiet"]
    parent = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.1)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    for child in map(int, children):
        if f"RANK={victim}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            os.kill(child, signal.SIGKILL)
    killed = time.monotonic()
    _, words = parent.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert parent.returncode != 0
    assert f"process {victim} of 2 was ended by SIGKILL" in words
    assert "Traceback" not in words
    done = nlpipe("run", str(file), "--processes", "2", "--resume", "--set", "train.steps=400", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed after step" in done.stderr
