"""Trackers hear of a run: TensorBoard itself, and the others as packages that write down what they are told."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from nlpipe.errors import UnsupportedError
from nlpipe.events import Evaluated, RunFinished, RunStarted, StepDone
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from nlpipe.tracking import Tracking, flat
from tests.support import labelled, recipe, tiny

RECORDER = """
import json, os
def _note(*what):
    with open(os.environ["TOLD"], "a") as stream:
        stream.write(json.dumps(what) + "\\n")
"""
WANDB = """
class _Config:
    def update(self, values, **rest): _note("config", values)
class _Run:
    def log(self, values, step=None, **rest):
        if os.environ.get("BROKEN"): raise ConnectionError("no route to the server")
        _note("log", step, values)
    def finish(self): _note("finish")
config = _Config()
def init(project, **rest):
    if os.environ.get("NO_LOGIN"): raise RuntimeError("not logged in\\nand more")
    _note("init", project)
    return _Run()
"""
MLFLOW = """
class utils:
    class validation: MAX_PARAM_VAL_LENGTH = 500; MAX_PARAMS_TAGS_PER_BATCH = 100
def search_experiments(**rest): return []
def create_experiment(name, **rest): _note("init", name); return 1
def start_run(**rest): return object()
def log_params(values): _note("config", values)
def log_metrics(values, step=None): _note("log", step, values)
def end_run(): _note("finish")
"""
FAKES = {"wandb": WANDB, "trackio": WANDB, "mlflow": MLFLOW}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with the trackers' names; what they are told stands in this file."""
    for name, code in FAKES.items():
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").write_text(RECORDER + code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


def made(tmp_path: Path, *names: str) -> Recipe:
    return Recipe(
        task="sentiment",
        model={"backbone": "x"},
        data={"train": "a.csv", "validation": 0.1},
        train={"learning_rate": 1e-3},
        run={"trackers": names},
        output={"dir": str(tmp_path / "run")},
    )


STARTED = RunStarted("sentiment", "x", "encoder", "SequenceLabel", 2, 9, 1, 2, 0.1)
STEP = StepDone(1, 2, 0.5, 0.7, 1e-3, 1.5, 8, 90, 0.1)


@pytest.mark.parametrize("name", FAKES)
def test_a_tracker_is_told_everything(name: str, told: Path, tmp_path: Path) -> None:
    tracking = Tracking(made(tmp_path, name), "validation")
    assert not told.exists()
    for event in (STARTED, STEP, Evaluated(1, "validation", {"accuracy": 0.5}), RunFinished(2, 1.0, {"accuracy": 0.6})):
        tracking(event)
    notes = [json.loads(line) for line in told.read_text().splitlines()]
    assert [note[0] for note in notes] == ["init", "config", "log", "log", "log", "finish"]
    assert notes[0][1] == "nlpipe-sentiment"
    assert notes[1][1]["train.learning_rate"] == 1e-3
    assert notes[2][1:] == [1, {"train/loss": 0.7, "train/learning_rate": 1e-3, "train/gradient_norm": 1.5}]
    assert notes[3][1:] == [1, {"validation/accuracy": 0.5}]
    assert notes[4][1:] == [2, {"final_validation/accuracy": 0.6}]


def test_a_tracker_that_fails_is_left_out(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BROKEN", "1")
    tracking = Tracking(made(tmp_path, "wandb", "mlflow"), "validation")
    with caplog.at_level(logging.WARNING, "nlpipe"):
        for event in (STARTED, STEP, STEP):
            tracking(event)
    assert caplog.text.count("wandb failed at step 1") == 1
    assert told.read_text().count('"log"') == 2  # mlflow's


def test_a_tracker_that_cannot_start_ends_the_run_before_it_begins(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_LOGIN", "1")
    with pytest.raises(UnsupportedError, match=r"wandb cannot be started: not logged in; leave it out"):
        Tracking(made(tmp_path, "wandb"), "validation")(STARTED)


def test_a_package_that_is_missing_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"^run.trackers: mlflow is not installed; pip install 'nlpipe\[mlflow\]'$"
    with pytest.raises(UnsupportedError, match=message):
        run(made(tmp_path, "mlflow"))
    assert not (tmp_path / "run").exists()


def test_settings_are_flat(tmp_path: Path) -> None:
    found = flat(made(tmp_path, "tensorboard"))
    assert found["train.learning_rate"] == 1e-3 and found["run.trackers"] == '["tensorboard"]'
    assert all(isinstance(value, str | int | float | bool) for value in found.values())


def test_tensorboard_has_the_losses_and_the_scores(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train: dict[str, Any] = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "evaluate_every": 2}
    told = {"trackers": ["tensorboard"], "threads": 1}
    rows = labelled(rules.first_keyword(60, seed=1))
    data = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    report = run(recipe(tiny("bert", tmp_path), tmp_path / "run", train=train, run=told, data=data))
    written = EventAccumulator(str(report.directory / "tensorboard")).Reload()
    losses = written.Scalars("train/loss")
    lines = (report.directory / "events.jsonl").read_text().splitlines()
    steps = [event for event in map(json.loads, lines) if event["event"] == "StepDone"]
    assert [one.step for one in losses] == [1, 2, 3, 4]
    assert [one.value for one in losses] == pytest.approx([event["loss"] for event in steps])
    assert [one.step for one in written.Scalars("validation/accuracy")] == [2, 4]
    assert report.scores is not None
    assert written.Scalars("final_test/accuracy")[0].value == pytest.approx(report.scores.scores["accuracy"])
