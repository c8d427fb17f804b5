"""The model card: `README.md` of a model folder, from the same facts as the Card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from nlpipe.card import Card
    from nlpipe.evaluation import Scores
    from nlpipe.recipe import Recipe


def readme(card: Card, recipe: Recipe, scores: Scores | None = None, *, split: str = "") -> str:
    """Markdown with the Hub's metadata in front. Scores are fractions with their 95 % intervals."""
    from nlpipe.recipe import dump

    on_hub = card.backbone.revision is not None
    meta: dict[str, object] = {"library_name": "nlpipe", "tags": ["nlpipe", card.task]}
    if on_hub:
        meta["base_model"] = card.backbone.name
    how = "Fine-tuned" if recipe.model.new is None else "Trained from scratch"
    lines = [
        "---",
        yaml.safe_dump(meta, sort_keys=False).strip(),
        "---",
        "",
        f"# {card.task} on {card.backbone.name}",
        "",
        f"{how} with nlpipe {card.versions.get('nlpipe', '')}: {card.family} backbone, asked as {card.objective}.",
        "",
    ]
    if card.labels:
        lines += [f"Labels: {', '.join(card.labels)}.", ""]
    lines += [
        "```python",
        "import nlpipe",
        "",
        'pipe = nlpipe.load("path/to/this/folder")',
        'pipe("…")',
        "```",
        "",
    ]
    if scores:
        lines += [
            f"## Scores on {scores.n} {split} rows",
            "",
            "| score | value | 95 % interval | signature |",
            "|---|---|---|---|",
        ]
        for name, value in scores.scores.items():
            low, high = scores.intervals.get(name, (None, None))
            between = "–" if low is None else f"{low:.4f} to {high:.4f}"
            lines.append(f"| {name} | {value:.4f} | {between} | `{scores.signatures[name]}` |")
        lines.append("")
        for name, values in scores.baselines.items():
            told = ", ".join(f"{score} {value:.4f}" for score, value in values.items())
            lines.append(f"The trivial answer `{name}` gets: {told}.")
        lines.append("")
    lines += ["## Recipe", "", "```yaml", dump(recipe).strip(), "```", ""]
    return "\n".join(lines)
