"""Entity precision, recall and F1: an entity is right if its offsets and its type are exactly right.

Micro-averaged over all entities of all rows, as conlleval and seqeval (`mode="strict"`) do; a share of nothing
is 0, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Entities
    from nlpipe_ner.examples import TaggedText

    Counts = NDArray[np.float64]


def counts(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Counts:
    """[n, 3]: each row's entities that are right, too many, and missing."""
    rows = np.zeros((len(examples), 3))
    for at, (result, example) in enumerate(zip(results, examples, strict=True)):
        right = set(example.entities)
        said = {(span.start, span.end, span.label) for span in result.spans}
        rows[at] = len(right & said), len(said - right), len(right - said)
    return rows


def borders(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Counts:
    """[n, 3]: the same for offsets alone, whatever the type."""
    rows = np.zeros((len(examples), 3))
    for at, (result, example) in enumerate(zip(results, examples, strict=True)):
        right = {(start, end) for start, end, _ in example.entities}
        said = {(span.start, span.end) for span in result.spans}
        rows[at] = len(right & said), len(said - right), len(right - said)
    return rows


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def precision(rows: Counts) -> float:
    """tp / (tp + fp)."""
    hits, false, _ = rows.sum(axis=0)
    return _share(hits, hits + false)


def recall(rows: Counts) -> float:
    """tp / (tp + fn)."""
    hits, _, missed = rows.sum(axis=0)
    return _share(hits, hits + missed)


def f1(rows: Counts) -> float:
    """2 tp / (2 tp + fp + fn)."""
    hits, false, missed = rows.sum(axis=0)
    return _share(2 * hits, 2 * hits + false + missed)


F1 = Metric("f1", "f1|entity|strict|micro|nlpipe:1", counts, f1)
PRECISION = Metric("precision", "precision|entity|strict|micro|nlpipe:1", counts, precision)
RECALL = Metric("recall", "recall|entity|strict|micro|nlpipe:1", counts, recall)
BORDERS_F1 = Metric("borders_f1", "f1|entity|borders|micro|nlpipe:1", borders, f1)
