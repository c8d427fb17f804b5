"""Made-up rows, tiny models and one cached training each, for all tests that look at what was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nlpipe.backbone import family_of
from nlpipe.backbone import load as load_backbone
from nlpipe.card import Card, Origin
from nlpipe.loading import load
from nlpipe.locating import Location
from nlpipe.objectives.base import Window
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe
from nlpipe.runners.torch import TorchRunner
from nlpipe.running import RunReport, run
from nlpipe.testing import rules
from nlpipe.testing.tiny import tiny_model
from nlpipe.upstream import read_config

PLUGINS = Plugins.discover()

ROWS = 400
UNSEEN = 200
# 200 steps of 32 rows teach every architecture the rule; a quarter of it already does for most.
TRAIN = {"steps": 200, "batch_size": 32, "learning_rate": 3e-3, "warmup": 0.1, "seed": 3, "checkpoint_every": 10**6}


def labelled(rows: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """(text, label) as rows of data."""
    return [{"text": text, "label": label} for text, label in rows]


UNSEEN_ROWS = labelled(rules.first_keyword(UNSEEN, seed=2))


@dataclass(frozen=True)
class Trained:
    """A finished run, the tiny backbone it began with, and a fresh load of what it saved."""

    report: RunReport
    backbone: Path

    @property
    def model(self) -> Path:
        assert self.report.model is not None
        return self.report.model

    def load(self) -> Pipeline:
        return load(self.model)


def tiny(architecture: str, folder: Path) -> Path:
    """A tiny backbone that knows the words of the rules."""
    target = folder / architecture
    return target if target.exists() else tiny_model(architecture, target, words=[*rules.FILLERS, *rules.KEYWORDS])


def recipe(backbone: Path, out: Path, **changes: Any) -> Recipe:
    """The rule as a classification recipe; `changes` replace whole sections."""
    sections: dict[str, Any] = {
        "task": "classification",
        "model": {"backbone": str(backbone)},
        "data": {"train": labelled(rules.first_keyword(ROWS, seed=1)), "test": UNSEEN_ROWS},
        "train": TRAIN,
        "evaluate": {"bootstrap": 0},
        "run": {"threads": 1},
        "output": {"dir": str(out)},
    }
    return Recipe(**(sections | changes))


def untrained(
    task: str, backbone: Path, labels: Sequence[str] = (), *, max_length: int = 64, overlap: int = 0, **options: Any
) -> Pipeline:
    """A pipeline whose head has learnt nothing: for tests that ask how a task answers, not how well."""
    kind = PLUGINS.task(task)
    family = family_of(read_config(backbone))
    asked = kind(labels, kind.Options(**options))
    objective = asked.objective(kind.row()[family][0]).placed(family, {})
    loaded = load_backbone(Location("tiny", backbone), objective, labels=tuple(labels))
    card = Card(
        task=task,
        options=asked.options.model_dump(mode="json"),
        labels=tuple(labels),
        family=family,
        objective=type(objective).__name__,
        attention=loaded.attention,
        window=Window(max_length=max_length, overlap=overlap),
        settings=objective.recorded(),
        plugin=Origin(name="test"),
        backbone=Origin(name="tiny"),
    )
    return Pipeline(card, TorchRunner(loaded.model, torch.device("cpu")), loaded.tokenizers, plugins=PLUGINS)


class Trainings:
    """Each training is done once in a test session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[str, Trained] = {}

    def get(self, name: str, architecture: str, make: Callable[[Path, Path], Recipe] = recipe) -> Trained:
        """The run called `name` on a tiny model of an architecture."""
        if name not in self._done:
            backbone = tiny(architecture, self.folder)
            self._done[name] = Trained(run(make(backbone, self.folder / f"run-{name}")), backbone)
        return self._done[name]
