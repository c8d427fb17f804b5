"""Text after a prompt or a conversation, and how likely a text is: pretraining and adaptation to a domain."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_generation.conversation import Conversation
from nlpipe_generation.reading import LanguageModelling
from nlpipe_generation.writing import Writing

__all__ = ["Conversation", "LanguageModelling", "Writing"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The tasks of this plugin."""
    return [Writing, LanguageModelling]
