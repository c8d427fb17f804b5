"""The tokens view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from nlpipe.inspect.terminal.drawing import notes, span, stack, table, title

if TYPE_CHECKING:
    from nlpipe.inspect.views.tokens import Cut, Tokens

ROWS = 64


def render(view: Tokens, first: int) -> RenderableType:
    """The model's pieces one by one, and then every tokenizer's in a line."""
    own = view.cuts[0]
    shown, said = span(first, len(own.pieces), ROWS, "tokens")
    pieces = table("token", "id", "characters", "word", "", right=(1,))
    for piece in own.pieces[shown]:
        place = "" if piece.special or piece.start is None else f"{piece.start}–{piece.end}"
        word = "" if piece.word is None else own.words[piece.word].text
        state = "special" if piece.special else "unknown" if piece.unknown else ""
        pieces.add_row(piece.piece, str(piece.id), place, word, state)
    return stack(
        title(f"{own.name}: {len(own.pieces)} tokens", own.kind, said),
        pieces,
        Text(),
        title("side by side"),
        _summary(view),
        *(_line(cut) for cut in view.cuts),
        *notes(view.notes),
    )


def _summary(view: Tokens) -> RenderableType:
    made = table("tokenizer", "kind", "entries", "tokens", "per word", "unknown", right=(2, 3, 4, 5))
    for cut in view.cuts:
        entries = "" if cut.vocabulary is None else f"{cut.vocabulary:,}"
        made.add_row(cut.name, cut.kind, entries, str(len(cut.pieces)), f"{cut.per_word:.2f}", str(cut.unknown))
    return made


def _line(cut: Cut) -> Text:
    """The pieces with borders between them; those of one word share an underline."""
    line = Text(f"\n{cut.name}\n", style="bold")
    for at, piece in enumerate(cut.pieces[:ROWS]):
        line.append("" if at == 0 else "│", style="dim not bold")
        line.append(piece.label, style="dim not bold" if piece.special else "not bold")
    if len(cut.pieces) > ROWS:
        line.append(f" … (tokens 1–{ROWS} of {len(cut.pieces)})", style="italic not bold")
    return line
