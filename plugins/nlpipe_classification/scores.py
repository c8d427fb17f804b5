"""The scores of labels: accuracy, macro F1 and Matthews' correlation, as scikit-learn defines them.

Each row's statistics are indicators: which labels are right, and which were answered. One label or many
then need no two kinds of counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Label
    from nlpipe_classification.examples import Labelled


def indicators(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
    """[n, 2 x labels]: the right labels as 0/1, then the answered ones. Labels in order of their names."""
    without = sum(example.label is None and example.labels is None for example in examples)
    if without:
        raise DataError(f"{without:,} of {len(examples):,} rows have no `label` (or `labels`) to score by")
    right = [example.names for example in examples]
    names = sorted({*(n for row in right for n in row), *(n for r in results for n in r.labels)})
    index = {name: at for at, name in enumerate(names)}
    rows = np.zeros((len(examples), 2 * len(names)), dtype=np.int8)
    for at, (gold, result) in enumerate(zip(right, results, strict=True)):
        rows[at, [index[name] for name in gold]] = 1
        rows[at, [len(names) + index[name] for name in result.labels]] = 1
    return rows


def _halves(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    width = rows.shape[1] // 2
    return rows[:, :width], rows[:, width:]


def accuracy(rows: NDArray[Any]) -> float:
    """The share of rows whose labels are exactly right; nan for no rows."""
    gold, answered = _halves(rows)
    return float((gold == answered).all(axis=1).mean()) if len(rows) else float("nan")


def macro_f1(rows: NDArray[Any]) -> float:
    """The mean over labels of 2 tp / (2 tp + fp + fn), over labels that occur in gold or answers."""
    gold, answered = _halves(rows)
    hits, right, said = (gold * answered).sum(axis=0), gold.sum(axis=0), answered.sum(axis=0)
    there = right + said > 0
    return float((2 * hits[there] / (right + said)[there]).mean()) if there.any() else float("nan")


def mcc(rows: NDArray[Any]) -> float:
    """Matthews' correlation over all labels (Gorodkin 2004, R_K); over all decisions if labels are several.

    0 where gold or answers never vary.
    """
    gold, answered = _halves(rows)
    if not ((gold.sum(axis=1) == 1).all() and (answered.sum(axis=1) == 1).all()):
        gold, answered = (np.stack([m.ravel(), 1 - m.ravel()], axis=1) for m in (gold, answered))
    gold, answered = gold - gold.mean(axis=0), answered - answered.mean(axis=0)
    spread = np.sqrt((gold * gold).sum() * (answered * answered).sum())
    return float((gold * answered).sum() / spread) if spread else 0.0


def micro_f1(rows: NDArray[Any]) -> float:
    """2 tp / (2 tp + fp + fn) over all decisions together; nan for none."""
    gold, answered = _halves(rows)
    there = gold.sum() + answered.sum()
    return float(2 * (gold * answered).sum() / there) if there else float("nan")


def weighted_f1(rows: NDArray[Any]) -> float:
    """The mean over labels of F1, each as often as it is right; nan where none ever is."""
    gold, answered = _halves(rows)
    hits, right, said = (gold * answered).sum(axis=0), gold.sum(axis=0), answered.sum(axis=0)
    there = right > 0
    return (
        float(np.average(2 * hits[there] / (right + said)[there], weights=right[there]))
        if there.any()
        else float("nan")
    )


def _macro(rows: NDArray[Any], *, said: bool) -> float:
    gold, answered = _halves(rows)
    hits, right, whole = (gold * answered).sum(axis=0), gold.sum(axis=0), (answered if said else gold).sum(axis=0)
    there = right + answered.sum(axis=0) > 0
    shares = hits[there] / np.maximum(whole[there], 1)
    return float(shares.mean()) if there.any() else float("nan")


def macro_precision(rows: NDArray[Any]) -> float:
    """The mean over labels, as in `macro_f1`, of tp / (tp + fp); 0 for a label that is never answered."""
    return _macro(rows, said=True)


def macro_recall(rows: NDArray[Any]) -> float:
    """The mean over labels, as in `macro_f1`, of tp / (tp + fn); 0 for a label that is never right."""
    return _macro(rows, said=False)


def samples_f1(rows: NDArray[Any]) -> float:
    """The mean over rows of each row's own F1 of its labels; 1 where there are none and none is answered."""
    gold, answered = _halves(rows.astype(int))
    there = gold.sum(axis=1) + answered.sum(axis=1)
    values = np.where(there > 0, 2 * (gold * answered).sum(axis=1) / np.maximum(there, 1), 1.0)
    return float(values.mean()) if len(rows) else float("nan")


def hamming_loss(rows: NDArray[Any]) -> float:
    """The share of decisions, each label for each row, that are wrong; of labels that occur anywhere in the data."""
    gold, answered = _halves(rows)
    return float((gold != answered).mean()) if gold.size else float("nan")


def of_label(name: str) -> Metric:
    """The F1 of one label by itself; 0 where it neither is right nor answered."""

    def rows(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
        """[n, 2]: 1 where the label is right, and where it is answered."""
        pairs = zip(examples, results, strict=True)
        return np.array([[name in e.names, name in r.labels] for e, r in pairs], dtype=float).reshape(-1, 2)

    def value(found: NDArray[Any]) -> float:
        there = found.sum()
        return float(2 * found.prod(axis=1).sum() / there) if there else 0.0

    return Metric(f"f1:{name}", f"f1|label:{name}|nlpipe:1", rows, value)


def certainties(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
    """[n, 2]: the probability of the answer, and 1 where it is right. Raises DataError for answers without one."""
    pairs = []
    for result, example in zip(results, examples, strict=True):
        if result.score is None:
            raise DataError("an answer has no probability (score), so that calibration cannot be measured")
        pairs.append((result.score, float(set(result.labels) == set(example.names))))
    return np.array(pairs, dtype=float).reshape(-1, 2)


BINS = 10  # of equal width, as Guo et al. 2017 ("On Calibration of Modern Neural Networks") draw them with 10 to 15


def ece(rows: NDArray[Any]) -> float:
    """Expected calibration error (Naeini et al. 2015): the bins' gaps of certainty and accuracy, by their rows."""
    chances, held = rows[:, 0], rows[:, 1]
    places = np.clip((chances * BINS).astype(int), 0, BINS - 1)
    sums = [np.bincount(places, weights=values, minlength=BINS) for values in (chances, held)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(rows)) if len(rows) else float("nan")


def distances(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
    """[n, 1]: the squared distance of all probabilities from the right ones. Raises DataError without them."""
    found = []
    for result, example in zip(results, examples, strict=True):
        if not result.scores:
            raise DataError("an answer has no probabilities (scores), so that the Brier score cannot be computed")
        names = {*result.scores, *example.names}
        found.append(sum((result.scores.get(name, 0.0) - (name in example.names)) ** 2 for name in names))
    return np.array(found, dtype=float).reshape(-1, 1)


def mean(rows: NDArray[Any]) -> float:
    """The mean over rows; nan for none."""
    return float(rows.mean()) if len(rows) else float("nan")


ACCURACY = Metric("accuracy", "accuracy|exact|nlpipe:1", indicators, accuracy)
MACRO_F1 = Metric("macro_f1", "f1|macro|present-labels|nlpipe:1", indicators, macro_f1)
MCC = Metric("mcc", "mcc|R_K|nlpipe:1", indicators, mcc)
MICRO_F1 = Metric("micro_f1", "f1|micro|nlpipe:1", indicators, micro_f1)
WEIGHTED_F1 = Metric("weighted_f1", "f1|weighted|nlpipe:1", indicators, weighted_f1)
MACRO_PRECISION = Metric("macro_precision", "precision|macro|present-labels|nlpipe:1", indicators, macro_precision)
MACRO_RECALL = Metric("macro_recall", "recall|macro|present-labels|nlpipe:1", indicators, macro_recall)
SAMPLES_F1 = Metric("samples_f1", "f1|samples|none-and-none:1|nlpipe:1", indicators, samples_f1)
HAMMING_LOSS = Metric(
    "hamming_loss", "hamming|present-labels|nlpipe:1", indicators, hamming_loss, "minimize", perfect=0.0
)
ECE = Metric("ece", f"ece|answer|bins:{BINS},equal-width|nlpipe:1", certainties, ece, "minimize", perfect=0.0)
# Brier 1950: the sum over all labels, 0 to 2; scikit-learn's brier_score_loss of two labels is half of it.
BRIER = Metric("brier", "brier|all-labels|nlpipe:1", distances, mean, "minimize", perfect=0.0)
FURTHER = (MICRO_F1, WEIGHTED_F1, MACRO_PRECISION, MACRO_RECALL, SAMPLES_F1, HAMMING_LOSS, ECE, BRIER)
