"""The next view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import bar, notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.next import Next, Place, Surprise
    from nlpipe.inspect.writing import Step


def render(view: Next, first: int) -> RenderableType:
    """Candidates and what drawing keeps, the steps of writing, and what each token costs."""
    return stack(
        *(_place(place) for place in view.places),
        _steps(view) if view.steps else None,
        _surprise(view.surprise, first) if view.surprise else None,
        *notes(view.notes),
    )


def _place(place: Place) -> RenderableType:
    names = [drawing.name.replace("temperature", "temp.") for drawing in place.drawings]
    made = table("token", "softmax", "", *names, right=(1, *range(3, 3 + len(names))))
    for at, choice in enumerate(place.candidates):
        left = [drawing.probabilities[at] for drawing in place.drawings]
        drawn = ["cut" if value == 0 else f"{value:.1%}" for value in left]
        made.add_row(choice.label, f"{choice.probability:.2%}", bar(choice.probability, 10), *drawn)
    kept = [f"{drawing.kept:,} left ({drawing.mass:.0%})" for drawing in place.drawings]
    made.add_row("", "", "", *kept, style="dim")
    return stack(title(place.name, f"{place.entropy:.2f} bits of uncertainty"), made, Text())


def _steps(view: Next) -> RenderableType:
    made = table("step", "chosen", "probability", "runners-up", right=(0, 2))
    for number, step in enumerate(view.steps, 1):
        made.add_row(str(number), step.chosen.label, f"{step.chosen.probability:.1%}", _runners(step))
    total = float(np.prod([step.chosen.probability for step in view.steps]))
    return stack(
        title("greedy, step by step", f"all {len(view.steps)} together {total:.2e}"),
        made,
        Text.assemble(("written: ", "bold"), view.written),
        Text(),
    )


def _runners(step: Step) -> str:
    return "  ".join(f"{choice.label} {choice.probability:.1%}" for choice in step.runners[:3])


def _surprise(found: Surprise, first: int) -> RenderableType:
    shown, said = span(first, len(found.pieces), 64, "tokens")
    made = table("token", "bits", "", right=(1,))
    for piece, bits in zip(found.pieces[shown], found.bits[shown], strict=True):
        if not np.isnan(bits):
            made.add_row(piece.label, f"{bits:.2f}", bar(float(bits) / 16))
    name = "pseudo-perplexity" if found.given == "around" else "perplexity"
    asked = "all others" if found.given == "around" else "those before it"
    return stack(
        title(f"surprise of each token, given {asked}", f"{name} {found.perplexity:.2f}", said),
        made,
    )
