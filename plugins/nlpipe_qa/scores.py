"""Exact match and F1 as the official script of SQuAD 2.0 computes them (Rajpurkar, Jia and Liang 2018).

Each row counts by the right answer that suits it best; a question without an answer has the empty one. On SQuAD 1.1
the scores are those of its script but for right answers of nothing but articles and punctuation, which are left out.
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

from nlpipe.metrics import Metric
from nlpipe.objectives.passages import unspaced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Answer
    from nlpipe_qa.examples import Answered

    Shares = NDArray[np.float64]

Normal = Callable[[str], str]
Compare = Callable[[str, str, Normal], float]

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


def _rows(compare: Compare, normal: Normal) -> Callable[[Sequence[Answer], Sequence[Answered]], Shares]:
    def rows(results: Sequence[Answer], examples: Sequence[Answered]) -> Shares:
        """[n, 1]: each row's value."""
        pairs = zip(results, examples, strict=True)
        return np.array([best(result.text, example, compare, normal) for result, example in pairs]).reshape(-1, 1)

    return rows


def mean(rows: Shares) -> float:
    """The mean over rows."""
    return float(rows.mean()) if len(rows) else 0.0


EXACT_MATCH = Metric("exact_match", "exact_match|squad-2.0|nlpipe:1", _rows(exact, normalised), mean)
F1 = Metric("f1", "f1|words|squad-2.0|nlpipe:1", _rows(overlap, normalised), mean)

BY_CHARACTERS = (
    Metric("f1", "f1|characters|mlqa|nlpipe:1", _rows(overlap, characters), mean),
    Metric("exact_match", "exact_match|characters|mlqa|nlpipe:1", _rows(exact, characters), mean),
)
"""The same for languages without spaces."""
