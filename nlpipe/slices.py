"""Parts of the rows: by a column, length, label, script, language, or an expression. What their scores are worth.

No model; the rows' statistics say it all. `nlpipe.slice_search` looks for the worst ones by itself.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe import languages
from nlpipe.errors import DataError, suggest
from nlpipe.significance import resampled

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from nlpipe.metrics import Metric

LENGTH, LABEL, SCRIPT, LANGUAGE = "length", "label", "script", "language"
QUARTERS = 4
SMALLEST = 10  # rows: of fewer a score says nothing
_HOW: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "contains": operator.contains,
}
_COMPARISON = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>|\scontains\s)\s*(.+?)\s*")

_WRITTEN: Mapping[str, Callable[[str], str]] = {SCRIPT: languages.script, LANGUAGE: languages.language}

ALPHA = 0.05  # a slice's difference is called hardly chance where chance gives one as large less often
MANY = 30  # values of a column that are told apart; the rest are put together


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows for which `name` holds: their number, their score, and by how much it differs from that of all.

    `low` to `high` is the score's 95 % interval. `p` is how often as many rows drawn by chance are as far from
    the score of all, allowing for all slices that were looked at; `sure` is true where it is below 0.05.
    """

    name: str
    n: int
    score: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def sure(self) -> bool:
        """Whether the difference is hardly chance."""
        return self.p < ALPHA


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices by one `score`: those `named` in the recipe or offered by the data, the worst first, and the worst
    ones `found` by looking through `looks` of them, all of which are worse than chance gives."""

    score: str
    named: tuple[Slice, ...] = ()
    found: tuple[Slice, ...] = ()
    looks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As `metrics.json` holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Slices:
        """The slices that `to_dict` was made from."""
        named, found = (tuple(Slice(**one) for one in content[key]) for key in ("named", "found"))
        return cls(content["score"], named, found, content["looks"])


def masks(
    wanted: Sequence[str],
    frame: pd.DataFrame,
    texts: Sequence[str],
    strata: Sequence[str | None],
) -> dict[str, NDArray[np.bool_]]:
    """The rows of each slice, by its name.

    `wanted` has names of columns, `length` (quarters of the rows by words), `label`, `script`, `language`, or
    comparisons of columns with values, such as `stars > 3 and text contains not`. `texts` are the rows' inputs,
    `strata` their labels where they have one. Raises DataError for what is none of these, UnsupportedError for
    languages that cannot be told apart here.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for name in wanted:
        if name == LABEL and any(stratum is not None for stratum in strata):
            found |= _values(LABEL, [str(stratum) for stratum in strata])
        elif name in frame.columns:
            found |= _values(name, [str(value) for value in frame[name].tolist()])
        elif name == LENGTH:
            found |= _quarters([len(text.split()) for text in texts])
        elif name in _WRITTEN:
            found |= _values(name, [_WRITTEN[name](text) or "unknown" for text in texts])
        else:
            found[name] = _expression(name, frame)
    return found


def scored(
    metric: Metric,
    rows: NDArray[Any],
    chosen: Mapping[str, NDArray[np.bool_]],
    ps: Mapping[str, float],
    *,
    resamples: int,
    draw: np.random.Generator,
) -> list[Slice]:
    """The score of each slice that has a p, the worst first."""
    whole = float(metric.value(rows))
    found = []
    for name, mask in chosen.items():
        if name in ps:
            part = rows[mask]
            score = float(metric.value(part))
            low, high = np.nanquantile(resampled(metric, [part], resamples, draw), [0.025, 0.975])
            found.append(Slice(name, len(part), score, score - whole, float(low), float(high), ps[name]))
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
        top = high if last else high - 1
        found[f"{low} to {top} words" if top > low else f"{low} words"] = mask
    return found


def _expression(text: str, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """The rows for which every comparison holds; nothing in a recipe is ever run as code."""
    found = np.ones(len(frame), dtype=bool)
    for part in re.split(r"\s+and\s+", text):
        parsed = _COMPARISON.fullmatch(part)
        if parsed is None or parsed[1] not in frame.columns:
            columns = [str(column) for column in frame.columns]
            raise DataError(
                f"evaluate.slices: {text!r} is neither length, label, script, language, a column, nor a comparison of "
                f"a column with a value; {suggest(parsed[1] if parsed else text, columns)}"
            )
        found &= _compared(frame[parsed[1]].tolist(), _HOW[parsed[2].strip()], parsed[3].strip("'\""))
    return found


def _compared(values: Sequence[Any], how: Callable[[Any, Any], bool], with_: str) -> NDArray[np.bool_]:
    """As numbers where the value is one, else as text; a cell that is no number fails every comparison with one."""
    number = None if how is operator.contains else _number(with_)
    if number is None:
        return np.array([how(str(value), with_) for value in values], dtype=bool)
    cells = [_number(value) for value in values]
    return np.array([cell is not None and how(cell, number) for cell in cells], dtype=bool)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
