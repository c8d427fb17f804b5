"""The rows of question answering: a question, a context, and where in the context the right answers stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from nlpipe.task import Record

SHOWN = 5  # places of an answer that a message lists


class Asked(Record):
    """A question, and the text that its answer is to be cut from."""

    question: str
    context: str

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.question.strip():
            raise ValueError("`question` is empty")
        return self


class Answers(Record):
    """The right answers as SQuAD has them: their texts, and the character of the context at which each begins.

    Both are empty where the context does not answer the question.
    """

    text: tuple[str, ...] = ()
    answer_start: tuple[int, ...] = ()


class Answered(Asked):
    """A question with its right answers; the first is learnt, and each counts when answers are scored."""

    answers: Answers

    @model_validator(mode="after")
    def _gold(self) -> Self:
        problem = next(self._problems(), None)
        if problem:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        texts, starts = self.answers.text, self.answers.answer_start
        if len(texts) != len(starts):
            yield f"answers has {len(texts)} texts and {len(starts)} answer_starts; each text needs one"
        for at, (text, start) in enumerate(zip(texts, starts, strict=False)):
            if not text.strip():
                yield f"answers.text[{at}] is empty; a question without an answer has no texts at all ([])"
            elif start < 0 or not self.context.startswith(text, start):
                yield (
                    f"answers.text[{at}] is {text!r}, but at answer_start {start} the context has "
                    f"{self.context[max(start, 0) : max(start, 0) + len(text)]!r}; {_where(text, self.context)}"
                )

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The right answers as half-open character spans of the context."""
        pairs = zip(self.answers.text, self.answers.answer_start, strict=True)
        return tuple((start, start + len(text)) for text, start in pairs)


def _where(text: str, context: str) -> str:
    places: list[str] = []
    at = context.find(text)
    while at >= 0 and len(places) <= SHOWN:
        places.append(str(at))
        at = context.find(text, at + 1)
    if not places:
        return "it does not occur in the context at all. answer_start counts characters from 0; correct the text"
    more = " and more" if len(places) > SHOWN else ""
    return f"it occurs at {', '.join(places[:SHOWN])}{more}. answer_start counts characters from 0"
