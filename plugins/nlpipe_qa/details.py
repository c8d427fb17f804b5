"""What a report shows of answers cut from contexts: which questions go wrong, and where the answers stand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.details import SHOWN, Chart, Detail, Line, Mark, Passage, Passages, Table
from nlpipe_qa.scores import best, best_span, exact, none_of, overlap, says_chances

if TYPE_CHECKING:
    from nlpipe.results import Answer
    from nlpipe_qa.examples import Answered

FEWEST = 5  # questions with one first word that are a group of their own
AROUND = 300  # characters of a context that are shown on either side of its marks


def details(
    results: Sequence[Answer], examples: Sequence[Answered], threshold: float | None = None
) -> Iterator[Detail]:
    """Scores by kinds of questions, the threshold of "no answer", and the worst answers in their contexts."""
    pairs = list(zip(results, examples, strict=True))
    f1 = [best(result.text, example, overlap) for result, example in pairs]
    right = [best(result.text, example, exact) for result, example in pairs]
    firsts = [_first(example.question) for _, example in pairs]
    usual = Counter(firsts)
    yield _grouped("By first word", [word if usual[word] >= FEWEST else "another" for word in firsts], right, f1)
    there = ["has an answer" if example.answers.text else "has none" for _, example in pairs]
    if len(set(there)) > 1:
        yield _grouped("With and without an answer", there, right, f1)
        yield from _thresholds(results, examples, threshold)
    sure = [result.score or 0.0 for result in results]
    order = sorted(range(len(pairs)), key=lambda at: (f1[at], -sure[at], at))[:SHOWN]
    items = tuple(_passage(*pairs[at]) for at in order)
    note = f"{len(items)} of {len(pairs):,} questions, those with the lowest F1 first, and of these the surest."
    yield Passages("The worst answers", note, items)


def _thresholds(results: Sequence[Answer], examples: Sequence[Answered], used: float | None) -> Iterator[Chart]:
    """F1 over the threshold of "no answer", as SQuAD 2.0's script looks for the best one."""
    if not says_chances(results):
        return
    spans = [best_span(result) for result in results]
    share = np.array([none_of(result) for result in results])
    answered = np.array([best(span.text, example, overlap) for span, example in zip(spans, examples, strict=True)])
    refused = np.array([best("", example, overlap) for example in examples])
    odds = share.min() < 0 or share.max() > 1  # as those who answer elsewhere may count
    steps = np.linspace(share.min(), share.max(), 41).tolist() if odds else [at / 40 for at in range(41)]
    points = tuple((step, float(np.where(share > step, refused, answered).mean())) for step in steps)
    silent = tuple((step, float((share > step).mean())) for step in steps)
    yield Chart(
        "Where the threshold of “no answer” lies",
        "" if used is None else f"The threshold in use is {used:.3g}.",
        "threshold",
        "share",
        (Line("F1", points), Line("answered with nothing", silent)),
        marked_x=used,
    )


def _first(question: str) -> str:
    return (question.split() or [""])[0].lower().strip("?,.:;¿")


def _grouped(title: str, groups: Sequence[str], right: Sequence[float], f1: Sequence[float]) -> Table:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for at, group in enumerate(groups):
        found[group].append(at)
    means = [
        (group, len(at), sum(right[i] for i in at) / len(at), sum(f1[i] for i in at) / len(at))
        for group, at in found.items()
    ]
    rows = sorted(means, key=lambda row: -row[1])
    return Table(title, "", ("question", "rows", "exact match", "F1"), tuple(rows[:20]), ("exact match", "F1"))


def _passage(result: Answer, example: Answered) -> Passage:
    gold = set(example.spans)
    said = set() if result.start is None or result.end is None else {(result.start, result.end)}
    marks = [
        *(Mark(*span, "", "right") for span in gold & said),
        *(Mark(*span, "", "wrong") for span in said - gold),
        *(Mark(*span, "", "missed") for span in gold - said if not gold & said),  # one right answer is enough
    ]
    low = max(0, min((mark.start for mark in marks), default=0) - AROUND)
    high = max((mark.end for mark in marks), default=AROUND) + AROUND
    before, behind = "…" * (low > 0), "…" * (high < len(example.context))
    at = low - len(before)
    moved = tuple(
        sorted((Mark(m.start - at, m.end - at, m.label, m.kind) for m in marks), key=lambda m: (m.start, m.end))
    )
    # An answer made elsewhere may be a text alone, which stands nowhere.
    bare = "" if said else f"answered: {result.text!r}" if result.text else "answered: there is no answer"
    sure = "" if result.score is None else f"{100 * result.score:.0f} % sure"
    beside = ", ".join(filter(None, (bare, sure)))
    return Passage(
        f"{before}{example.context[low:high]}{behind}", moved, example.question + (f" ({beside})" if beside else "")
    )
