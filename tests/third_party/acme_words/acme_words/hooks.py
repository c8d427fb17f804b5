"""A task with an objective of its own, a source of data and a listener."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nlpipe
from nlpipe.objectives import Probabilities, SequenceLabel, Text

nlpipe_api = ">=1.0,<2"


@dataclass(frozen=True, kw_only=True)
class CautiousLabel(SequenceLabel):
    """Labels whose probabilities lie halfway between what the model says and not knowing."""

    def join(self, query, rows, raws):
        """The answer, drawn towards equal shares."""
        values = super().join(query, rows, raws).values
        return Probabilities((values + 1 / len(values)) / 2)


class Said(nlpipe.Record):
    """What is asked."""

    text: str


class Order(Said):
    """With the right answer."""

    first: str


@dataclass(frozen=True, slots=True)
class First(nlpipe.Result):
    """Which comes first, and how sure that is."""

    first: str
    sure: float | None = None


def _right(results, examples):
    return np.array([[result.first == example.first] for result, example in zip(results, examples, strict=True)])


class WhichFirst(nlpipe.Task):
    """Which of two words comes first."""

    name = "which_first"
    summary = "the word that comes first"
    Input, Example, Result = Said, Order, First
    metrics = (nlpipe.Metric("accuracy", "acme:1", _right, lambda rows: float(rows.mean())),)

    @classmethod
    def row(cls):
        """Encoders alone."""
        return {nlpipe.Family.ENCODER: (CautiousLabel,)}

    @classmethod
    def samples(cls):
        """Two."""
        return Order(text="north ba south", first="north"), Order(text="south ba north", first="south")

    @classmethod
    def labels_in(cls, examples, options):
        """By name."""
        return tuple(sorted({example.first for example in examples}))

    def objective(self, kind):
        """The one there is."""
        return CautiousLabel(labels=self.labels)

    def query(self, given, objective):
        """The text."""
        return Text(given.text)

    def gold(self, example, objective):
        """The word's index."""
        return self.labels.index(example.first)

    def result(self, answer, given):
        """The likelier word."""
        best = int(answer.values.argmax())
        return First(self.labels[best], float(answer.values[best]))

    def baselines(self, train, examples):
        """Always the same word."""
        return {"first label": [First(self.labels[0])] * len(examples)}


@nlpipe.hookimpl
def nlpipe_tasks():
    """One task."""
    return [WhichFirst]


@nlpipe.hookimpl
def nlpipe_dataset(source):
    """`acme://ROWS`: that many rows of a made-up language."""
    if not source.startswith("acme://"):
        return None
    import pandas as pd

    from nlpipe.testing import rules

    rows = int(source.removeprefix("acme://"))
    made = {split: rules.first_keyword(rows, seed=seed) for seed, split in enumerate(("train", "test"))}
    return {split: pd.DataFrame(found, columns=["text", "first"]) for split, found in made.items()}


@nlpipe.hookimpl
def nlpipe_event(event):
    """A line for each event in the file that ACME_LOG names."""
    if path := os.environ.get("ACME_LOG"):
        with Path(path).open("a") as file:
            file.write(type(event).__name__ + "\n")
