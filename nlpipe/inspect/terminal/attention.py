"""The attention view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import Heat, notes, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.attention import Attention, Part

LEVELS = (0.04, 0.1, 0.25, 0.5)
HABITS = ("itself", "the one before", "the one after", "the first")


def render(view: Attention, first: int) -> RenderableType:
    """Each part: the average or the chosen layer and head, and what each head mostly does."""
    parts = [item for part in view.parts for item in (_part(view, part, first), Text())]
    output = Text.assemble(("output: ", "bold"), view.output) if view.output is not None else None
    return stack(output, *parts, *notes(view.notes))


def _part(view: Attention, part: Part, first: int) -> RenderableType:
    from nlpipe.inspect.views.attention import TITLES

    matrix, said = _chosen(view, part)
    rows, columns = ([unit.label for unit in units] for units in (part.rows, part.columns))
    return stack(
        title(TITLES[part.kind], said),
        Text("a row looks at the columns; each row sums to 1", style="dim"),
        Heat(matrix, rows, columns, LEVELS, first, "token"),
        _heads(part) if part.kind != "cross" else None,
    )


def _chosen(view: Attention, part: Part) -> tuple[np.ndarray, str]:
    """The matrix that is drawn, and its name."""
    layers, heads = part.weights.shape[:2]
    if view.layer is None and view.head is None:
        return part.average, f"mean over {layers} layers × {heads} heads"
    weights = part.weights if view.layer is None else part.weights[view.layer - 1 : view.layer]
    weights = weights if view.head is None else weights[:, view.head - 1 : view.head]
    layer = "all layers" if view.layer is None else f"layer {view.layer}"
    head = "all heads" if view.head is None else f"head {view.head}"
    return weights.mean(axis=(0, 1)), f"{layer}, {head}"


def _heads(part: Part) -> RenderableType | None:
    """The heads with a habit: those that give most of their weight to one kind of place."""
    strong = [
        (float(part.habits[layer, head].max()), layer, head)
        for layer, head in np.ndindex(*part.weights.shape[:2])
        if part.habits[layer, head].max() >= 0.5
    ]
    if not strong or len(part.rows) < 3:
        return None
    made = table("layer", "head", "looks mostly at", "weight", "bits", right=(0, 1, 3, 4))
    for weight, layer, head in sorted(strong, reverse=True)[:8]:
        habit = HABITS[int(part.habits[layer, head].argmax())]
        made.add_row(str(layer + 1), str(head + 1), habit, f"{weight:.0%}", f"{part.entropy[layer, head]:.2f}")
    more = f"the strongest 8 of {len(strong)}" if len(strong) > 8 else ""
    return stack(title("heads with a habit", more), made)
