"""Labels for a text or a pair of texts: any label set, and sentiment with canonical names."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe_classification.classification import Classification
from nlpipe_classification.sentiment import Sentiment

__all__ = ["Classification", "Sentiment"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The two tasks of this plugin."""
    return [Classification, Sentiment]
