"""Documents in a few sentences."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_summarization.summarizing import Summarization

__all__ = ["Summarization"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The task of this plugin."""
    return [Summarization]
