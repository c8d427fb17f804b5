"""Keyphrases of a text: found in it, ranked, with offsets."""

from __future__ import annotations

import nlpipe

from nlpipe_keyphrases.results import Keyphrases, Phrase
from nlpipe_keyphrases.task import KeyphraseExtraction

__all__ = ["KeyphraseExtraction", "Keyphrases", "Phrase"]

nlpipe_api = ">=1.0,<2"
"""The versions of nlpipe's plugin API that this plugin works with; outside them it is skipped, with the reason."""


@nlpipe.hookimpl
def nlpipe_tasks() -> list[type[nlpipe.Task]]:
    """The task of this plugin."""
    return [KeyphraseExtraction]
