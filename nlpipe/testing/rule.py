"""A rule for a task to learn: made-up examples whose right answer follows from what is asked."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpipe.task import Record

if TYPE_CHECKING:
    from nlpipe.metrics import Metric
    from nlpipe.task import Task

Examples = Callable[[int, int], Sequence[Any]]
"""(rows, seed) → that many Examples of the task; the same for the same seed, others for another."""

WORDS = 64  # the most words that a tiny tokenizer is taught as one token each


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a model is to learn, and what says that it has.

    `examples(rows, seed)` gives made-up Examples (nlpipe.testing.rules has languages for it). It learns `rows` of them
    and answers `unseen` others. `score` names the metric that is looked at (the task's first by default):
    what has learnt reaches `least`, what has learnt nothing stays below `chance`; both are shares of the metric's
    best value, as in "≥ 0.9 where chance is ≤ 0.5" (docs/testing.md). Of a metric that is best when small they are
    values themselves.

    `shuffle(examples, seed)` takes the rule out of the training rows and leaves all else. By default the gold fields
    change hands; a task whose gold only fits its own row (tags, offsets) says how.
    """

    examples: Examples
    shuffle: Callable[[Sequence[Any], int], Sequence[Any]] | None = None
    rows: int = 400
    unseen: int = 200
    score: str | None = None
    least: float = 0.9
    chance: float = 0.5

    def train(self) -> Sequence[Any]:
        """The rows to learn from."""
        return self.examples(self.rows, 1)

    def test(self) -> Sequence[Any]:
        """`unseen` other rows, without those that training has by chance."""
        known = {example.model_dump_json() for example in self.train()}
        return [example for example in self.examples(self.unseen, 2) if example.model_dump_json() not in known]

    def shuffled(self, task: type[Task[Any, Any, Any, Any]]) -> Sequence[Any]:
        """The training rows without the rule."""
        shuffle = self.shuffle or (lambda examples, seed: exchanged(task, examples, seed))
        return shuffle(self.train(), 5)

    def metric(self, task: type[Task[Any, Any, Any, Any]]) -> Metric:
        """The metric that is looked at."""
        names = {metric.name: metric for metric in task.metrics}
        return names[self.score] if self.score else task.metrics[0]

    def share(self, metric: Metric, value: float) -> float:
        """A score as `least` and `chance` count it."""
        return value / metric.perfect if metric.direction == "maximize" else value


def exchanged(task: type[Task[Any, Any, Any, Any]], examples: Sequence[Any], seed: int) -> list[Any]:
    """The examples with their gold fields dealt out anew."""
    gold = [name for name in task.Example.model_fields if name not in task.Input.model_fields]
    golds = [{name: getattr(example, name) for name in gold} for example in examples]
    random.Random(seed).shuffle(golds)
    return [example.model_copy(update=other) for example, other in zip(examples, golds, strict=True)]


def words_of(examples: Sequence[Record]) -> tuple[str, ...]:
    """The most frequent words of letters in the examples' texts, by name."""
    return words_in(text for example in examples for text in texts(example))


def words_in(found: Iterable[str]) -> tuple[str, ...]:
    """The most frequent words of letters, by name."""
    counts = Counter(word for text in found for word in re.findall(r"[A-Za-z]+", text))
    return tuple(sorted(word for word, _ in counts.most_common(WORDS)))


def texts(value: Any) -> list[str]:
    """All texts in a record, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Record):
        return texts([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, dict):
        return texts(list(value.values()))
    return [text for item in value for text in texts(item)] if isinstance(value, list | tuple) else []
