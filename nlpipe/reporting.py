"""`report.html` of a measurement, and the page of a comparison: facts gathered where they lie, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import checking, measured, slices
from nlpipe.batching import rng
from nlpipe.checking.views import View, views
from nlpipe.files import atomic_write
from nlpipe.report import Report, render, render_comparison

if TYPE_CHECKING:
    from nlpipe.comparing import Comparison
    from nlpipe.data import Split
    from nlpipe.evaluation import Scores
    from nlpipe.results import Result
    from nlpipe.slices import Slice
    from nlpipe.task import Task

PAGE = "report.html"

RESAMPLES = 200  # of each slice: enough to tell a large difference from chance
FEW = 20  # distinct values of a column by which rows are sliced unasked


def sliced(
    task: Task[Any, Any, Any, Any], split: Split, scores: Scores, wanted: Sequence[str] | None, seed: int
) -> dict[str, list[Slice]]:
    """The first score's slices, by the metric's name; `wanted` as `evaluate.slices`, None for what offers itself."""
    metric = task.metrics[0]
    seen = views(type(task), split.examples, split.rows)
    names = _offered(task, split, seen) if wanted is None else wanted
    strata = [view.stratum for view in seen]
    chosen = slices.masks(names, split.frame, [view.text for view in seen], strata)
    found = slices.sliced(metric, scores.statistics[metric.name], chosen, resamples=RESAMPLES, draw=rng(seed, "slices"))
    return {metric.name: found} if found else {}


def require_slices(kind: type[Task[Any, Any, Any, Any]], split: Split, wanted: Sequence[str]) -> None:
    """Raise DataError where one of the slices that a recipe names is none of these rows."""
    seen = views(kind, split.examples, split.rows)
    slices.masks(wanted, split.frame, [view.text for view in seen], [view.stratum for view in seen])


def _offered(task: Task[Any, Any, Any, Any], split: Split, seen: Sequence[View]) -> list[str]:
    """Length, label, and columns of few values that are neither input nor gold."""
    ours = set(type(task).Example.model_fields)
    columns = [str(name) for name in split.frame.columns if name not in ours]
    few = [
        name
        for name in columns
        if 1 < split.frame[name].astype(str).nunique() <= min(FEW, len(split.examples) // slices.SMALLEST)
    ]
    labelled = [slices.LABEL] if 1 < len({view.stratum for view in seen} - {None}) <= FEW else []
    return [slices.LENGTH, *labelled, *few]


def keep(
    folder: Path,
    task: Task[Any, Any, Any, Any],
    split: Split,
    scores: Scores,
    results: Sequence[Result],
    *,
    wanted: Sequence[str] | None = None,
    seed: int = 13,
) -> None:
    """Put scores, slices, answers and the rows' statistics into `folder`.

    Raises DataError for slices that cannot be made, ArtifactError where the disk refuses.
    """
    measured.write(folder, split, scores, results, sliced(task, split, scores, wanted, seed))


def page(
    folder: Path,
    task: Task[Any, Any, Any, Any],
    split: Split,
    scores: Scores,
    results: Sequence[Result],
    *,
    title: str,
    splits: Mapping[str, Split] | None = None,
) -> Path:
    """Write the page of what `keep` put into `folder`; what else lies there (events, recipe) is read and shown.

    Raises ArtifactError where the disk refuses.
    """
    known = splits or {split.name: split}
    content = render(
        Report(
            title=title,
            subtitle=f"{scores.n:,} rows of {split.source}",
            scores=scores,
            split=split.name,
            details=tuple(task.details(results, split.examples)),
            slices=measured.slices(folder),
            findings=checking.quick(type(task), known),
            rows={name: len(one.examples) for name, one in known.items()},
            events=[json.loads(line) for line in _text(folder / "events.jsonl").splitlines() if line.strip()],
            environment=json.loads(_text(folder / "environment.json") or "{}"),
            recipe=_text(folder / "recipe.yaml"),
        )
    )
    atomic_write(folder / PAGE, content)
    return folder / PAGE


def comparison(path: Path, found: Sequence[Comparison]) -> Path:
    """Write the page of a comparison into the file `path`. Raises ArtifactError where the disk refuses."""
    atomic_write(path, render_comparison(found))
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
