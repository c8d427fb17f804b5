"""Entity precision, recall and F1: an entity is right if its offsets and its type are exactly right.

Micro-averaged over all entities of all rows; a share of nothing is 0. Which entities ill-formed tags spell is a
convention: `conlleval` reads every sequence of tags (so does seqeval by default), seqeval's `strict` mode leaves out
what is not well-formed. Of well-formed tags, and of spans, both are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe.metrics import Metric
from nlpipe_ner.schemes import Scheme, strict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe.results import Entities
    from nlpipe_ner.examples import TaggedText

    Counts = NDArray[np.float64]
    Sets = Callable[[Sequence[Entities], Sequence[TaggedText]], tuple[list[set[Any]], list[set[Any]]]]


def _said(result: Entities) -> list[tuple[tuple[int, int, str], str]]:
    prefixes = result.prefixes or ("",) * len(result.spans)
    return [((s.start, s.end, s.label), prefix) for s, prefix in zip(result.spans, prefixes, strict=True)]


def _all(results: Sequence[Entities], examples: Sequence[TaggedText]) -> tuple[list[set[Any]], list[set[Any]]]:
    """What is right and what was said in each row."""
    return [set(e.entities) for e in examples], [{entity for entity, _ in _said(r)} for r in results]


def _borders(results: Sequence[Entities], examples: Sequence[TaggedText]) -> tuple[list[set[Any]], list[set[Any]]]:
    right, said = _all(results, examples)
    return [{e[:2] for e in row} for row in right], [{e[:2] for e in row} for row in said]


def scheme_of(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Scheme:
    """IOBES where any tag has its letters (or BILOU's), else IOB2, as seqeval finds it."""
    marks = [mark for row in (*(e.marked for e in examples), *map(_said, results)) for _, mark in row]
    return "iobes" if any(set(mark) & {"E", "S"} for mark in marks) else "iob2"


def _strict(scheme: Scheme | None) -> Sets:
    def sets(results: Sequence[Entities], examples: Sequence[TaggedText]) -> tuple[list[set[Any]], list[set[Any]]]:
        known = scheme or scheme_of(results, examples)
        pairs = list(zip(results, examples, strict=True))
        return (
            [_well_formed(example.marked, example.whole, known) for _, example in pairs],
            [_well_formed(_said(result), example.whole, known) for result, example in pairs],
        )

    return sets


def _well_formed(marked: Sequence[tuple[Any, str]], text: str, scheme: Scheme) -> set[Any]:
    """The entities whose tags are as the scheme has them; `marked` in the order of the text."""
    kept, before = set(), None
    for entity, mark in marked:
        behind = before is not None and before[2] == entity[2] and not text[before[1] : entity[0]].strip()
        if strict(mark, scheme, behind=behind):
            kept.add(entity)
        before = entity
    return kept


def _counts(sets: Sets, kind: str | None = None) -> Callable[..., Counts]:
    def counts(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Counts:
        """[n, 3]: each row's entities that are right, too many, and missing."""
        rows = np.zeros((len(examples), 3))
        for at, (right, said) in enumerate(zip(*sets(results, examples), strict=True)):
            theirs, ours = ({e for e in side if kind is None or e[2] == kind} for side in (right, said))
            rows[at] = len(theirs & ours), len(ours - theirs), len(theirs - ours)
        return rows

    return counts


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def precision(rows: Counts) -> float:
    """tp / (tp + fp)."""
    hits, false, _ = rows.sum(axis=0)
    return _share(hits, hits + false)


def recall(rows: Counts) -> float:
    """tp / (tp + fn)."""
    hits, _, missed = rows.sum(axis=0)
    return _share(hits, hits + missed)


def f1(rows: Counts) -> float:
    """2 tp / (2 tp + fp + fn)."""
    hits, false, missed = rows.sum(axis=0)
    return _share(2 * hits, 2 * hits + false + missed)


_VALUES = {"f1": f1, "precision": precision, "recall": recall}


def _metric(score: str, rule: str, sets: Sets, prefix: str = "") -> Metric:
    return Metric(f"{prefix}{score}", f"{score}|entity|{rule}|micro|nlpipe:2", _counts(sets), _VALUES[score])


def of_type(score: str, kind: str) -> Metric:
    """`f1`, `precision` or `recall` of the entities of one type."""
    signature = f"{score}|entity|exact|tags:conlleval|type:{kind}|nlpipe:2"
    return Metric(f"{score}:{kind}", signature, _counts(_all, kind), _VALUES[score])


def macro(rows: Counts) -> float:
    """The mean of the types' F1, over types that occur in gold or answers; 0 where none does."""
    hits, false, missed = np.split(rows.sum(axis=0), 3)
    there = hits + false + missed > 0
    return float((2 * hits[there] / (2 * hits + false + missed)[there]).mean()) if there.any() else 0.0


def _by_type(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Counts:
    """[n, 3 types]: each row's entities of each type that are right, too many, and missing."""
    right, said = _all(results, examples)
    gold, answered = ({kind for row in side for *_, kind in row} for side in (right, said))
    kinds = [*sorted(gold), *sorted(answered - gold)]  # the same columns for every system, before what only it answers
    columns = [_counts(_all, kind)(results, examples) for kind in kinds]
    return np.stack(columns, axis=2).reshape(len(right), -1) if columns else np.zeros((len(right), 3))


def _forms(results: Sequence[Entities], examples: Sequence[TaggedText]) -> Counts:
    """[n, 3 most]: each row's entities as numbers: right, answered, both; -1 behind the last.

    The same text and type have the same number.
    """
    numbers: dict[tuple[str, str], int] = {}
    found = []
    for example, right, said in zip(examples, *_all(results, examples), strict=True):
        of = {e: numbers.setdefault((example.whole[e[0] : e[1]], e[2]), len(numbers)) for e in sorted(right | said)}
        found.append([[of[entity] for entity in side] for side in (right, said, right & said)])
    most = max((len(side) for row in found for side in row), default=0) or 1
    return np.array([[*side, *[-1] * (most - len(side))] for row in found for side in row], float).reshape(-1, 3 * most)


def _surface(score: str) -> Metric:
    def value(rows: Counts) -> float:
        right, said, hits = (len(np.unique(side[side >= 0])) for side in np.split(rows, 3, axis=1))
        return _VALUES[score](np.array([[hits, said - hits, right - hits]]))

    signature = f"{score}|entity|surface-forms|tags:conlleval|wnut17|nlpipe:1"
    return Metric(f"surface_{score}", signature, _forms, value, swappable=False)


F1, PRECISION, RECALL = (_metric(score, "exact|tags:conlleval", _all) for score in _VALUES)
STRICT = tuple(_metric(score, "strict|IOB2,IOBES", _strict(None), "strict_") for score in _VALUES)
STRICT_IOB1 = tuple(_metric(score, "strict|IOB1", _strict("iob1"), "strict_") for score in _VALUES)
BORDERS = tuple(_metric(score, "borders|tags:conlleval", _borders, "borders_") for score in _VALUES)
MACRO_F1 = Metric("macro_f1", "f1|entity|exact|tags:conlleval|macro|nlpipe:2", _by_type, macro)
SURFACE = tuple(map(_surface, _VALUES))
"""Of different texts with their types, each once however often it occurs: the second score of WNUT 2017.

(Derczynski et al. 2017.) As its script has it, a form is found where one of its occurrences is.
"""
FURTHER = (*STRICT, *BORDERS, *SURFACE, MACRO_F1)
