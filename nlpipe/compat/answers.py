"""question-answering: answers cut from a context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nlpipe.compat.base import Pipeline, is_stream
from nlpipe.compat.settings import Asking
from nlpipe.compat.spans import AnswerCuts, Cuts, merged, reading
from nlpipe.errors import DataError
from nlpipe.inputs import as_text
from nlpipe.objectives.base import Objective, Passage, Query


class QuestionAnsweringPipeline(Pipeline[Asking]):
    """`score`, `start`, `end` and `answer`; a list of them where `top_k` is more than one."""

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """Where answers begin and end."""
        return AnswerCuts()

    def objective(self, settings: Asking) -> Objective:
        """Windows as `max_seq_len` and `doc_stride` say."""
        asked = AnswerCuts(top=_top(settings), longest=settings.max_answer_len, to_words=settings.align_to_words)
        return reading(asked, self.loaded.limit, settings.max_seq_len, settings.doc_stride)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """One question gives one answer, also as a list of one; several give a list.

        `question=` and `context=`, each a text or a list (one context serves all questions); a mapping of both; an
        object with `question_text` and `context_text`, as SquadExample; or several of these.
        """
        named: dict[str, Any] = {
            name: options.pop(name) for name in ("question", "context", "data", "X") if name in options
        }
        settings = self.settings.over(self.kind, options)
        asked = _asked(inputs, named)
        if is_stream(asked):
            return self.answers(asked, settings)
        found = list(self.answers(asked, settings, alone=len(asked) == 1))
        return found[0] if len(found) == 1 else found

    def query(self, value: Any, settings: Asking) -> Query:
        """The question and its context."""
        return Passage(*_pair(value))

    def told(self, found: Cuts, value: Any, settings: Asking) -> Any:
        """The best answer, or the `top_k` best."""
        answers = merged(found, _pair(value)[1], top=_top(settings), impossible=settings.handle_impossible_answer)
        if not answers:
            raise DataError("the context has nothing in it that could be an answer")
        return answers[0] if len(answers) == 1 else answers


def _top(settings: Asking) -> int:
    return settings.topk if settings.topk is not None and not settings.said("top_k") else settings.top_k


def _asked(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The inputs of a call as a list of single ones, or a stream of them."""
    if inputs:
        if len(inputs) == 2 and all(isinstance(one, str) for one in inputs):
            return [{"question": inputs[0], "context": inputs[1]}]
        return _listed(inputs[0]) if len(inputs) == 1 else list(inputs)
    if "data" in named or "X" in named:
        return _listed(named.get("data", named.get("X")))
    if set(named) != {"question", "context"}:
        missing = "context" if "question" in named else "question"
        raise DataError(f"`{missing}` is missing: pipe(question=…, context=…)")
    questions, contexts = named["question"], named["context"]
    if isinstance(questions, str) and isinstance(contexts, str):
        return [{"question": questions, "context": contexts}]
    if not isinstance(questions, list | tuple):
        raise DataError("question is a text or a list of texts")
    contexts = [contexts] * len(questions) if isinstance(contexts, str) else list(contexts)
    if len(contexts) != len(questions):
        raise DataError(
            f"there are {len(questions)} questions and {len(contexts)} contexts: one for each, or one for all"
        )
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]


def _listed(value: Any) -> Any:
    if is_stream(value):
        return value
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    return [value]


def _pair(value: Any) -> tuple[str, str]:
    """Question and context of one input. Raises DataError where one is missing or empty."""
    if isinstance(value, Mapping):
        if unknown := [key for key in value if key not in ("question", "context")]:
            raise DataError(f"an input is {{'question': …, 'context': …}}, without {unknown[0]!r}")
        pair = value.get("question"), value.get("context")
    elif hasattr(value, "question_text") and hasattr(value, "context_text"):
        pair = value.question_text, value.context_text
    else:
        raise DataError(f"an input is {{'question': …, 'context': …}} or a SquadExample, not {type(value).__name__}")
    for name, text in zip(("question", "context"), pair, strict=True):
        if text is None or text == "":
            raise DataError(f"`{name}` is {'missing' if text is None else 'empty'}")
    return as_text(pair[0], "question"), as_text(pair[1], "context")
