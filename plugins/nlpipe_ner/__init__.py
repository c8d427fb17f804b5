"""Named entities: which stretches of a text are a person, a place, a disease or whatever the data say."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_ner.recognition import EntityRecognition

__all__ = ["EntityRecognition"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The task of this plugin."""
    return [EntityRecognition]
