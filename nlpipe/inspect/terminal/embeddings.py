"""The embeddings view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import Heat, bar, fit, notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.embeddings import Contexts, Embeddings

WIDE, HIGH = 72, 18  # the picture, in columns and lines


def render(view: Embeddings, first: int) -> RenderableType:
    """Cosines in the vocabulary and after the last layer, neighbours, contexts, and the plane of the last layer."""
    labels = [item.label for item in view.items]
    last = len(view.layers) - 1
    heats = [
        part
        for at in (0, last)
        for part in (
            title(f"cosine of {view.of}", view.layers[at]),
            Heat(view.cosines[at], labels, labels, (0.2, 0.4, 0.6, 0.8), first, view.of[:-1]),
            Text(),
        )
    ]
    return stack(
        *heats,
        _contexts(view) if view.contexts else None,
        _nearest(view, first) if view.nearest else None,
        title("the two widest directions", view.layers[last], f"{view.kept[last, :2].sum():.0%} of the variance"),
        _plane(view.points[last], labels, first),
        *notes(view.notes),
    )


def _nearest(view: Embeddings, first: int) -> RenderableType:
    shown, said = span(first, len(view.items), 24, view.of)
    made = table(view.of[:-1], "nearest")
    for item, near in zip(view.items[shown], view.nearest[shown], strict=True):
        made.add_row(fit(item.label, 20).rstrip(), "  ".join(f"{one.piece} {one.cosine:.2f}" for one in near[:4]))
    heading = title("nearest in the vocabulary", "cosine of the vectors without context")
    return stack(heading, made, Text(f"shown: {said}", style="italic") if said else None, Text())


def _contexts(view: Embeddings) -> RenderableType:
    found: Contexts = view.contexts  # type: ignore[assignment]
    made = table("layer", "cosine", "", "other words", right=(1, 3))
    for layer, value, others in zip(view.layers, found.cosine, found.others, strict=True):
        made.add_row(layer, f"{value:.3f}", bar(float(value)), "" if np.isnan(others) else f"{others:.3f}")
    return stack(title(f"{found.word!r} in two contexts", "1: the same vector"), made, Text())


def _plane(points: np.ndarray, labels: list[str], first: int) -> RenderableType:
    """Labels where their points lie; a label that would cover another is left out, and counted."""
    shown, said = span(first, len(labels), 40, "points")
    places, names = points[shown, :2], labels[shown]
    low, wide = places.min(axis=0), np.ptp(places, axis=0)
    grid = [[" "] * WIDE for _ in range(HIGH)]
    hidden = 0
    for (x, y), name in zip((places - low) / np.where(wide > 0, wide, 1), names, strict=True):
        label = f"·{name[:11]}"
        row, column = round((1 - y) * (HIGH - 1)), round(x * (WIDE - 1 - len(label)))
        if any(cell != " " for cell in grid[row][column : column + len(label)]):
            hidden += 1
            continue
        grid[row][column : column + len(label)] = label
    lines = [Text("".join(row).rstrip()) for row in grid]
    left_out = f"{hidden} lie behind others" if hidden else ""
    what = "; ".join(part for part in (said, left_out) if part)
    return stack(*lines, Text(f"shown: {what}", style="italic") if what else None)
