"""Many runs of one recipe: a sweep over settings, of which the best is named, and the same run with several seeds.

    report = many.sweep(recipe)        # `sweep:` in the recipe
    report = many.seeds(recipe)        # `seeds:` in the recipe

Each run has a folder of its own below `output.dir` and is an ordinary one (`running.run`); what is finished is read
off these folders, so that nothing is lost where the whole is stopped. Knows no task and no model.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nlpipe import checkpoint, measured, preparing, running
from nlpipe.errors import NlpipeError, Problem, RecipeError
from nlpipe.events import Event, TrialFinished, TrialStarted
from nlpipe.files import atomic_write
from nlpipe.metrics import Metric
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe, build
from nlpipe.recipe_sweep import dotted_settings, rungs, trials
from nlpipe.rundir import RunDirectory
from nlpipe.running import Listener
from nlpipe.world import World, join

__all__ = ["Outcome", "SeedsReport", "SweepReport", "Trial", "check", "seeds", "sweep"]

log = logging.getLogger("nlpipe")

SWEEP = "sweep.json"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a sweep: its number, its round (of halving), its settings by dotted key, its recipe."""

    number: int
    round: int
    share: float  # of the full training
    settings: Mapping[str, Any]
    recipe: Recipe = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where it is run."""
        return Path(self.recipe.output.dir)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial. `score` is its best on the validation rows, `scores` are those of the recipe's split."""

    trial: int
    round: int
    share: float
    settings: Mapping[str, Any]
    status: Literal["finished", "failed"]
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    model: str | None = None
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """All trials in the order they were run, and the best; `finished` is False where the sweep was interrupted.

    `metric` is the score that decides, on the validation rows.
    """

    directory: Path
    metric: Metric
    outcomes: Sequence[Outcome]
    finished: bool = True

    @property
    def ranked(self) -> list[Outcome]:
        """The longest trainings first, and of equally long ones the best; those without a score at the end."""
        scored = sorted(_ranked(self.outcomes, self.metric), key=lambda one: -one.round)  # keeps the order of equals
        return [*scored, *(one for one in self.outcomes if one.score is None)]

    @property
    def best(self) -> Outcome | None:
        """The best of the longest trainings; None where none has a score."""
        first = next(iter(self.ranked), None)
        return first if first and first.score is not None else None

    @property
    def model(self) -> str | None:
        """The best trial's model."""
        return self.best.model if self.best else None

    def to_dict(self) -> dict[str, Any]:
        """As `sweep.json` has it."""
        return {
            "metric": self.metric.name,
            "split": "validation",
            "trials": [asdict(outcome) for outcome in self.outcomes],
            "best": asdict(self.best) if self.best else None,
        }


@dataclass(frozen=True, slots=True)
class SeedsReport:
    """The scores of each seed's run, and over all of them mean and standard deviation (of a sample: n - 1)."""

    directory: Path
    task: str
    split: str
    runs: Mapping[int, Mapping[str, float]]
    finished: bool = True

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each score."""
        return {name: statistics.fmean(values) for name, values in self._columns().items()}

    @property
    def deviation(self) -> dict[str, float | None]:
        """The standard deviation of each score; None for a single run."""
        columns = self._columns().items()
        return {name: statistics.stdev(values) if len(values) > 1 else None for name, values in columns}

    def _columns(self) -> dict[str, list[float]]:
        names = next(iter(self.runs.values()), {})
        return {name: [scores[name] for scores in self.runs.values()] for name in names}

    def to_dict(self) -> dict[str, Any]:
        """As `seeds.json` has it."""
        runs = [{"seed": seed, "scores": dict(scores)} for seed, scores in self.runs.items()]
        return {
            "task": self.task,
            "split": self.split,
            "n": len(runs),
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "runs": runs,
        }


def check(recipe: Recipe, plugins: Plugins) -> list[Trial]:
    """The trials of the recipe's sweep, each a valid recipe; those of halving are the first round's.

    Raises RecipeError with all that is wrong with any of them, before anything is run.
    """
    assert recipe.sweep is not None
    first, share = rungs(recipe.sweep)[0]
    settings = trials(recipe.sweep)[:first]
    made, problems = [], dict[str, Problem]()
    for number, chosen in enumerate(settings):
        try:
            made.append(_trial(recipe, plugins, number, 0, share, chosen))
        except RecipeError as error:
            for problem in error.problems or (Problem("", "", error.message),):
                problems.setdefault(f"{problem.key}{problem.message}", replace(problem, where="sweep.over"))
    if problems:
        raise RecipeError(f"the sweep has {len(problems)} problem{'s' * (len(problems) > 1)}", list(problems.values()))
    return made


def _trial(
    recipe: Recipe, plugins: Plugins, number: int, rung: int, share: float, settings: Mapping[str, Any]
) -> Trial:
    """A trial as a valid recipe; a short one is scored on the validation rows alone."""
    whole = recipe.model_dump(exclude_unset=True, exclude={"sweep", "seeds"}, by_alias=True)
    train = dict(whole.get("train") or {})
    for one, other in (("batch_size", "tokens_per_batch"), ("tokens_per_batch", "batch_size")):
        if f"train.{one}" in settings:
            train.pop(other, None)
    folder = Path(recipe.output.dir) / "trials" / (f"{number:03}-{rung}" if rung or share < 1 else f"{number:03}")
    changes: dict[str, Any] = {**settings, "output.dir": str(folder)}
    made = build(dotted_settings({**whole, "train": train}, changes), plugins.tasks)
    assert made.train is not None
    if share < 1:
        steps, epochs = made.train.steps, made.train.epochs
        shorter = {"steps": max(1, round(steps * share))} if steps else {"epochs": epochs * share}
        made = made.model_copy(
            update={
                "train": made.train.model_copy(update=shorter),
                "evaluate": made.evaluate.model_copy(update={"split": "validation", "bootstrap": 0}),
            }
        )
    return Trial(number, rung, share, dict(settings), made)


def sweep(
    recipe: Recipe,
    *,
    resume: bool = False,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
    plugins: Plugins | None = None,
) -> SweepReport:
    """Run the trials of the recipe's `sweep:`, each in a folder below `output.dir/trials`, and name the best.

    The best has the best score on the validation rows, by the score that chooses weights. A trial that fails is
    recorded, and the sweep goes on; with several processes it ends, as they could not know of each other. With
    `resume` finished trials are not run again, torn ones go on, failed ones are tried again. Raises RecipeError before
    anything is run where any trial is no valid recipe, and what the first trial raised where all failed.
    """
    registry = plugins or Plugins.discover()
    if recipe.sweep is None:
        raise RecipeError("the recipe has no `sweep`")
    made = check(recipe, registry)
    metric = preparing.metric(registry.task(recipe.task.name)(), recipe.train.best if recipe.train else None)
    many = _Many(recipe, Path(recipe.output.dir).expanduser(), SWEEP, registry, offline, listeners)
    many.begin(resume)
    outcomes: list[Outcome] = []

    def report(*, finished: bool) -> SweepReport:
        found = SweepReport(many.folder, metric, tuple(outcomes), finished)
        many.write(found.to_dict())
        return found

    for number, (count, share) in enumerate(rungs(recipe.sweep)):
        if number:
            chosen = _ranked([one for one in outcomes if one.round == number - 1], metric)[:count]
            made = [_trial(recipe, registry, one.trial, number, share, one.settings) for one in chosen]
        for at, trial in enumerate(made):
            many.tell(TrialStarted(at, len(made), number, dict(trial.settings)))
            outcome = many.outcome(trial, metric)
            if outcome is None:
                return report(finished=False)
            outcomes.append(outcome)
            report(finished=False)
            many.tell(TrialFinished(at, outcome.status, outcome.score, outcome.seconds, outcome.error))
    if many.errors and not any(one.status == "finished" for one in outcomes):
        raise many.errors[0]
    return report(finished=True)


def seeds(
    recipe: Recipe,
    *,
    resume: bool = False,
    offline: bool = False,
    listeners: Sequence[Listener] = (),
    plugins: Plugins | None = None,
) -> SeedsReport:
    """Run the recipe once with each of its `seeds:`, in `output.dir/seed-N`, and say how far the scores scatter.

    With `resume` finished runs are not run again. Raises what `nlpipe.run` raises.
    """
    registry = plugins or Plugins.discover()
    split = recipe.split
    if recipe.seeds is None or recipe.train is None or split is None:
        raise RecipeError("the recipe has no `seeds`")
    many = _Many(recipe, Path(recipe.output.dir).expanduser(), measured.SEEDS, registry, offline, listeners)
    many.begin(resume)
    runs: dict[int, Mapping[str, float]] = {}
    for at, seed in enumerate(recipe.seeds):
        many.tell(TrialStarted(at, len(recipe.seeds), 0, {"train.seed": seed}))
        made = recipe.model_copy(
            update={
                "seeds": None,
                "train": recipe.train.model_copy(update={"seed": seed}),
                "output": recipe.output.model_copy(update={"dir": str(measured.seed_folder(many.folder, seed))}),
            }
        )
        start = time.perf_counter()
        if not many.run(made):
            return SeedsReport(many.folder, recipe.task.name, split, runs, finished=False)
        runs[seed] = many.scores(made)
        score = next(iter(runs[seed].values()), None)
        many.tell(TrialFinished(at, "finished", score, time.perf_counter() - start))
        report = SeedsReport(many.folder, recipe.task.name, split, runs)
        many.write(report.to_dict())
    return report


class _Many:
    """The folder of many runs, and what is the same in each of them."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        name: str,
        plugins: Plugins,
        offline: bool,
        listeners: Sequence[Listener],
    ) -> None:
        self.recipe, self.folder, self.file, self.plugins = recipe, folder, folder / name, plugins
        self.offline, self.listeners = offline, listeners
        self.world: World = join()
        self.errors: list[Exception] = []

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed one must agree with."""
        whole: dict[str, Any] = json.loads(self.recipe.model_dump_json(exclude={"output", "run", "data"}))
        return whole

    def begin(self, resume: bool) -> None:
        """Make the folder. Raises RecipeError where it is in use, or another recipe's that is to be resumed."""
        self.world.once(lambda: self._begin(resume))

    def _begin(self, resume: bool) -> None:
        used = self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir()))
        if used and not resume:
            raise RecipeError(
                f"the output folder {self.folder} is in use. Go on with these runs (--resume), or choose a new folder "
                "(--set output.dir=...)"
            )
        if used:
            before = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}
            problems = checkpoint.differences(before.get("recipe", {}), self.identity)
            if problems:
                raise RecipeError(f"{self.folder} holds runs of another recipe, or none at all", problems)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not used:
            self.write({})

    def write(self, content: Mapping[str, Any]) -> None:
        """Write what is known so far."""
        if self.world.first:
            text = json.dumps({**content, "recipe": self.identity}, indent=2, ensure_ascii=False)
            atomic_write(self.file, text + "\n")

    def tell(self, event: Event) -> None:
        """Tell plugins and listeners what happens between the runs."""
        if self.world.first:
            self.plugins.emit(event)
            for listener in self.listeners:
                listener(event)

    def run(self, recipe: Recipe) -> bool:
        """Do a run, unless it is done; False where it was interrupted."""
        folder = Path(recipe.output.dir)
        state = self.world.once(lambda: self._state(folder))
        if state == "finished":
            return True
        report = running.run(
            recipe,
            resume=state == "torn",
            offline=self.offline,
            listeners=self.listeners,
            plugins=self.plugins,
        )
        return report.finished

    def _state(self, folder: Path) -> Literal["new", "torn", "finished"]:
        if RunDirectory(folder).log.finished:
            return "finished"
        if (folder / "recipe.yaml").is_file():
            return "torn"
        if folder.exists():  # killed while it was made: nothing is in it
            shutil.rmtree(folder)
        return "new"

    def scores(self, recipe: Recipe) -> dict[str, float]:
        """The scores of a finished run."""
        file = Path(recipe.output.dir) / "metrics.json"
        found: dict[str, float | None] = self.world.once(lambda: json.loads(file.read_text(encoding="utf-8"))["scores"])
        return {name: math.nan if value is None else value for name, value in found.items()}

    def outcome(self, trial: Trial, metric: Metric) -> Outcome | None:
        """What becomes of a trial; None where it was interrupted."""
        start = time.perf_counter()
        own = (trial.number, trial.round, trial.share, trial.settings)
        try:
            if not self.run(trial.recipe):
                return None
            scores = self.scores(trial.recipe)
            score = self.world.once(lambda: _validated(trial.folder, metric))
        except Exception as error:  # whatever a trial meets; the others may do better
            if self.world.size > 1:
                raise
            self.errors.append(error)
            if not isinstance(error, NlpipeError):
                log.warning("trial %d: a bug: %s", trial.number, "".join(traceback.format_exception(error)))
            said = str(error) if isinstance(error, NlpipeError) else f"{type(error).__name__}: {error}"
            return Outcome(*own, "failed", seconds=time.perf_counter() - start, error=said)
        model = str(trial.folder / "model")
        return Outcome(*own, "finished", score, scores, model, time.perf_counter() - start)


def _validated(folder: Path, metric: Metric) -> float | None:
    """The best score on the validation rows that a run's log has; None where none is a number."""
    best: float | None = None
    for event in RunDirectory(folder).log.entries():
        if event["event"] == "Evaluated" and event.get("split") == "validation":
            score = event["scores"][metric.name]
            if score is not None and math.isfinite(score) and (best is None or metric.better(score, best)):
                best = score
    return best


def _ranked(outcomes: Sequence[Outcome], metric: Metric) -> list[Outcome]:
    """Those with a score, the best first; of equals the first one."""
    found = [one for one in outcomes if one.score is not None]
    sign = -1 if metric.direction == "maximize" else 1
    return sorted(found, key=lambda one: sign * (one.score or 0.0))
