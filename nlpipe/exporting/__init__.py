"""A model in another back end's form, verified against PyTorch before it is kept. `exported.py` reads it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from nlpipe import adapter, backbone, exported, kept_tokens, loading, locating
from nlpipe.card import CARD, Card, Export, is_artifact, read_card
from nlpipe.errors import ArtifactError, UnsupportedError, suggest
from nlpipe.exporting import graphs, quantising, texts, verifying
from nlpipe.exporting.rows import Rows, gather
from nlpipe.exporting.verifying import Verified
from nlpipe.files import atomic_folder, atomic_write, sha256
from nlpipe.pipelines import Pipeline
from nlpipe.plugins import Plugins
from nlpipe.runners.torch import TorchRunner

Watch = Callable[[str], None]
README = "README.md"

NEEDS = {**graphs.NEEDS, "ctranslate2": texts.NEEDS}
"""The packages that exporting takes, by back end."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was exported, and how it did against PyTorch on the same rows.

    `changed`, `lost` and the times are `verifying.Verified`'s; `megabytes` are (the weights', the export's); of the
    model's `layers` those `in_float` are not kept in 8 bits.
    """

    folder: str
    backend: str
    quantize: str | None
    rows: int
    changed: float
    metric: str | None
    score: float | None
    lost: float | None
    faster: float
    milliseconds: Mapping[str, tuple[float, float]]
    megabytes: tuple[float, float]
    layers: int
    in_float: int

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def export(
    model: str,
    to: str,
    *,
    quantize: Literal["int8"] | None = None,
    data: str | None = None,
    columns: Mapping[str, str] | None = None,
    output: Path | None = None,
    task: str | None = None,
    max_loss: float = 0.01,
    offline: bool = False,
    plugins: Plugins | None = None,
    watch: Watch = lambda _: None,
) -> Report:
    """Write a model in the form of another back end, into its folder or a new one, `output`.

    `data` are rows to verify it on, labelled or not; without, the task's few samples. With `quantize` they also choose
    what is kept in 8 bits, and have to be given. Raises ArtifactError where the export would lose more than `max_loss`:
    of the score where rows are labelled, else of the answers. Raises UnsupportedError where a package is missing, or
    the back end cannot take the model.
    """
    _check(to, quantize, data)
    registry = plugins or Plugins.discover()
    watch("loading the model")
    location = locating.locate(model, offline=offline)
    ours = is_artifact(location.folder) and task in (None, read_card(location.folder).task)
    pipe = _opened(model, location.folder, task, ours, offline, registry)
    folder = _place(location.folder, output, ours, model, to)
    _able(pipe, to)
    rows = gather(pipe, data, columns)
    with tempfile.TemporaryDirectory() as temporary:
        plain, small = Path(temporary, "plain"), Path(temporary, "int8")
        plain.mkdir()
        small.mkdir()
        watch(f"tracing the model for {exported.BACKENDS[to].called}")
        made = _made(pipe, to, plain, small, rows, quantize, max_loss, watch)
        kept = small if quantize else plain
        kept_tokens.keep(pipe.tokenizers, kept)
        record = Export(
            backend=to,  # type: ignore[arg-type]  # `_check` has seen to it
            folder=to,
            quantize=quantize,
            model=exported.identity(location.folder, pipe.card) if ours else location.sha256,
            files={file.name: sha256(file) for file in sorted(kept.iterdir())},
            versions=_versions(to),
            **{name: getattr(made.verified, name) for name in ("rows", "changed", "metric", "score", "lost", "faster")},
        )
        _write(folder, output, pipe, record, kept)
        sizes = (_megabytes(location.folder, "*.safetensors"), _megabytes(kept, "*"))
    report = {name: getattr(made.verified, name) for name in Verified.__slots__}
    return Report(
        folder=str(folder / to),
        backend=to,
        quantize=quantize,
        megabytes=sizes,
        layers=made.layers,
        in_float=made.in_float,
        **report,
    )


def _check(to: str, quantize: str | None, data: str | None) -> None:
    """Raise UnsupportedError for what can be seen to be wrong before anything is loaded."""
    if to not in exported.BACKENDS:
        raise UnsupportedError(f"unknown back end {to!r}; {suggest(to, exported.BACKENDS)}")
    if quantize not in (None, "int8"):
        raise UnsupportedError(f"unknown kind of numbers {quantize!r}; there is: int8")
    if quantize and data is None:
        raise UnsupportedError(
            "int8 is calibrated and judged on rows of yours: add --data FILE, labelled if you have labels"
        )
    needed = [*NEEDS[to], *(quantising.NEEDS.get(to, ()) if quantize else ())]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UnsupportedError(
            f"exporting to {exported.BACKENDS[to].called} needs {missing[0]}, which is not installed: "
            f"pip install 'nlpipe[{to}]'"
        )


def _opened(model: str, folder: Path, task: str | None, ours: bool, offline: bool, plugins: Plugins) -> Pipeline:
    if ours:
        pipe = loading.load(folder, device="cpu", backend="torch", offline=offline, plugins=plugins)
    elif task is None:
        raise ArtifactError(f"{folder} was not written by nlpipe: say which task it is for, --task NAME")
    else:
        pipe = loading.pipeline(task, model=model, device="cpu", backend="torch", offline=offline, plugins=plugins)
    _merge(pipe)
    if pipe.card.quantize:
        raise UnsupportedError(
            f"the base of this adapter is kept in {pipe.card.quantize}, which no graph takes. Train it without "
            "model.quantize to export it"
        )
    return pipe


def _merge(pipe: Pipeline) -> None:
    """Fold an adapter into the weights in memory, where its method can be: back ends know no adapters."""
    runner = pipe.runner
    assert isinstance(runner, TorchRunner)
    if pipe.card.weights == "adapter" and pipe.card.quantize is None and hasattr(runner.model, "merge_and_unload"):
        pipe.runner = TorchRunner(adapter.merge(runner.model))


def _place(model: Path, output: Path | None, ours: bool, name: str, to: str) -> Path:
    """The folder whose Card will name the export."""
    if output is not None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ArtifactError(f"{output} exists already. Choose another place, or remove it first.")
        return output
    if not ours:
        raise ArtifactError(
            f"{name} is not nlpipe's to write into: say where the export goes, --output FOLDER (with --to {to})"
        )
    return model


def _able(pipe: Pipeline, to: str) -> None:
    if to == "ctranslate2" and not pipe.objective.writes:
        able = [name for name, task in sorted(pipe.plugins.tasks.items()) if _writes(task)]
        raise UnsupportedError(
            f"{pipe.card.task} is asked as {pipe.card.objective}, which writes no text, so CTranslate2 cannot take it; "
            f"onnx and openvino may. Tasks that it takes: {', '.join(able)}"
        )
    if to in graphs.WRITERS and not pipe.objective.one_graph:
        able = [name for name, task in sorted(pipe.plugins.tasks.items()) if _has_graph(task)]
        raise UnsupportedError(
            f"{pipe.card.task} is asked as {pipe.card.objective}, which takes more than one pass through a graph, so "
            f"{exported.BACKENDS[to].called} cannot take it. Tasks that can be exported so: {', '.join(able)}"
        )


def _writes(task: Any) -> bool:
    return any(kind.writes for kinds in task.row().values() for kind in kinds)


def _has_graph(task: Any) -> bool:
    return any(kind.one_graph for kinds in task.row().values() for kind in kinds)


@dataclass(frozen=True, slots=True)
class _Made:
    verified: Verified
    layers: int = 0
    in_float: int = 0


def _made(
    pipe: Pipeline,
    to: str,
    plain: Path,
    small: Path,
    rows: Rows,
    quantize: str | None,
    max_loss: float,
    watch: Watch,
) -> _Made:
    """Write the export into `plain`, or where it is quantised into `small`, and say what it loses."""
    assert isinstance(pipe.runner, TorchRunner)
    if to not in graphs.WRITERS:
        texts.write(pipe.runner.model, pipe.tokenizers, small if quantize else plain, quantize)
        return _Made(_judged(pipe, to, small if quantize else plain, rows, max_loss, watch))
    batches = verifying.batches(pipe, rows.calibration)
    graphs.WRITERS[to](pipe.runner.model, pipe.objective, _sample(batches), plain)
    verifying.require_same(pipe, exported.opened(to, plain), batches[:: max(1, len(batches) // 4)])
    if not quantize:
        return _Made(_judged(pipe, to, plain, rows, max_loss, watch))
    watch("measuring what each layer loses in 8 bits")
    known = quantising.sensitivity(pipe.runner.model, pipe.objective, batches[:: max(1, len(batches) // 6)])
    worst: Verified | None = None
    for layers, kept in quantising.WRITERS[to](plain, small, batches, known):
        watch(f"answering the same rows with both, {kept} of {layers} layers in float32")
        found = verifying.verify(pipe, _with(pipe, to, small), rows)
        if found.loss <= max_loss:
            return _Made(found, layers, kept)
        worst = found
    assert worst is not None
    _require(worst, max_loss, to, " although half of its layers were left in float32")
    raise AssertionError


def _judged(pipe: Pipeline, to: str, folder: Path, rows: Rows, max_loss: float, watch: Watch) -> Verified:
    watch("answering the same rows with both")
    found = verifying.verify(pipe, _with(pipe, to, folder), rows)
    _require(found, max_loss, to)
    return found


def _sample(batches: Any) -> Any:
    """A batch to trace with: with one row, or one token, batch and length would be taken for constants."""
    from dataclasses import replace

    import numpy as np

    first = max(batches, key=lambda batch: batch.inputs["input_ids"].size)
    if min(first.inputs["input_ids"].shape) > 1:
        return first
    return replace(first, inputs={name: np.tile(values, (2, 2)) for name, values in first.inputs.items()})


def _with(pipe: Pipeline, to: str, folder: Path) -> Pipeline:
    return Pipeline(pipe.card, exported.opened(to, folder), pipe.tokenizers, plugins=pipe.plugins)


def _require(found: Verified, most: float, to: str, although: str = "") -> None:
    if found.loss <= most:
        return
    what = f"{found.loss:.1%} of the answers to {found.rows} rows would be others"
    if found.lost is not None and found.score is not None:
        what = (
            f"{found.metric} would fall from {found.score:.4f} to {found.score - found.lost:.4f} on {found.rows} rows"
        )
    raise ArtifactError(
        f"as {exported.BACKENDS[to].called} {what}{although}: more than the {most:.1%} that may be lost. Nothing was "
        "written. Allow more with --max-loss, or try another back end"
    )


def _write(folder: Path, output: Path | None, pipe: Pipeline, record: Export, made: Path) -> None:
    """Put the export into its place, and name it in the Card."""
    others = tuple(one for one in pipe.card.exports if one.backend != record.backend)
    if output is None:
        with atomic_folder(folder / record.folder, replace=True) as temporary:
            shutil.copytree(made, temporary, dirs_exist_ok=True)
        atomic_write(folder / CARD, pipe.card.model_copy(update={"exports": (*others, record)}).to_json())
        return
    card: Card = pipe.card.model_copy(update={"weights": "exported", "exports": (record,)})
    with atomic_folder(output) as temporary:
        shutil.copytree(made, temporary / record.folder)
        backbone.save_tokenizers(pipe.tokenizers, temporary)
        config: Any = pipe.runner.model.config  # type: ignore[attr-defined]
        config.save_pretrained(temporary)
        (temporary / README).write_text(_readme(card, record), encoding="utf-8")
        (temporary / CARD).write_text(card.to_json(), encoding="utf-8")


def _readme(card: Card, record: Export) -> str:
    name = exported.BACKENDS[record.backend].called
    small = " in 8 bits" if record.quantize else ""
    return (
        f"# {card.task}, exported from {card.backbone.name}\n\n"
        f"For {name}{small}; nlpipe made and verified it on {record.rows} rows (`{CARD}` says what it lost).\n\n"
        f"    pip install 'nlpipe[{record.backend}]'\n\n"
        '```python\nimport nlpipe\n\npipe = nlpipe.load("path/to/this/folder")\npipe("…")\n```\n'
    )


def _versions(to: str) -> dict[str, str]:
    found = {}
    for name in ("nlpipe", "torch", "transformers", exported.BACKENDS[to].package):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _megabytes(folder: Path, pattern: str) -> float:
    return round(sum(file.stat().st_size for file in folder.glob(pattern)) / 1e6, 1)
