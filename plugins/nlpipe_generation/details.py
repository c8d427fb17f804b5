"""What a report shows of likelihoods: how they are spread over the texts, and the texts that surprise most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.details import SHOWN, Chart, Detail, Line, Passage, Passages

if TYPE_CHECKING:
    from nlpipe.results import Likelihood
    from nlpipe_generation.reading import Given

FEWEST = 5  # tokens of a text that says something: of fewer the mean is chance


def details(results: Sequence[Likelihood], examples: Sequence[Given]) -> Iterator[Detail]:
    """The share of texts up to each number of bits per token, and the texts with most of them."""
    bits = [-result.log_probability / result.tokens / math.log(2) if result.tokens else 0.0 for result in results]
    if not bits:
        return
    shares = [at / 50 for at in range(51)]
    spread = np.quantile(bits, shares).tolist()
    yield Chart(
        "How likelihoods are spread",
        "The share of the texts that take at most so many bits per token; a bit less is twice as likely.",
        "bits per token",
        "share of the texts",
        (Line("texts", tuple(zip(spread, shares, strict=True))),),
    )
    long = [at for at, result in enumerate(results) if result.tokens >= FEWEST]
    chosen = sorted(long, key=lambda at: (-bits[at], at))[:SHOWN]
    items = tuple(
        Passage(examples[at].text, (), f"perplexity {results[at].perplexity:.4g}, {results[at].tokens:,} tokens")
        for at in chosen
    )
    note = f"{len(items)} of {len(long):,} texts of at least {FEWEST} tokens, the most surprising first."
    yield Passages("The least likely texts", note, items)
