"""The scores of labels: accuracy, macro F1 and Matthews' correlation, as scikit-learn defines them.

Each row's statistics say which labels are right and which were answered; most scores are made of their counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Label
    from nlpipe_classification.examples import Labelled


def labels(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
    """What was right and what was answered, labels in the order of `names`.

    Of one label each, [n, 3]: the right one's number, the answered one's, and how many labels there are. Of any number
    of labels, [n, 2 x labels]: the right ones as 0/1, then the answered ones.
    """
    rows = indicators(results, examples)
    gold, answered = _halves(rows)
    if not (_one_each(gold) and _one_each(answered)):
        return rows
    places = [side.argmax(axis=1) for side in (gold, answered)]
    return np.stack([*places, np.full(len(rows), gold.shape[1])], axis=1)


def indicators(results: Sequence[Label], examples: Sequence[Labelled]) -> NDArray[Any]:
    """[n, 2 x labels]: the right labels as 0/1, then the answered ones. Labels as in `names`."""
    without = sum(example.label is None and example.labels is None for example in examples)
    if without:
        raise DataError(f"{without:,} of {len(examples):,} rows have no `label` (or `labels`) to score by")
    index = {name: at for at, name in enumerate(names(results, examples))}
    rows = np.zeros((len(examples), 2 * len(index)), dtype=np.int8)
    for at, (example, result) in enumerate(zip(examples, results, strict=True)):
        rows[at, [index[name] for name in example.names]] = 1
        rows[at, [len(index) + index[name] for name in result.labels]] = 1
    return rows


def names(results: Sequence[Label], examples: Sequence[Labelled]) -> list[str]:
    """All labels: the right ones, which stand alike for every system, then those that are only answered."""
    gold, answered = {n for e in examples for n in e.names}, {n for r in results for n in r.labels}
    return [*sorted(gold), *sorted(answered - gold)]


def _one_each(side: NDArray[Any]) -> bool:
    return bool(side.shape[1]) and bool((side.sum(axis=1) == 1).all())


def _halves(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    width = rows.shape[1] // 2
    return rows[:, :width], rows[:, width:]


class _Counted(NamedTuple):
    """Of each label: how often it is rightly answered, right, and answered, [labels] each. And rows all right."""

    hits: NDArray[np.int64]
    right: NDArray[np.int64]
    said: NDArray[np.int64]
    exact: int


def _counted(rows: NDArray[Any]) -> _Counted:
    """The counts of `labels`' rows, in either form; they are all that most scores need."""
    if rows.shape[1] == 3:
        gold, answered = (rows[:, at].astype(np.int64) for at in (0, 1))
        same, size = gold == answered, int(rows[:, 2].max(initial=0))
        hits, right, said = (np.bincount(side, minlength=size) for side in (gold[same], gold, answered))
        return _Counted(hits, right, said, int(same.sum()))
    gold, answered = _halves(rows)
    hits, right, said = (side.sum(axis=0, dtype=np.int64) for side in (gold & answered, gold, answered))
    return _Counted(hits, right, said, int((gold == answered).all(axis=1).sum()))


def accuracy(rows: NDArray[Any]) -> float:
    """The share of rows whose labels are exactly right; nan for no rows."""
    return _counted(rows).exact / len(rows) if len(rows) else float("nan")


def macro_f1(rows: NDArray[Any]) -> float:
    """The mean over labels of 2 tp / (2 tp + fp + fn), over labels that occur in gold or answers."""
    hits, right, said, _ = _counted(rows)
    there = right + said > 0
    return float((2 * hits[there] / (right + said)[there]).mean()) if there.any() else float("nan")


def mcc(rows: NDArray[Any]) -> float:
    """Matthews' correlation over all labels (Gorodkin 2004, R_K); over all decisions if labels are several.

    0 where gold or answers never vary.
    """
    hits, right, said, exact = _counted(rows)
    whole = len(rows)
    if rows.shape[1] != 3:  # two labels then: that one holds, and that it does not
        whole = rows.size // 2
        both, gold, answered = (int(counts.sum()) for counts in (hits, right, said))
        exact = whole - gold - answered + 2 * both
        right, said = np.array([gold, whole - gold]), np.array([answered, whole - answered])
    # In exact whole numbers: products of counts may be beyond what int64 holds.
    ours, theirs = ([int(count) for count in side] for side in (said, right))
    spread = (whole**2 - sum(c * c for c in ours)) * (whole**2 - sum(c * c for c in theirs))
    both = exact * whole - sum(a * b for a, b in zip(ours, theirs, strict=True))
    return both / math.sqrt(spread) if spread else 0.0


def micro_f1(rows: NDArray[Any]) -> float:
    """2 tp / (2 tp + fp + fn) over all decisions together; nan for none."""
    hits, right, said, _ = _counted(rows)
    there = right.sum() + said.sum()
    return float(2 * hits.sum() / there) if there else float("nan")


def weighted_f1(rows: NDArray[Any]) -> float:
    """The mean over labels of F1, each as often as it is right; nan where none ever is."""
    hits, right, said, _ = _counted(rows)
    there = right > 0
    if not there.any():
        return float("nan")
    return float(np.average(2 * hits[there] / (right + said)[there], weights=right[there]))


def _macro(rows: NDArray[Any], *, of: Literal["right", "said"]) -> float:
    found = _counted(rows)
    there = found.right + found.said > 0
    shares = found.hits[there] / np.maximum(getattr(found, of)[there], 1)
    return float(shares.mean()) if there.any() else float("nan")


def macro_precision(rows: NDArray[Any]) -> float:
    """The mean over labels, as in `macro_f1`, of tp / (tp + fp); 0 for a label that is never answered."""
    return _macro(rows, of="said")


def macro_recall(rows: NDArray[Any]) -> float:
    """The mean over labels, as in `macro_f1`, of tp / (tp + fn); 0 for a label that is never right."""
    return _macro(rows, of="right")


def samples_f1(rows: NDArray[Any]) -> float:
    """The mean over rows of each row's own F1 of its labels; 1 where there are none and none is answered."""
    if rows.shape[1] == 3:
        return accuracy(rows)
    gold, answered = _halves(rows.astype(int))
    there = gold.sum(axis=1) + answered.sum(axis=1)
    values = np.where(there > 0, 2 * (gold * answered).sum(axis=1) / np.maximum(there, 1), 1.0)
    return float(values.mean()) if len(rows) else float("nan")


def hamming_loss(rows: NDArray[Any]) -> float:
    """The share of decisions, each label for each row, that are wrong; of labels that occur anywhere in the data."""
    hits, right, said, _ = _counted(rows)
    decisions = len(rows) * len(hits)
    return float((right + said - 2 * hits).sum() / decisions) if decisions else float("nan")


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


ACCURACY = Metric("accuracy", "accuracy|exact|nlpipe:1", labels, accuracy)
MACRO_F1 = Metric("macro_f1", "f1|macro|present-labels|nlpipe:1", labels, macro_f1)
MCC = Metric("mcc", "mcc|R_K|nlpipe:1", labels, mcc)
MICRO_F1 = Metric("micro_f1", "f1|micro|nlpipe:1", labels, micro_f1)
WEIGHTED_F1 = Metric("weighted_f1", "f1|weighted|nlpipe:1", labels, weighted_f1)
MACRO_PRECISION = Metric("macro_precision", "precision|macro|present-labels|nlpipe:1", labels, macro_precision)
MACRO_RECALL = Metric("macro_recall", "recall|macro|present-labels|nlpipe:1", labels, macro_recall)
SAMPLES_F1 = Metric("samples_f1", "f1|samples|none-and-none:1|nlpipe:1", labels, samples_f1)
HAMMING_LOSS = Metric("hamming_loss", "hamming|present-labels|nlpipe:1", labels, hamming_loss, "minimize", perfect=0.0)
ECE = Metric("ece", f"ece|answer|bins:{BINS},equal-width|nlpipe:1", certainties, ece, "minimize", perfect=0.0)
# Brier 1950: the sum over all labels, 0 to 2; scikit-learn's brier_score_loss of two labels is half of it.
BRIER = Metric("brier", "brier|all-labels|nlpipe:1", distances, mean, "minimize", perfect=0.0)
FURTHER = (MICRO_F1, WEIGHTED_F1, MACRO_PRECISION, MACRO_RECALL, SAMPLES_F1, HAMMING_LOSS, ECE, BRIER)
