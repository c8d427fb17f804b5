"""The why view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import bar, notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.why import Why


def render(view: Why, first: int) -> RenderableType:
    """The words with what each adds, and the curve that tests their order."""
    return stack(
        title(f"answer: {view.answer}"),
        Text(f"explained: {view.explains}", style="dim"),
        Text(
            f"{' and '.join(f'{base:.3f}' for base in view.baselines)} with all words {view.hidden}"
            f"{', one text at a time' if len(view.baselines) > 1 else ''}, {view.value:.3f} with them; "
            f"the words below add the difference up to {view.error:.2%} ({view.steps} steps)",
            style="dim",
        ),
        Text(),
        _words(view, first),
        Text(),
        _curve(view),
        *notes(view.notes),
    )


def _words(view: Why, first: int) -> RenderableType:
    kept = [at for at, unit in enumerate(view.units) if not unit.special]
    shown, said = span(first, len(kept), 64, "words")
    top = float(np.abs(view.shares[kept]).max()) if kept else 1.0
    made = table("word", "adds", "against", "for", right=(1, 2))
    for at in kept[shown]:
        share = float(view.shares[at])
        line = bar(abs(share) / (top or 1.0), 16)
        made.add_row(view.units[at].label, f"{share:+.3f}", line if share < 0 else "", line if share >= 0 else "")
    return stack(title("what each word adds", said), made)


def _curve(view: Why) -> RenderableType:
    found = view.deletion
    made = table("words hidden", "most telling first", "in random order", right=(0, 1, 2))
    for share, ranked, random, spread in zip(found.share, found.ranked, found.random, found.spread, strict=True):
        made.add_row(f"{share:.0%}", f"{ranked:.3f}", f"{random:.3f} ± {spread:.3f}")
    verdict = "falls faster than random" if found.gain > 0 else "does not fall faster than random: mistrust the order"
    return stack(title("hiding words", f"{verdict} by {found.gain:.3f} on average"), made)
