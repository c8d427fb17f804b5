"""The page of a comparison: score by score, every system against the one that all are held against."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from nlpipe import pages
from nlpipe.details import Cell, Interval, Intervals, Table
from nlpipe.report.drawing import between, section, style

if TYPE_CHECKING:
    from nlpipe.comparing import Comparison, Difference

READING = (
    "Differences are other - base, on the same rows. “Not distinguishable”: chance alone gives a difference as large "
    "in one case of twenty or more. This does not say that they are equal: the interval says how far apart they may be."
)
SEEDS = "Of several seeds the mean over the runs is compared, ± their standard deviation; both seeds and rows count."
HOLM = "p and verdict allow for as many comparisons as stand here (Holm 1979)."


def render(found: Sequence[Comparison]) -> str:
    """The whole page of comparisons with one base."""
    first = found[0]
    notes = [READING]
    if any(max(one.runs) > 1 for one in found):
        notes.append(SEEDS)
    if len(found) > 1:
        notes.append(HOLM)
    names = list(dict.fromkeys(one.score for comparison in found for one in comparison.differences))
    title = f"Against {first.base}"
    return pages.page(
        title,
        style=style(),
        header=f'<h1>{escape(title)}</h1><p class="quiet">{escape(first.task)}, {first.n:,} rows. '
        f"{escape(' '.join(notes))}</p>",
        main=f"<main>{''.join(_score(name, found) for name in names)}</main>",
    )


def _score(name: str, found: Sequence[Comparison]) -> str:
    pairs = [(c, one) for c in found for one in c.differences if one.score == name]
    # The verdict in front, where a phone shows it.
    columns = ("other", "verdict", "difference", "95 % interval", "p", "base", "score", "effect", "test")
    table = Table(name, "", columns, tuple(_row(c, one) for c, one in pairs))
    chart = Intervals(
        f"{name}: differences and their 95 % intervals",
        "",
        "other - base",
        tuple(
            Interval(c.other, one.difference, one.low, one.high, one.verdict != "not distinguishable")
            for c, one in pairs
        ),
        guide=0.0,
    )
    return section(table) + section(chart)


def _row(comparison: Comparison, one: Difference) -> tuple[Cell, ...]:
    base, other = comparison.runs
    return (
        comparison.other,
        one.verdict,
        f"{one.difference:+.4f}",
        between(one.low, one.high, "+"),
        f"{one.p_adjusted:.4f}" if one.p_adjusted >= 0.0001 else f"{one.p_adjusted:.1e}",
        _mean(one.base, one.base_deviation, base),
        _mean(one.other, one.other_deviation, other),
        "–" if one.effect is None else f"{one.effect:+.2f}",
        one.test,
    )


def _mean(value: float, deviation: float | None, runs: int) -> str:
    return f"{value:.4f}" if deviation is None else f"{value:.4f} ± {deviation:.4f} ({runs} runs)"
