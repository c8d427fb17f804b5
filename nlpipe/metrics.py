"""A metric as two functions: what each row contributes, and the score of any set of rows.

The split in two is what makes bootstrap intervals, slices and gathering over processes one mechanism:
they only choose which rows `value` sees. No metric library is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Statistics = NDArray[np.float64]


Direction = Literal["maximize", "minimize", "neither"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One score.

    `rows(results, examples)` gives an array [n, k] of sufficient statistics, one row per example (counts,
    ranks, indicators); `value(rows)` gives the score of those rows, or of any resample of them. `signature`
    names the convention and its owner, such as `f1|macro|sklearn`: scores of unlike signatures are
    never compared. Where it depends on the examples (on how many right texts they have), `signed` gives it for a set
    of them; what it ends in stays. `direction` says whether more is better, or `neither`: of a number that only
    describes, such as a threshold, and is not compared. `perfect` is the best value there is. `swappable` is False
    where a column has another meaning in another system's rows (numbers given to n-grams as they come), so that a test
    cannot swap rows between the two.
    """

    name: str
    signature: str
    rows: Callable[[Sequence[Any], Sequence[Any]], Statistics]
    value: Callable[[Statistics], float]
    direction: Direction = "maximize"
    perfect: float = 1.0
    signed: Callable[[Sequence[Any]], str] | None = None
    swappable: bool = True

    def signature_of(self, examples: Sequence[Any]) -> str:
        """The signature of a score of these examples."""
        return self.signed(examples) if self.signed is not None and examples else self.signature

    def score(self, results: Sequence[Any], examples: Sequence[Any]) -> float:
        """The score of all results. Raises ValueError where the two differ in length."""
        if len(results) != len(examples):
            raise ValueError(f"{len(results)} results for {len(examples)} examples")
        return float(self.value(self.rows(results, examples)))

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is a better score than `other`; nan is better than nothing."""
        if math.isnan(other):
            return not math.isnan(one)
        return one > other if self.direction == "maximize" else one < other
