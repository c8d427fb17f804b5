"""How like the right text a written one is: exactly, or by characters."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Text
    from nlpipe_generation.writing import Written


def matches(results: Sequence[Text], examples: Sequence[Written]) -> NDArray[Any]:
    """[n, 1]: 1 where the text is the right one, but for space around it."""
    pairs = zip(results, examples, strict=True)
    return np.array([[float(r.text.strip() == (e.completion or "").strip())] for r, e in pairs]).reshape(-1, 1)


def mean(rows: NDArray[Any]) -> float:
    """The mean over rows; nan for none."""
    return float(rows.mean()) if len(rows) else float("nan")


def characters(results: Sequence[Text], examples: Sequence[Written]) -> NDArray[Any]:
    """[n, 18]: how many character n-grams each side has and both share, n from 1 to 6 (Popović 2015)."""
    from sacrebleu.metrics.chrf import CHRF

    said, right = [r.text for r in results], [e.completion or "" for e in examples]
    return np.array(CHRF()._extract_corpus_statistics(said, [right]), dtype=float).reshape(len(said), 18)


def chrf(rows: NDArray[Any]) -> float:
    """chrF of the summed counts, 0 to 100 (sacreBLEU's, beta 2)."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF()._compute_f_score(rows.sum(axis=0).tolist())) if len(rows) else float("nan")


EXACT_MATCH = Metric("exact_match", "exact_match|strip|nlpipe:1", matches, mean)
CHRF = Metric(
    "chrf",
    f"chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|sacrebleu:{version('sacrebleu')}",
    characters,
    chrf,
    perfect=100.0,
)
