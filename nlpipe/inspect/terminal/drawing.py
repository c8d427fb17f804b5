"""What the terminal renderings share: heat as shades, bars, ranges that say what is shown. Knows no view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

SHADES = " ░▒▓█"
LABEL = 12  # the widest label beside a matrix
TALL = 8  # the tallest label above one


def show(item: RenderableType, width: int | None = None) -> None:
    """Print to the standard output: as wide as the terminal, 80 columns where there is none."""
    console = Console(highlight=False)
    if width or not console.is_terminal:
        console = Console(highlight=False, width=width or 80)
    console.print(item)


def span(first: int, count: int, room: int, what: str) -> tuple[slice, str]:
    """What of `count` things is shown from the first (counted from 1), and a line that says so; empty if all are.

    A `first` beyond them (a text's other side may be longer) shows the last one.
    """
    first = max(1, min(first, count))
    end = min(count, first - 1 + room)
    said = "" if first == 1 and end == count else f"{what} {first}–{end} of {count}"
    return slice(first - 1, end), said


def title(text: str, *more: str) -> Text:
    """A heading, and what belongs to it in a quieter voice."""
    return Text.assemble((text, "bold"), *((f"  {part}", "dim") for part in more if part))


def notes(lines: Iterable[str]) -> list[Text]:
    """Notes to the reader."""
    return [Text(f"note: {line}", style="italic") for line in lines]


def table(*columns: str, right: Sequence[int] = ()) -> Table:
    """A plain table; the columns of these numbers are aligned on the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for at, column in enumerate(columns):
        made.add_column(column, overflow="fold", justify="right" if at in right else "left")
    return made


def bar(share: float, width: int = 20) -> str:
    """A share from 0 to 1 as a bar, to an eighth of a column."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def fit(text: str, width: int) -> str:
    """A text in exactly so many columns."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)


class Heat:
    """A matrix as shades, with labels beside and above: two columns to a cell.

    `levels` are the four values from which a cell is one shade darker.
    """

    def __init__(
        self, matrix: Any, rows: Sequence[str], columns: Sequence[str], levels: Sequence[float], first: int, what: str
    ) -> None:
        self.matrix, self.rows, self.columns = matrix, rows, columns
        self.levels, self.first, self.what = levels, first, what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many columns as fit."""
        beside = min(LABEL, max(map(cell_len, self.rows), default=1))
        room = max(1, (options.max_width - beside - 1) // 2)
        across, said = span(self.first, len(self.columns), room, f"{self.what}s across")
        down, said_down = span(self.first, len(self.rows), 48, f"{self.what}s down")
        yield from _headings(self.columns[across], beside)
        for label, values in zip(self.rows[down], self.matrix[down], strict=True):
            yield Text(f"{fit(label, beside)} " + "".join(2 * self._shade(value) for value in values[across]))
        legend = "  ".join(f"{shade} ≥ {level:g}" for shade, level in zip(SHADES[1:], self.levels, strict=True))
        yield Text(legend, style="dim")
        for line in (said, said_down):
            if line:
                yield Text(f"shown: {line}; --set first=N shows others, --html all up to 200", style="italic")

    def _shade(self, value: float) -> str:
        return SHADES[sum(value >= level for level in self.levels)]


def _headings(labels: Sequence[str], beside: int) -> Iterable[Text]:
    """Labels that stand upright, read from top to bottom."""
    tall = min(TALL, max(map(len, labels), default=1))
    cut = [label if len(label) <= tall else label[: tall - 1] + "…" for label in labels]
    for row in range(tall):
        cells = (set_cell_size(label.rjust(tall)[row], 2) for label in cut)
        yield Text(" " * (beside + 1) + "".join(cells).rstrip(), style="dim")


def stack(*items: RenderableType | None) -> Group:
    """Things below each other; None is left out."""
    return Group(*(item for item in items if item is not None))
