"""From a folder, a package or a name on the Hub to a Pipeline: `load` for our models, `pipeline` for anyone's.

Torch is imported where a model needs it: one in another back end's form does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from nlpipe import exported
from nlpipe.card import Card, Origin, is_artifact, read_card
from nlpipe.errors import ArtifactError, UnsupportedError
from nlpipe.generation import Generation
from nlpipe.objectives.base import Window
from nlpipe.pipelines import Pipeline, asked_as
from nlpipe.plugins import Plugins

if TYPE_CHECKING:
    import torch

    from nlpipe.backbone import Location
    from nlpipe.side_by_side import Adapters
    from nlpipe.task import TaskOptions

Long = Literal["window", "truncate", "error"]
Backend = Literal["auto", "torch", "onnx", "openvino", "ctranslate2"]


@overload
def load(
    path: str | Path,
    *,
    device: str = ...,
    dtype: str = ...,
    threads: int | None = ...,
    long: Long | None = ...,
    backend: Backend = ...,
    offline: bool = ...,
    plugins: Plugins | None = ...,
) -> Pipeline: ...
@overload
def load(
    path: Mapping[str, str | Path],
    *,
    device: str = ...,
    dtype: str = ...,
    threads: int | None = ...,
    long: Long | None = ...,
    backend: Backend = ...,
    offline: bool = ...,
    plugins: Plugins | None = ...,
) -> Adapters: ...
def load(
    path: str | Path | Mapping[str, str | Path],
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    long: Long | None = None,
    backend: Backend = "auto",
    offline: bool = False,
    plugins: Plugins | None = None,
) -> Pipeline | Adapters:
    """A pipeline from a model folder that nlpipe wrote; from a mapping of names to folders, adapters on one base.

    `device` and `dtype` `auto` take a GPU where there is one, and float32; `threads` sets PyTorch's for the
    whole process; `long` overrides what becomes of texts longer than the model reads. `backend` is what computes:
    `auto` takes the form that `nlpipe export` put into the folder last, on a processor in float32, where its package
    is installed, and else PyTorch. Raises ArtifactError.
    """
    if isinstance(path, Mapping):
        return _side_by_side(path, device, dtype, threads, long, backend, offline, plugins)
    folder = Path(path).expanduser()
    card = read_card(folder)
    registry = plugins or Plugins.discover()
    if long is not None:
        card = card.model_copy(update={"window": replace(card.window, long=long)})
    form = exported.choose(card, backend, folder, plain=device in ("auto", "cpu") and dtype in ("auto", "float32"))
    if form is not None:
        runner = exported.open_runner(folder, card, form, threads)
        return Pipeline(card, runner, exported.tokenizers(folder, form), plugins=registry)
    return _with_torch(folder, card, registry, device, dtype, threads, offline=offline)


def _side_by_side(
    folders: Mapping[str, str | Path],
    device: str,
    dtype: str,
    threads: int | None,
    long: Long | None,
    backend: Backend,
    offline: bool,
    plugins: Plugins | None,
) -> Adapters:
    from nlpipe import side_by_side

    if backend not in ("auto", exported.TORCH):
        raise UnsupportedError(f"adapters share a base in PyTorch; leave backend {backend!r} out")
    _threads(threads)
    return side_by_side.load(
        folders,
        device=device_of(device),
        dtype=dtype_of(dtype),
        long=long,
        offline=offline,
        plugins=plugins or Plugins.discover(),
    )


def _with_torch(
    folder: Path, card: Card, registry: Plugins, device: str, dtype: str, threads: int | None, *, offline: bool
) -> Pipeline:
    from nlpipe import artifact
    from nlpipe.runners.torch import TorchRunner

    kind = registry.task(card.task)
    task = kind(card.labels, kind.Options.model_validate(card.options))
    _threads(threads)
    loaded = artifact.load(folder, card, asked_as(card, task), dtype=dtype_of(dtype), offline=offline)
    return Pipeline(card, TorchRunner(loaded.model, device_of(device)), loaded.tokenizers, plugins=registry)


def pipeline(
    task: str | None = None,
    *,
    model: str | Path,
    revision: str = "main",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    long: Long | None = None,
    options: TaskOptions | None = None,
    labels: Sequence[str] = (),
    objective: str = "auto",
    generation: Generation | Mapping[str, Any] | None = None,
    backend: Backend = "auto",
    offline: bool = False,
    plugins: Plugins | None = None,
) -> Pipeline:
    """A pipeline from any model that has a head for the task: a local folder, `package:NAME/PATH` or a Hub id.

    Labels are the model's own, and so is what becomes of long texts where `long` does not say it: windows, unless
    the folder is one of sentence-transformers' that states where it cuts. `options` are the task's own, as in a
    recipe, and `generation` its settings for models that write. `labels` name those of a model that has none of
    its own, or that judges any labels (`Entailment`); `objective` how it is asked, where there are several ways.
    `task` may be left out where the model says it: one of nlpipe's, or one whose head only one task asks.
    Raises ArtifactError where there is no such model, it has no such head, or several tasks fit and none is named.
    """
    from nlpipe import artifact, backbone, recognising
    from nlpipe.runners.torch import TorchRunner

    registry = plugins or Plugins.discover()
    kind = None if task is None else registry.task(task)
    location = backbone.locate(str(model), revision=revision, offline=offline)
    if task is None or kind is None:
        ours = is_artifact(location.folder)
        task = read_card(location.folder).task if ours else recognising.recognised(location, registry)
        kind = registry.task(task)
    if is_artifact(location.folder) and not _asked_otherwise(location, objective):
        card = read_card(location.folder)
        if card.task != task:
            raise ArtifactError(f"{model} was trained for {card.task}, not for {task}: nlpipe.load({str(model)!r})")
        if options is not None and options != kind.Options():
            raise UnsupportedError(f"{model} holds the options it was trained with; leave them out")
        if labels and tuple(labels) != card.labels:
            raise UnsupportedError(f"{model} has labels of its own, {', '.join(card.labels) or 'none'}; leave them out")
        return load(
            location.folder,
            device=device,
            dtype=dtype,
            threads=threads,
            long=long,
            backend=backend,
            offline=offline,
            plugins=registry,
        )
    if backend not in ("auto", exported.TORCH):
        raise UnsupportedError(
            f"{model} is computed with PyTorch as it is. To make a form of it for another back end, in a folder of its "
            f"own: nlpipe export {model} --task {task} --to {backend} --output FOLDER"
        )
    try:
        family, asked, own = artifact.infer(location, task, kind.row(), objective, labels)
    except ArtifactError as error:
        fits = ", ".join(recognising.fitting(location, registry))
        raise ArtifactError(f"{error} It fits: {fits}." if fits else str(error)) from error
    if labels and own and len(own) != len(labels):
        raise ArtifactError(f"{model} has {len(own)} labels of its own, {', '.join(own)}; {len(labels)} were given")
    if own and own != tuple(labels) and set(own) == set(labels):
        raise ArtifactError(
            f"{model} has these labels of its own in another order, {', '.join(own)}; in the order given each would "
            "stand for another's probability. Leave them out"
        )
    named = tuple(labels) or own
    _threads(threads)
    writing = Generation.model_validate(generation or {})
    made = kind(named, options).objective(asked).with_generation(writing)
    stated = artifact.stated_for(made, location.folder)
    made = made.placed(family, stated)
    # Trained elsewhere, so a decoder's attention stays as it was trained.
    loaded = backbone.load(location, made, dtype=dtype_of(dtype), labels=named, attention="causal")
    if loaded.fresh:
        raise ArtifactError(
            f"{location.name} has no trained weights for {', '.join(loaded.fresh)}: its answers would be noise. "
            f"Fine-tune it with a recipe first (nlpipe recipe new {task})."
        )
    record = registry.origin(task)
    card = Card(
        task=task,
        options={} if options is None else options.model_dump(mode="json"),
        labels=named,
        generation=writing.model_dump(mode="json", exclude_none=True),
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
    return Pipeline(card, TorchRunner(loaded.model, device_of(device)), loaded.tokenizers, plugins=registry)


def _asked_otherwise(location: Location, objective: str) -> bool:
    """Whether a model of ours is to be asked in another way than it was trained for, as anybody's would be."""
    if objective == "auto":
        return False
    card = read_card(location.folder)
    if card.objective == objective:
        return False
    if card.weights == "adapter":
        raise ArtifactError(f"{location.name} holds an adapter alone, which is asked as {card.objective}")
    return True


def device_of(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises UnsupportedError for a device that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UnsupportedError(f"device {name!r} is not on this machine; take 'auto' or 'cpu'") from error


def dtype_of(name: str) -> torch.dtype:
    """`auto` is float32: half precision is three to ten times slower on most processors."""
    import torch

    if name == "auto":
        return torch.float32
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UnsupportedError(f"unknown dtype {name!r}; there are: auto, float32, bfloat16, float16")
    return found


def _threads(count: int | None) -> None:
    if count is not None:
        import torch

        torch.set_num_threads(count)
