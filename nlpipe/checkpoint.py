"""Checkpoints of a training: whole or absent, exact to the bit, and free of pickles.

    checkpoints/step-00000123/weights.safetensors     the weights being trained
                              optimizer.safetensors   the optimiser's tensors, `parameter name/key`
                              optimizer.json          its other values and its groups, by parameter name
                              state.json              written last: step, state, each file's size and hash

The layout follows what transformers' Trainer lacks: it writes into the final folder, so a killed run leaves a
checkpoint that looks whole, and a missing optimizer file goes unnoticed. Random states are not kept because
there are none: every draw is a function of (seed, purpose, step, rank), see `nlpipe.batching.derive`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nlpipe import files, optimizer_state
from nlpipe.errors import ArtifactError, Problem
from nlpipe.optimizer_state import Taken

FORMAT = 1
"""The layout's number; another one is refused, never guessed at."""

_WEIGHTS = "weights.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_VALUES = "optimizer.json"
_STATE = "state.json"
_CONTENT = (_WEIGHTS, _OPTIMIZER, _VALUES)
_NAME = re.compile(r"step-(\d{8,})")

log = logging.getLogger("nlpipe")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One complete checkpoint. `state` is what `save` was given, as JSON returns it (tuples are lists)."""

    path: Path
    step: int
    state: dict[str, Any]

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights by parameter name, on the processor, in the dtype they had."""
        weights: dict[str, torch.Tensor] = load_file(self.path / _WEIGHTS)
        return weights

    def optimizer(self) -> Taken:
        """The optimiser's state as it was given to `save`."""
        # Cloned: the file's pages are mapped into memory, and a later rotation removes the file.
        tensors = {name: tensor.clone() for name, tensor in load_file(self.path / _OPTIMIZER).items()}
        return json.loads((self.path / _VALUES).read_text(encoding="utf-8")), tensors

    def restore_optimizer(
        self, optimizer: torch.optim.Optimizer, names: Sequence[str], taken: Taken | None = None
    ) -> None:
        """Give the optimiser the state it was saved in: each tensor's bits and dtype, each group's settings.

        `names` are its parameters in its own order (see `optimizer_state.parameter_names`); `taken` is what
        `optimizer()` gives, where that was read already. Groups may come in another order than they were saved in.
        Raises ArtifactError where they do not hold the same parameters in the same shapes.
        """
        values, tensors = taken or self.optimizer()
        if "left_out" in values:
            raise ArtifactError(
                f"{self.path} has no optimizer's state, which {values['left_out']} kept to itself: start anew, in "
                "another output.dir"
            )
        try:
            optimizer_state.restore(optimizer, names, values, tensors)
        except ArtifactError as error:
            raise ArtifactError(
                f"{self.path} does not fit: {error}. Resume with the recipe it was made with, or start anew."
            ) from error


class Found(NamedTuple):
    """What `latest` finds: the newest good checkpoint, and newer ones passed over, each with the reason."""

    checkpoint: Checkpoint | None
    skipped: list[tuple[Path, str]]


def save(
    folder: Path,
    step: int,
    *,
    tensors: Mapping[str, torch.Tensor],
    optimizer: Taken,
    state: Mapping[str, Any],
    keep: Collection[int] = (),
    last: int = 2,
) -> Path:
    """Write `folder/step-…` whole, then remove checkpoints that are not needed any more; returns its path.

    `tensors` are the weights by name; `optimizer` is what `optimizer_state.take` gives; `state` is anything that JSON
    can say (NaN included). `keep` and `last` are those of `rotate`. A checkpoint of the same step is replaced.

    Raises ArtifactError where the disk is full or not writable; earlier checkpoints then stand as they were.
    Raises TypeError, before anything is written, for a state that holds what JSON cannot say.
    """
    path = folder / f"step-{step:08d}"
    content, moments = optimizer
    values = json.dumps(content, indent=1)
    head = {"format": FORMAT, "step": step, "state": json.loads(json.dumps(dict(state)))}
    try:
        files.sweep(folder)
        with files.atomic_folder(path, replace=True) as new:
            save_file(_plain(tensors), new / _WEIGHTS)
            save_file(_plain(moments), new / _OPTIMIZER)
            files.write(new / _VALUES, values)
            measured = {name: _measured(new / name) for name in _CONTENT}
            files.write(new / _STATE, _sealed({**head, "files": measured}))
    except (ArtifactError, OSError, SafetensorError) as error:
        size = sum(tensor.nbytes for tensor in [*tensors.values(), *moments.values()])
        raise _unsaved(path, error, size) from error
    rotate(folder, keep=keep, last=last, good=step)
    return path


def latest(folder: Path, *, read: bool = True) -> Found:
    """The newest complete checkpoint whose files have the sizes and hashes they were written with.

    Reads every byte of it; without `read` sizes alone are compared. Torn and changed checkpoints are passed over, with
    a reason for each; unfinished `.tmp-…` folders are not looked at. A missing folder has no checkpoints. Raises
    ArtifactError where the folder cannot be listed.
    """
    skipped: list[tuple[Path, str]] = []
    for step, path in _steps(folder):
        content, reason = _inspect(path, step, read=read)
        if content is not None:
            return Found(Checkpoint(path, step, content["state"]), skipped)
        skipped.append((path, reason))
    return Found(None, skipped)


def at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of one step. Raises ArtifactError where it is not there or damaged."""
    for number, path in _steps(folder):
        if number == step:
            content, reason = _inspect(path, step)
            if content is not None:
                return Checkpoint(path, step, content["state"])
            raise ArtifactError(f"the checkpoint {path} is damaged: {reason}")
    raise ArtifactError(f"the checkpoint of step {step} is gone from {folder}")


def rotate(folder: Path, *, keep: Collection[int] = (), last: int = 2, good: int | None = None) -> list[Path]:
    """Remove checkpoints that are neither among the `last` newest nor of a step in `keep`; returns what went.

    Never removes the newest good one: `good` names a step known to be good, else the files are read to find
    it. Never removes anything that is not a complete checkpoint of ours. What cannot be removed is logged and
    stays.
    """
    whole = _whole(folder)
    spare = [(step, path) for step, path in whole[last:] if step not in {*keep, good}]
    if spare and good is None:
        good = next((step for step, path in whole if _inspect(path, step)[0] is not None), None)
    removed = []
    for step, path in spare:
        if step == good:
            continue
        try:
            files.discard(path)
            removed.append(path)
        except OSError as error:
            log.warning("cannot remove the old checkpoint %s: %s", path, error.strerror or error)
    return removed


def fingerprint(content: Mapping[str, Any]) -> str:
    """The SHA-256 of a nested mapping's canonical JSON: the same for the same content in any order of keys.

    Raises TypeError for what JSON cannot say, ValueError for NaN and infinities.
    """
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[Problem]:
    """Each key whose value differs, as `train.epochs  was 3, is 5`; none where the fingerprints agree.

    `where` fills the problems' first column. Mappings are compared key by key, everything else as a whole.
    """
    return [Problem(where, key, message) for key, message in _differences(old, new, ())]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], above: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    for key in dict.fromkeys([*old, *new]):
        here = (*above, str(key))
        if key not in new:
            yield ".".join(here), f"was {_short(old[key])}, is not set"
        elif key not in old:
            yield ".".join(here), f"was not set, is {_short(new[key])}"
        elif isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            yield from _differences(old[key], new[key], here)
        elif _canonical(old[key]) != _canonical(new[key]):
            yield ".".join(here), f"was {_short(old[key])}, is {_short(new[key])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as safetensors takes them: on the processor, contiguous, none sharing memory."""
    plain: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        memory = flat.untyped_storage().data_ptr()
        plain[name] = flat.clone() if memory in seen else flat
        seen.add(memory)
    return plain


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """Everything in `folder` that is named as a checkpoint, the newest first."""
    try:
        found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ArtifactError(f"cannot list the checkpoints in {folder}: {error.strerror or error}") from error
    return sorted(found, reverse=True)


def _whole(folder: Path) -> list[tuple[int, Path]]:
    """The complete checkpoints by their sizes, the newest first."""
    return [(step, path) for step, path in _steps(folder) if _inspect(path, step, read=False)[0] is not None]


def _inspect(path: Path, step: int, *, read: bool = True) -> tuple[dict[str, Any] | None, str]:
    """The content of a checkpoint's `state.json`, or None and what is wrong with the checkpoint.

    Without `read`, the other files' sizes are compared but not their bytes.
    """
    try:
        content = _opened((path / _STATE).read_text(encoding="utf-8"))
        fault = _fault(content, step) or _damage(path, content["files"], read)
    except FileNotFoundError as error:
        fault = f"{Path(error.filename).name} is missing"
    except OSError as error:
        fault = f"it cannot be read: {error.strerror or error}"
    except ValueError:
        fault = f"{_STATE} is torn or was changed"
    return (None, fault) if fault else (content, "")


def _fault(content: Mapping[str, Any], step: int) -> str:
    if content["format"] != FORMAT:
        return f"it has format {content['format']}, this version of nlpipe reads {FORMAT}"
    return "" if content["step"] == step else f"{_STATE} is of step {content['step']}"


def _damage(path: Path, prints: Mapping[str, Mapping[str, Any]], read: bool) -> str:
    for name, expected in prints.items():
        size = (path / name).stat().st_size
        if size != expected["size"]:
            return f"{name} has {size} of {expected['size']} bytes"
        if read and files.sha256(path / name) != expected["sha256"]:
            return f"{name} was changed: its SHA-256 is another"
    return ""


def _sealed(content: dict[str, Any]) -> str:
    """JSON with a hash of itself, so that a torn or changed file shows."""
    return json.dumps({**content, "sha256": _seal(content)}, indent=1)


def _opened(text: str) -> dict[str, Any]:
    """What `_sealed` was given. Raises ValueError where the text is not what it wrote."""
    content = json.loads(text)
    if not isinstance(content, dict) or content.pop("sha256", None) != _seal(content):
        raise ValueError("its hash is another")
    return content


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()  # NaN is allowed here


def _measured(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": files.sha256(path)}


def _unsaved(path: Path, error: Exception, size: int) -> ArtifactError:
    """What to tell the user: what failed, how much room it needs, and which checkpoint stands."""
    cause = error.__cause__ or error
    reason = getattr(cause, "strerror", None) or str(cause)
    earlier: list[int] = []
    with suppress(ArtifactError):
        earlier = [step for step, at in _whole(path.parent) if at != path]
    stands = f"The checkpoint of step {earlier[0]} stands" if earlier else "There is no earlier one"
    return ArtifactError(
        f"cannot write the checkpoint {path}: {reason}. It needs {size / 1e6:.1f} MB. {stands}: "
        "make room there or choose another output.dir, then resume."
    )
