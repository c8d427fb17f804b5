"""Rows and a recipe's wishes to what a training needs: labels, an objective, golds, encoded examples.

Whatever does not fit is found here, before the first step.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nlpipe import artifact, backbone, devices, locating, plugin_calls, scratch, upstream
from nlpipe.card import Quantize, is_artifact, read_card
from nlpipe.errors import ArtifactError, DataError, Problem, RecipeError, UnsupportedError, suggest
from nlpipe.events import RowsNoted
from nlpipe.task import Family, Note, Task
from nlpipe.training import Every, Settings

if TYPE_CHECKING:
    from nlpipe.backbone import Backbone
    from nlpipe.data import Split
    from nlpipe.locating import Location
    from nlpipe.metrics import Metric
    from nlpipe.objectives.base import Objective, Row
    from nlpipe.recipe import Recipe, TrainSection
    from nlpipe.tokens import Tokenizers

log = logging.getLogger("nlpipe")

AnyTask = Task[Any, Any, Any, Any]

SHOWN = 5  # rows with problems that are shown one by one; the rest is counted


def choose(task: type[AnyTask], family: Family, wanted: str = "auto") -> type[Objective]:
    """The objective of the task's row for a family: its first, or the one a recipe names.

    Raises UnsupportedError where the task does not serve the family, or not in that way.
    """
    row = task.row()
    if family not in row:
        served = ", ".join(str(other) for other in row)
        raise UnsupportedError(f"{task.name} does not work on {family} models; it does on: {served}")
    kinds = {kind.__name__: kind for kind in row[family]}
    if wanted == "auto":
        return row[family][0]
    if wanted not in kinds:
        raise UnsupportedError(
            f"model.objective: {task.name} on {family} models has no {wanted!r}; {suggest(wanted, kinds)}"
        )
    return kinds[wanted]


def metric(task: AnyTask, wanted: str | None) -> Metric:
    """The score that chooses the best weights, by its name; null: the task's first. Raises RecipeError for no score."""
    if wanted is None:
        return task.metrics[0]
    known = {metric.name: metric for metric in task.metrics}
    if wanted not in known:
        raise RecipeError(f"train.best: {task.name} has no score {wanted!r}; {suggest(wanted, known)}")
    return known[wanted]


def options(task: type[AnyTask], given: Any, split: Split) -> Any:
    """The task's options with what they leave open read off the training rows."""
    try:
        return task.options_in(split.examples, given)
    except DataError as error:
        raise DataError(f"{split.source}: {error}") from error


def items(task: AnyTask, split: Split) -> Sequence[Any]:
    """The collection that the split's rows are answered from: its own, or what its rows carry; none for most tasks."""
    return split.items or task.items_in(split.examples)


def learnt(task: type[AnyTask], splits: Mapping[str, Split]) -> dict[str, Split]:
    """The splits, the training rows without a collection: what they judge of it stands in rows of their own."""
    train = splits.get("train")
    if train is None or not train.items:
        return dict(splits)
    rows = list(task.learnt(train.examples, train.items))
    places = [place for place, _ in rows]
    spelt = replace(
        train,
        examples=[row for _, row in rows],
        frame=train.frame.iloc[places],
        rows=[train.rows[place] for place in places],
        items=[],
    )
    return {**splits, "train": spelt}


def labels(task: type[AnyTask], options: Any, wanted: Sequence[str] | None, split: Split) -> tuple[str, ...]:
    """The label names in the order of the outputs: those a recipe fixes, else those of the training rows."""
    try:
        found = task.labels_in(split.examples, options)
    except DataError as error:
        raise DataError(f"{split.source}: {error}") from error
    if wanted is None:
        return found
    extra = [label for label in found if label not in wanted]
    if extra:
        raise DataError(
            f"{split.source} has the label {extra[0]!r}, which task.labels does not; {suggest(extra[0], wanted)}"
        )
    return tuple(wanted)


@dataclass(frozen=True, slots=True)
class Start:
    """Where training starts: a backbone's weights, the folder that says how it is asked, and an adapter on top."""

    location: Location
    folder: Path
    adapter: Path | None = None
    quantize: Quantize | None = None


def start(recipe: Recipe, task: AnyTask, split: Split, folder: Path, *, offline: bool) -> Start:
    """Where the backbone's weights lie. An nlpipe model is its merged weights, or its adapter on its own base;
    a new model is made in `folder`.

    Raises ArtifactError for an adapter that was trained for something else than the recipe's task and labels: its head
    would not fit.
    """
    if recipe.model.backbone is None:
        kind = choose(type(task), scratch.family(recipe.model), recipe.model.objective)
        seed = recipe.train.seed if recipe.train else 0

        def texts() -> Iterator[str]:
            return _texts(task, task.objective(kind), split)

        made = scratch.make(recipe.model, kind.head, texts, folder, seed=seed, offline=offline)
        return Start(made, made.folder)
    location = locating.locate(recipe.model.backbone, revision=recipe.model.revision, offline=offline)
    if not is_artifact(location.folder):
        return Start(location, location.folder)
    card = read_card(location.folder)
    if card.weights == "merged":
        return Start(location, location.folder)
    if (card.task, card.labels) != (task.name, task.labels):
        raise ArtifactError(
            f"{location.name} holds an adapter alone, trained for {card.task}"
            + (f" with the labels {', '.join(card.labels)}" if card.labels else "")
            + f", not for {task.name}"
            + (f" with {', '.join(task.labels)}" if task.labels else "")
            + ". To begin from it, train it again with output.weights: merged"
        )
    base = artifact.base_of(location.folder, card, offline=offline)
    return Start(base, location.folder, location.folder / artifact.ADAPTER, card.quantize)


def _texts(task: AnyTask, objective: Objective, split: Split) -> Iterator[str]:
    """What a model reads and writes in training, row by row."""
    for number, example in zip(split.rows, split.examples, strict=True):
        try:
            read = plugin_calls.query(task, task.given(example), objective).contents
            gold = task.gold(example, objective) if objective.writes else None
        except DataError as error:
            raise DataError(f"{split.source}, row {number}: {error}") from error
        yield from read
        if isinstance(gold, str) and gold not in read:
            yield gold


def model(recipe: Recipe, task: AnyTask, start: Start, *, places: int = 0) -> tuple[Objective, Backbone]:
    """The objective as the recipe configures it, and the backbone with its head.

    `places` of the tokens that it reads at once are an adapter's.
    """
    section, settings, location = recipe.model, recipe.train, start.location
    assert settings is not None
    family = backbone.family_of(upstream.read_config(location.folder))
    kind = choose(type(task), family, section.objective)
    objective = (
        task.objective(kind)
        .with_generation(recipe.generation)
        .with_training(
            {
                "class_weights": settings.class_weights,
                "label_smoothing": settings.label_smoothing or None,
                "focal": settings.focal,
            }
        )
    )
    stated = artifact.stated_for(objective, start.folder)
    objective = objective.placed(family, stated)
    _whole_batches(objective, settings)
    base = backbone.load(
        location,
        objective,
        dtype=devices.dtype_of(section.dtype),
        seed=settings.seed,
        labels=task.labels,
        attention=section.attention,
        quantize=section.quantize or start.quantize,
    )
    base = replace(base, limit=base.limit - places)
    wished = min(stated.get("max_length", base.limit), base.limit)
    length = wished if section.max_length == "auto" else section.max_length
    objective = backbone.with_window(objective, base.limit, length)
    long = section.long if "long" in section.model_fields_set else stated.get("long", section.long)
    window = replace(objective.window, long=long, overlap=section.overlap)
    return replace(objective, window=window), base


def _whole_batches(objective: Objective, settings: TrainSection) -> None:
    """Raise UnsupportedError where a batch is cut in which every example is compared with the others."""
    if not objective.couples_examples:
        return
    why = f"{type(objective).__name__} compares the examples of a batch with each other here"
    if settings.micro_batch != "auto":
        raise UnsupportedError(
            f"train.micro_batch: {settings.micro_batch} would change the result: {why}. Leave it out; where memory is "
            "short, lower train.batch_size or model.max_length, or take a loss that does not compare examples"
        )
    if settings.tokens_per_batch is not None:
        raise UnsupportedError(
            f"train.tokens_per_batch makes batches of unlike size: {why}. Say train.batch_size instead"
        )
    if settings.batch_size == 1:
        raise UnsupportedError(f"train.batch_size: 1 leaves nothing to compare with: {why}. Raise it")


def encode(task: AnyTask, objective: Objective, base: Backbone, split: Split) -> tuple[list[list[Row]], Objective]:
    """The rows of each example, and the objective that has seen all golds."""
    right = golds(task, objective, split)
    rows, problems = [], []
    for number, example, gold in zip(split.rows, split.examples, right, strict=True):
        try:
            query = plugin_calls.query(task, task.given(example), objective)
            rows.append(objective.encode(query, gold, base.tokenizers))
        except DataError as error:
            problems.append(Problem(f"row {number}", "", str(error)))
    _refuse(problems, split)
    return rows, objective.settle(right)


def golds(task: AnyTask, objective: Objective, split: Split) -> list[Any]:
    """Every example's gold. Raises one DataError for all rows that have none."""
    found, problems = [], []
    for number, example in zip(split.rows, split.examples, strict=True):
        try:
            found.append(task.gold(example, objective))
        except DataError as error:
            problems.append(Problem(f"row {number}", "", str(error)))
    _refuse(problems, split)
    return found


def answerable(task: AnyTask, objective: Objective, tok: Tokenizers, split: Split) -> None:
    """Raise one DataError for all rows to be scored that have no gold, or that the model cannot be asked."""
    golds(task, objective, split)
    problems = []
    for number, example in zip(split.rows, split.examples, strict=True):
        try:
            objective.encode(plugin_calls.query(task, task.given(example), objective), None, tok)
        except DataError as error:
            problems.append(Problem(f"row {number}", "", str(error)))
    _refuse(problems, split)


def noted(task: AnyTask, split: Split) -> list[RowsNoted]:
    """What is to be known of rows that are used, but not as they came; what the task says of them goes to the log."""
    found = []
    for note in task.notes(split.examples, task.options):
        at = note.at if isinstance(note, Note) else {}
        found.append(RowsNoted.of(split.name, split.source, str(note), [split.rows[place] for place in at]))
        log.warning("%s", found[-1].sentence)
    return [*split.notes, *found]


def _refuse(problems: Sequence[Problem], split: Split) -> None:
    """Raise one DataError for all rows that have problems, the first of them written out."""
    if not problems:
        return
    more = len(problems) - SHOWN
    rest = [Problem("…", "", f"and {more} more row{'s' if more > 1 else ''}")] if more > 0 else []
    raise DataError(f"{split.source} ({split.name}) has rows that cannot be used", [*problems[:SHOWN], *rest])


def settings(recipe: Recipe, device: torch.device) -> Settings:
    """What the recipe's `train:` says, resolved for a device."""
    section = recipe.train
    assert section is not None
    # A GPU without bfloat16 emulates it, slowly; so do most processors.
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    stopping = section.early_stopping
    return Settings(
        epochs=section.epochs,
        steps=section.steps,
        batch_size=section.batch_size,
        tokens_per_batch=section.tokens_per_batch,
        micro_batch=section.micro_batch,
        optimizer=section.optimizer,
        learning_rate=recipe.learning_rate,
        warmup=section.warmup,
        schedule=section.schedule,
        weight_decay=section.weight_decay,
        clip=section.clip,
        seed=section.seed,
        precision=("bfloat16" if half else "float32") if section.precision == "auto" else section.precision,
        gradient_checkpointing=section.gradient_checkpointing,
        compile=section.compile,
        evaluate_every=Every.of(section.evaluate_every),
        checkpoint_every=Every.of(section.checkpoint_every),
        keep=section.keep,
        patience=stopping.patience if stopping else None,
        min_delta=stopping.min_delta if stopping else 0.0,
    )


# What only fits a training into memory, or says how often it is written down: it may be another after a restart.
_FREE = {"micro_batch", "gradient_checkpointing", "compile", "checkpoint_every", "keep"}


def identity(recipe: Recipe, splits: Mapping[str, Split], encoded: Sequence[list[Row]]) -> dict[str, Any]:
    """What decides the weights: resuming with anything else would be another run."""
    whole = json.loads(recipe.model_dump_json(exclude={"output", "run", "evaluate", "data"}))
    whole["train"] = {name: value for name, value in whole["train"].items() if name not in _FREE}
    digest = hashlib.sha256()
    for row in (row for rows in encoded for row in rows):
        digest.update(repr((row.ids, row.types, row.target, row.weight, row.part)).encode())
    rows = {name: f"{len(split.examples)} rows" for name, split in splits.items()}
    return {**whole, "data": {**rows, "train": f"{rows['train']}, SHA-256 {digest.hexdigest()[:16]}"}}
