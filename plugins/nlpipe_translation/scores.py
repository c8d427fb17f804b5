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


def edits(results: Sequence[Text], examples: Sequence[Translated]) -> NDArray[Any]:
    """[n, 2]: the fewest edits that make the reference of a translation, moves among them, and the reference's words.

    Snover et al. 2006, "A Study of Translation Edit Rate".
    """
    from sacrebleu.metrics.ter import TER

    said, right = [result.text for result in results], [example.target or "" for example in examples]
    if not said:
        return np.zeros((0, 2))
    return np.array(TER()._extract_corpus_statistics(said, [right]), dtype=float)


def ter(rows: NDArray[Any]) -> float:
    """Edits per hundred words of the references, from 0; nan for no rows."""
    from sacrebleu.metrics.ter import TER

    return float(TER()._compute_score_from_stats(rows.sum(axis=0).tolist()).score) if len(rows) else float("nan")


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
TER = Metric(
    "ter",
    f"TER|nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{_VERSION}",
    edits,
    ter,
    "minimize",
    perfect=0.0,
)
