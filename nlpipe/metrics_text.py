"""sacreBLEU's scores of written texts, each against one right text or several, from counts per row.

So any resample of the rows has a score. The signatures are sacreBLEU's own (Post 2018, "A Call for Clarity in Reporting
BLEU Scores").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.errors import DataError
from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text

log = logging.getLogger("nlpipe")

Right = Callable[[Any], Sequence[str]]
"""All right texts of an example."""

SHIFTED = 500
"""Words of a text in which TER looks for shifts. At worst 300 random ones took sacreBLEU 5 s, and 1,000 minutes."""

_VERSION = version("sacrebleu")


def streams(examples: Sequence[Any], right: Right) -> list[list[str | None]]:
    """The right texts as sacreBLEU takes them: a list of first ones, of second ones …, None where a row has no more.

    Raises DataError where a row has none at all.
    """
    found = [list(right(example)) for example in examples]
    if without := sum(not texts for texts in found):
        raise DataError(f"{without:,} of {len(found):,} rows have no right text, so that no answer can be scored")
    most = max(map(len, found), default=0)
    return [[texts[at] if at < len(texts) else None for texts in found] for at in range(most)]


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence of words, a row of its table at a time as the bits of a number.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited". A table with a cell for each pair of words would be
    gigabytes for long texts.
    """
    one, other = sorted((one, other), key=len)
    places, every = _places(one), (1 << len(one)) - 1
    row = every  # a bit is 0 where the table rises
    for word in other:
        there = row & places.get(word, 0)
        row = ((row + there) | (row - there)) & every
    return len(one) - row.bit_count()


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words must be put in, taken out or replaced to make one text the other (Levenshtein 1966).

    Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances".
    """
    one, other = sorted((one, other), key=len)
    if not one:
        return len(other)
    places, every, last = _places(one), (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = every, 0, len(one)  # where the table's column rises and falls
    for word in other:
        same = places.get(word, 0)
        level = (((same & up) + up) ^ up) | same
        rises, falls = down | (every & ~(level | up)), up & level
        distance += bool(rises & last) - bool(falls & last)
        rises, falls = (rises << 1 | 1) & every, (falls << 1) & every
        up, down = falls | (every & ~(same | down | rises)), rises & (same | down)
    return distance


def _places(words: Sequence[str]) -> dict[str, int]:
    """Where each word stands, as the bits of a number."""
    found: dict[str, int] = {}
    for at, word in enumerate(words):
        found[word] = found.get(word, 0) | 1 << at
    return found


def _counted(make: Callable[[Sequence[Any]], Any], right: Right, width: int) -> Callable[..., NDArray[Any]]:
    def rows(results: Sequence[Text], examples: Sequence[Any]) -> NDArray[Any]:
        """[n, width]: sacreBLEU's sufficient statistics of each row."""
        if not results:
            return np.zeros((0, width))
        said = [result.text for result in results]
        theirs = make(examples)
        return np.array(theirs._extract_corpus_statistics(said, streams(examples, right)), dtype=float)

    return rows


def _signed(name: str, make: Callable[[Sequence[Any]], Any], right: Right) -> Callable[[Sequence[Any]], str]:
    def signature(examples: Sequence[Any]) -> str:
        """sacreBLEU's own, which says how many right texts the rows have (`var` where the number differs)."""
        counts = {len(right(example)) for example in examples}
        theirs = make(examples)
        theirs.num_refs = counts.pop() if len(counts) == 1 else -1
        return f"{name}|{theirs.get_signature()}"

    return signature


def _bleu(rows: NDArray[Any]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    if not len(rows):
        return float("nan")
    sums = [int(value) for value in rows.sum(axis=0)]
    found = BLEU.compute_bleu(correct=sums[2:6], total=sums[6:], sys_len=sums[0], ref_len=sums[1], smooth_method="exp")
    return float(found.score)


def bleu(
    right: Right, *, lowercase: bool = False, tokenize: Callable[[Sequence[Any]], str] = lambda examples: "13a"
) -> Metric:
    """BLEU, 0 to 100 (Papineni et al. 2002; exponential smoothing). Statistics [n, 10]: lengths and n-grams to 4.

    `tokenize` names the tokenizer for a set of examples.
    """

    def make(examples: Sequence[Any]) -> Any:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(lowercase=lowercase, tokenize=tokenize(examples), force=True)

    case = "lc" if lowercase else "mixed"
    return Metric(
        "bleu",
        f"BLEU|nrefs:1|case:{case}|eff:no|tok:13a|smooth:exp|version:{_VERSION}",
        _counted(make, right, 10),
        _bleu,
        perfect=100.0,
        signed=_signed("BLEU", make, right),
    )


def chrf(right: Right, *, words: int = 0, lowercase: bool = False) -> Metric:
    """chrF2, 0 to 100 (Popović 2015), with `words` = 2 chrF2++ (Popović 2017). Of several texts the most alike counts.

    Statistics [n, 3 (6 + words)]: how many n-grams each side has and both share.
    """

    def make(examples: Sequence[Any] = ()) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=words, lowercase=lowercase)

    def value(rows: NDArray[Any]) -> float:
        return float(make()._compute_f_score(rows.sum(axis=0).tolist())) if len(rows) else float("nan")

    name, case = "chrF2" + "+" * words, "lc" if lowercase else "mixed"
    return Metric(
        "chrf" + "+" * words,
        f"{name}|nrefs:1|case:{case}|eff:yes|nc:6|nw:{words}|space:no|version:{_VERSION}",
        _counted(make, right, 3 * (6 + words)),
        value,
        perfect=100.0,
        signed=_signed(name, make, right),
    )


@cache
def _ter() -> type[Any]:
    """sacreBLEU's TER, which for very long texts counts edits alone."""
    from sacrebleu.metrics.ter import TER

    class Bounded(TER):
        """For texts of any length."""

        told = False

        def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
            said, rights = hypothesis.split(), ref_kwargs["ref_words"]
            longest = max(map(len, (said, *rights)))
            if longest <= SHIFTED:
                found: list[float] = super()._compute_segment_statistics(hypothesis, ref_kwargs)
                return found
            if not self.told:  # once for all texts
                log.warning(
                    "ter: texts of over %d words are compared without shifts, so it is at most so high", SHIFTED
                )
                self.told = True
            return [min(edits(right, said) for right in rights), sum(map(len, rights)) / len(rights)]

    return Bounded


def ter(right: Right) -> Metric:
    """Edits per hundred words of the right texts, from 0 (Snover et al. 2006). Statistics [n, 2]: edits and words.

    Of several right texts the nearest is edited towards, and their mean length counts. Of texts of more than SHIFTED
    words no shifts are looked for, which is told: it would take hours, and all memory.
    """

    def make(examples: Sequence[Any] = ()) -> Any:
        return _ter()()

    def value(rows: NDArray[Any]) -> float:
        return float(make()._compute_score_from_stats(rows.sum(axis=0).tolist()).score) if len(rows) else float("nan")

    return Metric(
        "ter",
        f"TER|nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{_VERSION}",
        _counted(make, right, 2),
        value,
        "minimize",
        perfect=0.0,
        signed=_signed("TER", make, right),
    )
