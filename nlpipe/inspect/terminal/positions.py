"""The positions view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import Heat, bar, notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.positions import Positions, Scheme

EVERY = 4  # of 64 positions, each fourth


def render(view: Positions, first: int) -> RenderableType:
    """Each scheme's picture, and how far each word moves in the other order."""
    return stack(*(_scheme(scheme) for scheme in view.schemes), _moved(view, first), *notes(view.notes))


def _scheme(scheme: Scheme) -> RenderableType:
    return stack(title(f"{scheme.kind}", scheme.where), Text(scheme.explains, style="dim"), _picture(scheme), Text())


def _picture(scheme: Scheme) -> RenderableType:
    if scheme.kind == "none":
        return Text()
    if scheme.shows == "bias":
        return _bias(scheme)
    rows = [str(at) for at in range(len(scheme.picture))][::EVERY]
    if scheme.shows == "likeness":
        said = "cosine of the vectors of two positions"
        heat = Heat(scheme.picture[::EVERY, ::EVERY], rows, rows, (0.2, 0.4, 0.6, 0.8), 1, "position")
        return stack(Text(said), heat)
    width = min(scheme.picture.shape[1], 32)
    step = max(1, scheme.picture.shape[1] // width)
    waves = scheme.picture[::EVERY, ::step][:, :width]
    columns = [str(at * step) for at in range(waves.shape[1])]
    said = "the waves: a row is a position, a column a dimension"
    return stack(Text(said), Heat(waves, rows, columns, (-0.6, -0.2, 0.2, 0.6), 1, "dimension"))


def _bias(scheme: Scheme) -> RenderableType:
    """A line for each head: what some distances add to attention."""
    wanted = [at for at in (-63, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16) if at in scheme.distances]
    made = table("head", *(str(at) for at in wanted), right=range(1, len(wanted) + 1))
    places = [scheme.distances.index(at) for at in wanted]
    for head, row in enumerate(scheme.picture[:, places], 1):
        made.add_row(str(head), *(f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" for value in row))
    return stack(Text("what a distance (key minus query, in tokens) adds to attention"), made)


def _moved(view: Positions, first: int) -> RenderableType:
    shown, said = span(first, len(view.words), 48, "words")
    made = table("word", "input", "last layer", "", right=(1, 2))
    values = view.moved[:, shown]
    top = float(values.max()) if values.size and values.max() > 0 else 1.0
    for word, column in zip(view.words[shown], values.T, strict=True):
        made.add_row(word, f"{max(0.0, column[0]):.2g}", f"{column[-1]:.2g}", bar(float(column[-1]) / top))
    mean = "" if not view.moved.size else f"mean after the last layer {np.mean(view.moved[-1]):.2g}"
    return stack(
        title("the same words in another order", mean),
        Text(f"  {view.text}\n  {view.other}"),
        Text("how far each word's state moves: 1 - cosine, 0 where the order changes nothing", style="dim"),
        made,
        Text(f"shown: {said}", style="italic") if said else None,
    )
