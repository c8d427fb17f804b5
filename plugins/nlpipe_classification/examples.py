"""The rows of classification: a text or a pair of texts, with its label or labels."""

from __future__ import annotations

from nlpipe.task import Record


class Question(Record):
    """A text, or two whose relation is asked for."""

    text: str
    text_pair: str | None = None


class Labelled(Question):
    """An input with its label, or with all its labels."""

    label: str | int | None = None
    labels: tuple[str | int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The right labels, as text: a data set's class number 3 is the label "3"."""
        given = self.labels if self.labels is not None else () if self.label is None else (self.label,)
        return tuple(str(label) for label in given)
