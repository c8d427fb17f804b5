"""A model folder with its weights, written and read in one place. Knows no task; its Card names one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlpipe import backbone, locating, sentence_files, upstream
from nlpipe.backbone import Backbone
from nlpipe.card import CARD, Card, is_artifact, read_card
from nlpipe.errors import ArtifactError, UnsupportedError, suggest
from nlpipe.files import atomic_folder, atomic_write
from nlpipe.locating import Location
from nlpipe.objectives.base import Objective
from nlpipe.task import Family
from nlpipe.tokens import Tokenizers

ADAPTER = "adapter"

log = logging.getLogger("nlpipe")


def save(folder: Path, card: Card, model: nn.Module, tok: Tokenizers, *, base: Location, readme: str = "") -> None:
    """Write a whole model folder, or nothing: merged weights, or an adapter beside a note of its base.

    Raises ArtifactError where `folder` exists or the disk is full.
    """
    with atomic_folder(folder) as temporary:
        if card.weights == "adapter":
            _save_adapter(model, temporary / ADAPTER, base)
        else:
            plain: Any = model
            plain.save_pretrained(temporary)
            if "pooling" in card.settings:
                _describe(temporary, card, plain.config)
        backbone.save_tokenizers(tok, temporary)
        (temporary / "README.md").write_text(readme, encoding="utf-8")
        (temporary / CARD).write_text(card.to_json(), encoding="utf-8")


def _describe(folder: Path, card: Card, config: Any) -> None:
    """The files by which sentence-transformers loads the model."""
    if not sentence_files.write(folder, card.settings, card.window.max_length, config):
        log.warning("sentence-transformers would not read the encoder of %s: its files are left out", config.model_type)


def stated(folder: Path) -> dict[str, Any]:
    """What a model's folder says of how its vectors are made, ours or one of sentence-transformers'; else empty.

    Beside the objective's fields: `max_length` and `long`, how much of a text is read. Raises as
    `sentence_files.stated` does.
    """
    if is_artifact(folder):
        card = read_card(folder)
        window = {"max_length": card.window.max_length, "long": card.window.long}
        return {**card.settings, **window} if "pooling" in card.settings else {}
    found = sentence_files.stated(folder) or {}
    return {**found, "long": "truncate"} if "max_length" in found else found


def stated_for(objective: Objective, folder: Path) -> dict[str, Any]:
    """What of an objective a model's folder states (`Objective.placed`): how vectors are made, or the head's labels."""
    if objective.embeds:
        return stated(folder)
    return {"labels": head_labels(upstream.read_config(folder))} if objective.own_labels else {}


def head_labels(config: Any) -> tuple[str, ...]:
    """The names of a head's outputs as its config has them."""
    labels = config.id2label or {}
    return tuple(labels[index] for index in sorted(labels))


def _save_adapter(model: nn.Module, folder: Path, base: Location) -> None:
    """PEFT's folder. A path relative to today's working directory would not be found tomorrow."""
    from nlpipe import adapter

    adapter.save(model, folder)
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    on_hub = base.revision is not None
    config["base_model_name_or_path"] = base.name if on_hub else str(base.folder.resolve())
    config["revision"] = base.revision
    file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def rewrite_card(folder: Path, card: Card, readme: str) -> None:
    """Replace the Card and the model card of a complete folder, once scores are known."""
    atomic_write(folder / CARD, card.to_json())
    atomic_write(folder / "README.md", readme)


def load(folder: Path, card: Card, objective: Objective, *, dtype: torch.dtype, offline: bool) -> Backbone:
    """The model of a Card, complete and ready to answer.

    Raises ArtifactError where weights are missing, or where an adapter's base is another one than it was
    trained on.
    """
    if card.weights == "exported":
        has = ", ".join(one.backend for one in card.exports)
        raise ArtifactError(
            f"{folder} has the model in no form that PyTorch reads, only for {has}: nlpipe.load answers with that"
        )
    if card.weights == "merged":
        location = Location(str(folder), folder)
        loaded = backbone.load(location, objective, dtype=dtype, labels=card.labels, attention=card.attention)
        if loaded.fresh:
            raise ArtifactError(f"{folder} lacks the weights of {', '.join(loaded.fresh)}: it is incomplete")
        return loaded
    from nlpipe import adapter

    base = base_of(folder, card, offline=offline)
    loaded = backbone.load(
        base, objective, dtype=dtype, labels=card.labels, attention=card.attention, quantize=card.quantize
    )
    adapted = adapter.load(loaded.model, folder / ADAPTER)
    return Backbone(
        model=adapted.model,
        tokenizers=backbone.tokenizers(Location(str(folder), folder), loaded.model.config),
        family=loaded.family,
        location=base,
        head=loaded.head,
        fresh=(),
        limit=loaded.limit,
        attention=loaded.attention,
    )


def base_of(folder: Path, card: Card, *, offline: bool) -> Location:
    """Where the base of an adapter lies. Raises ArtifactError where it is gone, or another than it was trained on."""
    name = card.backbone.name
    try:
        base = locating.locate(name, revision=card.backbone.revision or "main", offline=offline)
    except ArtifactError as error:
        raise ArtifactError(f"{folder} holds an adapter, and its base {name} is not here: {error}") from error
    if base.sha256 != card.backbone.sha256:
        raise ArtifactError(
            f"the adapter in {folder} was trained on {name} with sha256 {card.backbone.sha256}, "
            f"what lies there now has {base.sha256}: it would give other answers. Restore that base, or train again."
        )
    return base


def infer(
    location: Location,
    task: str,
    row: Mapping[Family, tuple[type[Objective], ...]],
    wanted: str = "auto",
    labels: Sequence[str] = (),
) -> tuple[Family, type[Objective], tuple[str, ...]]:
    """Family, objective and labels of an untouched model: from the files that name what it does, or its config.

    `wanted` names an objective of the row. Else it is the first that the model has a head for; but a model whose own
    labels are others than `labels`, those asked for, is asked by an objective that takes any labels, where it fits one.
    An objective without a head takes any backbone, but a model with a head for another of the row is asked by that.
    Raises ArtifactError where the model has no head for any of the task's objectives.
    """
    config = upstream.read_config(location.folder)
    family = backbone.family_of(config)
    architectures = tuple(config.architectures or ())
    kinds = [kind for kind in row.get(family, ()) if wanted in ("auto", kind.__name__)]
    if not kinds and family in row:
        names = [kind.__name__ for kind in row[family]]
        raise UnsupportedError(f"{task} on {family} models has no objective {wanted!r}; {suggest(wanted, names)}")
    bare = next((kind for kind in kinds if kind.head is None), None)
    if bare is not None and (location.folder / sentence_files.MODULES).is_file():
        return family, bare, ()
    own = head_labels(config)
    able = [
        kind for kind in kinds if kind.head and not upstream.class_names(kind.head, config).isdisjoint(architectures)
    ]
    free = next((kind for kind in able if kind.own_labels and kind.fits(own)), None)
    if free is not None and labels and set(labels) != set(own):
        return family, free, ()
    for kind in able:
        if kind.own_labels and wanted == "auto":
            continue
        # A model that writes has no outputs of its own to name: transformers' LABEL_0 means nothing there.
        return family, kind, own if "labels" in {f.name for f in fields(kind)} else ()
    if bare is not None:
        log.warning(
            "%s does not say how its vectors are made; they are pooled as its family's usually are", location.name
        )
        return family, bare, ()
    raise ArtifactError(
        f"{location.name} is a {', '.join(architectures) or 'model without a stated class'}: it has no head "
        f"for {task}. Fine-tune it with a recipe (nlpipe recipe new {task}), or take a model that has one."
    )
