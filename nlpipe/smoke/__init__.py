"""A recipe in small: every stage of it in seconds, without a network, on a random model and a few rows.

    report = smoke.run(recipe)

What comes out says that the recipe runs from its data to a loaded model, and nothing about how well it would do.
The recipe is rewritten and handed to `running.run`, which knows nothing of it.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlpipe import adapting, backbone, many, preparing, running, upstream
from nlpipe.backbone import Backbone
from nlpipe.errors import NlpipeError, RecipeError
from nlpipe.generation import BEAMS, Generation
from nlpipe.locating import Location
from nlpipe.objectives.base import Objective
from nlpipe.plugins import Plugins
from nlpipe.preparing import AnyTask
from nlpipe.recipe import Recipe
from nlpipe.recipe_sources import without_nulls
from nlpipe.running import DEFAULT_SEED, Listener, RunReport
from nlpipe.smoke import rows
from nlpipe.smoke.backbones import longest, stand_in

__all__ = ["Small", "run", "shrink"]

log = logging.getLogger("nlpipe")

STEPS = 4
BATCH = 8
TOKENS = 8  # that an answer has at most
INFERENCE = ("contradiction", "neutral", "entailment")  # what a model whose own labels are asked about is trained on
MARK = "smoke.json"  # says that a folder is a smoke run's, so that the next one may replace it


@dataclass(frozen=True, slots=True)
class Small:
    """A recipe in small, the folder it was made in, and what stands in for what, in sentences."""

    recipe: Recipe
    folder: Path
    notes: tuple[str, ...]


def run(recipe: Recipe, *, listeners: Sequence[Listener] = (), plugins: Plugins | None = None) -> RunReport:
    """Do everything that the recipe says with a tiny random model and a few rows, in `<output.dir>-smoke`.

    What stands in for what is logged. Raises what `nlpipe.run` raises, and RecipeError where that folder is in use
    by anything but an earlier smoke run, which is replaced.
    """
    registry = plugins or Plugins.discover()
    upstream.quiet()
    small = shrink(recipe, registry)
    for note in small.notes:
        log.warning("%s", note)
    return running.run(small.recipe, offline=True, listeners=listeners, plugins=registry)


def shrink(recipe: Recipe, plugins: Plugins) -> Small:
    """The recipe in small, with its model and rows written beside where it will run. Raises as `run` does."""
    notes = []
    if recipe.sweep is not None:
        notes.append(f"sweep: all {len(many.check(recipe, plugins))} trials are valid recipes; none of them is run")
    folder = _folder(recipe)
    seed = recipe.train.seed if recipe.train else DEFAULT_SEED
    kind = plugins.task(recipe.task.name)
    objective = recipe.model.objective
    said, own = stand_in(
        recipe.model,
        folder / "backbone",
        head=lambda family: preparing.choose(kind, family, objective).head,
        seed=seed,
        width=_width(kind, recipe),
        places=adapting.places(recipe),
    )
    notes.append(f"model: {said}, whose answers mean nothing")
    made = _rewritten(recipe, folder)
    if not own and made.train and made.train.freeze:
        made = made.model_copy(update={"train": made.train.model_copy(update={"freeze": None})})
        notes.append("train.freeze is left out: it is about the real model's layers")
    if (lost := rows.missing(recipe, plugins)) is None:
        made = _with_rows(made, **rows.own(recipe, plugins, seed, folder))
        notes.append(f"data: all rows were read and checked; {rows.TRAIN} at most are learnt from")
    else:
        made, dropped = _with_samples(made, kind)
        notes.append(f"data: {lost} is not here; the samples of the task {kind.name} stand in for all rows")
        notes += [f"task.{name} does not go with these samples and is left out" for name in dropped]
    if recipe.train is None:
        made = _with_head(made, kind, folder)
    (folder / MARK).write_text(json.dumps({"notes": notes}, indent=2) + "\n", encoding="utf-8")
    return Small(made, folder, tuple(notes))


def _folder(recipe: Recipe) -> Path:
    """The empty folder of a smoke run; an earlier one's is emptied."""
    out = Path(recipe.output.dir).expanduser()
    folder = out.with_name(f"{out.name}-smoke")
    if (folder / MARK).is_file():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}, where the smoke run goes, is in use by something else; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("{}\n", encoding="utf-8")
    return folder


def _width(kind: type[AnyTask], recipe: Recipe) -> int:
    """The most components of a state that any objective of the task names in its options."""
    options = _options(kind, recipe.task.options)
    task = kind(recipe.task.labels or kind.labels_in(kind.samples(), options), options)
    found = [adapting.width(recipe)]
    for objective in {one for served in kind.row().values() for one in served}:
        with suppress(NlpipeError):  # options that are not about this objective; the run will say so if they should be
            found.append(task.objective(objective).width)
    return max(found)


def _options(kind: type[AnyTask], given: Mapping[str, Any]) -> Any:
    return kind.Options.model_validate(without_nulls(kind.Options, given))


def _rewritten(recipe: Recipe, folder: Path) -> Recipe:
    """Few steps, short answers, few resamples, and folders of its own; rows are still to be put in."""
    changes: dict[str, Any] = {
        "model": recipe.model.model_copy(
            update={
                "backbone": str(folder / "backbone"),
                "revision": "main",
                "new": None,
                "tokenizer": None,
                "max_length": longest(recipe.model),
            }
        ),
        "generation": _short(recipe.generation),
        "evaluate": recipe.evaluate.model_copy(update={"bootstrap": min(recipe.evaluate.bootstrap, 20)}),
        "run": recipe.run.model_copy(update={"device": "cpu", "processes": 1, "trackers": ()}),
        "output": recipe.output.model_copy(update={"dir": str(folder / "run")}),
        "sweep": None,
        "seeds": None,
    }
    if (train := recipe.train) is not None:
        micro = train.micro_batch
        changes["train"] = train.model_copy(
            update={
                "steps": STEPS,
                "batch_size": min(BATCH, train.batch_size or BATCH),
                "tokens_per_batch": None,
                "micro_batch": micro if micro == "auto" else min(micro, BATCH // 2),
                "warmup": min(train.warmup, 1) if train.warmup >= 1 else train.warmup,
                "evaluate_every": STEPS // 2,
                "checkpoint_every": STEPS // 2,
                "compile": False,  # minutes, for nothing that a tiny model would show
            }
        )
    return recipe.model_copy(update=changes)


def _short(generation: Generation) -> Generation:
    """The same settings for a few tokens and two beams; what would then do nothing is left out."""
    given = dict(generation.given)
    if not given:
        return generation
    given["max_new_tokens"] = min(TOKENS, given.get("max_new_tokens", TOKENS))
    if "min_new_tokens" in given:
        given["min_new_tokens"] = min(given["min_new_tokens"], given["max_new_tokens"])
    if "num_beams" in given:
        given["num_beams"] = min(given["num_beams"], max(2, given.get("num_return_sequences", 1)))
    if given.get("num_beams", 1) == 1:
        given = {name: value for name, value in given.items() if name not in BEAMS}
    return Generation.model_validate(given)


def _with_rows(recipe: Recipe, data: Mapping[str, Any], options: Mapping[str, Any], labels: Any) -> Recipe:
    task = recipe.task.model_copy(update={"options": dict(options), "labels": tuple(labels) if labels else None})
    section = {**dict.fromkeys(rows.SPLITS), "check": "off", **data}  # the same few rows may stand in for all splits
    return recipe.model_copy(update={"task": task, "data": type(recipe.data).model_validate(section)})


def _with_samples(recipe: Recipe, kind: type[AnyTask]) -> tuple[Recipe, Sequence[str]]:
    """The recipe over the task's samples, and the options that had to go because they are about other rows.

    Labels fixed by the recipe are other rows' too. As few options go as let the most samples be used. Raises what
    the samples raise under the recipe's own options where none can be.
    """
    given = dict(recipe.task.options)
    found: list[tuple[Mapping[str, Any], Sequence[Any], Sequence[str]]] = []
    errors: list[NlpipeError] = []
    for dropped in ([], *([name] for name in given), list(given)):
        options = {name: value for name, value in given.items() if name not in dropped}
        try:
            found.append((options, _usable(recipe, kind, options), dropped))
        except NlpipeError as error:
            errors.append(error)
        else:
            if len(found[-1][1]) == len(kind.samples()):
                break
    if not found:
        raise errors[0]
    kept, examples, gone = max(found, key=lambda one: len(one[1]))
    if recipe.train and not isinstance(recipe.train.class_weights, str | None):  # of labels that are not here
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"class_weights": None})})
    # An untouched model that is told its labels is told those of the samples; training reads them off the rows.
    told = kind.labels_in(examples, _options(kind, kept)) if recipe.task.labels and not recipe.train else None
    return _with_rows(recipe, rows.samples(recipe, examples), kept, told), gone


def _usable(recipe: Recipe, kind: type[AnyTask], given: Mapping[str, Any]) -> list[Any]:
    """The samples that these options and the recipe's model can do something with. Raises where there are none."""
    examples = kind.samples()
    options = kind.options_in(examples, _options(kind, given))
    task = kind(kind.labels_in(examples, options), options)
    objective, loaded = _asked(recipe, task)

    def fits(example: Any) -> None:
        objective.encode(task.query(task.given(example), objective), task.gold(example, objective), loaded.tokenizers)

    return rows.usable(examples, fits)


def _asked(recipe: Recipe, task: AnyTask) -> tuple[Objective, Backbone]:
    """The small model with the objective by which the recipe asks it."""
    location = Location(recipe.model.name, Path(recipe.model.name))
    family = backbone.family_of(upstream.read_config(location.folder))
    kind = preparing.choose(type(task), family, recipe.model.objective)
    objective = task.objective(kind).placed(family, {"labels": INFERENCE} if kind.own_labels else {})
    objective = replace(objective, window=replace(objective.window, long="truncate"))
    return objective, backbone.load(location, objective, labels=task.labels, attention=recipe.model.attention)


def _with_head(recipe: Recipe, kind: type[AnyTask], folder: Path) -> Recipe:
    """An untouched model has its head already; a tiny one made by its name alone has not, and gets one."""
    options = _options(kind, recipe.task.options)
    labels = tuple(recipe.task.labels or kind.labels_in(kind.samples(), options))
    objective, loaded = _asked(recipe, kind(labels, options))
    if not loaded.fresh or objective.head is None:
        return recipe
    target = folder / "backbone-with-head"
    model: Any = loaded.model
    model.save_pretrained(target)
    backbone.save_tokenizers(loaded.tokenizers, target)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"backbone": str(target)})})
