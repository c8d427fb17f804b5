"""`report.html` of a measurement, and the page of a comparison: facts gathered where they lie, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import checking, languages, measured, resources, slice_search, slices
from nlpipe.batching import rng
from nlpipe.checking.views import View, views
from nlpipe.files import atomic_write
from nlpipe.report import Report, render, render_comparison
from nlpipe.slices import Slices

if TYPE_CHECKING:
    from nlpipe.comparing import Comparison
    from nlpipe.data import Split
    from nlpipe.evaluation import Scores
    from nlpipe.results import Result
    from nlpipe.task import Task

PAGE = "report.html"

RESAMPLES = 200  # of each slice that is shown
FEW = 20  # distinct values of a column by which rows are sliced unasked


def sliced(
    task: Task[Any, Any, Any, Any], split: Split, scores: Scores, wanted: Sequence[str] | None, seed: int
) -> Slices:
    """The first score's slices; `wanted` as `evaluate.slices`: None for what offers itself, none at all for []."""
    metric, draw = task.metrics[0], rng(seed, "slices")
    if wanted is not None and not wanted:
        return Slices(metric.name)
    rows, seen = scores.statistics[metric.name], views(type(task), split.examples, split.rows)
    texts, strata = [view.text for view in seen], [view.stratum for view in seen]
    offered = slices.masks(_offered(task, split, seen), split.frame, texts, strata)
    chosen = offered if wanted is None else slices.masks(wanted, split.frame, texts, strata)
    named = slice_search.named(metric, rows, chosen, resamples=RESAMPLES, draw=draw)
    found, looks = slice_search.worst(metric, rows, {**offered, **chosen}, texts, resamples=RESAMPLES, draw=draw)
    return Slices(metric.name, tuple(named), tuple(found), looks)


def require_slices(kind: type[Task[Any, Any, Any, Any]], split: Split, wanted: Sequence[str]) -> None:
    """Raise DataError where one of the slices that a recipe names is none of these rows."""
    seen = views(kind, split.examples, split.rows)
    slices.masks(wanted, split.frame, [view.text for view in seen], [view.stratum for view in seen])


def _offered(task: Task[Any, Any, Any, Any], split: Split, seen: Sequence[View]) -> list[str]:
    """Length, label, language, and columns of few values that are neither input nor gold."""
    ours = set(type(task).Example.model_fields)
    columns = [str(name) for name in split.frame.columns if name not in ours]
    few = [
        name
        for name in columns
        if 1 < split.frame[name].astype(str).nunique() <= min(FEW, len(split.examples) // slices.SMALLEST)
    ]
    labelled = [slices.LABEL] if 1 < len({view.stratum for view in seen} - {None}) <= FEW else []
    told_apart = languages.known() and len(seen) <= slice_search.READ  # of more rows it would take minutes
    written = slices.LANGUAGE if told_apart else slices.SCRIPT
    return [slices.LENGTH, *labelled, *([] if written in columns else [written]), *few]


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
            summary=checking.summary(type(task), known),
            used=resources.used(),
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
