"""Where in a context the answer to a question stands. Knows characters and tokens, not what makes an answer right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from nlpipe.errors import DataError
from nlpipe.objectives import passages
from nlpipe.objectives.base import Answer, Batch, Gold, Objective, Passage, Raw, Row, parts

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    import torch

    from nlpipe.objectives.passages import Context, Span
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

BEST = 20
"""How many spans of each window are compared over windows: `n_best_size` of run_squad.py (Devlin et al. 2019)."""

NOWHERE = 0
"""The position of a row that stands for "not in here": its first token, which is [CLS] where a model has one."""


@dataclass(frozen=True, slots=True)
class Extracts(Answer):
    """Stretches of a context, the likeliest first, each with its probability; `none`: that there is no answer.

    `spans` are half-open characters. At most BEST for each window, all different; empty for a context with nothing
    to be seen. The probabilities and `none` sum to 1.
    """

    spans: tuple[tuple[int, int], ...]
    scores: tuple[float, ...]
    none: float


class Place(NamedTuple):
    """Which positions of a row are the context's: from `first` on, one for each of `spans`, its characters."""

    first: int
    spans: tuple[Span | None, ...]

    def positions(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last position of the row that share a character with [start, end); None if none does."""
        inside = passages.covering(self.spans, start, end)
        return (self.first + inside[0], self.first + inside[1]) if inside else None


@dataclass(frozen=True, kw_only=True)
class AnswerSpan(Objective):
    """Reads a Passage, answers Extracts (Devlin et al. 2019, BERT, sections 4.2 and 4.3).

    The gold is a tuple of half-open character spans of the context, all right, of which the first is learnt; or ()
    where the context does not answer the question.

    A row is the question and a window of the context, told apart as the model tells two texts apart. Windows of a
    long context share `window.overlap` tokens, or a quarter of what a window has room for where that is 0 (the
    official script: 128 of about 370), so that no short answer is cut in all of them. Each token has a score for being
    the answer's first and one for being its last; the row's first token (NOWHERE) stands for "not in this window",
    which is learnt where the answer does not lie wholly in it.

    With p(i), q(i) the softmax of either score over the tokens of a row, a span in a window scores ln p(start) +
    ln q(end), over windows its best; "no answer" scores ln p(0) + ln q(0), over windows its least, as in run_squad.py.
    Unlike there, scores are comparable over windows because each is normalised first. Probabilities are the softmax
    over the BEST spans of each window, equal ones once, and "no answer".
    """

    head: ClassVar[str] = "QuestionAnswering"
    peft: ClassVar[str | None] = "QUESTION_ANS"
    pooled: ClassVar[bool] = False
    both_sides: ClassVar[bool] = True
    reentrant: ClassVar[bool] = True

    max_answer_tokens: int = 100

    @property
    def outputs(self) -> int:
        """Two: begins here, ends here."""
        return 2

    def encode(self, query: Passage, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per window of the context, each with the whole question."""
        source, layout = tok.source, tok.source.pair
        # Never empty, so that the first token of a row is never one of the context.
        question = source.encode(query.question).ids or [source.fallback_id]
        context = passages.read(query.context, source)
        windows = self._windows(len(question), len(context.ids), layout.special)
        place = len(layout.prefix) + len(question) + len(layout.infix)
        right = None if gold is None else _right(query.context, context, gold)
        seen = (len(question) + windows[-1][1], len(question) + len(context.ids))
        rows = []
        for start, end in windows:
            ids, types = layout.lay(question, context.ids[start:end])
            rows.append(
                Row(
                    ids=ids,
                    types=types if source.segments else None,
                    target=None if gold is None else _target(right, start, end, place),
                    weight=1 / len(windows),
                    seen=seen,
                    place=Place(place, tuple(context.spans[start:end])),
                )
            )
        return parts(rows)

    def _windows(self, question: int, context: int, special: int) -> list[tuple[int, int]]:
        room = self.window.max_length - special - question
        if room < 1 or (room <= self.window.overlap and room < context):
            shared = f", {self.window.overlap} shared by neighbouring windows" if self.window.overlap else ""
            raise DataError(
                f"the question has {question} tokens, and the model reads {self.window.max_length} at once ({special} "
                f"special ones{shared}): that leaves no room for the context. Shorten the question, or raise "
                "model.max_length"
            )
        overlap = min(self.window.overlap or room // 4, room - 1)
        return replace(self.window, overlap=overlap).spans(context, special + question)

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right. Targets: `start` and `end` [rows], positions; `terms` is the number of examples."""
        from nlpipe import arrays

        inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
        if answering:
            return Batch(inputs, {}, 0.0, rows)
        import torch

        targets = {
            "start": torch.tensor([row.target[0] for row in rows], dtype=torch.long),
            "end": torch.tensor([row.target[1] for row in rows], dtype=torch.long),
            "weight": torch.tensor([row.weight for row in rows], dtype=torch.float),
        }
        return Batch(inputs, targets, float(sum(row.weight for row in rows)), rows)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`start` and `end`, each [rows, tokens]."""
        out = model(**batch.inputs)
        if hasattr(out, "start_logits"):
            return {"start": out.start_logits, "end": out.end_logits}
        return {"start": out.logits[..., 0], "end": out.logits[..., 1]}  # a head of ours

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """The mean of the cross-entropies of start and end, summed over examples. Padding takes no part."""
        from nlpipe import tensors

        padding = batch.inputs["attention_mask"] == 0
        losses = [
            tensors.label_loss(
                outputs[name].float().masked_fill(padding, -float("inf")), batch.targets[name], weight=None, smoothing=0
            )
            for name in ("start", "end")
        ]
        total: torch.Tensor = ((losses[0] + losses[1]) / 2 * batch.targets["weight"]).sum()
        return total

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Of each row "not in here" and its BEST spans: float64 [1 + spans, 3], start, end and score.

        Start and end count in the row's context (inclusive); those of the first, "not in here", mean nothing.
        """
        import numpy as np

        found = runner.compute(self, batch)
        starts, ends = (found[name].astype("float64") for name in ("start", "end"))
        raws = []
        for row, start, end in zip(batch.rows, starts, ends, strict=True):
            begins, stops = _log_softmax(start[: row.length]), _log_softmax(end[: row.length])
            nowhere = [[-1.0, -1.0, begins[NOWHERE] + stops[NOWHERE]]]
            inside = slice(row.place.first, row.place.first + len(row.place.spans))
            best = _best(begins[inside], stops[inside], row.place.spans, self.max_answer_tokens)
            raws.append(np.array(nowhere + best))
        return raws

    def join(self, query: Passage, rows: Sequence[Row], raws: Sequence[Raw]) -> Extracts:
        """The spans of all windows, each with its best score; "no answer" with its least."""
        import numpy as np

        best: dict[tuple[int, int], float] = {}
        for row, raw in zip(rows, raws, strict=True):
            for first, last, score in raw[1:].tolist():
                span = (row.place.spans[int(first)][0], row.place.spans[int(last)][1])
                best[span] = max(score, best.get(span, -np.inf))
        order = sorted(best, key=lambda span: (-best[span], span))
        nowhere = min(float(raw[0, 2]) for raw in raws) if order else 0.0
        chances = np.exp(_log_softmax(np.array([nowhere, *(best[span] for span in order)])))
        return Extracts(tuple(order), tuple(chances[1:].tolist()), float(chances[0]))


def _right(text: str, context: Context, gold: Sequence[Span]) -> Span | None:
    """The first and the last token of the answer that is learnt. Raises DataError where it has none."""
    if not gold:
        return None
    start, end = gold[0]
    found = passages.covering(context.spans, start, end)
    if found is None:
        raise DataError(f"the model's tokenizer has no token for the answer {text[start:end]!r}; leave the row out")
    return found


def _target(right: Span | None, start: int, end: int, place: int) -> tuple[int, int]:
    """The positions of the answer in a row that has the context's tokens [start, end) from `place` on."""
    if right is None or right[0] < start or right[1] >= end:
        return NOWHERE, NOWHERE
    return right[0] - start + place, right[1] - start + place


def _best(begins: np.ndarray, stops: np.ndarray, spans: Sequence[Span | None], longest: int) -> list[list[float]]:
    """The BEST (start, end, score) by score, of at most `longest` tokens, that cut something."""
    import numpy as np

    tokens = len(spans)
    if not tokens:
        return []
    width = min(longest, tokens)
    visible = np.array([span is not None for span in spans])
    lows = np.array([span[0] if span else 0 for span in spans])
    highs = np.array([span[1] if span else 0 for span in spans])
    ends = np.concatenate([np.where(visible, stops, -np.inf), np.full(width - 1, -np.inf)])
    # [tokens, width]: a span from each token to each of those behind it. All pairs would not fit for long windows.
    pairs = np.where(visible, begins, -np.inf)[:, None] + np.lib.stride_tricks.sliding_window_view(ends, width)
    count = min(BEST, pairs.size)
    flat = np.argpartition(-pairs, count - 1, axis=None)[:count]
    found = []
    for at in flat[np.argsort(-pairs.ravel()[flat], kind="stable")]:
        start, ahead = divmod(int(at), width)
        score = float(pairs[start, ahead])
        if np.isfinite(score) and lows[start] < highs[start + ahead]:
            found.append([float(start), float(start + ahead), score])
    return found


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
