"""How well texts are foreseen: perplexity, and bits per character and byte, which do not depend on the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Likelihood
    from nlpipe_generation.reading import Given


def counts(results: Sequence[Likelihood], examples: Sequence[Given]) -> NDArray[Any]:
    """[n, 4]: nats of surprise, tokens, characters and UTF-8 bytes of each text."""
    pairs = zip(results, examples, strict=True)
    rows = [(-r.log_probability, r.tokens, len(e.text), len(e.text.encode("utf-8", "surrogatepass"))) for r, e in pairs]
    return np.array(rows, dtype=float).reshape(len(rows), 4)


def perplexity(rows: NDArray[Any]) -> float:
    """exp of the mean surprise per token, at least 1 (Jelinek et al. 1977); nan for no rows.

    A text of a thousand tokens weighs as much as a thousand of one.
    """
    nats, tokens = rows[:, 0].sum(), rows[:, 1].sum()
    if not tokens:
        return float("nan")
    # A number too large to be written is infinite: that of a model that gave nearly no probability to what came.
    return math.exp(nats / tokens) if nats / tokens < 700 else math.inf


def bits_per(column: int) -> Callable[[NDArray[Any]], float]:
    """Bits of surprise per character (column 2) or byte (3)."""

    def value(rows: NDArray[Any]) -> float:
        there = rows[:, column].sum()
        return float(rows[:, 0].sum() / math.log(2) / there) if there else float("nan")

    return value


PERPLEXITY = Metric("perplexity", "perplexity|per-token|nlpipe:1", counts, perplexity, "minimize")
BITS_PER_CHARACTER = Metric(
    "bits_per_character", "bits|per-character|nlpipe:1", counts, bits_per(2), "minimize", perfect=0.0
)
BITS_PER_BYTE = Metric("bits_per_byte", "bits|per-utf8-byte|nlpipe:1", counts, bits_per(3), "minimize", perfect=0.0)
