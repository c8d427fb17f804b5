"""Answers cut from a context: the word beside the key that the question asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlpipe.testing import Rule, rules, task_checks
from nlpipe_qa import QuestionAnswering
from nlpipe_qa.examples import Answered, Answers
from tests.cells import BOTH_SIDES, CLOSED, OPENED

ROWS = 2000


def answered(made: Sequence[tuple[str, str, int, int]]) -> list[Answered]:
    return [
        Answered(question=asked, context=context, answers=Answers(text=(context[start:end],), answer_start=(start,)))
        for asked, context, start, end in made
    ]


def rule(*, after: bool, times: int) -> Rule:
    """In front of the key for decoders, which only an opened attention can find, else behind it.

    A question says its key several `times` where that is heard sooner. A byte-level decoder has one token for
    a text's first word and another for the same word behind a space: there once.
    """

    def examples(rows: int, seed: int) -> list[Answered]:
        return answered(rules.asked_words(rows, seed=seed, after=after, times=times))

    def shuffle(rows: Sequence[Any], seed: int) -> list[Answered]:
        made = rules.asked_words(len(rows), seed=1, after=after, times=times)
        return answered(rules.shuffled_questions(made, seed=seed))

    return Rule(examples=examples, shuffle=shuffle, rows=ROWS, score="exact_match")


# It joins three places; models that learn positions one by one take long to see it.
STEPS = {"train": {"steps": 2000}}
SHORTER = {"bert": {"train": {"steps": 1000}}, "gpt2": {"train": {"steps": 900}}, "t5": {"train": {"steps": 220}}}


@task_checks(
    QuestionAnswering,
    rule=rule(after=True, times=4),
    recipe=STEPS,
    per_architecture=SHORTER,
    architectures=BOTH_SIDES,
)
class TestAnswers: ...


@task_checks(
    QuestionAnswering,
    rule=rule(after=False, times=1),
    recipe=STEPS,
    per_architecture=SHORTER,
    architectures=OPENED,
)
class TestAnswersOfAnOpenedDecoder: ...


@task_checks(
    QuestionAnswering,
    rule=rule(after=True, times=1),
    recipe={**STEPS, "model": {"attention": "causal"}},
    architectures=CLOSED,
    slow=True,
)
class TestAnswersOfACausalDecoder: ...
