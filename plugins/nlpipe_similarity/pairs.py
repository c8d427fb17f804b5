"""The task of pairs: how alike two texts are, by their vectors or by a model that reads both at once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from nlpipe.details import Detail
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.metrics import Metric
from nlpipe.objectives import Embedding, Objective, SequenceLabel
from nlpipe.objectives.base import Answer, Probabilities, Query, Text, Texts, Vectors
from nlpipe.results import Similarity
from nlpipe.task import Family, Record, Task
from nlpipe_similarity.correlation import PEARSON, SPEARMAN
from nlpipe_similarity.details import pair_details
from nlpipe_similarity.vectors import VectorOptions, alike, embedding


class Pair(Record):
    """Two texts."""

    text_a: str
    text_b: str


class ScoredPair(Pair):
    """Two texts and how alike they are; without a score, `loss: in_batch` learns from them as a match."""

    score: float | None = None


class PairOptions(VectorOptions):
    """What stands beside `name` in a recipe."""

    loss: Literal["cosine_mse", "cosent", "in_batch"] = Field(
        "cosine_mse",
        description="cosine_mse: the cosine is to be the score; cosent: more alike pairs are to have a larger cosine; "
        "in_batch: a text's match is to be found among the others of the batch",
    )
    scale: tuple[float, float] | None = Field(
        None, description="the least and the largest score; null: as the training rows have them"
    )

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] < scale[1]):
            raise ValueError(f"must be a number and a larger one, is {list(scale)}")
        return scale


class Pairs(Task[Pair, ScoredPair, Similarity, PairOptions]):
    """How alike two texts are."""

    name: ClassVar[str] = "similarity"
    summary: ClassVar[str] = "how alike two texts are"
    Input = Pair
    Example = ScoredPair
    Result = Similarity
    Options = PairOptions
    metrics: ClassVar[tuple[Metric, ...]] = (SPEARMAN, PEARSON)
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {"similarity": ("score", "cosine")}
    right_lines: ClassVar[str | None] = "score"

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """Vectors of both texts, or both texts read at once, in every family."""
        return dict.fromkeys(Family, (Embedding, SequenceLabel))

    @classmethod
    def options_in(cls, examples: Sequence[ScoredPair], options: PairOptions) -> PairOptions:
        """The range of scores, where it is not given, from the least score of training to the largest.

        Raises DataError where no two scores differ, unless the loss needs none.
        """
        scores = {example.score for example in examples if example.score is not None and math.isfinite(example.score)}
        if options.loss == "in_batch":
            _all_match(scores, options)
            return options
        if options.scale is not None:
            return options
        if len(scores) < 2:
            there = f"only the score {scores.pop():g}" if scores else "no scores"
            raise DataError(f"the training rows have {there}; for pairs that all match: task.loss: in_batch")
        return options.model_copy(update={"scale": (min(scores), max(scores))})

    def objective(self, kind: type[Objective]) -> Objective:
        """Vectors compared, or a number for the pair."""
        if kind is SequenceLabel:
            _no_vectors(self.options)
            return SequenceLabel(kind="number")
        return embedding(self.options, self.options.loss)

    def query(self, given: Pair, objective: Objective) -> Query:
        """Both texts, for themselves or as a pair."""
        if objective.embeds:
            return Texts((given.text_a, given.text_b))
        return Text(given.text_a, given.text_b)

    def gold(self, example: ScoredPair, objective: Objective) -> float | None:
        """The score as a share of its range, 0 to 1; the score itself where no range is known."""
        matches = self.options.loss == "in_batch" and objective.embeds
        if example.score is None:
            if matches:
                return None
            raise DataError("`score` is missing (for rows that are matches without scores: task.loss: in_batch)")
        if not math.isfinite(example.score):
            raise DataError(f"`score` is {example.score}, which is no number")
        if self.options.scale is None:
            return example.score
        low, high = self.options.scale
        if not low <= example.score <= high:
            raise DataError(
                f"`score` is {example.score:g}, outside the range from {low:g} to {high:g}; set task.scale to the "
                "range of all rows, or mend the row"
            )
        return (example.score - low) / (high - low)

    def result(self, answer: Answer, given: Pair) -> Similarity:
        """The cosine of the vectors, or the predicted number on the scale of the scores."""
        if isinstance(answer, Vectors):
            first, second = answer.values[:1], answer.values[1:]
            return Similarity(float(alike(first, second, answer.measure)[0, 0]), answer.measure)
        assert isinstance(answer, Probabilities)
        value = float(answer.values[0])
        low, high = self.options.scale or (0.0, 1.0)
        return Similarity(low + value * (high - low), "score")

    def told(self, cells: Mapping[str, Any], example: ScoredPair) -> Mapping[str, Any]:
        """Also a number alone, or one as text; correlations do not ask what it measures."""
        value = cells.get("similarity")
        if isinstance(value, str):
            try:
                return {"measure": "score", **cells, "similarity": float(value)}
            except ValueError:
                raise DataError(f"{value[:40]!r} is no number") from None
        return {"measure": "score", **cells}

    def baselines(
        self, train: Sequence[ScoredPair], examples: Sequence[ScoredPair]
    ) -> Mapping[str, Sequence[Similarity]]:
        """The cosine of the two texts' counts of words."""
        return {"words in common": [Similarity(_in_common(row.text_a, row.text_b), "words") for row in examples]}

    def plain(self, result: Similarity, example: ScoredPair) -> tuple[float, float]:
        """Two numbers."""
        return result.similarity, float("nan") if example.score is None else example.score

    def details(self, results: Sequence[Similarity], examples: Sequence[ScoredPair]) -> Iterable[Detail]:
        """Similarity over score, and the pairs most out of place."""
        return pair_details(results, examples)

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "sentence-similarity"

    @classmethod
    def samples(cls) -> Sequence[ScoredPair]:
        """Three pairs, from not at all alike to the same."""
        return (
            ScoredPair(text_a="A man is playing the flute.", text_b="Someone plays a flute.", score=4.6),
            ScoredPair(text_a="A man is playing the flute.", text_b="A woman is tuning a violin.", score=1.5),
            ScoredPair(text_a="A man is playing the flute.", text_b="The ferry leaves at noon.", score=0.0),
        )


def _all_match(scores: set[float], options: PairOptions) -> None:
    """Raise DataError where some pair to learn from is no match: as one it would teach the opposite."""
    if len(scores | set(options.scale[1:] if options.scale else ())) > 1:
        raise DataError(
            f"task.loss: in_batch takes every training pair for a match, and the scores run from {min(scores):g} to "
            f"{max(scores):g}: keep the rows that match, without scores, or take cosent or cosine_mse"
        )


def _no_vectors(options: PairOptions) -> None:
    """Raise UnsupportedError where an option is set that only vectors have."""
    fields = PairOptions.model_fields
    given = [name for name in fields if name != "scale" and getattr(options, name) != fields[name].default]
    if given:
        raise UnsupportedError(
            f"task.{given[0]} does nothing for a model that reads both texts at once (model.objective: SequenceLabel); "
            "leave it out"
        )


def _in_common(first: str, second: str) -> float:
    one, other = (Counter(re.findall(r"\w+", text.lower())) for text in (first, second))
    product = sum(count * other[word] for word, count in one.items())
    lengths = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
    return product / lengths if lengths else 0.0
