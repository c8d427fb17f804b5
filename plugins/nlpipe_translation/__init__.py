"""Texts in one language as texts in another."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_translation.translating import Translation

__all__ = ["Translation"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The task of this plugin."""
    return [Translation]
