"""What a report shows of labels: each by itself, which is taken for which, how far probabilities can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.details import SHOWN, Chart, Detail, Line, Matrix, Pair, Pairs, Table
from nlpipe_classification.scores import BINS, indicators
from nlpipe_classification.scores import names as label_names

if TYPE_CHECKING:
    from nlpipe.results import Label
    from nlpipe_classification.examples import Labelled

CONFUSED = 25  # labels that a matrix can show; of more, the pairs most often confused are listed


def details(
    results: Sequence[Label], examples: Sequence[Labelled], *, multi: bool, threshold: float | None
) -> Iterator[Detail]:
    """All of it; `multi` where a row has any number of labels; `threshold` is None where each label has its own."""
    yield _per_label(results, examples)
    if not multi:
        yield from _confusions(results, examples)
    if all(result.scores if multi else result.score is not None for result in results):
        yield from _calibration(results, examples, single=not multi)
        yield _thresholds(results, examples, threshold) if multi else _sure(results, examples)
    yield from _errors(results, examples)


def _per_label(results: Sequence[Label], examples: Sequence[Labelled]) -> Table:
    names = label_names(results, examples)
    rows = indicators(results, examples)
    gold, said = rows[:, : len(names)].astype(int), rows[:, len(names) :].astype(int)
    hits, right, answered = (gold * said).sum(0), gold.sum(0), said.sum(0)
    found = [
        (
            name,
            int(right[at]),
            int(answered[at]),
            hits[at] / answered[at] if answered[at] else None,
            hits[at] / right[at] if right[at] else None,
            2 * hits[at] / (right[at] + answered[at]) if right[at] + answered[at] else None,
        )
        for at, name in enumerate(names)
    ]
    columns = ("label", "rows", "answered", "precision", "recall", "F1")
    note = (
        "Precision: of the rows answered so, the share that is right. Recall: of the rows that are so, the share found."
    )
    ordered = sorted(found, key=lambda row: (row[5] is None, row[5] or 0.0))
    return Table("Label by label", note, columns, tuple(ordered), columns[3:])


def _confusions(results: Sequence[Label], examples: Sequence[Labelled]) -> Iterator[Detail]:
    names = label_names(results, examples)
    pairs = Counter((e.names[0], r.label or "") for r, e in zip(results, examples, strict=True) if e.names)
    if len(names) <= CONFUSED:
        counts = tuple(tuple(pairs[right, said] for said in names) for right in names)
        yield Matrix(
            "Which label is taken for which", "Rows: the right label. Columns: the answer.", tuple(names), counts
        )
    wrong = Counter({pair: count for pair, count in pairs.items() if pair[0] != pair[1]})
    if wrong and len(names) > 2:
        listed = tuple((right, said, count) for (right, said), count in wrong.most_common(20))
        yield Table("Most often confused", "", ("right", "answered", "rows"), listed)


def _calibration(results: Sequence[Label], examples: Sequence[Labelled], *, single: bool) -> Iterator[Detail]:
    """Of one label per row the answer's probability; of several, each label's."""
    if single:
        pairs = [(r.score, r.labels == e.names) for r, e in zip(results, examples, strict=True) if r.score is not None]
    else:
        pairs = [(s, n in e.names) for r, e in zip(results, examples, strict=True) for n, s in r.scores.items()]
    chances, held = np.array([p for p, _ in pairs], dtype=float), np.array([h for _, h in pairs], dtype=float)
    if not len(chances):
        return
    places = np.clip((chances * BINS).astype(int), 0, BINS - 1)
    bins = [(chances[places == at], held[places == at]) for at in range(BINS)]
    points = tuple((float(p.mean()), float(h.mean())) for p, h in bins if len(p))
    ece = float(sum(len(p) * abs(p.mean() - h.mean()) for p, h in bins if len(p)) / len(chances))
    brier = float(((chances - held) ** 2).mean())
    yield Chart(
        "How far probabilities can be trusted",
        f"Expected calibration error {ece:.3f} ({BINS} bins of equal width, Guo et al. 2017), Brier score of "
        f"{'the answers' if single else 'all labels'} {brier:.3f}. Below the diagonal the model is too sure.",
        "probability" + (" of the answer" if single else " of a label"),
        "share that is right",
        (Line("this model", points),),
        diagonal=True,
    )


def _thresholds(results: Sequence[Label], examples: Sequence[Labelled], used: float | None) -> Chart:
    chances = np.array([s for r in results for s in r.scores.values()])
    held = np.array([n in e.names for r, e in zip(results, examples, strict=True) for n in r.scores])
    steps = [at / 20 for at in range(1, 20)]
    hits = [int((held & (chances >= t)).sum()) for t in steps]
    said = [int((chances >= t).sum()) for t in steps]
    there = max(1, int(held.sum()))
    return Chart(
        "Where the threshold lies",
        "Over all decisions together (micro). "
        + ("Each label has a threshold of its own here." if used is None else f"The threshold in use is {used:g}."),
        "threshold",
        "share",
        (
            Line("precision", tuple((t, h / s) for t, h, s in zip(steps, hits, said, strict=True) if s)),
            Line("recall", tuple((t, h / there) for t, h in zip(steps, hits, strict=True))),
            Line("F1", tuple((t, 2 * h / (s + there)) for t, h, s in zip(steps, hits, said, strict=True))),
        ),
        marked_x=used,
    )


def _sure(results: Sequence[Label], examples: Sequence[Labelled]) -> Chart:
    """What is left, and how right it is, where only sure answers count (El-Yaniv and Wiener 2010)."""
    chances = np.array([result.score or 0.0 for result in results])
    held = np.array([result.labels == example.names for result, example in zip(results, examples, strict=True)])
    steps = [at / 20 for at in range(20)]
    kept = [chances >= step for step in steps]
    right = tuple((t, float(held[k].mean())) for t, k in zip(steps, kept, strict=True) if k.any())
    return Chart(
        "Where only sure answers count",
        "Answers below the threshold left to a person: how many are answered, and how many of these are right.",
        "least probability of an answer",
        "share",
        (Line("answered", tuple((t, float(k.mean())) for t, k in zip(steps, kept, strict=True))), Line("right", right)),
    )


def _errors(results: Sequence[Label], examples: Sequence[Labelled]) -> Iterator[Detail]:
    wrong = [(r, e) for r, e in zip(results, examples, strict=True) if set(r.labels) != set(e.names)]
    wrong.sort(key=lambda pair: -_certainty(pair[0]))
    if wrong:
        items = tuple(
            Pair(
                e.text + (f" | {e.text_pair}" if e.text_pair else ""),
                (", ".join(e.names) or "none",),
                ", ".join(r.labels) or "none",
                f"{100 * r.score:.0f} %" if r.score is not None else "",
            )
            for r, e in wrong[:SHOWN]
        )
        known = any(map(_certainty, results))
        title = "The most confident errors" if known else "Errors"
        yield Pairs(title, f"{len(items)} of {len(wrong):,} errors{', the surest first' * known}.", items)


def _certainty(result: Label) -> float:
    """How probable the answer is; of none among several labels, that none holds. 0 where nothing is said of it."""
    if result.score is not None:
        return result.score
    return 1 - max(result.scores.values()) if result.scores else 0.0
