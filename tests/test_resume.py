"""`--resume` through `nlpipe.run`: what is gone on with, what is refused, and a log that reads as an unbroken run's."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlpipe import checkpoint
from nlpipe.errors import ArtifactError, RecipeError
from nlpipe.event_log import EventLog
from nlpipe.events import RowsNoted, RunFailed, RunResumed, RunStarted, Saved, StepDone
from nlpipe.recipe import Recipe
from nlpipe.running import RunReport, run
from nlpipe.stopping import Stop
from nlpipe.testing import rules
from tests.support import labelled, recipe, tiny

TRAIN = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "seed": 3, "checkpoint_every": 2, "evaluate_every": 3}


def rows(count: int, seed: int) -> list[dict[str, str]]:
    return labelled(rules.first_keyword(count, seed=seed))


def small(backbone: Path, out: Path, **train: Any) -> Recipe:
    """Eight steps in two epochs, a checkpoint every two, a look at the validation rows every three."""
    data = {"train": rows(64, 1), "validation": rows(20, 2)}
    return recipe(backbone, out, data=data, train=TRAIN | train)


def stop_at(step: int) -> Callable[[Any], None]:
    """A listener that has the process asked to stop after a step."""

    def ask(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == step:
            signal.raise_signal(signal.SIGTERM)

    return ask


def log(folder: Path) -> list[dict[str, Any]]:
    """The events of a run, without times and paths, and without the lines that tell of a resume."""
    entries = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    told = [entry for entry in entries if entry["event"] != "RunResumed"]
    return [{key: value for key, value in entry.items() if key not in {"seconds", "path"}} for entry in told]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """An unbroken run."""
    return run(small(bert, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture
def broken(bert: Path, tmp_path: Path) -> Path:
    """The folder of a run that was stopped after five of its eight steps."""
    report = run(small(bert, tmp_path / "run"), listeners=[stop_at(5)])
    assert not report.finished
    return tmp_path / "run"


def same(folder: Path, whole: RunReport) -> None:
    """The model's bytes, the scores and the answers are those of the unbroken run."""
    for name in ("model/model.safetensors", "metrics.json", "predictions.jsonl"):
        assert (folder / name).read_bytes() == (whole.directory / name).read_bytes(), name


def test_the_log_of_a_resumed_run_reads_as_that_of_an_unbroken_one(bert: Path, broken: Path, whole: RunReport) -> None:
    # What a killed process leaves behind its last checkpoint, and half a line.
    with (broken / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "StepDone", "step": 6, "loss": 0.5}) + "\n")
        stream.write('{"event": "Step')
    run(small(bert, broken), resume=True)
    same(broken, whole)
    own = {"event": "Saved", "step": 5, "what": "checkpoint"}  # the one that the signal asked for
    assert [entry for entry in log(broken) if entry != own] == log(whole.directory)
    assert [entry["step"] for entry in log(broken) if entry["event"] == "StepDone"] == list(range(1, 9))


def test_a_run_killed_before_it_was_measured_is_measured(bert: Path, tmp_path: Path, whole: RunReport) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole.directory, folder)
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:-1]))
    for name in ("metrics.json", "predictions.jsonl"):
        (folder / name).unlink()
    run(small(bert, folder), resume=True)
    same(folder, whole)
    assert log(folder) == log(whole.directory)


def test_a_run_killed_before_its_first_checkpoint_begins_again(bert: Path, broken: Path, whole: RunReport) -> None:
    shutil.rmtree(broken / "checkpoints")
    run(small(bert, broken), resume=True)
    same(broken, whole)
    assert log(broken) == log(whole.directory)


def test_what_killed_writers_left_is_swept_and_superfluous_checkpoints_go(
    bert: Path, tmp_path: Path, whole: RunReport
) -> None:
    """Each of these was found by killing runs (tests/faults)."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".tmp-recipe.yaml-1").write_text("tas")
    with pytest.raises(RecipeError, match=r"there is no run in .*run to go on with"):
        run(small(bert, folder), resume=True)
    run(small(bert, folder))  # not "in use"
    log_file = folder / "events.jsonl"
    log_file.write_text("".join(log_file.read_text().splitlines(keepends=True)[:-1]))
    (folder / ".tmp-report.html-1").write_text("<ht")
    (folder / "checkpoints" / ".tmp-step-00000004-1").mkdir()
    shutil.copytree(folder / "checkpoints" / "step-00000003", folder / "checkpoints" / "step-00000002")
    state = folder / "checkpoints" / "step-00000002" / "state.json"
    content = {**json.loads(state.read_text()), "step": 2}
    content.pop("sha256")
    state.write_text(checkpoint._sealed(content))
    run(small(bert, folder), resume=True)
    same(folder, whole)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert left == {str(path.relative_to(whole.directory)) for path in whole.directory.rglob("*")}


def test_a_damaged_checkpoint_is_passed_over_and_said(
    bert: Path, broken: Path, whole: RunReport, caplog: pytest.LogCaptureFixture
) -> None:
    newest = sorted((broken / "checkpoints").iterdir())[-1]
    (newest / "optimizer.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        run(small(bert, broken), resume=True)
    assert f"passing over the checkpoint {newest}: optimizer.safetensors is missing" in caplog.text
    same(broken, whole)
    assert [entry["step"] for entry in log(broken) if entry["event"] == "StepDone"] == list(range(1, 9))


def test_another_recipe_is_refused_key_by_key_and_nothing_is_written(bert: Path, broken: Path) -> None:
    before = {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()}
    other = small(bert, broken, learning_rate=2e-3, optimizer="adafactor")
    rather = other.model_copy(update={"data": recipe(bert, broken, data={"train": rows(64, 9)}, train={}).data})
    with pytest.raises(RecipeError, match="was written by another recipe") as caught:
        run(rather, resume=True)
    told = {problem.key: problem.message for problem in caught.value.problems}
    assert told.pop("data.train").startswith('was "64 rows, SHA-256 ')
    assert told == {
        "train.learning_rate": "was 0.001, is 0.002",
        "train.optimizer": 'was "adamw", is "adafactor"',
        "data.validation": 'was "20 rows", is not set',
    }
    assert {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()} == before


def test_what_only_saves_memory_may_change(bert: Path, broken: Path, whole: RunReport) -> None:
    resumed = run(small(bert, broken, micro_batch=16, gradient_checkpointing=True, keep=1), resume=True)
    assert resumed.finished
    same(broken, whole)  # one micro-batch of 16 is what auto makes of these rows


def test_what_cannot_be_resumed_says_why(bert: Path, tmp_path: Path, whole: RunReport) -> None:
    with pytest.raises(RecipeError, match=r"there is no run in .*none to go on with: leave --resume out"):
        run(small(bert, tmp_path / "none"), resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="other is no run's folder"):
        run(small(bert, tmp_path / "other"), resume=True)
    with pytest.raises(RecipeError, match="is in use"):
        run(small(bert, tmp_path / "other"))
    with pytest.raises(RecipeError, match="is finished already: its model is in"):
        run(small(bert, whole.directory), resume=True)
    untouched = recipe(whole.directory / "model", tmp_path / "new", data={"test": rows(4, 1)}, train=None)
    with pytest.raises(RecipeError, match="leave --resume out"):
        run(untouched, resume=True)


# The log


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = EventLog(tmp_path / "events.jsonl")
    events.note(Saved(1, "ä", "checkpoint"))
    before = events.path.read_bytes()
    room = [10]

    class Full(type(events.path.open("ab", buffering=0))):  # type: ignore[misc]
        def write(self, data: Any) -> int:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = super().write(bytes(data)[: room[0]])
            room[0] -= taken
            return int(taken)

    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Full(path, "ab"))
    with pytest.raises(ArtifactError, match=r"cannot write .*events\.jsonl: No space left on device"):
        events.note(Saved(2, "b", "checkpoint"))
    monkeypatch.undo()
    assert events.path.read_bytes() == before


def test_a_resume_takes_out_what_happens_again(tmp_path: Path) -> None:
    events = EventLog(tmp_path / "events.jsonl")
    start = RunStarted("t", "b", "encoder", "O", 9, 9, 1, 1, 0.0)
    steps = [StepDone(n, 9, n / 3, 0.5, 1e-3, 1.0, 4, 40, 0.1) for n in range(1, 5)]
    note = RowsNoted.of("train", "a.jsonl", "2 tags repaired", [3, 9])
    for event in (start, note, *steps[:2], Saved(2, "c/2", "checkpoint"), *steps[2:], RunFailed(4, "no"), start, note):
        events.note(event)
    events.note(RunResumed(2, "c/2"))
    events.note(steps[2])
    events.note(start)
    events.note(note)
    events.note(RunResumed(3, "c/3"))
    entries = [json.loads(line) for line in events.path.read_text().splitlines()]
    assert [(entry["event"], entry.get("step")) for entry in entries] == [
        ("RunStarted", None),
        ("RowsNoted", None),
        ("StepDone", 1),
        ("StepDone", 2),
        ("Saved", 2),
        ("RunResumed", 2),
        ("StepDone", 3),
        ("Saved", 3),
        ("RunResumed", 3),
    ]


def test_after_the_training_a_signal_stops_at_once() -> None:
    stop = Stop()
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            stop.at_once()
    later = Stop()
    with later.listening():
        later.at_once()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
