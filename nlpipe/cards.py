"""The model card: `README.md` of a model folder, from the same facts as the Card, with the Hub's metadata in front.

The metadata are those of https://huggingface.co/docs/hub/model-cards: `model-index` holds the scores as the Hub's own
`EvalResult` does. What is not known (a licence, the language) is left out and not made up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nlpipe.recipe import dump
from nlpipe.recipe_sources import CollectionSource, FileSource, HubSource

if TYPE_CHECKING:
    from nlpipe.card import Card
    from nlpipe.evaluation import Scores
    from nlpipe.recipe import Recipe
    from nlpipe.slices import Slices

# What the Hub calls scores that we name more exactly (https://huggingface.co/metrics).
_METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "weighted_f1": "f1",
    "mcc": "matthews_correlation",
    "spearman": "spearmanr",
    "pearson": "pearsonr",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "rougeLsum": "rouge",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card says beside the Card and the recipe: `hub_task` is the Hub's name of the task, `rows` are numbers
    of rows by split, `scores` those on `split`."""

    hub_task: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    scores: Scores | None = None
    split: str = ""
    slices: Slices | None = None


def readme(card: Card, recipe: Recipe, facts: Facts) -> str:
    """Markdown with the Hub's metadata in front. Scores are as they are measured, with their 95 % intervals."""
    parts = [_metadata(card, recipe, facts), *_about(card, recipe), *_data(recipe, facts)]
    if facts.scores:
        parts += [*_scores(facts.scores, facts.split), *_slices(facts.slices)]
    return "\n".join([*parts, "## Recipe", "", "```yaml", dump(recipe).strip(), "```", ""])


def _metadata(card: Card, recipe: Recipe, facts: Facts) -> str:
    meta: dict[str, Any] = {"library_name": "nlpipe", "tags": ["nlpipe", card.task]}
    if facts.hub_task:
        meta["pipeline_tag"] = facts.hub_task
    if card.backbone.revision is not None:
        meta["base_model"] = card.backbone.name
        meta["base_model_relation"] = "adapter" if card.weights == "adapter" else "finetune"
    if isinstance(recipe.data.train, HubSource):
        meta["datasets"] = [recipe.data.train.hub]
    if facts.scores:
        values = {name: value for name, value in facts.scores.scores.items() if math.isfinite(value)}
        meta["metrics"] = list(dict.fromkeys(_METRICS.get(name, name) for name in values))
        meta["model-index"] = [{"name": _title(card), "results": [_result(card, recipe, facts, values)]}]
    return f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---\n"


def _result(card: Card, recipe: Recipe, facts: Facts, values: Mapping[str, float]) -> dict[str, Any]:
    """One entry of `model-index`: the scores on one split of one data set."""
    scores = facts.scores
    assert scores is not None
    metrics = []
    for name, value in values.items():
        args: dict[str, Any] = {"signature": scores.signatures.get(name, "")}
        if name in scores.intervals:
            args["interval_95"] = [round(bound, 6) for bound in scores.intervals[name]]
        metrics.append({"type": _METRICS.get(name, name), "value": round(value, 6), "name": name, "args": args})
    return {
        "task": {"type": facts.hub_task or card.task, "name": card.task},
        "dataset": _dataset(recipe, facts.split),
        "metrics": metrics,
    }


def _dataset(recipe: Recipe, split: str) -> dict[str, str]:
    source = getattr(recipe.data, split)
    if isinstance(source, float | int):  # a share of the training rows, held out
        source = recipe.data.train
    if isinstance(source, HubSource):
        found = {"type": source.hub, "name": source.hub, "config": source.config, "revision": source.revision}
        return {**{key: value for key, value in found.items() if value}, "split": source.split or split}
    name = _said(source)
    return {"type": re.sub(r"[^\w.-]+", "-", name).strip("-").lower() or "rows", "name": name, "split": split}


def _said(source: Any) -> str:
    """What a reader may know of where rows come from: a name, and no folder of ours."""
    if isinstance(source, HubSource):
        return source.hub
    if isinstance(source, FileSource | CollectionSource):
        source = source.path if isinstance(source, FileSource) else source.queries
    return Path(source).name if isinstance(source, str) else "rows from Python"


def _title(card: Card) -> str:
    name = card.backbone.name
    return f"{card.task} on {Path(name).name if Path(name).is_absolute() else name}"


def _about(card: Card, recipe: Recipe) -> Iterator[str]:
    how = "Fine-tuned" if recipe.model.new is None else "Trained from scratch"
    yield from (f"# {_title(card)}", "")
    made = f"{how} with nlpipe {card.versions.get('nlpipe', '')}: {card.family} backbone, asked as {card.objective}."
    yield from (made, "")
    if card.labels:
        yield from (f"Labels: {', '.join(card.labels)}.", "")
    if card.window.max_length:
        yield from (f"It reads {card.window.max_length} tokens at once; longer texts: {card.window.long}.", "")
    yield from ("```python", "import nlpipe", "", 'pipe = nlpipe.load("path/to/this/folder")', 'pipe("…")', "```", "")


def _data(recipe: Recipe, facts: Facts) -> Iterator[str]:
    if not facts.rows:
        return
    yield from ("## Data", "", "| split | rows | from |", "|---|---|---|")
    for name, rows in facts.rows.items():
        source = getattr(recipe.data, name, None)
        share = f"{100 * source:g} % of the training rows" if isinstance(source, float | int) else _said(source)
        yield f"| {name} | {rows:,} | {_cell(share)} |"
    yield ""


def _scores(scores: Scores, split: str) -> Iterator[str]:
    """All scores, with what trivial answers get: a model is worth what it is above them."""
    trivial = list(scores.baselines)
    yield from (f"## Scores on {scores.n:,} {split} rows", "")
    yield "| " + " | ".join(("score", "value", "95 % interval", *map(_cell, trivial), "signature")) + " |"
    yield "|" + "---|" * (4 + len(trivial))
    for name, value in scores.scores.items():
        low, high = scores.intervals.get(name, (None, None))
        between = "–" if low is None else f"{low:.4f} to {high:.4f}"
        others = [f"{values[name]:.4f}" if name in values else "–" for values in scores.baselines.values()]
        cells = (name, f"{value:.4f}", between, *others, f"`{_cell(scores.signatures[name])}`")
        yield "| " + " | ".join(cells) + " |"
    yield ""
    if scores.intervals:
        yield from ("Intervals are percentile bootstraps over rows. They know no other seed and no other data.", "")
    if trivial:
        yield from (f"Trivial answers, learnt from the same rows: {', '.join(trivial)}.", "")


def _slices(slices: Slices | None) -> Iterator[str]:
    """Where it is known to be worse."""
    if slices is None or not slices.looks:
        return
    yield from ("## Where it is worse", "")
    if not slices.found:
        yield from (f"Of {slices.looks} parts of these rows looked at, none is worse than chance gives.", "")
        return
    yield from (f"| rows | number | {slices.score} | 95 % interval |", "|---|---|---|---|")
    for one in slices.found:
        yield f"| {_cell(one.name)} | {one.n:,} | {one.score:.4f} | {one.low:.4f} to {one.high:.4f} |"
    said = f"Of {slices.looks} parts looked at, these are worse than chance gives (at 5 % for all looks together)."
    yield from ("", said, "")


def _cell(text: str) -> str:
    """Text that cannot end its cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
