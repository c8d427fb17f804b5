"""What there is to see of a set of answers beyond their scores, in neutral words: a report draws it.

A task gives these (`Task.details`); it says what is in them, and nothing of pages, colours or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nlpipe.metrics import Metric
    from nlpipe.results import Text

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Detail:
    """The base of all details. `note` says in a sentence how to read it, or where its numbers come from."""

    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Table(Detail):
    """Rows of cells. `shares` are the columns whose numbers are fractions and are shown in percent."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shares: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix(Detail):
    """How often each right label (row) was answered with each label (column): counts [labels, labels]."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points, x ascending."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart(Detail):
    """Lines, or with `dots` single points, over a common axis; `diagonal` draws x = y for comparison."""

    x: str
    y: str
    lines: tuple[Line, ...]
    dots: bool = False
    diagonal: bool = False
    marked_x: float | None = None  # a place on the x axis to point at, such as a threshold in use


@dataclass(frozen=True, slots=True)
class Interval:
    """A named value and how sure it is; `strong` where it is to be seen first."""

    name: str
    value: float
    low: float
    high: float
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Intervals(Detail):
    """Values with their intervals below one another on a common axis; `guide` is a value to compare them with."""

    x: str
    items: tuple[Interval, ...]
    guide: float | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a text: half-open indices, what it is called, and whether it was answered rightly.

    `right` is in the gold and answered, `wrong` only answered, `missed` only in the gold.
    """

    start: int
    end: int
    label: str
    kind: Literal["right", "wrong", "missed"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with marks, and a line about it in front, such as the question."""

    text: str
    marks: tuple[Mark, ...]
    head: str = ""


@dataclass(frozen=True, slots=True)
class Passages(Detail):
    """Texts with what was found in them."""

    items: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """What was asked, what is right (all that is, the closest first) and what was answered."""

    asked: str
    right: tuple[str, ...]
    answered: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pairs(Detail):
    """Right and answered texts side by side."""

    items: tuple[Pair, ...]


SHOWN = 50
"""How many passages or pairs a task shows at most; it says in the note how they were chosen."""


def worst(values: Sequence[float], count: int = SHOWN) -> list[int]:
    """The places of the lowest values, lowest first; equal ones in their order."""
    return sorted(range(len(values)), key=lambda at: (values[at], at))[:count]


def written(
    metric: Metric,
    results: Sequence[Text],
    examples: Sequence[Any],
    asked: Callable[[Any], str],
    right: Callable[[Any], Sequence[str]],
) -> tuple[Detail, ...]:
    """What there is to see of written texts: how long they are, and the worst by a metric beside what is right.

    `asked` and `right` are an example's prompt and right texts.
    """
    if not results:
        return ()
    rows = metric.rows(results, examples)
    values = [float(metric.value(rows[at : at + 1])) for at in range(len(results))]
    items = tuple(
        Pair(asked(examples[at]), tuple(right(examples[at])), results[at].text, f"{metric.name} {values[at]:.3g}")
        for at in worst(values)
    )
    said, gold = ([len(text.split()) for text in texts] for texts in (
        [result.text for result in results], [next(iter(right(example)), "") for example in examples]))  # fmt: skip
    lengths = (
        ("answered", median(said), max(said), sum(not count for count in said), sum(not r.ended for r in results)),
        ("right", median(gold), max(gold), sum(not count for count in gold), None),
    )
    return (
        Table("Lengths in words", "", ("texts", "median", "longest", "empty", "cut at their greatest length"), lengths),
        Pairs("The worst texts", f"{len(items)} of {len(results):,}, by {metric.name}.", items),
    )
