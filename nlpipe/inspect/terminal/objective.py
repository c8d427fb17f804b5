"""The objective view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import bar, notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.objective import Objective

STYLES = {"blank": "reverse", "random": "reverse italic", "kept": "underline"}


def render(view: Objective, first: int) -> RenderableType:
    """The input with what was changed, and each target with its loss."""
    shown, said = span(first, len(view.input), 200, "tokens")
    line = Text()
    for piece, mark in zip(view.input[shown], view.marks[shown], strict=True):
        line.append(piece.label, style=STYLES.get(mark, ""))
        line.append(f"({mark})" if mark in ("random", "kept") else "", style="dim")
        line.append(" ")
    mean = "" if np.isnan(view.mean_loss) else f"mean {view.mean_loss:.3f} nats"
    return stack(
        title(view.kind, f"seed {view.seed}" if view.kind in ("masked", "span", "infilling") else ""),
        Text(view.explains, style="dim"),
        Text(),
        title("input", said),
        line,
        Text(),
        title("target and loss", mean),
        _targets(view, first),
        *notes(view.notes),
    )


def _targets(view: Objective, first: int) -> RenderableType:
    shown, said = span(first, len(view.target), 64, "targets")
    made = table("asked at", "reads", "target", "loss", "", right=(0, 3))
    for piece, at, loss in zip(view.target[shown], view.at[shown], view.loss[shown], strict=True):
        reads = "" if at < 0 else view.input[at].label
        known = not np.isnan(loss)
        made.add_row(
            "" if at < 0 else str(at + 1),
            reads,
            piece.label,
            f"{loss:.2f}" if known else "–",
            bar(float(loss) / 12) if known else "",
        )
    return stack(made, Text(f"shown: {said}", style="italic") if said else None)
