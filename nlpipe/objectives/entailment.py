"""How far a text entails each of some sentences, by a model that was trained on inference (MNLI and its kin)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives.base import Answer, Batch, Gold, Objective, Raw, Row, Text, parts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.task import Family
    from nlpipe.tokens import Tokenizers


@dataclass(frozen=True, slots=True)
class Entailed(Answer):
    """The logits of "entails" and of "does not", each float64 [windows, choices]; one window for a text read whole."""

    yes: np.ndarray
    no: np.ndarray


class Place(NamedTuple):
    """Which choice a row has, and which window of the text."""

    choice: int
    window: int


@dataclass(frozen=True, kw_only=True)
class Entailment(Objective):
    """Reads a Text whose `choices` are sentences, answers Entailed (Yin, Hay and Roth 2019).

    The model's head is its own: `names` are its labels, of which one is called entailment. The other that counts is
    contradiction where there is one (MNLI), else the one that is left (not_entailment). The gold is the index of the
    choice that holds, or the indices of all that hold; in training each choice weighs 1/choices.

    A row is a window of the text and one choice, as the model tells two texts apart. All choices see the same windows:
    they leave room for the longest.
    """

    head: ClassVar[str] = "SequenceClassification"
    peft: ClassVar[str | None] = "SEQ_CLS"
    own_labels: ClassVar[bool] = True
    reentrant: ClassVar[bool] = True

    names: tuple[str, ...] = ()

    @classmethod
    def fits(cls, labels: Sequence[str]) -> bool:
        """Whether these are the labels of a model of inference."""
        return _index(labels, "entail") is not None and len(labels) > 1

    @property
    def outputs(self) -> int:
        """One per label of the model's own."""
        return len(self.names)

    def head_labels(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The model's own."""
        return tuple(self.names)

    def placed(self, family: Family, stated: Mapping[str, Any]) -> Self:
        """With the labels of the model's folder. Raises UnsupportedError where none of them is entailment."""
        names = tuple(stated.get("labels", ()))
        if not self.fits(names):
            raise UnsupportedError(
                f"Entailment needs a model that was trained on inference, with a label called entailment; this one "
                f"has {', '.join(names) or 'none'}. Take one trained on MNLI, or train one on pairs of texts first"
            )
        return replace(self, names=names)

    def recorded(self) -> dict[str, Any]:
        """The model's own labels."""
        return {"names": list(self.names)}

    def encode(self, query: Text, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per choice and window, choices first."""
        source, layout = tok.source, tok.source.pair
        text = source.encode(query.first).ids
        choices = [source.encode(choice).ids or [source.fallback_id] for choice in query.choices]
        longest = max(map(len, choices))
        if layout.special + longest + self.window.overlap >= self.window.max_length:
            raise DataError(
                f"a sentence of {longest} tokens leaves no room for the text, of which the model reads "
                f"{self.window.max_length} at once. Shorten the label, or raise model.max_length"
            )
        spans = self.window.spans(len(text), layout.special + longest)
        right = set() if gold is None else {gold} if isinstance(gold, int) else set(gold)
        rows = []
        for choice, ids in enumerate(choices):
            for window, (start, end) in enumerate(spans):
                laid, types = layout.lay(text[start:end], ids)
                rows.append(
                    Row(
                        ids=laid,
                        types=types if source.segments else None,
                        target=None if gold is None else self._yes if choice in right else self._no,
                        weight=1 / (len(spans) * len(choices)),
                        seen=(spans[-1][1], len(text)),
                        place=Place(choice, window),
                    )
                )
        return parts(rows)

    @property
    def _yes(self) -> int:
        found = _index(self.names, "entail")
        assert found is not None  # `placed` has seen to it
        return found

    @property
    def _no(self) -> int:
        found = _index(self.names, "contradict")
        return next(at for at in range(len(self.names)) if at != self._yes) if found is None else found

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right; `terms` is the number of examples."""
        from nlpipe import arrays

        inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
        if answering:
            return Batch(inputs, {}, 0.0, rows)
        import torch

        weight = torch.tensor([row.weight for row in rows])
        target = torch.tensor([row.target for row in rows], dtype=torch.long)
        return Batch(inputs, {"target": target, "weight": weight}, float(weight.sum()), rows)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits`, [rows, the model's own labels]."""
        return {"logits": model(**batch.inputs).logits}

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Cross-entropy of the model's own labels, summed over examples."""
        from nlpipe import tensors

        loss = tensors.label_loss(outputs["logits"].float(), batch.targets["target"], weight=None, smoothing=0)
        total: torch.Tensor = (loss * batch.targets["weight"]).sum()
        return total

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Logits per row, float64 [the model's own labels]."""
        return list(runner.compute(self, batch)["logits"].astype("float64"))

    def join(self, query: Text, rows: Sequence[Row], raws: Sequence[Raw]) -> Entailed:
        """Each choice's two logits, window by window."""
        import numpy as np

        shape = (1 + max(row.place.window for row in rows), len(query.choices))
        yes, no = np.zeros(shape), np.zeros(shape)
        for row, raw in zip(rows, raws, strict=True):
            at = (row.place.window, row.place.choice)
            yes[at], no[at] = raw[self._yes], raw[self._no]
        return Entailed(yes, no)


def _index(labels: Sequence[str], start: str) -> int | None:
    """The label whose name begins so, in any spelling (ENTAILMENT, entailed); none for those of untrained heads."""
    return next((at for at, label in enumerate(labels) if label.lower().startswith(start)), None)
