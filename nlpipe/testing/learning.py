"""Checks of a task on a model: that it learns, and nothing but what there is to learn."""

from __future__ import annotations

from typing import Any

from nlpipe.errors import UnsupportedError
from nlpipe.testing import tiny
from nlpipe.testing.cases import Check, CheckFailed, fail, require
from nlpipe.testing.comparing import short
from nlpipe.testing.losses import reaches_every_weight
from nlpipe.testing.subjects import UNSLICED, TaskCell

SLACK = 0.15
"""How far chance may go: 200 rows of a fair coin are within 0.5 ± 0.15 but once in 50,000 times."""

SHUFFLED = 0.25
"""The share of the rule's steps that is trained on shuffled rows: an answer that leaks is learnt at once."""


def gradients_reach_every_weight(cell: TaskCell) -> None:
    """One backward pass over a few rows."""
    reaches_every_weight(cell.fresh())


def fits_its_samples(cell: TaskCell) -> None:
    """What was trained on the samples alone answers them."""
    scores = cell.fitted.scores
    assert scores is not None
    metric = cell.task.metrics[0]
    value = scores.scores[metric.name]
    wrong = [
        f"  {short(cell.given(example))}\n    {short(result)}"
        for result, example in zip(cell.fitted.results, cell.fitted.examples, strict=True)
    ]
    near = 0.01 * abs(metric.perfect) if metric.direction == "maximize" else 1.0  # of a perplexity 1 is out of reach
    close = abs(value - metric.perfect) <= near
    answers = "\n".join(wrong[:3])
    require(close, f"{metric.name} is {value:.3f} on the {scores.n} samples it was trained on. It answers:\n{answers}")


def learns_the_rule(cell: TaskCell) -> None:
    """Score what was trained on the rule on rows that training does not have."""
    rule, scores = cell.rule, cell.learnt.scores
    assert scores is not None
    metric = rule.metric(cell.task)
    value = scores.scores[metric.name]
    good = rule.share(metric, value) >= rule.least if metric.direction == "maximize" else value <= rule.least
    require(
        good,
        f"{metric.name} is {value:.3f} on {scores.n} unseen rows after a training on {rule.rows}; what has learnt the "
        f"rule reaches {_bound(metric, rule.least):g}",
    )


def learns_nothing_from_shuffled_rows(cell: TaskCell) -> None:
    """The same training on rows without the rule leads nowhere on rows with it: what it learns is the rule."""
    rule = cell.rule
    train = cell.shortened(SHUFFLED)
    report = cell.run(cell.recipe(rule.shuffled(cell.task), rule.test(), train=train, evaluate=UNSLICED))
    assert report.scores is not None
    metric = rule.metric(cell.task)
    value = report.scores.scores[metric.name]
    if metric.direction == "maximize":
        chance = rule.share(metric, value) <= rule.chance + SLACK
    else:
        chance = value >= rule.chance
    require(
        chance,
        f"{metric.name} is {value:.3f} after a training on shuffled rows; a guess gets {_bound(metric, rule.chance):g}",
    )


def _bound(metric: Any, share: float) -> float:
    return share * metric.perfect if metric.direction == "maximize" else share


def other_families_are_refused(cell: TaskCell) -> None:
    """A recipe on a model of a family that the row does not have ends with one sentence that names what it serves."""
    samples = cell.subject.samples.examples
    try:
        cell.run(cell.recipe(samples, samples))
    except UnsupportedError as error:
        said = str(error)
        served = [str(family) for family in cell.task.row()]
        # `only_encoders` and `encoder-decoder` have "encoder" in them: what was refused is no word on what is served.
        rest = said.replace(cell.task.name, "").replace(tiny.family(cell.architecture), "", 1)
        missing = [word for word in served if word not in rest] + [cell.task.name] * (cell.task.name not in said)
        require(not missing, f"the error on a model of another family does not say {', '.join(missing)}: {said}")
        require("\n" not in said, f"the error on a model of another family has more than one line: {said}")
    except Exception as error:
        raise CheckFailed(f"a model of another family ends with {type(error).__name__}: {error}") from error
    else:
        fail("a model of a family that row() does not have is trained all the same")


CHECKS = (
    Check(
        "other_families_are_refused",
        "A model of a family that the task does not serve is refused in one sentence.",
        "row(): leave out the families that no objective serves.",
        other_families_are_refused,
        on="others",
    ),
    Check(
        "gradients_reach_every_weight",
        "The loss is a number and depends on every weight that is trained.",
        "the objective's compute() and loss(): detached tensors, a part of the model that the loss never sees.",
        gradients_reach_every_weight,
    ),
    Check(
        "fits_its_samples",
        "Trained on the samples alone, a model answers them.",
        "gold() and result() (do they speak of the same labels and offsets?), encode() (is the answer's place in the "
        "row right?), the padding while answering; else too few steps: fit={'steps': …}.",
        fits_its_samples,
        costly=True,
    ),
    Check(
        "learns_the_rule",
        "A model learns a rule of a made-up language and answers rows that it has not seen.",
        "query() (does it show all that the answer depends on?), gold() and result() (do they agree on labels and "
        "offsets?); else a rule that is too hard for a tiny model, or too few steps: recipe={'train': {'steps': …}}.",
        learns_the_rule,
        when=lambda subject: subject.rule is not None,
    ),
    Check(
        "learns_nothing_from_shuffled_rows",
        "With shuffled answers it stays at chance: what it learns is the rule, and no answer leaks into a question.",
        "query() and encode(): anything of the gold in what the model reads; or a rule whose rows say more than the "
        "right answer does (Rule.shuffle, Rule.chance).",
        learns_nothing_from_shuffled_rows,
        costly=True,
        when=lambda subject: subject.rule is not None,
    ),
)
