"""The Card, `nlpipe.json`: all that a pipeline needs to know of its model, as typed content, read without torch.

Names and numbers only: no Python path, no pickle. Knows no task; a Card names one.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nlpipe.errors import ArtifactError
from nlpipe.objectives.base import Window
from nlpipe.task import Family

CARD = "nlpipe.json"
FORMAT = 1

Quantize = Literal["4bit", "8bit"]


class Origin(BaseModel):
    """Something this model was made from: a backbone, or the plugin of its task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str | None = None  # of a plugin's distribution
    revision: str | None = None  # the commit on the Hub
    sha256: str | None = None  # over config and weights


class Export(BaseModel):
    """The model in another back end's form, in the folder `folder` beside the Card.

    `model` is the fingerprint of the weights it was made of, `files` the SHA-256 of each file of its own. `rows` were
    answered by PyTorch and by it: `changed` is the share of answers that are others, `score` and `lost` the task's
    first score with PyTorch's answers and how much less it is with the export's, where the rows were labelled;
    `faster` how many times as fast it was over all rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["onnx", "openvino", "ctranslate2"]
    folder: str
    quantize: Literal["int8"] | None = None
    model: str
    files: dict[str, str]
    rows: int
    changed: float
    metric: str | None = None
    score: float | None = None
    lost: float | None = None
    faster: float
    versions: dict[str, str] = {}


class Card(BaseModel):
    """The typed content of `nlpipe.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    task: str
    options: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    family: Family
    objective: str
    head: Literal["transformers", "nlpipe"] = "transformers"
    weights: Literal["merged", "adapter", "exported"] = "merged"  # `exported`: in no form but those of `exports`
    quantize: Quantize | None = None  # how the base's weights are kept, which stand beside the adapter
    attention: Literal["auto", "opened", "causal"] = "auto"
    window: Window
    generation: dict[str, Any] = {}  # how text is written: a recipe's `generation:`
    settings: dict[str, Any] = {}  # what the objective decided of itself (Objective.recorded)
    plugin: Origin
    backbone: Origin
    versions: dict[str, str] = {}
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    exports: tuple[Export, ...] = ()  # the model in the forms of other back ends, the newest last

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json") | {"window": asdict(self.window)}, indent=2, ensure_ascii=False)


def versions() -> dict[str, str]:
    """The installed versions that decide what a model answers."""
    found = {name: _version(name) for name in ("nlpipe", "torch", "transformers", "tokenizers", "peft")}
    return {name: number for name, number in found.items() if number}


@cache
def _version(name: str) -> str:
    """Of a distribution, "" where it is not installed; read once: it takes 10 ms."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def is_artifact(folder: Path) -> bool:
    """Whether the folder is one of nlpipe's."""
    return (folder / CARD).is_file()


def refuse_run(folder: Path) -> None:
    """Raise ArtifactError with the model's folder for the folder of the run that made it."""
    if not is_artifact(folder) and is_artifact(folder / "model"):
        raise ArtifactError(f"{folder} is a run's folder; the model is in {folder / 'model'}")


def read_card(folder: Path) -> Card:
    """The Card of a model folder. Raises ArtifactError with what to do where there is none that can be read."""
    file = folder / CARD
    if not folder.is_dir():
        raise ArtifactError(f"there is no model folder {folder}")
    if not file.is_file():
        refuse_run(folder)
        raise ArtifactError(
            f"{folder} has no {CARD}: nlpipe did not write it. "
            f"For a plain transformers model: nlpipe.pipeline(task, model={str(folder)!r})"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        written = content["format"]
        if written > FORMAT:
            raise ArtifactError(
                f"{file} has format {written}, this nlpipe reads up to {FORMAT}: update nlpipe "
                f"(it was written by {content.get('versions', {}).get('nlpipe', 'a newer one')})"
            )
        return Card.model_validate(content)
    except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
        raise ArtifactError(f"{file} is damaged: {str(error).splitlines()[0]}") from error
