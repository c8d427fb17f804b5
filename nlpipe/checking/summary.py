"""What the rows of each split are like, for a report: how many, how long, how their labels are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from nlpipe.checking.views import View, views
from nlpipe.details import Cell, Detail, Table

if TYPE_CHECKING:
    from nlpipe.data import Split
    from nlpipe.task import Task

LABELS = 25  # labels that are listed; of more, the most and the least frequent ones
SHOWN = 3  # rows that are shown


def summary(task: type[Task[Any, Any, Any, Any]], splits: Mapping[str, Split]) -> tuple[Detail, ...]:
    """Rows and lengths, labels, and the first rows of the first split."""
    seen = {name: views(task, split.examples, split.rows) for name, split in splits.items() if split.examples}
    return tuple(_summary(seen, {name: split.source for name, split in splits.items()})) if seen else ()


def _line(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _summary(seen: Mapping[str, Sequence[View]], sources: Mapping[str, str]) -> Iterator[Detail]:
    columns = ("split", "rows", "from", "words: median", "95 % up to", "longest")
    rows = []
    for name, rows_ in seen.items():
        sizes = sorted(len(view.text.split()) for view in rows_)
        rows.append((name, len(sizes), sources[name], median(sizes), sizes[int(0.95 * (len(sizes) - 1))], sizes[-1]))
    yield Table("Rows", "", columns, tuple(rows))
    counts = {name: Counter(view.stratum for view in rows_ if view.stratum is not None) for name, rows_ in seen.items()}
    labels = [label for label, _ in sum(counts.values(), Counter()).most_common()]
    if len(labels) > 1:
        shown = labels if len(labels) <= LABELS else [*labels[: LABELS - 5], *labels[-5:]]
        shares: tuple[tuple[Cell, ...], ...] = tuple(
            (
                label.replace("\n", ", ") or "none",
                *(counts[name][label] / max(1, counts[name].total()) for name in seen),
            )
            for label in shown
        )
        note = "" if shown is labels else f"{len(shown)} of {len(labels):,}: the most and the least frequent ones."
        yield Table("Labels", note, ("label", *seen), shares, tuple(seen))
    name, first = next(iter(seen.items()))
    golds = [_line(view.answer, 100) for view in first[:SHOWN]]
    named = ("row", "input", "gold") if any(golds) else ("row", "input")
    cells = [(view.number, _line(view.text, 200), gold) for view, gold in zip(first, golds, strict=False)]
    yield Table(f"The first rows of {name}", "", named, tuple(row[: len(named)] for row in cells))
