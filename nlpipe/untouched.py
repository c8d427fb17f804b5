"""A pipeline from a model that nlpipe did not write: what it is and how it is asked is read off its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nlpipe import artifact, backbone, devices, recognising
from nlpipe.backbone import Backbone
from nlpipe.card import Card, Origin, is_artifact, read_card
from nlpipe.errors import ArtifactError
from nlpipe.generation import Generation
from nlpipe.locating import Location
from nlpipe.objectives.base import Window
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import AnyTask, Plugins
from nlpipe.runners.torch import TorchRunner
from nlpipe.task import TaskOptions


def task_of(location: Location, plugins: Plugins) -> str:
    """The task of a model that says it. Raises ArtifactError where it fits several, naming them, or none."""
    if is_artifact(location.folder):
        return read_card(location.folder).task
    return recognising.recognised(location, plugins)


def pipeline(
    kind: type[AnyTask],
    location: Location,
    *,
    device: str,
    dtype: str,
    long: Literal["window", "truncate", "error"] | None,
    options: TaskOptions,
    labels: tuple[str, ...],
    objective: str,
    generation: Generation,
    plugins: Plugins,
) -> Pipeline:
    """The model asked for a task, as `nlpipe.pipeline` says.

    Raises ArtifactError where it has no trained head for the task, naming those that it fits.
    """
    task = kind.name
    try:
        family, asked, own = artifact.infer(location, task, kind.row(), objective, labels)
    except ArtifactError as error:
        fits = ", ".join(recognising.fitting(location, plugins))
        raise ArtifactError(f"{error} It fits: {fits}." if fits else str(error)) from error
    named = _labels(location.name, own, labels)
    made = kind(named, options).objective(asked).with_generation(generation)
    stated = artifact.stated_for(made, location.folder)
    made = made.placed(family, stated)
    # Trained elsewhere, so a decoder's attention stays as it was trained.
    loaded = backbone.load(location, made, dtype=devices.dtype_of(dtype), labels=named, attention="causal")
    _require_trained(loaded, task)
    record = plugins.origin(task)
    card = Card(
        task=task,
        options={} if options == kind.Options() else options.model_dump(mode="json"),
        labels=named,
        generation=generation.model_dump(mode="json", exclude_none=True),
        family=family,
        objective=asked.__name__,
        attention=loaded.attention,
        window=Window(
            max_length=min(stated.get("max_length", loaded.limit), loaded.limit),
            long=long or stated.get("long", "window"),
        ),
        settings=made.recorded(),
        plugin=Origin(name=record.distribution or record.name, version=record.version),
        backbone=Origin(name=location.name, revision=location.revision),
    )
    return Pipeline(card, TorchRunner(loaded.model, devices.device_of(device)), loaded.tokenizers, plugins=plugins)


def _labels(model: str, own: tuple[str, ...], given: Sequence[str]) -> tuple[str, ...]:
    """Those given, else the model's own. Raises ArtifactError where the two do not go together."""
    if given and own and len(own) != len(given):
        raise ArtifactError(f"{model} has {len(own)} labels of its own, {', '.join(own)}; {len(given)} were given")
    if own and own != tuple(given) and set(own) == set(given):
        raise ArtifactError(
            f"{model} has these labels of its own in another order, {', '.join(own)}; in the order given each would "
            "stand for another's probability. Leave them out"
        )
    return tuple(given) or own


def _require_trained(loaded: Backbone, task: str) -> None:
    if loaded.fresh:
        raise ArtifactError(
            f"{loaded.location.name} has no trained weights for {', '.join(loaded.fresh)}: its answers would be noise. "
            f"Fine-tune it with a recipe first (nlpipe recipe new {task})."
        )
