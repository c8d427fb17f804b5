"""Labels of texts: the one whose keyword comes first."""

from __future__ import annotations

from collections.abc import Sequence

from nlpipe.testing import rules, task_checks
from nlpipe_classification import Classification, Sentiment
from nlpipe_classification.examples import Labelled
from nlpipe_classification.sentiment import Opinion
from tests.cells import READERS


def first_keyword(rows: int, seed: int) -> Sequence[Labelled]:
    return [Labelled(text=text, label=label) for text, label in rules.first_keyword(rows, seed=seed)]


def first_feeling(rows: int, seed: int) -> Sequence[Opinion]:
    """The same with labels that have to be brought to their one spelling."""
    spelt = dict(zip(rules.KEYWORDS, ("pos", "NEG"), strict=True))
    return [Opinion(text=text, label=spelt[label]) for text, label in rules.first_keyword(rows, seed=seed)]


SHORTER = {name: {"train": {"steps": 150}} for name in ("bert", "gpt2", "t5")}


@task_checks(Classification, rule=first_keyword, per_architecture=SHORTER, architectures=READERS)
class TestClassification: ...


@task_checks(Sentiment, rule=first_feeling, per_architecture=SHORTER, architectures=READERS)
class TestSentiment: ...
