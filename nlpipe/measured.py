"""What a measurement leaves on the disk, and reading it again: scores, answers, and each row's statistics.

`metrics.json` is for people and scripts, `predictions.jsonl` has the answers, and `statistics.npz` what every metric
counted in each row: with it two measurements of the same rows are compared without model or data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from nlpipe.errors import ArtifactError
from nlpipe.files import atomic_write
from nlpipe.slices import Slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.data import Split
    from nlpipe.evaluation import Scores
    from nlpipe.results import Result
    from nlpipe.task import Record

METRICS, PREDICTIONS, STATISTICS = "metrics.json", "predictions.jsonl", "statistics.npz"
SEEDS = "seeds.json"  # in the folder of one recipe's runs with several seeds


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One measurement as it was written: `statistics` has [n, k] per metric, `rows` says of which data.

    `name` is what tables call it. `data` is a fingerprint of the labelled rows: measurements of unlike rows cannot be
    compared row by row.
    """

    name: str
    task: str
    split: str
    data: str
    scores: Mapping[str, float]
    signatures: Mapping[str, str]
    statistics: Mapping[str, NDArray[np.float64]]

    @property
    def n(self) -> int:
        """How many rows were measured."""
        return len(next(iter(self.statistics.values())))


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What is compared under one name: a single run, or those of one recipe with several seeds, on the same rows."""

    name: str
    runs: tuple[Measured, ...]

    @property
    def first(self) -> Measured:
        """The first run, which says the task, the rows and the signatures of all."""
        return self.runs[0]


def claim(folder: Path) -> None:
    """Raise ArtifactError unless a measurement can be put into `folder`: new, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(f"the output folder {folder} is in use; choose a new one")


def write(
    folder: Path,
    split: Split,
    scores: Scores,
    results: Sequence[Result],
    slices: Slices | None = None,
) -> None:
    """Put a split's scores, answers and statistics into `folder`. Raises ArtifactError where the disk refuses."""
    content: dict[str, Any] = {"split": split.name, **scores.to_dict(), "data": fingerprint(split.examples)}
    if slices:
        content["slices"] = slices.to_dict()
    lines = (
        json.dumps({"row": row, **result.to_dict()}, ensure_ascii=False) + "\n"
        for row, result in zip(split.rows, results, strict=True)
    )
    packed = BytesIO()
    # By number, since a name such as `ndcg@10` is the metric's to choose and not a file's.
    np.savez_compressed(
        packed, allow_pickle=False, **{str(at): rows for at, rows in enumerate(scores.statistics.values())}
    )
    atomic_write(folder / PREDICTIONS, "".join(lines))
    atomic_write(folder / STATISTICS, packed.getvalue())
    atomic_write(folder / METRICS, json.dumps(content, indent=2) + "\n")  # last: where it is, all is there


def read(folder: Path, name: str = "") -> Measured:
    """A measurement from the folder that `write` filled: a run's, or the one of `nlpipe evaluate --output`.

    Raises ArtifactError where there is none, or it is damaged.
    """
    if not (folder / METRICS).is_file():
        raise ArtifactError(
            f"{folder} has no {METRICS}: it is no finished run. Name the folder that `nlpipe run` or "
            "`nlpipe evaluate --output` wrote"
        )
    try:
        content = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        with np.load(folder / STATISTICS, allow_pickle=False) as packed:
            statistics = {metric: packed[str(at)] for at, metric in enumerate(content["signatures"])}
        return Measured(
            name=name or str(folder),
            task=content["task"],
            split=content["split"],
            data=content["data"],
            scores={name: float("nan") if value is None else value for name, value in content["scores"].items()},
            signatures=content["signatures"],
            statistics=statistics,
        )
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder} has no {STATISTICS}: measure it again to compare it") from error
    except (KeyError, ValueError, OSError, BadZipFile) as error:
        raise ArtifactError(f"the measurement in {folder} cannot be read ({error}): measure it again") from error


def read_group(folder: Path) -> Group:
    """The run in `folder`, or the finished ones of all seeds. Raises ArtifactError where there is none."""
    if not (folder / SEEDS).is_file():
        return Group(str(folder), (read(folder),))
    try:
        seeds = [run["seed"] for run in json.loads((folder / SEEDS).read_text(encoding="utf-8")).get("runs", ())]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ArtifactError(f"{folder / SEEDS} cannot be read ({error})") from error
    if not seeds:
        raise ArtifactError(f"{folder} has no finished run of any seed yet; go on with it: nlpipe run RECIPE --resume")
    runs = tuple(read(seed_folder(folder, seed)) for seed in seeds)
    if len({(run.data, run.task, tuple(run.signatures.items())) for run in runs}) > 1:
        raise ArtifactError(f"the runs in {folder} were not measured on the same rows by the same scores")
    return Group(str(folder), runs)


def seed_folder(folder: Path, seed: int) -> Path:
    """Where among the runs of many seeds the one of `seed` is."""
    return folder / f"seed-{seed}"


def slices(folder: Path) -> Slices | None:
    """The slices of a measurement that `write` put into `folder`, if there are any."""
    content = json.loads((folder / METRICS).read_text(encoding="utf-8")).get("slices")
    return Slices.from_dict(content) if content else None


def fingerprint(examples: Sequence[Record]) -> str:
    """SHA-256 of the labelled rows in their order, in hexadecimal."""
    found = hashlib.sha256()
    for example in examples:
        found.update(example.model_dump_json().encode())
        found.update(b"\n")
    return found.hexdigest()
