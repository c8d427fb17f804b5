"""The answer that an objective would give if it knew the gold: what makes a task's results perfect.

It goes the whole way that a model's answer goes, so that a label order or an offset that gold and result see
differently does not lead to the best score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlpipe.objectives.base import (
    Answer,
    Generated,
    Likelihoods,
    Probabilities,
    Query,
    Text,
    TextLikelihood,
    Vectors,
    WordScores,
)
from nlpipe.testing.cases import fail, require
from nlpipe.testing.subjects import AnyTask, Rows, TaskSubject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nlpipe.objectives.base import Objective

_SURE = 50.0  # nats between the right choice and the others


def perfect_results(subject: TaskSubject, kind: type[Objective], rows: Rows) -> list[Any]:
    """The Results that deserve the best scores, by the author's word or by way of the objective.

    Raises CheckFailed where neither leads to one.
    """
    if subject.perfect is not None:
        return [subject.perfect(example) for example in rows.examples]
    objective = rows.task.objective(kind)
    task = over(rows.task, objective, rows.examples)
    found = []
    for example in rows.examples:
        given = task.given(example)
        query = task.query(given, objective)
        answer = right_answer(objective, query, task.gold(example, objective))
        if answer is None:
            fail(
                f"what {kind.__name__} would answer if it knew cannot be made from its gold here: hand in "
                "perfect=, a function from an example to the Result that deserves the best score"
            )
        result = task.result(answer, given)
        require(
            isinstance(result, task.Result), f"result() gives a {type(result).__name__}, not {task.Result.__name__}"
        )
        found.append(result)
    return found


def over(task: AnyTask, objective: Objective, examples: Sequence[Any]) -> AnyTask:
    """The task answering from the examples' collection, where it answers from one, by vectors of its texts' hashes."""
    items = task.items_in(examples)
    if not items:
        return task
    queries: list[Any] = [task.item_query(item, objective) for item in items]
    return task.over(items, [Vectors(_hashed(query.texts)) for query in queries])


def right_answer(objective: Objective, query: Query, gold: Any) -> Answer | None:
    """The objective's Answer for one that knows the gold; None for an objective that is not the core's."""
    import numpy as np

    from nlpipe import objectives
    from nlpipe.objectives.answer_span import Extracts
    from nlpipe.objectives.entailment import Entailed
    from nlpipe.objectives.text import TextObjective

    asked: Any = query
    found: Answer | None = None
    match objective:
        case objectives.SequenceLabel(kind="number"):
            found = Probabilities(np.array([float(gold)]))
        case objectives.SequenceLabel(labels=labels):
            found = Probabilities(np.isin(np.arange(len(labels)), gold).astype(float))
        case objectives.Entailment():
            held = np.isin(np.arange(len(asked.choices)), gold)[None, :]
            found = Entailed(np.where(held, _SURE, -_SURE), np.zeros(held.shape))
        case objectives.TokenLabel(labels=labels):
            right = np.arange(len(labels))[None, :] == np.array(gold).reshape(-1, 1)
            found = WordScores(np.where(right, 0.0, -_SURE), asked.words)
        case objectives.AnswerSpan():
            found = Extracts(tuple(gold[:1]), (1.0,) if gold else (), 0.0 if gold else 1.0)
        case objectives.Embedding():
            found = Vectors(_vectors(asked.texts, gold))
        case objectives.MaskedText() | TextObjective() if isinstance(query, Text):
            found = TextLikelihood((0.0,) * len(query.first.split()))
        case TextObjective() if asked.choices:
            values = [[0.0 if choice == gold else -_SURE for choice in asked.choices]]
            found = Likelihoods(np.array(values), (1,) * len(asked.choices))
        case TextObjective() if isinstance(gold, str):
            found = Generated(gold, True, (0.0,))
    return found


def _vectors(texts: Sequence[str], gold: Any) -> NDArray[np.float32]:
    """Of a query its match's vector; of a pair two with the cosine that it should have."""
    import numpy as np

    if hasattr(gold, "texts"):
        return _hashed(gold.texts[:1])
    cosine = 1.0 if gold is None else max(-1.0, min(1.0, float(gold)))
    return np.array([[1.0, 0.0], [cosine, math.sqrt(1 - cosine * cosine)]], dtype=np.float32)[: len(texts)]


def _hashed(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector per text, float32 [texts, 64]; equal for equal texts and nearly at right angles for others."""
    import numpy as np

    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
    found = np.stack([np.random.default_rng(seed).standard_normal(64) for seed in seeds])
    unit: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit
