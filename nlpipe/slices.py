"""The scores of parts of the rows: by a column, by length, by label. No model; the rows' statistics say it all."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import DataError, suggest

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from nlpipe.metrics import Metric

LENGTH, LABEL = "length", "label"
QUARTERS = 4
SMALLEST = 10  # rows: of fewer a score says nothing
_HOW: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*")

MANY = 30  # values of a column that are told apart; the rest are put together


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows for which `name` holds: their number, their score, and by how much it differs from that of all.

    `sure` is true where the score of all lies outside the slice's 95 % interval: the difference is hardly chance.
    """

    name: str
    n: int
    score: float
    difference: float
    low: float
    high: float
    sure: bool

    def to_dict(self) -> dict[str, Any]:
        """As `metrics.json` holds it."""
        return asdict(self)


def masks(
    wanted: Sequence[str],
    frame: pd.DataFrame,
    texts: Sequence[str],
    strata: Sequence[str | None],
) -> dict[str, NDArray[np.bool_]]:
    """The rows of each slice, by its name.

    `wanted` has names of columns, `length` (quarters of the rows by words), `label`, or comparisons of columns with
    values, such as `stars > 3 and source == web`. `texts` are the rows' inputs, `strata` their labels where they have
    one. Raises DataError for what is none of these.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for name in wanted:
        if name == LABEL and any(stratum is not None for stratum in strata):
            found |= _values(LABEL, [str(stratum) for stratum in strata])
        elif name in frame.columns:
            found |= _values(name, [str(value) for value in frame[name].tolist()])
        elif name == LENGTH:
            found |= _quarters([len(text.split()) for text in texts])
        else:
            found[name] = _expression(name, frame)
    return found


def sliced(
    metric: Metric,
    rows: NDArray[Any],
    chosen: Mapping[str, NDArray[np.bool_]],
    *,
    resamples: int,
    draw: np.random.Generator,
) -> list[Slice]:
    """The score of each slice with at least SMALLEST rows, the worst first."""
    whole = float(metric.value(rows))
    found = []
    for name, mask in chosen.items():
        part = rows[mask]
        if len(part) < SMALLEST:
            continue
        score = float(metric.value(part))
        drawn = [metric.value(part[draw.integers(0, len(part), len(part))]) for _ in range(resamples)]
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if drawn else (float("nan"), float("nan"))
        found.append(
            Slice(name, len(part), score, score - whole, float(low), float(high), bool(whole < low or whole > high))
        )
    worst_first = 1 if metric.direction == "maximize" else -1
    return sorted(found, key=lambda one: worst_first * one.score)


def _values(column: str, values: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    array = np.array(values, dtype=object)
    names, counts = np.unique(array.astype(str), return_counts=True)
    if len(names) > MANY:  # the most frequent ones
        names = names[np.argsort(-counts, kind="stable")[:MANY]]
    return {f"{column} = {name}": array == name for name in names}


def _quarters(lengths: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    sizes = np.array(lengths)
    borders = np.unique(np.quantile(sizes, [at / QUARTERS for at in range(QUARTERS + 1)]).astype(int))
    found = {}
    for low, high in pairwise(borders):
        last = high == borders[-1]
        mask = (sizes >= low) & ((sizes <= high) if last else (sizes < high))
        found[f"{low} to {high if last else high - 1} words"] = mask
    return found


def _expression(text: str, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """The rows for which every comparison holds; nothing in a recipe is ever run as code."""
    found = np.ones(len(frame), dtype=bool)
    for part in re.split(r"\s+and\s+", text):
        parsed = _COMPARISON.fullmatch(part)
        if parsed is None or parsed[1] not in frame.columns:
            columns = [str(column) for column in frame.columns]
            raise DataError(
                f"evaluate.slices: {text!r} is neither `length`, `label`, a column nor a comparison of a column with a "
                f"value; {suggest(parsed[1] if parsed else text, columns)}"
            )
        found &= _compared(frame[parsed[1]].tolist(), _HOW[parsed[2]], parsed[3].strip("'\""))
    return found


def _compared(values: Sequence[Any], how: Callable[[Any, Any], bool], with_: str) -> NDArray[np.bool_]:
    """As numbers where the value is one, else as text; a cell that is no number fails every comparison with one."""
    number = _number(with_)
    if number is None:
        return np.array([how(str(value), with_) for value in values], dtype=bool)
    cells = [_number(value) for value in values]
    return np.array([cell is not None and how(cell, number) for cell in cells], dtype=bool)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
