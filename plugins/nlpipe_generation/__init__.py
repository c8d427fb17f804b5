"""Text after a prompt or a conversation: continuations, answers, instructions carried out."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_generation.writing import Writing

__all__ = ["Writing"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The task of this plugin."""
    return [Writing]
