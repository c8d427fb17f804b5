"""Named entities: which stretches of a text are a person, a place, a disease or whatever the data say."""

from __future__ import annotations

from nlpipe import Task, hookimpl
from nlpipe_ner.recognition import EntityRecognition

__all__ = ["EntityRecognition"]


@hookimpl
def nlpipe_tasks() -> list[type[Task]]:
    """The task of this plugin."""
    return [EntityRecognition]
