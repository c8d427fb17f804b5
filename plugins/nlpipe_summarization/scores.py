"""ROUGE as rouge_score computes it, also of scripts that its own tokenizer does not know.

That one keeps ASCII letters and digits alone, so that identical Russian or Japanese texts get 0. Published figures are
its, so it reads what is mostly written in ASCII letters; other right texts are compared in words of any script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.metrics_text import common_subsequence
from nlpipe.objectives.pieces import sentences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text
    from nlpipe_summarization.summarizing import Summarized

Script = Literal["auto", "ascii", "unicode"]
Lines = Literal["given", "split"]

# A word of letters and digits; a Chinese, Japanese or Thai character by itself, where no space parts the words.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿฀-๿]|[^\W_぀-ヿ㐀-鿿豈-﫿฀-๿]+")


class Words:
    """rouge_score's interface of a tokenizer: lower-case words of any script, not stemmed."""

    def tokenize(self, text: str) -> list[str]:
        """The words in their order."""
        return _WORD.findall(text.lower())


@cache
def _words(stemmer: bool, script: str) -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return Words() if script == "unicode" else DefaultTokenizer(stemmer)


@cache
def _scorer(kind: str, stemmer: bool, script: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_words(stemmer, script))


def mostly_ascii(text: str) -> bool:
    """Whether at least half of the letters are ASCII's, or there are none."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(map(str.isascii, letters)) >= len(letters)


def _rows(kind: str, stemmer: bool, script: Script, lines: Lines) -> Callable[..., NDArray[Any]]:
    split = kind == "rougeLsum" and lines == "split"

    def f1(said: str, right: str) -> float:
        read = script if script != "auto" else "ascii" if mostly_ascii(right) else "unicode"
        pair = (_lines(right), _lines(said)) if split else (right, said)
        if kind == "rougeL" or (kind == "rougeLsum" and not any("\n" in text for text in pair)):
            return _longest(*(_words(stemmer, read).tokenize(text) for text in pair))
        return float(_scorer(kind, stemmer, read).score(*pair)[kind].fmeasure)

    def rows(results: Sequence[Text], examples: Sequence[Summarized]) -> NDArray[Any]:
        """[n, 1]: the F1 against the reference that is most alike (Lin 2004, section 2.1)."""
        if without := sum(not example.references for example in examples):
            raise DataError(f"{without:,} of {len(examples):,} rows have no `summary` (or `summaries`) to score by")
        pairs = zip(results, examples, strict=True)
        found = [[max(f1(result.text, right) for right in example.references)] for result, example in pairs]
        return np.array(found, dtype=float).reshape(len(found), 1)

    return rows


def _longest(right: Sequence[str], said: Sequence[str]) -> float:
    """rouge_score's F1 of the longest common subsequence of words, which is rougeLsum too where both are one line."""
    if not right or not said:
        return 0.0
    common = common_subsequence(right, said)
    precision, recall = common / len(said), common / len(right)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def _lines(text: str) -> str:
    """One sentence a line, where a text has no lines of its own."""
    if "\n" in text:
        return text
    return "\n".join(sentence.strip() for sentence in sentences(text) if sentence.strip())


def mean(rows: NDArray[Any]) -> float:
    """The mean over rows; nan for none."""
    return float(rows.mean()) if len(rows) else float("nan")


def rouge(*, stemmer: bool = True, script: Script = "auto", lines: Lines = "given") -> tuple[Metric, ...]:
    """rougeL, rouge1, rouge2 and rougeLsum, F1 from 0 to 1.

    `stemmer` is Porter's, for English, in words of ASCII; `lines` says what rougeLsum takes the union over: the lines
    as given, or sentences where a text has no line ends.
    """
    words = {"auto": "ascii,other-scripts:unicode"}.get(script, script)
    owner = f"rouge_score:{version('rouge_score')}"

    def metric(kind: str) -> Metric:
        rule = f"|lines:{lines}" if kind == "rougeLsum" else ""
        stemmed = "stem:porter" if stemmer and script != "unicode" else "stem:no"
        signature = f"{kind}|f1|best-reference|words:{words}|{stemmed}{rule}|{owner}"
        return Metric(kind, signature, _rows(kind, stemmer, script, lines), mean)

    return tuple(map(metric, ("rougeL", "rouge1", "rouge2", "rougeLsum")))


ROUGE_L, ROUGE_1, ROUGE_2, ROUGE_LSUM = rouge()
