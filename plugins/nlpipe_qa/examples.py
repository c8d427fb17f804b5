"""The rows of question answering: a question, a context, and where in the context the right answers stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

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


class Judged(Answered):
    """A question to score an answer by: where the right texts stand, the context and the question need not be known.

    The right texts may be a list, or a single one. Of their places those count that the context confirms.
    """

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        data = texts_alone(data)
        given = data.get("answers") if isinstance(data, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(given.get("text"), list | tuple):
            return data
        texts, starts = tuple(given["text"]), given.get("answer_start") or ()
        kept = tuple(text for text in texts if not isinstance(text, str) or text.strip())  # of a line left empty: none
        placed = isinstance(starts, list | tuple) and len(starts) == len(kept) == len(texts) and None not in starts
        return {**data, "answers": {**given, "text": kept, "answer_start": tuple(starts) if placed else ()}}

    @model_validator(mode="after")
    def _asks(self) -> Self:
        return self

    @model_validator(mode="after")
    def _gold(self) -> Self:
        return self

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The right answers whose places are known and right, as half-open character spans of the context."""
        pairs = zip(self.answers.text, self.answers.answer_start, strict=False)
        return tuple((at, at + len(text)) for text, at in pairs if at >= 0 and self.context.startswith(text, at))


def texts_alone(data: Any) -> Any:
    """Cells with right answers as SQuAD's mapping, also where they are one text, or a list of them."""
    given = data.get("answers") if isinstance(data, Mapping) else None
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        return {**data, "answers": {"text": tuple(given)}}
    if isinstance(given, Mapping):
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        return {**data, "answers": plain}
    return data


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
