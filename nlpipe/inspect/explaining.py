"""Which number of a model's output an answer rests on, by the kind of answer. Knows objectives, and no task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlpipe.errors import DataError, UnsupportedError, suggest

if TYPE_CHECKING:
    from nlpipe.inspect.attribution import Measure
    from nlpipe.objectives.base import Row
    from nlpipe.pipelines import Pipeline


@dataclass(frozen=True)
class Aim:
    """What is explained: the answer in words, the number behind it in words, and how to compute that number.

    `odds` is true where the number is log-odds, so that its logistic function is a probability. `apart`: the words of
    each row are hidden by themselves, not those of all rows together.
    """

    answer: str
    explains: str
    measure: Measure
    odds: bool
    apart: bool = False


def aim(pipe: Pipeline, given: Any, query: Any, rows: Sequence[Row], target: str | None) -> Aim:
    """The number behind the pipeline's answer to one input.

    `target` names another label than the predicted one, or an entity by its text. Raises UnsupportedError for
    answers of other kinds, DataError where there is nothing of the kind asked for.
    """
    if getattr(pipe.objective, "embeds", False):
        return _likeness(pipe, query, rows, target)
    kinds = {
        "SequenceClassification": _label,
        "TokenClassification": _words,
        "QuestionAnswering": _span,
    }
    if pipe.objective.head not in kinds:
        raise UnsupportedError(
            f"{pipe.task.name} answers by {type(pipe.objective).__name__}, and such answers are not explained here; "
            "labels, labelled words, answer spans and the likeness of two texts are. The views next and attention "
            "show how a model comes to the words it writes."
        )
    return kinds[pipe.objective.head](pipe, given, query, rows, target)


def _one_row(rows: Sequence[Row], most: int) -> None:
    if len(rows) != 1:
        raise DataError(
            f"the text is too long to be explained at once: the model reads it in {len(rows)} windows of {most} "
            "tokens. Give a shorter one."
        )


def _log_odds(logits: Tensor, index: int) -> Tensor:
    """Of one label against all others, over the last axis: log p / (1 - p)."""
    others = torch.cat([logits[..., :index], logits[..., index + 1 :]], dim=-1)
    return logits[..., index] - others.logsumexp(-1)


def _label(pipe: Pipeline, given: Any, query: Any, rows: Sequence[Row], target: str | None) -> Aim:
    objective: Any = pipe.objective
    _one_row(rows, objective.window.max_length)
    labels: Sequence[str] = objective.labels
    if objective.kind == "number":
        if target is not None:
            raise UnsupportedError(f"the answer is a number, and has no label {target!r}")
        value = float(_logits(pipe, rows)[0, 0])
        return Aim(f"{value:.4f}", "the predicted number", lambda out: out["logits"][:, 0], odds=False)
    logits = _logits(pipe, rows)[0]
    if target is not None and target not in labels:
        raise DataError(f"there is no label {target!r}; {suggest(target, labels)}")
    index = int(logits.argmax()) if target is None else labels.index(target)
    single = objective.kind == "single" and len(labels) > 1
    odds = _log_odds(logits, index) if single else logits[index]

    def measure(outputs: Mapping[str, Tensor]) -> Tensor:
        found = outputs["logits"].float()
        return _log_odds(found, index) if single else found[:, index]

    answer = f"{labels[index]} ({float(odds.sigmoid()):.1%})"
    return Aim(answer, f"the log-odds of {labels[index]!r}", measure, odds=True)


def _logits(pipe: Pipeline, rows: Sequence[Row], key: str = "logits") -> Tensor:
    from nlpipe import batching

    batch = pipe.objective.collate(rows, pipe.tokenizers, answering=True, rng=batching.rng(0, "answer"))
    return torch.from_numpy(pipe.runner.compute(pipe.objective, batch)[key]).float()


def _words(pipe: Pipeline, given: Any, query: Any, rows: Sequence[Row], target: str | None) -> Aim:
    objective: Any = pipe.objective
    _one_row(rows, objective.window.max_length)
    spans = pipe(given).spans
    if not spans:
        raise DataError("the model finds nothing to label in this text, so there is no answer to explain")
    named = [span for span in spans if target is None or target in (span.text, span.label)]
    if not named:
        there = [span.text for span in spans]
        raise DataError(f"the model finds no {target!r} in this text; {suggest(str(target), there)}")
    best = max(named, key=lambda span: span.score or 0.0)
    logits = _logits(pipe, rows)[0]
    inside = [
        reading.position
        for reading in rows[0].place
        if query.words[reading.word][0] < best.end and query.words[reading.word][1] > best.start
    ]
    if not inside:
        raise DataError(f"no token of the text carries {best.text!r}, so there is nothing to explain it by")
    labels = [int(logits[at].argmax()) for at in inside]

    def measure(outputs: Mapping[str, Tensor]) -> Tensor:
        found = outputs["logits"].float()
        return torch.stack([_log_odds(found[:, at], label) for at, label in zip(inside, labels, strict=True)]).mean(0)

    sure = "" if best.score is None else f" ({best.score:.1%})"
    explains = f"the log-odds of its label, mean over the words of {best.text!r}"
    return Aim(f"{best.text}: {best.label}{sure}", explains, measure, odds=True)


def _span(pipe: Pipeline, given: Any, query: Any, rows: Sequence[Row], target: str | None) -> Aim:
    objective: Any = pipe.objective
    _one_row(rows, objective.window.max_length)
    if target is not None:
        raise UnsupportedError("an answer span is explained as the model gives it; target has no meaning here")
    answer = pipe(given)
    start, end = _logits(pipe, rows, "start")[0], _logits(pipe, rows, "end")[0]
    first, last = _ends(rows[0], answer) or _likeliest(pipe, rows[0], start, end)

    def measure(outputs: Mapping[str, Tensor]) -> Tensor:
        begin, stop = outputs["start"].float(), outputs["end"].float()
        return _log_odds(begin, first) + _log_odds(stop, last)

    said = repr(answer.text) if answer.text else "no answer"
    return Aim(said, "the log-odds of its first token and of its last one, added", measure, odds=False)


def _ends(row: Row, answer: Any) -> tuple[int, int] | None:
    """The positions of an answer's first and last token, where the row knows its characters; of none, the row's first.

    None for a row that does not know them.
    """
    if not hasattr(row.place, "positions"):
        return None
    if answer.start is None:
        return 0, 0
    found: tuple[int, int] | None = row.place.positions(answer.start, answer.end)
    return found


def _likeliest(pipe: Pipeline, row: Row, start: Tensor, end: Tensor) -> tuple[int, int]:
    """The first and the last token of the likeliest span, in the second segment where the row has segments."""
    pair = start[:, None] + end[None, :]
    allowed = torch.ones_like(pair).triu().bool()
    special = set(pipe.tokenizers.source.upstream.all_special_ids)
    free = [at for at, inner in enumerate(_in_context(row, special)) if inner]
    if free:
        inside = torch.zeros(len(start), dtype=torch.bool)
        inside[free] = True
        allowed &= inside[:, None] & inside[None, :]
    return divmod(int(pair.masked_fill(~allowed, -torch.inf).argmax()), len(start))


def _in_context(row: Row, special: Collection[int]) -> list[bool]:
    """Which tokens an answer may stand in: the second segment, where the row has segments; never special ones."""
    if not row.types or 1 not in row.types:
        return []
    return [kind == 1 and token not in special for kind, token in zip(row.types, row.ids, strict=True)]


def _likeness(pipe: Pipeline, query: Any, rows: Sequence[Row], target: str | None) -> Aim:
    if target is not None:
        raise UnsupportedError("the likeness of two texts has no labels; target has no meaning here")
    texts = getattr(query, "texts", ())
    if len(texts) != 2:
        raise DataError(f"likeness is explained for two texts, here are {len(texts)}: give both")
    if len(rows) != 2:
        raise DataError("a text is too long to be explained at once: the model reads it in windows. Give shorter ones.")
    dot = getattr(pipe.objective, "measure", None) == "dot"

    def measure(outputs: Mapping[str, Tensor]) -> Tensor:
        pairs = outputs["vectors"].float().reshape(-1, 2, outputs["vectors"].shape[-1])
        one, two = pairs[:, 0], pairs[:, 1]
        return (one * two).sum(-1) if dot else torch.nn.functional.cosine_similarity(one, two)

    value = float(measure({"vectors": _logits(pipe, rows, "vectors")}))
    name = "dot product" if dot else "cosine"
    # Two texts of nothing but blanks are alike: so each text is hidden while the other stays.
    return Aim(f"{name} {value:.4f}", f"the {name} of the two texts", measure, odds=False, apart=True)
