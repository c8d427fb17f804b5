"""How like the right text a written one is: exactly, or by characters; and how varied texts are among themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric
from nlpipe.metrics_text import chrf, streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text
    from nlpipe_generation.writing import Written


def references(example: Written) -> Sequence[str]:
    """All right texts."""
    return example.references


def matches(results: Sequence[Text], examples: Sequence[Written]) -> NDArray[Any]:
    """[n, 1]: 1 where the text is a right one, but for space around it. Raises DataError for rows without one."""
    streams(examples, references)
    pairs = zip(results, examples, strict=True)
    return np.array([[float(r.text.strip() in map(str.strip, e.references))] for r, e in pairs]).reshape(-1, 1)


def mean(rows: NDArray[Any]) -> float:
    """The mean over rows; nan for none."""
    return float(rows.mean()) if len(rows) else float("nan")


def _grams(size: int) -> Callable[..., NDArray[Any]]:
    def rows(results: Sequence[Text], examples: Sequence[Written]) -> NDArray[Any]:
        """[n, longest]: a number for each n-gram of each text, the same for the same one; -1 behind a text's last."""
        numbers: dict[tuple[str, ...], int] = {}
        found = []
        for result in results:
            words = re.findall(r"\w+|[^\w\s]", result.text)
            grams = zip(*(words[at:] for at in range(size)), strict=False)
            found.append([numbers.setdefault(gram, len(numbers)) for gram in grams])
        table = np.full((len(found), max(map(len, found), default=0) or 1), -1.0)
        for at, row in enumerate(found):
            table[at, : len(row)] = row
        return table

    return rows


def _different(rows: NDArray[Any]) -> float:
    there = rows[rows >= 0].astype(int)
    return float(np.count_nonzero(np.bincount(there)) / len(there)) if len(there) else float("nan")


def distinct(size: int) -> Metric:
    """The share of n-grams that are different, over all texts (Li et al. 2016, "A Diversity-Promoting Objective").

    Words are `\\w+`, other characters by themselves, case kept. Larger sets of texts have smaller shares.
    """
    signature = f"distinct-{size}|corpus|words,punctuation|nlpipe:1"
    return Metric(f"distinct-{size}", signature, _grams(size), _different, swappable=False)


EXACT_MATCH = Metric("exact_match", "exact_match|strip|any-reference|nlpipe:1", matches, mean)
CHRF = chrf(references)
DISTINCT = tuple(map(distinct, (1, 2, 3)))
