"""From what version 4's `pipeline` was given to a loaded model: names, folders, or a model and a tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import artifact, backbone, card, locating, upstream
from nlpipe.compat import names
from nlpipe.errors import ArtifactError, UnsupportedError
from nlpipe.runners.torch import TorchRunner

if TYPE_CHECKING:
    import torch

    from nlpipe.objectives.base import Objective
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

log = logging.getLogger("nlpipe")


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to answer: `limit` tokens at once; `config` is its config as transformers has it."""

    network: Any
    runner: Runner
    tokenizers: Tokenizers
    config: Any
    limit: int
    generation: Mapping[str, Any] = field(default_factory=dict)  # what its own files say of how it writes

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the head's outputs."""
        return artifact.head_labels(self.config)


def located(
    model: Any, name: names.Name | None, *, revision: str | None, token: str | None
) -> locating.Location | None:
    """Where a model lies that was named, or version 4's own choice where none was; None for a loaded one."""
    if model is None:
        assert name is not None
        log.warning("no model is named; taking the one that transformers 4 took, %s: better name it", name.default)
        try:
            return locating.locate(name.default, revision=revision or "main", token=token)
        except ArtifactError as error:
            raise ArtifactError(
                f"no model is named, and the one that transformers 4 took for {name.given} is not here: {error}"
            ) from None
    if isinstance(model, str | Path):
        return locating.locate(str(model), revision=revision or "main", token=token)
    return None


def classes(location: locating.Location | None, model: Any) -> tuple[str, ...]:
    """The classes that a model's config names, or that a loaded one is of."""
    if location is None:
        return (type(model).__name__,)
    return tuple(upstream.read_config(location.folder).architectures or ())


def opened(
    location: locating.Location,
    objective: Objective,
    *,
    tokenizer: Any,
    device: torch.device,
    dtype: torch.dtype,
    quantize: str | None,
    labels: tuple[str, ...],
    kind: names.Name,
) -> Model:
    """The model of a folder, `labels` those of its head. Raises ArtifactError where it has none for what is asked."""
    own = card.read_card(location.folder) if card.is_artifact(location.folder) else None
    if own is not None:
        loaded = artifact.load(location.folder, own, objective, dtype=dtype, offline=False)
        limit = min(own.window.max_length, loaded.limit)
    else:
        _check_head(objective, upstream.read_config(location.folder), classes(location, None), location.name, kind)
        loaded = backbone.load(location, objective, dtype=dtype, labels=labels, attention="causal", quantize=quantize)
        limit = loaded.limit
    if loaded.fresh:
        raise ArtifactError(
            f"{location.name} has no trained weights for {', '.join(loaded.fresh)}: transformers 4 drew them at "
            f"random, and its answers were noise. Take a model that was trained for {kind.given}"
        )
    network: Any = loaded.model
    tok = loaded.tokenizers if tokenizer is None else _given(tokenizer, network, location.folder)
    if own is None:  # exactly what its files say: nlpipe itself would give BART's first token to models that write it
        tok = replace(tok, start=upstream.decoder_start(location.folder, network.config))
    generation = upstream.own_generation(network, kind.given) if objective.writes else {}
    return Model(network, TorchRunner(network, device), tok, network.config, limit, generation)


def wrapped(
    model: Any, objective: Objective, *, tokenizer: Any, device: torch.device | None, kind: names.Name
) -> Model:
    """A model that is loaded already, with its tokenizer."""
    if not hasattr(model, "config") or not hasattr(model, "forward"):
        raise UnsupportedError(f"model: a name, a folder or a model of transformers, not {type(model).__name__}")
    if tokenizer is None:
        raise UnsupportedError("tokenizer: a model that is loaded already needs its tokenizer beside it")
    _check_head(objective, model.config, (type(model).__name__,), type(model).__name__, kind)
    tok = _given(tokenizer, model, None)
    network = model if objective.head is not None else upstream.bare(model)
    generation = upstream.own_generation(model, kind.given) if objective.writes else {}
    runner = TorchRunner(network, device or model.device)
    return Model(network, runner, tok, model.config, backbone.limit_of(model.config, tok.source), generation)


def _given(tokenizer: Any, model: Any, folder: Path | None) -> Tokenizers:
    """A tokenizer that was given by its name or loaded, as the model reads with it."""
    if isinstance(tokenizer, tuple):
        tokenizer = tokenizer[0]  # (name, options), as version 4 took it
    if isinstance(tokenizer, str | Path):
        place = locating.locate(str(tokenizer), weights=False)
        source = upstream.read_tokenizer(place.folder, backbone.reading(model.config).vocab_size)
    else:
        source = tokenizer
    start = upstream.decoder_start(folder, model.config, model)
    return replace(backbone.wrapped(source, model.config, start), start=start)


def _check_head(objective: Objective, config: Any, classes: tuple[str, ...], model: str, kind: names.Name) -> None:
    """Raise ArtifactError where the model's class does another thing than what is asked."""
    if objective.head is None or not classes:
        return
    fitting = upstream.class_names(objective.head, config)
    if fitting and fitting.isdisjoint(classes) and not any(one.startswith("PeftModel") for one in classes):
        try:
            other = names.of_classes(classes, model).kind
        except UnsupportedError:
            other = "feature-extraction"
        raise ArtifactError(
            f"{model} is a {', '.join(classes)}, which has no head for {kind.given}; it fits {other}. For "
            f"{kind.given} take one that is a {', '.join(sorted(fitting))}"
        )


def device_of(device: Any, device_map: Any) -> torch.device:
    """A device as version 4 took it: -1 and "cpu", the number of a GPU, a name, a torch.device; None: what there is."""
    import torch

    from nlpipe.devices import device_of as named

    if device_map is not None and device is not None:
        raise UnsupportedError("device and device_map: say one of them")
    if device_map not in (None, "auto", "cpu", "cuda", "balanced"):
        raise UnsupportedError(
            f"device_map = {device_map!r}: a model lies on one device here; say device, or device_map='auto'"
        )
    wanted = device if device_map is None else "cpu" if device_map == "cpu" else None
    if wanted is None:
        return named("auto")
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        return named(str(wanted))
    if wanted >= 0 and not torch.cuda.is_available():
        log.warning("device=%d: there is no GPU here; computed on the processor", wanted)
        return torch.device("cpu")
    return named("cpu" if wanted < 0 else f"cuda:{wanted}")


def dtype_of(*given: Any) -> torch.dtype:
    """A dtype by its name or itself, the first that is given; `auto` and None are float32."""
    from nlpipe.devices import dtype_of as named

    wanted = next((one for one in given if one is not None), "auto")
    return named(wanted)
