"""Exact match and F1 as the official script of SQuAD 2.0 computes them (Rajpurkar, Jia and Liang 2018).

Each row counts by the right answer that suits it best; a question without an answer has the empty one. The script of
SQuAD 1.1 differs in texts of nothing but articles and punctuation: there such a right answer counts, and no word of
nothing is shared (`task.script`).
SQuAD's words are what stands between spaces; where a language has none, `characters` makes words of its characters.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Direction, Metric
from nlpipe.objectives.passages import unspaced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Answer
    from nlpipe_qa.examples import Answered

    Shares = NDArray[np.float64]

Normal = Callable[[str], str]
Compare = Callable[[str, str, Normal], float]
Best = Callable[[str, "Answered", Compare, Normal], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def characters(text: str) -> str:
    """Lower case, without any punctuation, each character of a script without spaces a word, with its marks.

    On Chinese this is what the script of MLQA does (Lewis et al. 2020); there it is for Chinese alone.
    """
    made: list[str] = []
    alone = False  # whether the character before is a word by itself
    for character in text.lower().translate(_PUNCTUATION):
        kind = unicodedata.category(character)[0]
        if kind == "P":
            continue
        if kind == "M" and alone:
            made[-1] += character
            continue
        if alone or unspaced(character):
            made.append(" ")
        alone = unspaced(character)
        made.append(character)
    return " ".join("".join(made).split())


def exact(said: str, right: str, normal: Normal = normalised) -> float:
    """1 where both texts are equal once normalised, else 0."""
    return float(normal(said) == normal(right))


def overlap(said: str, right: str, normal: Normal = normalised) -> float:
    """The F1 of the words of both texts once normalised, as bags; where either is empty, 1 if both are."""
    ours, theirs = normal(said).split(), normal(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def best(said: str, example: Answered, compare: Compare, normal: Normal = normalised) -> float:
    """The greatest value over the right answers; over the empty text where there are none."""
    right = [text for text in example.answers.text if normal(text)] or [""]
    return max(compare(said, text, normal) for text in right)


def best_span(result: Answer) -> Answer:
    """The likeliest stretch of the context, also where "no answer" is likelier; "no answer" where there is none."""
    return result if result.text else next(iter(result.alternatives), result)


def share_of_none(span: Answer) -> float:
    """n / (n + s): the probability of "no answer" beside a span's alone; monotonic in SQuAD's null odds."""
    if span.start is None:
        return 1.0
    none, some = span.no_answer_score or 0.0, span.score or 0.0
    return none / (none + some) if none + some else 0.5


def best_1(said: str, example: Answered, compare: Compare, normal: Normal = normalised) -> float:
    """The greatest value over the right answers, whatever is left of them: SQuAD 1.1."""
    return max((compare(said, text, normal) for text in example.answers.text), default=0.0)


def overlap_1(said: str, right: str, normal: Normal = normalised) -> float:
    """The same as `overlap` but for two texts of which nothing is left: SQuAD 1.1 gives 0."""
    return overlap(said, right, normal) if normal(said) else 0.0


def _rows(
    compare: Compare, normal: Normal, greatest: Best = best
) -> Callable[[Sequence[Answer], Sequence[Answered]], Shares]:
    def rows(results: Sequence[Answer], examples: Sequence[Answered]) -> Shares:
        """[n, 1]: each row's value."""
        pairs = zip(results, examples, strict=True)
        return np.array([greatest(result.text, example, compare, normal) for result, example in pairs]).reshape(-1, 1)

    return rows


def mean(rows: Shares) -> float:
    """The mean over rows."""
    return float(rows.mean()) if len(rows) else 0.0


def _kept(compare: Compare, normal: Normal, *, answered: bool) -> Callable[..., Shares]:
    values = _rows(compare, normal)

    def rows(results: Sequence[Answer], examples: Sequence[Answered]) -> Shares:
        """[n, 2]: each row's value, and 1 where it is one of those that count: with an answer, or without."""
        counts = [[float(bool(example.answers.text) == answered)] for example in examples]
        return np.hstack([values(results, examples), np.array(counts).reshape(-1, 1)])

    return rows


def kept_mean(rows: Shares) -> float:
    """The mean over the rows that count; nan where none does."""
    chosen = rows[rows[:, 1] > 0, 0]
    return float(chosen.mean()) if len(chosen) else float("nan")


def none_of(result: Answer) -> float:
    """How likely "no answer" is: of a model the share beside its best span, of answers made elsewhere what they say.

    That may be odds on any scale. Raises DataError where nothing is said of it.
    """
    span = best_span(result)
    if span.score is not None:
        return share_of_none(span)
    if span.no_answer_score is None:
        raise DataError(
            "an answer has no `no_answer_score`, by which a best threshold is found; SQuAD's file of them is a second "
            "--predictions"
        )
    return span.no_answer_score


def _chances(compare: Compare, normal: Normal) -> Callable[..., Shares]:
    def rows(results: Sequence[Answer], examples: Sequence[Answered]) -> Shares:
        """[n, 4]: how likely no answer is, whether there is one, the best span's value, whether it says anything."""
        found = []
        for result, example in zip(results, examples, strict=True):
            text = best_span(result).text
            found.append(
                [none_of(result), bool(example.answers.text), best(text, example, compare, normal), bool(text)]
            )
        return np.array(found, dtype=float).reshape(-1, 4)

    return rows


def _steps(rows: Shares) -> tuple[Shares, Shares]:
    """find_best_thresh of SQuAD's script: the thresholds that it tries, and the sum of the rows' values at each.

    Answers are given one after the other, the surest first; before the first (at 0), all questions without an answer
    are right. Equal chances are taken in the order of the rows, where the script has that of the file of chances.
    """
    order, there = np.argsort(rows[:, 0], kind="stable"), rows[:, 1] > 0
    gains = np.where(there, rows[:, 2], -rows[:, 3])[order]
    # One running sum from the start on, as there: where two thresholds are as good, the last digit decides.
    return np.append(0.0, rows[order, 0]), np.cumsum(np.append(len(rows) - there.sum(), gains))


def at_best(rows: Shares) -> float:
    """The mean at the threshold of "no answer" that makes it greatest; nan for no rows."""
    return float(_steps(rows)[1].max() / len(rows)) if len(rows) else float("nan")


def best_threshold(rows: Shares) -> float:
    """The smallest such threshold, on the scale of the chances: up to it answers are given. nan for no rows."""
    tried, sums = _steps(rows)
    return float(tried[int(np.argmax(sums))]) if len(rows) else float("nan")


def says_chances(results: Sequence[Answer]) -> bool:
    """Whether every answer says how likely "no answer" is."""
    return all(result.no_answer_score is not None or best_span(result).score is not None for result in results)


EXACT_MATCH = Metric("exact_match", "exact_match|squad-2.0|nlpipe:1", _rows(exact, normalised), mean)
F1 = Metric("f1", "f1|words|squad-2.0|nlpipe:1", _rows(overlap, normalised), mean)

BY_CHARACTERS = (
    Metric("f1", "f1|characters|mlqa|nlpipe:1", _rows(overlap, characters), mean),
    Metric("exact_match", "exact_match|characters|mlqa|nlpipe:1", _rows(exact, characters), mean),
)
"""The same for languages without spaces."""

OLD = (
    Metric("f1", "f1|words|squad-1.1|nlpipe:1", _rows(overlap_1, normalised, best_1), mean),
    Metric("exact_match", "exact_match|squad-1.1|nlpipe:1", _rows(exact, normalised, best_1), mean),
)
"""The same as the script of SQuAD 1.1 has them."""

_BEST: tuple[tuple[str, str, Callable[[Shares], float], Direction], ...] = (
    ("", "best-threshold", at_best, "maximize"),
    ("_thresh", "threshold-of-the-best", best_threshold, "neither"),
)

BY_KIND = tuple(
    Metric(f"{kind}_{name}", f"{name}|{rule}|squad-2.0|nlpipe:1", _kept(compare, normalised, answered=there), kept_mean)
    for kind, rule, there in (("has_answer", "has-answer", True), ("no_answer", "no-answer", False))
    for name, compare in (("exact_match", exact), ("f1", overlap))
)
"""Of the questions with an answer, and of those without one."""

AT_BEST = tuple(
    Metric(f"{name}{ending}", f"{of}|{rule}|squad-2.0|nlpipe:1", _chances(compare, normalised), value, way)
    for name, of, compare in (("best_exact", "exact_match", exact), ("best_f1", "f1|words", overlap))
    for ending, rule, value, way in _BEST
)
"""At the threshold of "no answer" that suits best, and where that is."""

FURTHER = (*BY_KIND, *AT_BEST)
"""What the script of SQuAD 2.0 prints beside the scores of all questions."""
