"""Vectors: pairs that share a keyword, and documents that have the counterparts of a query's words."""

from __future__ import annotations

from collections.abc import Sequence

from nlpipe.testing import Rule, rules, task_checks
from nlpipe_similarity import Pairs, Retrieval
from nlpipe_similarity.pairs import ScoredPair
from nlpipe_similarity.retrieval import JudgedSearch
from tests.cells import READERS


def pairs(rows: int, seed: int) -> Sequence[ScoredPair]:
    return [ScoredPair(text_a=one, text_b=two, score=score) for one, two, score in rules.shared_word(rows, seed=seed)]


def searches(rows: int, seed: int) -> Sequence[JudgedSearch]:
    return [JudgedSearch(query=query, positive=text) for query, text in rules.found_words(rows, seed=seed)]


# Where half of the scores are 0 and half 1, the rank correlation of what sorts them perfectly is 0.866: of each half
# the ranks are tied.
ALIKE = Rule(examples=pairs, rows=600, least=0.8, chance=0.2)

# 28 queries are all that the language has; each finds its own document among theirs.
FOUND = Rule(examples=searches, rows=600, unseen=28)


PAIRS_SHORTER = {name: {"train": {"steps": 260}} for name in ("bert", "gpt2", "t5")}
SEARCHES_SHORTER = {name: {"train": {"steps": 150}} for name in ("bert", "t5")}


@task_checks(Pairs, rule=ALIKE, recipe={"train": {"steps": 350}}, per_architecture=PAIRS_SHORTER, architectures=READERS)
class TestPairs: ...


@task_checks(
    Retrieval,
    rule=FOUND,
    recipe={"train": {"batch_size": 16}},
    per_architecture=SEARCHES_SHORTER,
    architectures=READERS,
)
class TestSearches: ...
