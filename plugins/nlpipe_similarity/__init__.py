"""How alike two texts mean, which documents answer a query, and what can be made of vectors of texts."""

from __future__ import annotations

from typing import Any

from nlpipe import Task, hookimpl
from nlpipe.results import Ranked, Ranking, Similarity
from nlpipe_similarity.collections import cluster, mine_paraphrases, rerank
from nlpipe_similarity.pairs import Pairs
from nlpipe_similarity.retrieval import Retrieval

__all__ = ["Pairs", "Ranked", "Ranking", "Retrieval", "Similarity", "cluster", "mine_paraphrases", "rerank"]


@hookimpl
def nlpipe_tasks() -> list[type[Task[Any, Any, Any, Any]]]:
    """The two tasks of this plugin."""
    return [Pairs, Retrieval]
