"""Questions: which part of a text is the answer, if any is; or an answer in words of the model's own."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_qa.extraction import QuestionAnswering
from nlpipe_qa.generative import GenerativeQuestionAnswering

__all__ = ["GenerativeQuestionAnswering", "QuestionAnswering"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The tasks of this plugin."""
    return [QuestionAnswering, GenerativeQuestionAnswering]
