"""The task `qa`: the part of a context that answers a question, or that none does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from nlpipe.details import Detail
from nlpipe.errors import DataError
from nlpipe.metrics import Metric
from nlpipe.objectives import AnswerSpan, Objective
from nlpipe.objectives.answer_span import Extracts
from nlpipe.objectives.base import Answer as Given
from nlpipe.objectives.base import Passage, Query
from nlpipe.results import Answer
from nlpipe.task import Family, Format, Task, TaskOptions
from nlpipe_qa.details import details
from nlpipe_qa.examples import Answered, Answers, Asked, Judged
from nlpipe_qa.scores import (
    AT_BEST,
    BY_CHARACTERS,
    BY_KIND,
    EXACT_MATCH,
    F1,
    FURTHER,
    OLD,
    best,
    best_span,
    characters,
    normalised,
    overlap,
    says_chances,
    share_of_none,
)
from nlpipe_qa.squad import CHANCES, SQUAD

_SENTENCE = re.compile(r"[^.!?。！？\n]*[^.!?。！？\s][^.!?。！？\n]*[.!?。！？]*")


class QuestionOptions(TaskOptions):
    """What stands beside `name: qa` in a recipe."""

    impossible: bool = Field(
        False, description="whether rows may have no answer; if so, the model may say that there is none"
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="with `impossible`: there is no answer where n / (n + s) is greater, n the probability of no "
        "answer and s the best span's; chosen on the validation rows where there are any",
    )
    top_k: int = Field(3, ge=1, le=19, description="the most further candidates that an answer comes with")
    script: Literal["squad-2.0", "squad-1.1"] = Field(
        "squad-2.0", description="the official script that scores follow; they differ in answers without any word"
    )
    words: Literal["spaces", "characters"] = Field(
        "spaces",
        description="what the scores take for words: what stands between spaces, as SQuAD's script, or each character "
        "of scripts without spaces (Chinese, Japanese, Thai …), as MLQA's",
    )
    max_answer_tokens: int = Field(100, ge=1, description="the most tokens that an answer may have")


class QuestionAnswering(Task[Asked, Answered, Answer, QuestionOptions]):
    """Answers cut from a context, with offsets and the probability that there is none."""

    name: ClassVar[str] = "qa"
    summary: ClassVar[str] = "the part of a context that answers a question"
    Input = Asked
    Example = Answered
    Judged = Judged
    Result = Answer
    Options = QuestionOptions
    metrics: ClassVar[tuple[Metric, ...]] = (F1, EXACT_MATCH)
    further: ClassVar[tuple[Metric, ...]] = FURTHER
    formats: ClassVar[Mapping[str, Format]] = {"squad": SQUAD, "squad-na": CHANCES}
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {
        "text": ("answer", "prediction_text"),
        "no_answer_score": ("no_answer_probability", "na_prob", "null_odds"),
    }
    right_lines: ClassVar[str | None] = "answers"
    call_options: ClassVar[frozenset[str]] = frozenset({"threshold", "top_k"})

    def __init__(self, labels: Sequence[str] = (), options: QuestionOptions | None = None) -> None:
        super().__init__(labels, options)
        self._normal = normalised
        if self.options.script == "squad-1.1":
            self.metrics = OLD  # type: ignore[misc]  # a class variable for all who set no such option
        if self.options.words == "characters":
            self._normal = characters
            self.metrics = BY_CHARACTERS  # type: ignore[misc]  # a class variable for all who set no such option

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """A span of the context, in every family."""
        return dict.fromkeys(Family, (AnswerSpan,))

    def objective(self, kind: type[Objective]) -> Objective:
        """Spans of at most `max_answer_tokens`."""
        return AnswerSpan(max_answer_tokens=self.options.max_answer_tokens)

    def query(self, given: Asked, objective: Objective) -> Query:
        """The question and its context."""
        return Passage(given.question, given.context)

    def gold(self, example: Answered, objective: Objective) -> tuple[tuple[int, int], ...]:
        """The right answers as character spans; () where there is none."""
        if not example.spans and not self.options.impossible:
            raise DataError(
                f"the question {example.question!r} has no answer. Leave such rows out, or set task.impossible: true, "
                "so that the model learns to say so"
            )
        return example.spans

    def result(self, answer: Given, given: Asked) -> Answer:
        """The likeliest span; with `impossible`, no answer where `threshold` says so."""
        assert isinstance(answer, Extracts)
        found = [
            Answer(given.context[start:end], start, end, score, answer.none)
            for (start, end), score in zip(answer.spans, answer.scores, strict=True)
        ]
        none = Answer("", None, None, answer.none, answer.none)
        refused = not found or (self.options.impossible and share_of_none(found[0]) > self.options.threshold)
        ranked = [none, *found] if refused else found
        return replace(ranked[0], alternatives=tuple(ranked[1 : 1 + self.options.top_k]))

    def told(self, cells: Mapping[str, Any], example: Answered) -> Mapping[str, Any]:
        """Also a text alone, without where it stands."""
        return {"start": None, "end": None, **cells}

    def tune(self, results: Sequence[Answer], examples: Sequence[Answered]) -> QuestionOptions:
        """With `impossible`, the threshold of the best F1, as find_best_thresh of SQuAD's script.

        In the middle between the shares of two neighbouring rows; the threshold as it is wins ties.
        """
        if not self.options.impossible or not results:
            return self.options
        spans = [best_span(result) for result in results]
        share = np.array([share_of_none(span) for span in spans])
        pairs = zip(spans, examples, strict=True)
        answered = np.array([best(span.text, example, overlap, self._normal) for span, example in pairs])
        refused = np.array([best("", example, overlap, self._normal) for example in examples])
        seen = np.unique(np.concatenate([[0.0, 1.0], share]))
        tried = [self.options.threshold, *((seen[1:] + seen[:-1]) / 2).tolist()]
        f1 = [float(np.where(share > threshold, refused, answered).mean()) for threshold in tried]
        return self.options.model_copy(update={"threshold": tried[int(np.argmax(f1))]})

    def baselines(self, train: Sequence[Answered], examples: Sequence[Answered]) -> Mapping[str, Sequence[Answer]]:
        """The sentence of the context with most words of the question; with `impossible` also none at all."""
        found = {"sentence with most question words": [_nearest(example) for example in examples]}
        if self.options.impossible:
            found["never an answer"] = [Answer("", None, None) for _ in examples]
        return found

    @classmethod
    def stratum(cls, example: Answered) -> str:
        """A share split off keeps the proportion of questions without an answer."""
        return "answered" if example.answers.text else "none"

    def besides(self, results: Sequence[Answer], examples: Sequence[Answered]) -> Sequence[Metric]:
        """Of rows that may have no answer, what the script of SQuAD 2.0 prints too; best thresholds where it can."""
        official = self.options.script == "squad-2.0" and self.options.words == "spaces"
        if not official or all(example.answers.text for example in examples):
            return ()
        return (*BY_KIND, *AT_BEST) if says_chances(results) else BY_KIND

    def details(self, results: Sequence[Answer], examples: Sequence[Answered]) -> Iterable[Detail]:
        """Scores by kinds of questions, and the worst answers in their contexts."""
        return details(results, examples, self.options.threshold if self.options.impossible else None)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "question-answering"

    @classmethod
    def samples(cls) -> Sequence[Answered]:
        """Two questions about one text, one with two right answers."""
        context = "Ada Lovelace was born in London in December 1815. She wrote notes on a calculating engine."
        return (
            Answered(
                question="Where was Ada Lovelace born?",
                context=context,
                answers=Answers(text=("London",), answer_start=(25,)),
            ),
            Answered(
                question="When was Ada Lovelace born?",
                context=context,
                answers=Answers(text=("December 1815", "1815"), answer_start=(35, 44)),
            ),
        )


def _nearest(example: Answered) -> Answer:
    asked = set(re.findall(r"\w+", example.question.lower()))
    sentences = [
        (match.start() + len(match[0]) - len(match[0].lstrip()), match.end())
        for match in _SENTENCE.finditer(example.context)
    ]
    if not sentences:
        return Answer("", None, None)
    start, end = max(
        sentences, key=lambda span: len(asked & set(re.findall(r"\w+", example.context[slice(*span)].lower())))
    )
    return Answer(example.context[start:end], start, end)
