"""The folder of one run: who may write to it, and what is written beside the model."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nlpipe import artifact, measured
from nlpipe.errors import RecipeError
from nlpipe.files import atomic_write
from nlpipe.recipe import Recipe, dump

if TYPE_CHECKING:
    from nlpipe.data import Split
    from nlpipe.evaluation import Scores
    from nlpipe.events import Event
    from nlpipe.results import Result


class RunDirectory:
    """`model/ checkpoints/ recipe.yaml environment.json events.jsonl metrics.json predictions.jsonl
    statistics.npz`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"

    def claim(self, *, resume: bool) -> None:
        """Raise RecipeError unless the folder is new, or an unfinished run's that is to be resumed."""
        if resume and self.model.exists():
            raise RecipeError(f"{self.path} is finished already: its model is in {self.model}")
        used = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if used and not resume:
            raise RecipeError(
                f"the output folder {self.path} is in use. Go on with that run (--resume), or choose a new folder "
                "(--set output.dir=...)"
            )

    def begin(self, recipe: Recipe, splits: Mapping[str, Split]) -> None:
        """Make the folder, and write the resolved recipe and what it runs on."""
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path / "recipe.yaml", dump(recipe))
        environment = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "versions": artifact.versions(),
            "rows": {name: len(split.examples) for name, split in splits.items()},
        }
        atomic_write(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def note(self, event: Event) -> None:
        """Append an event to the run's log."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")

    def measured(self, split: Split, scores: Scores, results: Sequence[Result]) -> None:
        """Write the scores of a split and what they rest on."""
        measured.write(self.path, split, scores, results)
