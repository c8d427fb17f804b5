"""Details as HTML. One function per kind of detail; a kind without one is refused by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from itertools import pairwise

from nlpipe.details import Cell, Chart, Detail, Intervals, Mark, Matrix, Pair, Pairs, Passage, Passages, Table
from nlpipe.report.charts import drawn, forest

LONGEST = 4000  # characters of one text on the page; more is cut, and said
TALL = 30  # rows of a table that stand there at their full height
OPEN = 10  # items that are seen at once; the others are folded
MOST = 200  # rows of one table; the same


@cache
def style() -> str:
    """The styles of what is drawn here."""
    return (files("nlpipe.report") / "assets" / "report.css").read_text(encoding="utf-8")


def section(detail: Detail) -> str:
    """A detail with its title and note. Raises TypeError for a kind of detail that is not known here."""
    body = _body(detail)
    note = f'<p class="note">{escape(detail.note)}</p>' if detail.note else ""
    kind = ' class="chart"' if isinstance(detail, Chart | Intervals) else ""
    return f"<section{kind}><h2>{escape(detail.title)}</h2>{note}{body}</section>"


def _body(detail: Detail) -> str:
    match detail:
        case Table():
            return table(detail.columns, detail.rows, detail.shares)
        case Matrix():
            return _matrix(detail)
        case Chart():
            return drawn(detail)
        case Intervals():
            return forest(detail)
        case Passages():
            return _folded([_passage(item) for item in detail.items])
        case Pairs():
            return _folded([_pair(item) for item in detail.items])
    raise TypeError(f"no way to draw a {type(detail).__name__}")


def _folded(items: Sequence[str]) -> str:
    """The first items, and the others behind a line to press."""
    first, rest = "".join(items[:OPEN]), "".join(items[OPEN:])
    return f"{first}<details><summary>{len(items) - OPEN} more</summary>{rest}</details>" if rest else first


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell]], shares: Iterable[str] = ()) -> str:
    """Cells as a table; the columns in `shares` in percent."""
    names, percent, rows = list(columns), set(shares), [tuple(row) for row in rows]
    more = f'<p class="quiet">{len(rows) - MOST:,} rows more</p>' if len(rows) > MOST else ""
    texts = {at for row in rows[:MOST] for at, cell in enumerate(row) if isinstance(cell, str)}
    head = "".join(
        f"<th>{escape(name)}</th>" if at in texts else f'<th class="number">{escape(name)}</th>'
        for at, name in enumerate(names)
    )
    body = "".join(
        f"<tr>{''.join(_cell(cell, at in texts, names[at] in percent) for at, cell in enumerate(row))}</tr>"
        for row in rows[:MOST]
    )
    tall = " tall" if len(rows) > TALL else ""
    return f'<div class="scroll{tall}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _cell(cell: Cell, among_texts: bool, percent: bool) -> str:
    kind = "" if among_texts else ' class="number"'
    if cell is None:
        return f'<td class="{"" if among_texts else "number "}quiet">–</td>'
    if isinstance(cell, str):
        return f"<td>{escape(cut(cell))}</td>"
    if percent:
        return f"<td{kind}>{100 * cell:.1f} %</td>"
    return f"<td{kind}>{cell:,}</td>" if isinstance(cell, int) else f"<td{kind}>{cell:.4g}</td>"


def _matrix(detail: Matrix) -> str:
    head = "".join(f'<th class="slanted"><span>{escape(label)}</span></th>' for label in detail.labels)
    rows = []
    for label, counts in zip(detail.labels, detail.counts, strict=True):
        whole = sum(counts) or 1
        cells = "".join(
            f'<td class="number {"hit" if label == other else "miss"}" style="--share:{count / whole:.3f}" '
            f'title="{escape(label)} answered as {escape(other)}: {count:,} of {sum(counts):,}">{count:,}</td>'
            for other, count in zip(detail.labels, counts, strict=True)
        )
        rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    return f'<div class="scroll"><table class="matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _passage(item: Passage) -> str:
    head = f"<p><strong>{escape(cut(item.head))}</strong></p>" if item.head else ""
    return f'<div class="item">{head}<p class="text">{marked(item.text, item.marks)}</p></div>'


def marked(text: str, marks: Iterable[Mark]) -> str:
    """The text with its marks; where marks overlap, each stretch shows all of them, and labels stand at the ends."""
    placed = [mark for mark in marks if 0 <= mark.start < mark.end <= len(text)]
    borders = sorted({0, len(text)} | {border for mark in placed for border in (mark.start, mark.end)})
    found = []
    for start, end in pairwise(borders):
        over = [mark for mark in placed if mark.start <= start and end <= mark.end]
        if not over:
            found.append(escape(cut(text[start:end]) if end == len(text) else _hollow(text[start:end])))
            continue
        kinds = " ".join(sorted({mark.kind for mark in over}))
        labels = "".join(f"<small>{escape(f'{m.label} {m.kind}'.strip())}</small>" for m in over if m.end == end)
        found.append(f'<mark class="{kinds}">{escape(text[start:end])}{labels}</mark>')
    return "".join(found)


def _pair(item: Pair) -> str:
    right = item.right[0] if item.right else ""
    others = "".join(f'<p class="text quiet">or: {escape(cut(text))}</p>' for text in item.right[1:4])
    note = f'<p class="quiet">{escape(item.note)}</p>' if item.note else ""
    said, gold = differences(cut(right), cut(item.answered))
    return (
        f'<div class="item"><p class="text asked">{escape(cut(item.asked))}</p>{note}<div class="sides">'
        f'<div><h3>right</h3><p class="text">{said}</p>{others}</div>'
        f'<div><h3>answered</h3><p class="text">{gold or "<em>nothing</em>"}</p></div></div></div>'
    )


def differences(one: str, other: str) -> tuple[str, str]:
    """Both texts as HTML, with the words that the other lacks marked."""
    a, b = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (one, other))
    left, right = [], []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        here, there = escape("".join(a[i:j])), escape("".join(b[k:m]))
        left.append(here if kind == "equal" or not here.strip() else f"<del>{here}</del>")
        right.append(there if kind == "equal" or not there.strip() else f"<ins>{there}</ins>")
    return "".join(left), "".join(right)


def _hollow(text: str) -> str:
    """The text, or of a long one both ends, with what is left out said."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … ({len(text) - LONGEST:,} characters) … {text[-half:]}"


def between(low: float | None, high: float | None, sign: str = "") -> str:
    """An interval that no line break tears apart."""
    return "–" if low is None or high is None else f"{low:{sign}.4f}\u00a0to\u00a0{high:{sign}.4f}"


def cut(text: str) -> str:
    """The text, or its beginning with what is left out said."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more)"
