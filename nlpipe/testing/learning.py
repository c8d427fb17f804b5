"""Checks of a task on a model: that it learns."""

from __future__ import annotations

from nlpipe.testing.cases import Check, require
from nlpipe.testing.subjects import TaskCell


def learns_the_rule(cell: TaskCell) -> None:
    """Score what was trained on the rule on rows that training does not have."""
    rule, scores = cell.rule, cell.learnt.scores
    assert scores is not None
    metric = rule.metric(cell.task)
    share = rule.share(metric, scores.scores[metric.name])
    good = share >= rule.least if metric.direction == "maximize" else share <= rule.least
    require(
        good,
        f"{metric.name} is {scores.scores[metric.name]:.3f} on {scores.n} unseen rows after a training on {rule.rows}; "
        f"what has learnt the rule reaches {rule.least:g}",
    )


CHECKS = (
    Check(
        "learns_the_rule",
        "A model learns a rule of a made-up language and answers rows that it has not seen.",
        "query() (does it show all that the answer depends on?), gold() and result() (do they agree on labels and "
        "offsets?); else a rule that is too hard for a tiny model, or too few steps: recipe={'train': {'steps': …}}.",
        learns_the_rule,
        when=lambda subject: subject.rule is not None,
    ),
)
