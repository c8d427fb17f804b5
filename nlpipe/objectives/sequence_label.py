"""A label, several labels or a number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives.base import Batch, Gold, Objective, Probabilities, Raw, Row, Text, parts
from nlpipe.objectives.class_weights import weights

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers


Over = Literal["mean", "max"]


@dataclass(frozen=True, kw_only=True)
class SequenceLabel(Objective):
    """Reads a Text, answers Probabilities.

    The gold is the index of the label (`kind: single`), the indices of all labels that hold (`multi`), or a
    number (`number`). A long text is read in windows: each window of an example weighs 1/k in training, and
    the answer is the mean of their probabilities, or each label's greatest (`over_windows`). Of a pair the longer text
    is windowed; the shorter is read whole in each window.

    `class_weights` is `balanced` or a weight per label name (`class_weights.weights`); `focal` is the exponent of the
    focal loss (`tensors.focused`).
    """

    head: ClassVar[str] = "SequenceClassification"
    peft: ClassVar[str | None] = "SEQ_CLS"
    train_options: ClassVar[frozenset[str]] = frozenset({"class_weights", "focal", "label_smoothing"})

    call_options: ClassVar[frozenset[str]] = frozenset({"windows"})
    reentrant: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    kind: Literal["single", "multi", "number"] = "single"
    windows: Over = "mean"
    class_weights: Literal["balanced"] | Mapping[str, float] | tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal: float = 0.0

    @property
    def outputs(self) -> int:
        """One per label; one for a number."""
        return 1 if self.kind == "number" else len(self.labels)

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """With `windows` of one call. Raises UnsupportedError where it is neither mean nor max."""
        how = options.get("windows", self.windows)
        if how not in get_args(Over):
            raise UnsupportedError(f"windows must be one of {', '.join(get_args(Over))}, is {how!r}")
        return super().with_call(options)

    def encode(self, query: Text, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per window."""
        source = tok.source
        first = source.encode(query.first).ids
        second = None if query.second is None else source.encode(query.second).ids
        layout = source.single if second is None else source.pair
        spans = self._spans(len(first), None if second is None else len(second), layout.special)
        read = max(f_end + s_end for (_, f_end), (_, s_end) in spans)
        rows = []
        for (start, end), (start2, end2) in spans:
            ids, types = layout.lay(first[start:end], (second or [])[start2:end2])
            rows.append(
                Row(
                    ids=ids or [source.fallback_id],
                    types=(types or [0]) if source.segments else None,
                    target=gold,
                    weight=1 / len(spans),
                    seen=(read, len(first) + len(second or ())),
                )
            )
        return parts(rows)

    def _spans(self, first: int, second: int | None, special: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """The token ranges of the first and the second text that each row reads."""
        if second is None:
            return [(span, (0, 0)) for span in self.window.spans(first, special)]
        shorter = min(first, second)
        if self.window.long == "truncate":  # both may be too long: neither gets less than half of the room
            shorter = min(shorter, (self.window.max_length - special) // 2)
        elif special + shorter + self.window.overlap >= self.window.max_length:
            raise DataError(
                f"both texts are too long for one window of {self.window.max_length} tokens ({first} and {second}); "
                "the shorter has to fit into each. Raise model.max_length or set model.long to 'truncate'."
            )
        moving = self.window.spans(max(first, second), special + shorter)
        if first >= second:
            return [(span, (0, shorter)) for span in moving]
        return [((0, shorter), span) for span in moving]

    def with_training(self, options: Mapping[str, Any]) -> Self:
        """As everywhere; options that the kind of gold cannot use are refused too."""
        useless = {
            "single": {},
            "multi": {"label_smoothing": "several labels may hold of one text"},
            "number": dict.fromkeys(sorted(self.train_options), "a number is predicted"),
        }[self.kind]
        for name, why in useless.items():
            if options.get(name) is not None:
                raise UnsupportedError(f"train.{name} does nothing where {why}; leave it out")
        return super().with_training(options)

    def settle(self, golds: Sequence[Gold]) -> Self:
        """Class weights as one number per label."""
        wanted = self.class_weights
        if wanted is None or isinstance(wanted, tuple):
            return self
        if self.kind == "single":
            return replace(self, class_weights=weights(wanted, self.labels, golds))
        found = (label for gold in golds for label in gold)
        return replace(self, class_weights=weights(wanted, self.labels, found, len(golds)))

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right; `terms` is the number of examples (windows weigh their share)."""
        from nlpipe import arrays

        inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
        if answering:
            return Batch(inputs, {}, 0.0, rows)
        import torch

        weight = torch.tensor([row.weight for row in rows])
        return Batch(inputs, {"target": self._target(rows), "weight": weight}, float(weight.sum()), rows)

    def _target(self, rows: Sequence[Row]) -> torch.Tensor:
        """[rows] of label indices or numbers, or 0/1 [rows, labels] where several labels may hold."""
        import torch

        if self.kind == "single":
            return torch.tensor([row.target for row in rows], dtype=torch.long)
        if self.kind == "number":
            return torch.tensor([row.target for row in rows], dtype=torch.float)
        target = torch.zeros(len(rows), len(self.labels))
        for index, row in enumerate(rows):
            target[index, list(row.target)] = 1.0
        return target

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits`, [rows, outputs]."""
        return {"logits": model(**batch.inputs).logits}

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Cross-entropy, binary cross-entropy (mean over labels) or squared error, summed over examples."""
        import torch

        from nlpipe import tensors

        logits, target = outputs["logits"].float(), batch.targets["target"]
        settled = isinstance(self.class_weights, tuple)
        weight = torch.tensor(self.class_weights, device=logits.device) if settled else None
        if self.kind == "single":
            loss = tensors.label_loss(logits, target, weight=weight, smoothing=self.label_smoothing, focal=self.focal)
        elif self.kind == "multi":
            loss = tensors.multi_label_loss(logits, target, weight=weight, focal=self.focal)
        else:
            loss = (logits.squeeze(1) - target).square()
        total: torch.Tensor = (loss * batch.targets["weight"]).sum()
        return total

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Logits per row, float64 [outputs]."""
        return list(runner.compute(self, batch)["logits"].astype("float64"))

    def join(self, query: Text, rows: Sequence[Row], raws: Sequence[Raw]) -> Probabilities:
        """Softmax, sigmoid or the number itself, over windows."""
        import numpy as np

        logits = np.stack(list(raws))
        if self.kind == "single":
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            values = shifted / shifted.sum(axis=1, keepdims=True)
        elif self.kind == "multi":
            values = 1 / (1 + np.exp(-logits))
        else:
            values = logits
        return Probabilities(over_windows(values, self.windows, whole=self.kind == "single"))


def over_windows(values: np.ndarray, how: Over, *, whole: bool) -> np.ndarray:
    """Probabilities [windows, labels] as those of the text, [labels]: their mean, or each label's greatest.

    The greatest sum to more than 1 where exactly one label holds (`whole`), and are brought back to it.
    """
    if how == "mean":
        mean: np.ndarray = values.mean(axis=0)
        return mean
    greatest: np.ndarray = values.max(axis=0)
    return greatest / greatest.sum() if whole else greatest
