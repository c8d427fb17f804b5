"""ROUGE, as rouge_score computes it, on words of any script.

rouge_score's own tokenizer keeps ASCII letters alone: identical Russian or Japanese texts get 0 from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric
from nlpipe.objectives.pieces import sentences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text
    from nlpipe_summarization.summarizing import Summarized

# A word of letters and digits; a Chinese, Japanese or Thai character by itself, where no space parts the words.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿฀-๿]|[^\W_぀-ヿ㐀-鿿豈-﫿฀-๿]+")


class Words:
    """rouge_score's interface of a tokenizer: lower-case words of any script, not stemmed."""

    def tokenize(self, text: str) -> list[str]:
        """The words in their order."""
        return _WORD.findall(text.lower())


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=Words())


def rouge(kind: str) -> Callable[[Sequence[Text], Sequence[Summarized]], NDArray[Any]]:
    """A function giving [n, 1], the F1 against the reference that is most alike (Lin 2004, section 2.1)."""
    lines = kind == "rougeLsum"

    def rows(results: Sequence[Text], examples: Sequence[Summarized]) -> NDArray[Any]:
        scorer, found = _scorer(kind), []
        for result, example in zip(results, examples, strict=True):
            said = _lines(result.text) if lines else result.text
            right = [_lines(text) if lines else text for text in example.references]
            found.append([max(scorer.score(text, said)[kind].fmeasure for text in right)])
        return np.array(found, dtype=float).reshape(len(found), 1)

    return rows


def _lines(text: str) -> str:
    """One sentence a line: what rougeLsum takes the union over."""
    return "\n".join(sentence.strip() for sentence in sentences(text) if sentence.strip())


def mean(rows: NDArray[Any]) -> float:
    """The mean over rows; nan for none."""
    return float(rows.mean()) if len(rows) else float("nan")


def _metric(kind: str) -> Metric:
    signature = f"{kind}|f1|best-reference|words:unicode,lower,unstemmed|rouge_score:{version('rouge_score')}"
    return Metric(kind, signature, rouge(kind), mean)


ROUGE_1, ROUGE_2, ROUGE_L, ROUGE_LSUM = (_metric(kind) for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum"))
