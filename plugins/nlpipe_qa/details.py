"""What a report shows of answers cut from contexts: which questions go wrong, and where the answers stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nlpipe.details import Detail, Mark, Passage, Passages, Table, worst
from nlpipe_qa.scores import best, exact, overlap

if TYPE_CHECKING:
    from nlpipe.results import Answer
    from nlpipe_qa.examples import Answered

AROUND = 300  # characters of a context that are shown on either side of its marks


def details(results: Sequence[Answer], examples: Sequence[Answered]) -> Iterator[Detail]:
    """Scores by the question's first word and by whether there is an answer; the worst answers in their contexts."""
    pairs = list(zip(results, examples, strict=True))
    f1 = [best(result.text, example, overlap) for result, example in pairs]
    right = [best(result.text, example, exact) for result, example in pairs]
    yield _grouped("By first word", [_first(example.question) for _, example in pairs], right, f1)
    there = ["has an answer" if example.answers.text else "has none" for _, example in pairs]
    if len(set(there)) > 1:
        yield _grouped("With and without an answer", there, right, f1)
    items = tuple(_passage(*pairs[at]) for at in worst(f1))
    yield Passages(
        "The worst answers", f"{len(items)} of {len(pairs):,} questions, those with the lowest F1 first.", items
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
    answers = zip(example.answers.text, example.answers.answer_start, strict=True)
    gold = {(start, start + len(text)) for text, start in answers}
    said = set() if result.start is None or result.end is None else {(result.start, result.end)}
    marks = [
        *(Mark(*span, "", "right") for span in gold & said),
        *(Mark(*span, "", "wrong") for span in said - gold),
        *(Mark(*span, "", "missed") for span in gold - said if not gold & said),  # one right answer is enough
    ]
    low = max(0, min((mark.start for mark in marks), default=0) - AROUND)
    high = max((mark.end for mark in marks), default=AROUND) + AROUND
    moved = tuple(
        sorted((Mark(m.start - low, m.end - low, m.label, m.kind) for m in marks), key=lambda m: (m.start, m.end))
    )
    nothing = "" if said else " (answered: there is no answer)"
    return Passage(example.context[low:high], moved, f"{example.question}{nothing}")
