"""BLEU and chrF as sacreBLEU computes them, from counts per row, so that any resample of rows has a score."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text
    from nlpipe_translation.translating import Translated

_VERSION = version("sacrebleu")


def words(results: Sequence[Text], examples: Sequence[Translated]) -> NDArray[Any]:
    """[n, 10]: lengths of translation and reference, and of n-grams to 4 how many are right and how many there are.

    13a tokens, as the signature says (Post 2018, "A Call for Clarity in Reporting BLEU Scores").
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU()
    rows = []
    for result, example in zip(results, examples, strict=True):
        found = metric.corpus_score([result.text], [[example.target or ""]])
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=float).reshape(len(rows), 10)


def bleu(rows: NDArray[Any]) -> float:
    """BLEU of the summed counts, 0 to 100 (Papineni et al. 2002; exponential smoothing); nan for no rows."""
    from sacrebleu.metrics.bleu import BLEU

    if not len(rows):
        return float("nan")
    sums = [int(value) for value in rows.sum(axis=0)]
    found = BLEU.compute_bleu(correct=sums[2:6], total=sums[6:], sys_len=sums[0], ref_len=sums[1], smooth_method="exp")
    return float(found.score)


def characters(results: Sequence[Text], examples: Sequence[Translated]) -> NDArray[Any]:
    """[n, 18]: how many character n-grams each side has and both share, n from 1 to 6 (Popović 2015)."""
    from sacrebleu.metrics.chrf import CHRF

    said, right = [result.text for result in results], [example.target or "" for example in examples]
    if not said:
        return np.zeros((0, 18))
    return np.array(CHRF()._extract_corpus_statistics(said, [right]), dtype=float)


def chrf(rows: NDArray[Any]) -> float:
    """chrF of the summed counts, 0 to 100 (beta 2); nan for no rows."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF()._compute_f_score(rows.sum(axis=0).tolist())) if len(rows) else float("nan")


BLEU = Metric(
    "bleu",
    f"BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{_VERSION}",
    words,
    bleu,
    perfect=100.0,
)
CHRF = Metric(
    "chrf",
    f"chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{_VERSION}",
    characters,
    chrf,
    perfect=100.0,
)
