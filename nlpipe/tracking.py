"""A run's events for TensorBoard, MLflow, Weights & Biases and trackio, through Accelerate's trackers.

Listens; decides nothing. `events.jsonl` in the run's folder has everything without any of them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlpipe.errors import UnsupportedError
from nlpipe.events import Evaluated, Event, RunFailed, RunFinished, RunInterrupted, StepDone
from nlpipe.recipe import Recipe

__all__ = ["Tracking", "require"]

log = logging.getLogger("nlpipe")


def require(names: Sequence[str]) -> None:
    """Raise UnsupportedError where the package of a tracker is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UnsupportedError(f"run.trackers: {name} is not installed; pip install 'nlpipe[{name}]'")


class Tracking:
    """Hands a run's numbers to trackers: a listener. They are opened at the run's first event and closed at its last.

    A tracker that fails later is reported once and left out: the run is worth more.
    """

    def __init__(self, recipe: Recipe, split: str | None) -> None:
        require(recipe.run.trackers)
        self.recipe, self.split = recipe, split
        self._open: dict[str, Any] | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if self._open is None:
            self._open = dict(self._opened())
        match event:
            case StepDone():
                values = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.norm}
                self._log({f"train/{name}": value for name, value in values.items()}, event.step)
            case Evaluated():
                self._log({f"{event.split}/{name}": value for name, value in event.scores.items()}, event.step)
            case RunFinished():
                if event.scores:
                    self._log({f"final_{self.split}/{k}": v for k, v in event.scores.items()}, event.steps)
                self._close()
            case RunFailed() | RunInterrupted():
                self._close()
            case _:
                pass

    def _opened(self) -> Iterator[tuple[str, Any]]:
        """Each tracker, started, with the recipe as its configuration. Raises UnsupportedError where one cannot."""
        folder, project = Path(self.recipe.output.dir), f"nlpipe-{self.recipe.task.name}"
        for name in self.recipe.run.trackers:
            try:
                tracker = _made(name, project, folder)
                tracker.start()
                tracker.store_init_configuration(flat(self.recipe))
            except Exception as error:  # theirs: no login, no network, a server that is down
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UnsupportedError(f"run.trackers: {name} cannot be started: {reason}; leave it out") from error
            yield name, tracker

    def _log(self, values: Mapping[str, float], step: int) -> None:
        values = {key.replace("@", "_at_"): value for key, value in values.items()}  # MLflow takes no ndcg@10
        for name, tracker in list((self._open or {}).items()):
            try:
                tracker.log(values, step=step)
            except Exception as error:
                log.warning("%s failed at step %d and is left out; the run goes on: %s", name, step, error)
                assert self._open is not None
                del self._open[name]

    def _close(self) -> None:
        for name, tracker in (self._open or {}).items():
            try:
                tracker.finish()
            except Exception as error:
                log.warning("%s failed while it closed: %s", name, error)
        self._open = {}


def _made(name: str, project: str, folder: Path) -> Any:
    from accelerate import tracking

    match name:
        case "tensorboard":
            return tracking.TensorBoardTracker("tensorboard", folder)
        case "mlflow":
            return tracking.MLflowTracker(experiment_name=project, run_name=str(folder))
        case "wandb":
            return tracking.WandBTracker(project, name=str(folder).replace("/", "-"), dir=str(folder))
        case _:
            return tracking.TrackioTracker(project, name=str(folder).replace("/", "-"))


def flat(recipe: Recipe) -> dict[str, str | float | bool]:
    """The recipe's settings by dotted key, but for where its rows come from; a list as JSON."""
    whole = json.loads(recipe.model_dump_json(exclude={"data"}, exclude_none=True))
    return dict(_leaves(whole, ""))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str | float | bool]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value if isinstance(value, str | int | float | bool) else json.dumps(value)
