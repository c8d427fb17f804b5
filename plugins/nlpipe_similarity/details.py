"""What a report shows of similarities and rankings: answers against what is right, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlpipe.details import Chart, Detail, Line, Pair, Pairs, Table, worst
from nlpipe_similarity.ranks import gains, ndcg

if TYPE_CHECKING:
    from nlpipe.results import Ranking, Similarity
    from nlpipe_similarity.pairs import ScoredPair
    from nlpipe_similarity.retrieval import JudgedSearch

DOTS = 2000  # points of a chart; of more rows every so-manieth is drawn
BEST = 3  # documents that are shown of a ranking


def pair_details(results: Sequence[Similarity], examples: Sequence[ScoredPair]) -> Iterator[Detail]:
    """Every pair's similarity over its score, and the pairs whose places in the two orders differ most."""
    from scipy.stats import rankdata

    scored = [(r, e) for r, e in zip(results, examples, strict=True) if e.score is not None]
    if not scored:
        return
    said, right = (np.array(values) for values in ([r.similarity for r, _ in scored], [e.score for _, e in scored]))
    step = max(1, -(-len(scored) // DOTS))
    points = sorted(zip(right.tolist()[::step], said.tolist()[::step], strict=True))
    note = f"{len(points):,} of {len(scored):,} pairs."
    yield Chart(
        "Similarity over score", note, "score", scored[0][0].measure, (Line("pairs", tuple(points)),), dots=True
    )
    gaps = (rankdata(said) - rankdata(right)) / len(scored)
    items = tuple(
        Pair(
            f"{scored[at][1].text_a}\n{scored[at][1].text_b}",
            (f"score {right[at]:g}",),
            f"{scored[at][0].measure} {said[at]:.3f}",
            f"{'too high' if gaps[at] > 0 else 'too low'} by {100 * abs(gaps[at]):.0f} % of the pairs",
        )
        for at in worst((-np.abs(gaps)).tolist())
    )
    yield Pairs("The pairs most out of place", "By how far their places in the two orders differ.", items)


def search_details(results: Sequence[Ranking], examples: Sequence[JudgedSearch]) -> Iterator[Detail]:
    """How far down the first right document stands, and the queries with the worst rankings."""
    judged = [gains(result, example) for result, example in zip(results, examples, strict=True)]
    firsts = [next((rank for rank, value in enumerate(found, 1) if value > 0), None) for found, _ in judged]
    rows = [(str(rank), firsts.count(rank)) for rank in range(1, 11)]
    yield Table(
        "Where the first right document stands", "", ("rank", "queries"), (*rows, ("below", firsts.count(None)))
    )
    values = [ndcg(*pair) for pair in judged]
    items = tuple(
        Pair(
            examples[at].query,
            tuple(_right(examples[at])),
            "\n".join(f"{d.id}: {d.text[:200]}" for d in results[at].documents[:BEST]),
            f"nDCG@10 {values[at]:.2f}",
        )
        for at in worst(values)
    )
    yield Pairs("The worst rankings", f"The first {BEST} documents of each.", items)


def _right(example: JudgedSearch) -> list[str]:
    if example.relevant is None:
        return [example.positive or ""]
    judged = sorted(example.relevant.items(), key=lambda pair: -pair[1])
    return [document for document, relevance in judged if relevance > 0]
