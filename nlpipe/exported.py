"""Models in other back ends' forms: which a folder has, whether they are still its model, and how they are opened.

No torch and no transformers: an exported model starts in a fraction of their import's time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import kept_tokens
from nlpipe.errors import ArtifactError, UnsupportedError, suggest
from nlpipe.files import fingerprint, sha256

if TYPE_CHECKING:
    from nlpipe.card import Card, Export
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

log = logging.getLogger("nlpipe")

TORCH = "torch"


@dataclass(frozen=True, slots=True)
class BackEnd:
    """A back end beside PyTorch: its Python package, the runner's module and class, what it is called in prose."""

    package: str
    module: str
    runner: str
    called: str


BACKENDS = {
    "onnx": BackEnd("onnxruntime", "nlpipe.runners.onnx", "OnnxRunner", "ONNX Runtime"),
    "openvino": BackEnd("openvino", "nlpipe.runners.openvino", "OpenVinoRunner", "OpenVINO"),
    "ctranslate2": BackEnd("ctranslate2", "nlpipe.runners.ctranslate2", "Ct2Runner", "CTranslate2"),
}


def require(name: str) -> None:
    """Raise UnsupportedError where a back end's package is not installed."""
    if find_spec(BACKENDS[name].package) is None:
        raise UnsupportedError(f"{BACKENDS[name].called} is not installed: pip install 'nlpipe[{name}]'")


def choose(card: Card, wanted: str, folder: Path, *, plain: bool) -> Export | None:
    """The export that a model is to be answered with; None for its own weights with PyTorch.

    `auto` takes the newest export whose back end is installed, where the call is `plain`: no device and no dtype that
    only PyTorch has. Raises UnsupportedError for an unknown back end, ArtifactError for a form that the folder lacks.
    """
    there = {one.backend: one for one in card.exports}
    if wanted == "auto":
        for one in reversed(card.exports) if plain or card.weights == "exported" else ():
            if find_spec(BACKENDS[one.backend].package) is not None:
                return one
            log.warning(
                "%s has the model as %s too, which is not installed: pip install 'nlpipe[%s]'",
                folder,
                one.backend,
                one.backend,
            )
        if card.weights == "exported":
            require(card.exports[-1].backend)
        return None
    if wanted == TORCH:
        if card.weights == "exported":
            raise ArtifactError(
                f"{folder} has the model in no form that PyTorch reads, only as {', '.join(there)}: leave `backend` "
                f"out, or load {card.backbone.name}"
            )
        return None
    if wanted not in BACKENDS:
        raise UnsupportedError(f"unknown backend {wanted!r}; {suggest(wanted, ['auto', TORCH, *BACKENDS])}")
    if wanted not in there:
        has = f"It has: {', '.join(there)}" if there else "It has none"
        raise ArtifactError(
            f"{folder} has no export for {wanted}. {has}. To make one: nlpipe export {folder} --to {wanted}"
        )
    if not plain:
        raise UnsupportedError(f"device and dtype are PyTorch's; with backend {wanted!r} leave them out")
    require(wanted)
    return there[wanted]


def check(folder: Path, card: Card, export: Export) -> None:
    """Raise ArtifactError where an export's files are damaged, or the folder's weights are others than it has."""
    again = f"export it again: nlpipe export {folder} --to {export.backend}"
    if export.quantize:
        again += f" --quantize {export.quantize} --data FILE"
    for name, digest in export.files.items():
        file = folder / export.folder / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing, so the model exported there is incomplete; {again}")
        if sha256(file) != digest:
            raise ArtifactError(f"{file} is not what was exported: it is damaged, or was changed; {again}")
    if card.weights != "exported" and identity(folder, card) != export.model:
        raise ArtifactError(
            f"the weights in {folder} have changed since they were exported to {export.backend}: it would give the "
            f"old model's answers; {again}"
        )


def identity(folder: Path, card: Card) -> str:
    """The fingerprint of the weights a folder has of its own: the merged model's, or the adapter's."""
    if card.weights == "adapter":
        return fingerprint(folder / "adapter", "adapter_config.json")
    return fingerprint(folder)


def open_runner(folder: Path, card: Card, export: Export, threads: int | None) -> Runner:
    """The runner of an export, once it is known to be whole and this model's."""
    check(folder, card, export)
    return opened(export.backend, folder / export.folder, threads)


def opened(name: str, folder: Path, threads: int | None = None) -> Runner:
    """The runner of a back end over the files in `folder`."""
    backend = BACKENDS[name]
    kind: Any = getattr(import_module(backend.module), backend.runner)
    open_: Callable[[Path, int | None], Runner] = kind.open
    return open_(folder, threads)


def tokenizers(folder: Path, export: Export) -> Tokenizers:
    """The tokenizers of a model, as kept beside the export; else transformers', which costs its import."""
    if (folder / export.folder / kept_tokens.KEPT).is_file():
        return kept_tokens.read(folder / export.folder)
    from nlpipe import backbone, locating, upstream

    return backbone.tokenizers(locating.Location(str(folder), folder), upstream.read_config(folder))
