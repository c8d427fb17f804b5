"""Sentiment: classification whose labels have one spelling, whatever a data set calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nlpipe_classification.classification import Classification
from nlpipe_classification.examples import Labelled
from nlpipe_classification.options import Settings

# The order of the outputs, from worst to best: a model whose outputs are 0, 1 and 2 keeps its meaning.
CANONICAL = ("negative", "neutral", "positive")

_SPELLINGS = {"neg": "negative", "neu": "neutral", "pos": "positive"}


class Opinion(Labelled):
    """A text with how it judges."""

    @property
    def names(self) -> tuple[str, ...]:
        """The labels in their one spelling: `POS`, `Positive` and `pos` are `positive`."""
        return tuple(_canonical(name) for name in super().names)


def _canonical(label: str) -> str:
    plain = label.strip().lower()
    plain = _SPELLINGS.get(plain, plain)
    return plain if plain in CANONICAL else label


class Sentiment(Classification):
    """How a text judges what it speaks of."""

    name: ClassVar[str] = "sentiment"
    summary: ClassVar[str] = "negative, neutral or positive, for a text"
    Example = Opinion

    @classmethod
    def samples(cls) -> Sequence[Labelled]:
        """Three opinions."""
        return (
            Opinion(text="The soup was cold and so was the waiter.", label="negative"),
            Opinion(text="We would book the same room again tomorrow.", label="positive"),
            Opinion(text="A keyboard that makes long letters a pleasure.", label="positive"),
        )

    @classmethod
    def labels_in(cls, examples: Sequence[Labelled], options: Settings) -> tuple[str, ...]:
        """The canonical labels from negative to positive; any others after them, by name."""
        found = super().labels_in(examples, options)
        known = tuple(label for label in CANONICAL if label in found)
        return known + tuple(label for label in found if label not in CANONICAL)
