"""The folder of one run: who may write to it, and what is written beside the model."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nlpipe import card, files
from nlpipe.errors import RecipeError
from nlpipe.event_log import EventLog
from nlpipe.files import atomic_write
from nlpipe.recipe import Recipe, dump

if TYPE_CHECKING:
    from nlpipe.data import Split
    from nlpipe.events import Event


class RunDirectory:
    """`model/ checkpoints/ recipe.yaml environment.json events.jsonl metrics.json predictions.jsonl
    statistics.npz report.html`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"
        self.log = EventLog(path / "events.jsonl")

    def claim(self, *, resume: bool) -> None:
        """Raise RecipeError unless the folder is new, or an unfinished run's that is to be resumed."""
        used = self.path.exists() and (not self.path.is_dir() or not files.is_vacant(self.path))
        if used and not resume:
            raise RecipeError(
                f"the output folder {self.path} is in use. Go on with that run (--resume), or choose a new folder "
                "(--set output.dir=...)"
            )
        if resume and not used:
            raise RecipeError(f"there is no run in {self.path} to go on with: leave --resume out to begin one")
        if resume and not (self.path / "recipe.yaml").is_file():
            raise RecipeError(f"{self.path} is no run's folder (it has no recipe.yaml): choose another output.dir")
        if resume and self.log.finished:
            raise RecipeError(f"{self.path} is finished already: its model is in {self.model}")

    def begin(self, recipe: Recipe, splits: Mapping[str, Split], processes: int = 1) -> None:
        """Make the folder, and write the resolved recipe and what it runs on.

        A model that an earlier process left unmeasured is taken away: it is made again, the same, from the checkpoint.
        Raises ArtifactError where the disk does not let it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            files.sweep(self.path)
            files.sweep(self.checkpoints)
            if self.model.exists():
                files.discard(self.model)
        except OSError as error:
            raise files.unwritable(self.path, error) from error
        atomic_write(self.path / "recipe.yaml", dump(recipe))
        environment = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processes": processes,
            "threads": torch.get_num_threads(),
            "versions": card.versions(),
            "rows": {name: len(split.examples) for name, split in splits.items()},
        }
        atomic_write(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def note(self, event: Event) -> None:
        """Append an event to the run's log."""
        self.log.note(event)
