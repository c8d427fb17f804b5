"""What a report shows of similarities and rankings: answers against what is right, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from nlpipe.details import Chart, Detail, Line, Mark, Passage, Passages, Table, worst
from nlpipe_similarity.ranks import gains, ndcg, relevance

if TYPE_CHECKING:
    from nlpipe.results import Ranking, Similarity
    from nlpipe_similarity.pairs import ScoredPair
    from nlpipe_similarity.retrieval import JudgedSearch

DOTS = 2000  # points of a chart; of more rows every so-manieth is drawn
BEST = 3  # documents that are shown of a ranking
LETTERS = 200  # of each of them


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
        Passage(
            f"{scored[at][1].text_a}\n{scored[at][1].text_b}",
            (),
            f"score {right[at]:g}, {scored[at][0].measure} {said[at]:.3f}: "
            f"{'too high' if gaps[at] > 0 else 'too low'} by {100 * abs(gaps[at]):.0f} % of the pairs",
        )
        for at in worst((-np.abs(gaps)).tolist())
    )
    yield Passages("The pairs most out of place", "By how far their places in the two orders differ.", items)


def search_details(results: Sequence[Ranking], examples: Sequence[JudgedSearch]) -> Iterator[Detail]:
    """How far down the first right document stands, and the queries with the worst rankings."""
    judged = [gains(result, example) for result, example in zip(results, examples, strict=True)]
    firsts = [next((rank for rank, value in enumerate(found, 1) if value > 0), None) for found, _ in judged]
    rows = [(str(rank), firsts.count(rank)) for rank in range(1, 11)]
    yield Table(
        "Where the first right document stands", "", ("rank", "queries"), (*rows, ("below", firsts.count(None)))
    )
    values = [ndcg(*pair) for pair in judged]
    texts = {document.id: document.text for result in results for document in result.documents}
    items = tuple(_ranking(results[at], examples[at], texts, f"nDCG@10 {values[at]:.2f}") for at in worst(values))
    yield Passages("The worst rankings", f"The first {BEST} documents of each, and right ones that stand below.", items)


def _ranking(result: Ranking, example: JudgedSearch, texts: Mapping[str, str], score: str) -> Passage:
    """The first documents a line each, right or wrong, and the best of the right ones that are not among them."""
    first, places = result.documents[:BEST], {d.id: rank for rank, d in enumerate(result.documents, 1)}
    lines: list[tuple[str, Literal["right", "wrong", "missed"]]] = [
        (f"{rank}. {_document(d.id, d.text)}", "right" if relevance(d, example) > 0 else "wrong")
        for rank, d in enumerate(first, 1)
    ]
    lacking = [name for name in _right(example) if name not in {part for d in first for part in (d.id, d.text)}]
    for name in lacking[:BEST]:
        place = f"at {places[name]}" if name in places else "not found"
        lines.append((f"{place}: {_document(name, texts.get(name, ''))}", "missed"))
    more = f" ({len(lacking) - BEST} more are right)" if len(lacking) > BEST else ""
    marks, at = [], 0
    for line, kind in lines:
        marks.append(Mark(at, at + len(line), "", kind))
        at += len(line) + 1
    return Passage("\n".join(line for line, _ in lines), tuple(marks), f"{example.query} ({score}){more}")


def _document(name: str, text: str) -> str:
    return ": ".join(filter(None, (name, " ".join(text[:LETTERS].split()))))


def _right(example: JudgedSearch) -> list[str]:
    """The ids of the right documents, the best first; the text of the one that rows bring themselves."""
    if example.relevant is None:
        return [example.positive or ""]
    judged = sorted(example.relevant.items(), key=lambda pair: -pair[1])
    return [document for document, grade in judged if grade > 0]
