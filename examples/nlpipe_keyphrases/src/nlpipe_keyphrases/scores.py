"""Precision, recall and F1 of keyphrases, micro-averaged over all rows; phrases are compared in lower case.

As in the evaluations of keyphrase extraction (Meng et al. 2017, "Deep Keyphrase Generation"), but without stemming,
which the signature says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from nlpipe import Metric

from nlpipe_keyphrases.words import plain

if TYPE_CHECKING:
    from nlpipe_keyphrases.results import Keyphrases
    from nlpipe_keyphrases.task import Tagged


def counts(results: Sequence[Keyphrases], examples: Sequence[Tagged]) -> np.ndarray:
    """[n, 3]: each row's phrases that are right, too many, and missing."""
    rows = np.zeros((len(examples), 3))
    for at, (result, example) in enumerate(zip(results, examples, strict=True)):
        right = {plain(phrase) for phrase in example.keyphrases}
        said = {plain(phrase.text) for phrase in result.phrases}
        rows[at] = len(right & said), len(said - right), len(right - said)
    return rows


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def precision(rows: np.ndarray) -> float:
    """tp / (tp + fp)."""
    hits, false, _ = rows.sum(axis=0)
    return _share(hits, hits + false)


def recall(rows: np.ndarray) -> float:
    """tp / (tp + fn)."""
    hits, _, missed = rows.sum(axis=0)
    return _share(hits, hits + missed)


def f1(rows: np.ndarray) -> float:
    """2 tp / (2 tp + fp + fn)."""
    hits, false, missed = rows.sum(axis=0)
    return _share(2 * hits, 2 * hits + false + missed)


F1 = Metric("f1", "f1|keyphrase|micro|casefold|nlpipe_keyphrases:1", counts, f1)
PRECISION = Metric("precision", "precision|keyphrase|micro|casefold|nlpipe_keyphrases:1", counts, precision)
RECALL = Metric("recall", "recall|keyphrase|micro|casefold|nlpipe_keyphrases:1", counts, recall)
