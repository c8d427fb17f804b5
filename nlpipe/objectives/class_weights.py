"""How much each label weighs in the loss: `train.class_weights`, worked out from all golds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from nlpipe.errors import UnsupportedError, suggest

Wanted = Literal["balanced"] | Mapping[str, float]


def weights(wanted: Wanted, labels: Sequence[str], found: Iterable[int], rows: int | None = None) -> tuple[float, ...]:
    """One number per label; `found` are the indices of all labels in the golds.

    A mapping names weights, 1 where it names none. `balanced` is n / (labels × count), as scikit-learn has it, so
    that the mean over the n golds is 1. Where several labels may hold of one row, `rows` is the number of rows, and
    a label weighs as much as its absence is more frequent than its presence: torch's `pos_weight`. Raises
    UnsupportedError for a name that is no label.
    """
    if isinstance(wanted, Mapping):
        unknown = [name for name in wanted if name not in labels]
        if unknown:
            raise UnsupportedError(f"train.class_weights: unknown label {unknown[0]!r}; {suggest(unknown[0], labels)}")
        return tuple(float(wanted.get(name, 1.0)) for name in labels)
    counts = [0] * len(labels)
    for label in found:
        counts[label] += 1
    if rows is not None:
        return tuple((rows - count) / max(count, 1) for count in counts)
    return tuple(sum(counts) / (len(counts) * max(count, 1)) for count in counts)
