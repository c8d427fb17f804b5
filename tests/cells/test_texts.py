"""Text that is written: short strings copied, reversed, and cut to their first two words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nlpipe.task import Record
from nlpipe.testing import Rule, rules, task_checks
from nlpipe_generation import Writing
from nlpipe_generation.writing import Written
from nlpipe_qa import GenerativeQuestionAnswering
from nlpipe_qa.generative import QuestionAnswered, RightAnswers
from nlpipe_summarization import Summarization
from nlpipe_summarization.summarizing import Summarized
from nlpipe_translation import Translation
from nlpipe_translation.translating import Translated
from tests.cells import WRITERS


def rule(kind: type[Record], source: str, target: str, pairs: Callable[[int, int], Any], **more: Any) -> Rule:
    """Pairs of texts as Examples."""

    def examples(rows: int, seed: int) -> Sequence[Any]:
        return [kind(**{source: one, target: other}) for one, other in pairs(rows, seed)]

    return Rule(examples=examples, rows=2000, unseen=150, **more)


def copied(rows: int, seed: int) -> list[tuple[str, str]]:
    return rules.copied(rows, seed=seed, shortest=2, longest=3)


def reversed_(rows: int, seed: int) -> list[tuple[str, str]]:
    return rules.copied(rows, seed=seed, shortest=2, longest=3, reverse=True)


def opening(rows: int, seed: int) -> list[tuple[str, str]]:
    return rules.opening(rows, seed=seed, shortest=3, longest=5)


# T5 and BLOOM, which know no absolute positions, copy slowly.
LONGER = {
    "gpt2": {"train": {"steps": 300}},
    "llama": {"train": {"steps": 300}},
    "gpt_neo": {"train": {"steps": 300}},
    "t5": {"train": {"steps": 900, "learning_rate": 1e-2}},
    "bloom": {"train": {"steps": 2000}},
    "marian": {"train": {"steps": 800}},
}


# What is said forwards, a pair is through with sooner; a decoder, or what is reversed, is not.
SOONER = {**LONGER, **{name: {"train": {"steps": 290}} for name in ("bert", "bart")}}


def recipe(**options: Any) -> dict[str, Any]:
    return {
        "task": options,
        "train": {"steps": 400, "batch_size": 16},
        "generation": {"max_new_tokens": 12},
    }


# In lower case, as the tiny BERT reads and writes it.
@task_checks(
    Writing,
    rule=rule(Written, "prompt", "completion", copied, chance=0.05),
    recipe=recipe(template="{prompt} :"),
    per_architecture=SOONER,
    architectures=WRITERS,
    samples=[
        Written(prompt="the sun went down behind", completion=" the hills."),
        Written(prompt="name three primary colours.", completion="red, yellow and blue."),
    ],
)
class TestWriting: ...


@task_checks(
    Translation,
    rule=rule(Translated, "source", "target", reversed_, score="chrf", chance=0.6),
    recipe=recipe(decoder_template="{source} :", codes=False),
    per_architecture={**LONGER, "bert": SOONER["bert"], "llama": {"train": {"steps": 600}}},
    architectures=WRITERS,
    samples=[
        Translated(source="where is the station?", target="wo ist der bahnhof?"),
        Translated(source="the soup is cold.", target="die suppe ist kalt."),
    ],
)
class TestTranslation: ...


@task_checks(
    Summarization,
    rule=rule(Summarized, "document", "summary", opening, chance=0.6),
    recipe=recipe(decoder_template="{document} :"),
    per_architecture=SOONER,
    architectures=WRITERS,
)
class TestSummarization: ...


def questions(rows: int, seed: int) -> Sequence[QuestionAnswered]:
    return [
        QuestionAnswered(question=question, context=context, answers=RightAnswers(text=(answer,)))
        for question, context, answer in rules.first_or_last(rows, seed=seed)
    ]


@task_checks(
    GenerativeQuestionAnswering,
    rule=Rule(examples=questions, rows=2000, unseen=150, score="exact_match"),
    recipe={
        **recipe(template="{question} {context}", decoder_template="{question} {context} :"),
        "generation": {"max_new_tokens": 6},
    },
    per_architecture={**LONGER, "gpt2": {"train": {"steps": 400}}, "bart": SOONER["bart"]},
    architectures=WRITERS,
)
class TestAnswersInWords: ...
