"""A label for each word of a text. Knows words as character spans, and nothing of what their labels mean.

Which label sequences make sense, and what they spell, is decoded by the task from the whole text's scores.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from nlpipe.objectives.base import Batch, Gold, Objective, Raw, Row, Words, WordScores, parts
from nlpipe.objectives.class_weights import weights
from nlpipe.objectives.words import Located, locate, ranges

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers


class Reading(NamedTuple):
    """A word as one window reads it: its number, its first token's place in the row, the context around it."""

    word: int
    position: int
    context: float  # tokens of the text on the narrower side; infinite where both sides reach the text's ends


class Target(NamedTuple):
    """What training compares one position of a row with."""

    position: int
    label: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class TokenLabel(Objective):
    """Reads Words, answers WordScores.

    The gold is a label's index per word, None for words that training leaves out. A word is read at its first
    token, as Devlin et al. 2019 (BERT, section 5.3) do. The text is tokenised once, as it stands, and tokens are
    matched to words by characters; a tokenizer that cannot tell characters reads word by word.

    A long text is read in windows that end between words. In training a word weighs 1/k in each of the k windows
    that have it; in the answer it takes the scores of the window with the most context around it. A word without
    any token (some tokenizers drop control characters), or beyond a cut asked for by name, is certain to carry
    `background`, the index of the label that says nothing.

    `class_weights` is `balanced` or a weight per label name (`class_weights.weights`); `focal` is the exponent of the
    focal loss (`tensors.focused`).
    """

    head: ClassVar[str] = "TokenClassification"
    peft: ClassVar[str | None] = "TOKEN_CLS"
    train_options: ClassVar[frozenset[str]] = frozenset({"class_weights", "focal", "label_smoothing"})
    pooled: ClassVar[bool] = False
    both_sides: ClassVar[bool] = True
    reentrant: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    background: int = 0
    class_weights: Literal["balanced"] | Mapping[str, float] | tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal: float = 0.0

    @property
    def outputs(self) -> int:
        """One per label."""
        return len(self.labels)

    def encode(self, query: Words, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per window."""
        source, layout = tok.source, tok.source.single
        found = locate(query.text, query.words, source)
        spans = self._spans(found, layout.special)
        readings = _readings(found, spans, len(layout.prefix))
        times = Counter(reading.word for read in readings for reading in read)
        seen = (max(end for _, end in spans), len(found.ids))
        rows = []
        for (start, end), read in zip(spans, readings, strict=True):
            ids, types = layout.lay(found.ids[start:end])
            rows.append(
                Row(
                    ids=ids or [source.fallback_id],
                    types=(types or [0]) if source.segments else None,
                    target=None if gold is None else _targets(read, times, gold),
                    seen=seen,
                    place=tuple(read),
                )
            )
        return parts(rows)

    def _spans(self, found: Located, special: int) -> list[tuple[int, int]]:
        """The token ranges of the windows, cut between words."""
        plain = self.window.spans(len(found.ids), special)
        if plain == [(0, len(found.ids))]:
            return plain
        room = self.window.max_length - special
        cut = ranges(len(found.ids), room, self.window.overlap, found.borders)
        return [next(cut)] if self.window.long == "truncate" else list(cut)

    def settle(self, golds: Sequence[Gold]) -> Self:
        """Class weights as one number per label, balanced over the words."""
        wanted = self.class_weights
        if wanted is None or isinstance(wanted, tuple):
            return self
        found = (label for gold in golds for label in gold if label is not None)
        return replace(self, class_weights=weights(wanted, self.labels, found))

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right. Targets are lists of equal length over all labelled words of the batch: their row,
        position, label and weight; `terms` is the number of labelled words."""
        from nlpipe import arrays

        inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
        if answering:
            return Batch(inputs, {}, 0.0, rows)
        import torch

        wanted = [(index, target) for index, row in enumerate(rows) for target in row.target]
        weight = torch.tensor([target.weight for _, target in wanted], dtype=torch.float)
        targets = {
            "row": torch.tensor([index for index, _ in wanted], dtype=torch.long),
            "position": torch.tensor([target.position for _, target in wanted], dtype=torch.long),
            "label": torch.tensor([target.label for _, target in wanted], dtype=torch.long),
            "weight": weight,
        }
        return Batch(inputs, targets, float(weight.sum()), rows)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits`, [rows, tokens, labels]."""
        return {"logits": model(**batch.inputs).logits}

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Cross-entropy at the first token of each labelled word, summed over words."""
        import torch

        from nlpipe import tensors

        targets = batch.targets
        logits = outputs["logits"][targets["row"], targets["position"]].float()
        settled = isinstance(self.class_weights, tuple)
        weight = torch.tensor(self.class_weights, device=logits.device) if settled else None
        loss = tensors.label_loss(
            logits, targets["label"], weight=weight, smoothing=self.label_smoothing, focal=self.focal
        )
        total: torch.Tensor = (loss * targets["weight"]).sum()
        return total

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Log-probabilities of the words that each row has, float64 [words, labels]."""
        import numpy as np

        logits = runner.compute(self, batch)["logits"].astype("float64")
        raws = []
        for row, found in zip(batch.rows, logits, strict=True):
            at = np.array([reading.position for reading in row.place], dtype=int)
            raws.append(_log_softmax(found[at]))
        return raws

    def join(self, query: Words, rows: Sequence[Row], raws: Sequence[Raw]) -> WordScores:
        """Each word's scores from the window that has the most context around it."""
        import numpy as np

        values = np.full((len(query.words), len(self.labels)), -np.inf)
        values[:, self.background] = 0.0
        context = np.full(len(query.words), -np.inf)
        for row, raw in zip(rows, raws, strict=True):
            for reading, scores in zip(row.place, raw, strict=True):
                if reading.context > context[reading.word]:
                    context[reading.word] = reading.context
                    values[reading.word] = scores
        return WordScores(values, query.words)


def _readings(found: Located, spans: Sequence[tuple[int, int]], before: int) -> list[list[Reading]]:
    """For each window the words whose first token lies in it, with `before` special tokens in front of it."""
    order = sorted((at[0], word, at[1]) for word, at in enumerate(found.words) if at is not None)
    tokens, windows = len(found.ids), []
    for start, end in spans:
        own = order[bisect_left(order, (start,)) : bisect_left(order, (end,))]
        windows.append(
            [Reading(word, at - start + before, _context(at, to, start, end, tokens)) for at, word, to in own]
        )
    return windows


def _context(at: int, to: int, start: int, end: int, tokens: int) -> float:
    """How many tokens the window has on the narrower side of a word at tokens [at, to).

    An end of the text is no lack of context. Negative where the word goes on beyond the window: any window that
    has all of it reads it better.
    """
    left = at - start if start > 0 else math.inf
    right = end - to if end < tokens else math.inf
    return min(left, right)


def _targets(read: Sequence[Reading], times: Mapping[int, int], gold: Sequence[int | None]) -> list[Target]:
    """The labelled words of a window; a word's weights over all windows sum to 1."""
    labelled = ((reading, gold[reading.word]) for reading in read)
    return [Target(r.position, label, 1 / times[r.word]) for r, label in labelled if label is not None]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
