"""A foreign distribution, installed into an environment of its own and used through its entry point alone."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from nlpipe.testing import rules
from nlpipe.testing.tiny import tiny_model
from tests import children

SOURCE = Path(__file__).parent / "acme_words"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install acme-words` would have put into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "acme_words")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--target", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def nlpipe(site: Path, tmp_path: Path) -> Command:
    """The command line of an environment in which it is installed."""

    def call(*arguments: str, fails: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        if children.FORKING and {"run", "predict"} & {*arguments}:  # what computes need not import torch anew
            done = children.in_a_fork(partial(_elsewhere, site, arguments), tmp_path, environment)
        else:
            done = _afresh(site, arguments, tmp_path, environment)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    return call


def _afresh(
    site: Path, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "nlpipe", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _elsewhere(site: Path, arguments: Sequence[str]) -> None:
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    children.nlpipe(arguments)


def test_it_is_found_and_listed(nlpipe: Command, site: Path) -> None:
    records = {record["name"]: record for record in json.loads(nlpipe("plugin", "list", "--json").stdout)}
    acme = records["acme"]
    assert (acme["distribution"], acme["version"], acme["state"]) == ("acme-words", "1.4.2", "loaded")
    assert (acme["tasks"], acme["families"], acme["api"]) == (["which_first"], ["encoder"], ">=1.0,<2")
    assert acme["hooks"] == ["nlpipe_tasks", "nlpipe_dataset", "nlpipe_event"]
    assert acme["folder"] == str(site / "acme_words")
    shown = nlpipe("plugin", "info", "acme").stdout
    for part in ("acme-words 1.4.2", "the word that comes first", "encoder: CautiousLabel", ">=1.0,<2"):
        assert part in shown


def test_it_is_left_out_by_name_or_distribution(nlpipe: Command, tmp_path: Path) -> None:
    def states() -> str:
        return next(r["error"] for r in json.loads(nlpipe("plugin", "list", "--json").stdout) if r["name"] == "acme")

    (tmp_path / "nlpipe.toml").write_text('disable_plugins = ["acme-words"]')
    assert states() == f"left out by {tmp_path / 'nlpipe.toml'}"
    refused = nlpipe("recipe", "new", "which_first", fails=True)
    assert refused.returncode == 2
    assert "plugin 'acme' (acme-words 1.4.2) is left out" in refused.stderr


@pytest.mark.slow
def test_its_samples_are_checked_by_name(nlpipe: Command) -> None:
    """An installed plugin comes without tests; the kit takes its samples."""
    report = json.loads(nlpipe("plugin", "check", "acme-words", "--json", "--quiet").stdout)
    assert report["plugin"] == "plugin 'acme' (acme-words 1.4.2)"
    assert report["passed"], report
    checks = {outcome["check"] for outcome in report["outcomes"]}
    assert {"loads", "loads_lightly", "states_its_api", "gets_along", "samples_are_valid"} <= checks


def test_a_recipe_runs_with_all_it_brings(nlpipe: Command, tmp_path: Path) -> None:
    """Its source of data, its task and objective, its listener; the model's Card names it."""
    backbone = tiny_model("bert", tmp_path / "bert", words=[*rules.FILLERS, *rules.KEYWORDS])
    (tmp_path / "recipe.yaml").write_text(
        f"version: 1\ntask: which_first\nmodel: {{backbone: {backbone}}}\n"
        "data: {train: 'acme://200', test: 'acme://50'}\n"
        "train: {steps: 120, batch_size: 32, learning_rate: 3.0e-3, warmup: 0.1}\n"
        "evaluate: {bootstrap: 0}\nrun: {threads: 1}\noutput: {dir: run}\n"
    )
    scores = json.loads(nlpipe("run", "recipe.yaml", "--json", "--quiet", ACME_LOG="events.txt").stdout)
    assert scores["scores"]["accuracy"] > 0.9
    events = (tmp_path / "events.txt").read_text().split()
    assert (events[0], events[-1], events.count("StepDone")) == ("RunStarted", "RunFinished", 120)
    card = json.loads((tmp_path / "run" / "model" / "nlpipe.json").read_text())
    assert card["objective"] == "CautiousLabel"
    assert (card["plugin"]["name"], card["plugin"]["version"]) == ("acme-words", "1.4.2")

    (tmp_path / "new.txt").write_text("ba be north bi south\n")
    answered = nlpipe("predict", "run/model", "--input", "new.txt", "--quiet")
    answer = json.loads(answered.stdout)
    assert answer["first"] == "north"
    assert 0.5 < answer["sure"] <= 0.75  # as its own objective has it
    missing = nlpipe("--no-plugin", "acme", "predict", "run/model", "--input", "new.txt", fails=True)
    assert "unknown task 'which_first'" in missing.stderr
    assert "Traceback" not in missing.stderr
