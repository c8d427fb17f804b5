"""From a folder, a package or a name on the Hub to a Pipeline: `load` for our models, `pipeline` for anyone's.

Torch is imported where a model needs it: one in another back end's form does not.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from pydantic import ValidationError

from nlpipe import devices, exported, locating
from nlpipe.arguments import named
from nlpipe.card import Card, is_artifact, read_card, refuse_run
from nlpipe.errors import ArtifactError, PluginError, UnsupportedError, suggest
from nlpipe.generation import Generation
from nlpipe.pipelines import Pipeline, asked_as
from nlpipe.plugins import AnyTask, Plugins

if TYPE_CHECKING:
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
@named
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
    _check(threads, long, backend)
    if isinstance(path, Mapping):
        return _side_by_side(path, device, dtype, threads, long, backend, offline, plugins)
    folder = Path(_named(path, "a model folder")).expanduser()
    card = read_card(folder)
    registry = plugins or Plugins.discover()
    _require(card, folder, registry)
    if long is not None:
        card = card.model_copy(update={"window": replace(card.window, long=long)})
    plain = str(device) in ("auto", "cpu") and str(dtype) in ("auto", "float32", "torch.float32")
    form = exported.choose(card, backend, folder, plain=plain)
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
    registry = plugins or Plugins.discover()
    places = {
        str(name): Path(_named(folder, f"the folder of {name!r}")).expanduser() for name, folder in folders.items()
    }
    for place in places.values():
        _require(read_card(place), place, registry)
    devices.set_threads(threads)
    return side_by_side.load(
        places,
        device=devices.device_of(device),
        dtype=devices.dtype_of(dtype),
        long=long,
        offline=offline,
        plugins=registry,
    )


def _with_torch(
    folder: Path, card: Card, registry: Plugins, device: str, dtype: str, threads: int | None, *, offline: bool
) -> Pipeline:
    from nlpipe import artifact
    from nlpipe.runners.torch import TorchRunner

    kind = registry.task(card.task)
    task = kind(card.labels, kind.Options.model_validate(card.options))
    devices.set_threads(threads)
    loaded = artifact.load(folder, card, asked_as(card, task), dtype=devices.dtype_of(dtype), offline=offline)
    return Pipeline(card, TorchRunner(loaded.model, devices.device_of(device)), loaded.tokenizers, plugins=registry)


@named
def pipeline(
    task: str | None = None,
    *,
    model: str | Path,
    revision: str = "main",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    long: Long | None = None,
    options: TaskOptions | Mapping[str, Any] | None = None,
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
    _check(threads, long, backend)
    registry = plugins or Plugins.discover()
    kind = None if task is None else registry.task(task)
    location = locating.locate(_named(model, "model"), revision=revision, offline=offline)
    if isinstance(labels, str):
        raise UnsupportedError(f"labels: a list of names, not one text; did you mean [{labels!r}]?")
    refuse_run(location.folder)
    if is_artifact(location.folder) and not _asked_otherwise(location, objective):
        _check_ours(location, task, options, labels, registry)
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
    from nlpipe import untouched

    if kind is None:
        kind = registry.task(untouched.task_of(location, registry))
    if backend not in ("auto", exported.TORCH):
        raise UnsupportedError(
            f"{model} is computed with PyTorch as it is. To make a form of it for another back end, in a folder of its "
            f"own: nlpipe export {model} --task {kind.name} --to {backend} --output FOLDER"
        )
    devices.set_threads(threads)
    return untouched.pipeline(
        kind,
        location,
        device=device,
        dtype=dtype,
        long=long,
        options=task_options(kind, options),
        labels=tuple(labels),
        objective=objective,
        generation=generation if isinstance(generation, Generation) else Generation().called(generation or {}),
        plugins=registry,
    )


def task_options(kind: AnyTask | type[AnyTask], given: TaskOptions | Mapping[str, Any] | None) -> TaskOptions:
    """A task's own options. Raises UnsupportedError for a name or a value that is none, with those there are."""
    if isinstance(given, kind.Options):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise UnsupportedError(f"options: a mapping, or a {kind.name}'s {kind.Options.__name__}, not {_kind(given)}")
    known = kind.Options.model_fields
    if unknown := [str(name) for name in given or () if name not in known]:
        raise UnsupportedError(f"{kind.name} has no option {unknown[0]!r}; {suggest(unknown[0], known)}")
    try:
        return kind.Options.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].replace("Input should be", "must be")
        raise UnsupportedError(f"option {'.'.join(map(str, first['loc']))}: {said}") from None


def _check(threads: int | None, long: str | None, backend: str) -> None:
    """Raise UnsupportedError for settings that mean nothing, before anything is read."""
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UnsupportedError(f"threads: a whole number from 1, not {threads!r}")
    if long is not None and long not in get_args(Long):
        raise UnsupportedError(f"unknown long {long!r}; {suggest(str(long), get_args(Long))}")
    if backend not in get_args(Backend):
        raise UnsupportedError(f"unknown backend {backend!r}; {suggest(str(backend), get_args(Backend))}")


def _named(given: Any, what: str) -> str:
    """A path or a name as text. Raises ArtifactError for what is neither, and for nothing."""
    if not isinstance(given, str | PathLike) or isinstance(given, bytes):
        raise ArtifactError(f"{what} is named by a text or a path, not by {_kind(given)}")
    if not str(given).strip():
        raise ArtifactError(f"{what} is named by a text or a path, and this one is empty")
    return str(given)


def _kind(value: Any) -> str:
    return type(value).__name__


def _require(card: Card, folder: Path, plugins: Plugins) -> None:
    """Raise PluginError, naming the package to install, where the task of a model is not there."""
    try:
        plugins.task(card.task)
    except PluginError as error:
        origin = card.plugin
        if _installed(origin.name):
            raise
        exact = f"=={origin.version}" if origin.version else ""
        raise PluginError(
            f"the model in {folder} is for the task {card.task!r}, which the package {origin.name} brings. It is not "
            f"installed here: pip install '{origin.name}{exact}'"
        ) from error


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_ours(
    location: locating.Location,
    task: str | None,
    options: TaskOptions | Mapping[str, Any] | None,
    labels: Sequence[str],
    plugins: Plugins,
) -> None:
    """Raise where a model of ours is asked for another thing than it was trained for."""
    card, model = read_card(location.folder), location.name
    _require(card, location.folder, plugins)
    kind = plugins.task(card.task)
    if task not in (None, card.task):
        raise ArtifactError(f"{model} was trained for {card.task}, not for {task}: nlpipe.load({model!r})")
    if options is not None and task_options(kind, options) != kind.Options():
        raise UnsupportedError(f"{model} holds the options it was trained with; leave them out")
    if labels and tuple(labels) != card.labels:
        raise UnsupportedError(f"{model} has labels of its own, {', '.join(card.labels) or 'none'}; leave them out")


def _asked_otherwise(location: locating.Location, objective: str) -> bool:
    """Whether a model of ours is to be asked in another way than it was trained for, as anybody's would be."""
    if objective == "auto":
        return False
    card = read_card(location.folder)
    if card.objective == objective:
        return False
    if card.weights != "merged":
        has = "an adapter alone" if card.weights == "adapter" else "exported forms alone"
        raise ArtifactError(f"{location.name} holds {has}, asked as {card.objective} and in no other way")
    return True
