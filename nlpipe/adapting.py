"""What a recipe's `adapter:`, `train.freeze` and an adapter that it goes on with make of a loaded backbone.

Also in which form the result is saved, where a recipe does not decide it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from nlpipe import adapter, freezing
from nlpipe.adapter_methods import LORA_PLUS, METHODS, able
from nlpipe.errors import ArtifactError, RecipeError, UnsupportedError
from nlpipe.training import Training

if TYPE_CHECKING:
    from nlpipe.adapter import Adapted
    from nlpipe.backbone import Backbone
    from nlpipe.preparing import Start
    from nlpipe.recipe import AdapterSection, Recipe

log = logging.getLogger("nlpipe")


def form(recipe: Recipe, quantize: str | None) -> Literal["merged", "adapter"]:
    """How the result is saved: `adapter` where the recipe says so, and where nothing else is possible.

    `quantize` is in how many bits the backbone is kept.

    Raises UnsupportedError where an adapter alone would not answer the same on another machine.
    """
    section = recipe.adapter
    if section is None:
        return recipe.output.weights
    method = METHODS[section.method]
    if recipe.output.weights == "adapter":
        drawn = str(section.fields.get("init_lora_weights", "")).startswith("pissa_niter")
        if not method.saved or drawn:
            raise UnsupportedError(
                f"output.weights: adapter is not for {section.method} as it is set: it computes singular vectors of "
                "the model anew whenever it is loaded, which may come out otherwise, on another machine above all. Say "
                f"merged. For adapters: {able('saved')}"
            )
        return "adapter"
    why = "cannot be folded into the model's weights" if not method.merges else ""
    if quantize:
        why = f"stands on a {quantize} backbone, whose weights stay as they are"
    if not why:
        return "merged"
    log.warning(
        "output.weights: adapter: the %s adapter %s, so the model is saved as the adapter alone, beside a note of %s",
        section.method,
        why,
        recipe.model.backbone,
    )
    return "adapter"


def places(recipe: Recipe) -> int:
    """How many of the tokens that a model reads at once an adapter takes for itself."""
    section = recipe.adapter
    if section is None or METHODS[section.method].adapts != "input":
        return 0
    return int({**METHODS[section.method].settings, **section.fields}["num_virtual_tokens"])


def width(recipe: Recipe) -> int:
    """How wide a model has to be for the adapter's settings."""
    section = recipe.adapter
    return 1 if section is None else max(METHODS[section.method].width, 2 * (section.r or 0))


def adapt(training: Training, recipe: Recipe, base: Backbone, start: Start) -> Training:
    """The training with what is frozen frozen, and with a new adapter, or the one that `start` has, on its model.

    Raises RecipeError where nothing is left to train.
    """
    section = recipe.train
    assert section is not None
    frozen = frozenset[str]()
    if section.freeze is not None:
        frozen = freezing.freeze(base.model, section.freeze, base.fresh)
    if recipe.adapter is None:
        found = adapter.Adapted(base.model, training.companion)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(section.seed)
            found = _adapted(training, recipe.adapter, base, start, frozen)
        if frozen and not _spared(found, frozen, recipe.adapter):
            raise RecipeError(
                "train.freeze does nothing here: an adapter leaves the model's weights as they are, and none of its "
                "own lies where they are frozen. Leave it out, or freeze layers that the adapter would go on"
            )
    if adapter.counts(found.model)[0] == 0:
        raise RecipeError("train.freeze leaves nothing to train: freeze less, or add an `adapter`")
    return replace(training, model=found.model.to(training.device), companion=found.companion)


def _adapted(
    training: Training, section: AdapterSection, base: Backbone, start: Start, frozen: frozenset[str]
) -> Adapted:
    if start.adapter is not None:
        _check_same(section, start)
        return adapter.load(base.model, start.adapter, section)
    return adapter.attach(
        base.model,
        section,
        training.objective,
        base.fresh,
        steps=training.steps,
        folder=base.location.folder,
        frozen=frozen,
    )


def _spared(found: Adapted, frozen: frozenset[str], section: AdapterSection) -> bool:
    """Whether what is frozen keeps an adapter off some layer that it would go on."""
    if METHODS[section.method].adapts == "input":
        return False
    adapted = {
        name.rpartition(".base_layer.")[0] for name, _ in found.model.named_parameters() if ".base_layer." in name
    }
    ends = {name.rpartition(".")[2] for name in adapted}
    return any(name.split(".")[-2] in ends for name in frozen)


def folded(base: Backbone, start: Start, recipe: Recipe) -> Backbone:
    """The backbone with the adapter that `start` has folded in, for a recipe that trains all weights.

    Raises UnsupportedError where it cannot be folded in.
    """
    if start.adapter is None or recipe.adapter is not None:
        return base if start.adapter is None else replace(base, fresh=())
    method = _method(start)
    if not METHODS[method].merges or start.quantize:
        raise UnsupportedError(
            f"{recipe.model.backbone} holds a {method} adapter, which cannot be folded into the model's weights. Go on "
            f"with it instead: adapter: {{method: {method}}}"
        )
    return replace(
        base, model=adapter.merge(adapter.load(base.model, start.adapter).model).requires_grad_(True), fresh=()
    )


def _config(start: Start) -> dict[str, Any]:
    assert start.adapter is not None
    content: dict[str, Any] = json.loads((start.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return content


def _method(start: Start) -> str:
    return str(_config(start)["peft_type"]).lower()


def _check_same(section: AdapterSection, start: Start) -> None:
    """Raise where a recipe describes another adapter than the one it goes on with."""
    there, name = _config(start), _method(start)
    if section.method != name:
        raise RecipeError(
            f"adapter.method is {section.method}, but the backbone holds a {name} adapter: go on with that one, or "
            "leave `adapter` out to fold it in and train all weights"
        )
    method = METHODS[name]
    if not method.continues or there.get("prefix_projection"):
        raise ArtifactError(
            f"the {name} adapter cannot be trained further: what made its vectors is not saved with them. Train it anew"
        )
    values = {"r": section.r, "alpha": section.alpha, "dropout": section.dropout}
    asked = {theirs: values[ours] for ours, theirs in method.core.items() if values.get(ours) is not None}
    own = {key: value for key, value in section.fields.items() if key != LORA_PLUS}  # of this training, not the adapter
    for key, value in {**asked, **own}.items():
        if there.get(key) != value:
            raise RecipeError(
                f"adapter: {key} is {value}, and the adapter that is trained further has {there.get(key)}"
            )
    if section.targets != "auto":
        raise RecipeError("adapter.targets are those of the adapter that is trained further; leave them out")
