"""Questions about a text: which part of it is the answer, if any is."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_qa.extraction import QuestionAnswering

__all__ = ["QuestionAnswering"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The task of this plugin."""
    return [QuestionAnswering]
