"""The contract between a task and a model, in neutral words.

A task hands over a Query (and, in training, a gold); an objective turns it into Rows, Rows into a Batch, the
model's outputs into one raw answer per row, and the raw answers of one example into an Answer:

    query, gold --encode--> rows --collate--> batch --compute--> outputs --loss--> a sum over terms
                                              batch --predict--> raws   --join---> answer

Nothing here imports torch when the module is imported: plugins load it on every start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nlpipe.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

Gold = Any
"""The right answer in the objective's own terms; each objective's docstring says which."""

Raw = Any
"""What a model says of one row: a numpy array, or a str where it writes text."""


@dataclass(frozen=True, slots=True)
class Query:
    """The base of what a task asks of an objective."""


@dataclass(frozen=True, slots=True)
class Text(Query):
    """One text, or a pair of texts, to be labelled."""

    first: str
    second: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The base of what an objective answers."""


@dataclass(frozen=True, slots=True)
class Probabilities(Answer):
    """A number per label, float64 [labels].

    Probabilities that sum to 1 (single label), independent ones (multi-label), or the predicted number
    itself as [1] (regression).
    """

    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Row:
    """What one pass of the model reads: a whole text, one window of it, or one of several choices.

    `parts` rows belong to one example and follow each other; `part` counts them from 0. `weight` is the row's
    share of its example's loss. `seen` is (tokens read, tokens there) of the whole example. `target` and
    `place` are the objective's own: what training compares with, and where in the example the row lies.
    """

    ids: list[int]
    types: list[int] | None = None
    target: Any = None
    weight: float = 1.0
    part: int = 0
    parts: int = 1
    seen: tuple[int, int] = (0, 0)
    place: Any = None

    @property
    def length(self) -> int:
        """How many positions of a batch the row needs: its tokens."""
        return len(self.ids)


@dataclass(slots=True)
class Batch:
    """Rows as tensors: `inputs` go to the model's forward, `targets` to the loss.

    `terms` is how many terms the loss sums over: the training loop divides by the whole step's terms, so
    that the gradient does not depend on how the step was cut into batches.
    """

    inputs: dict[str, torch.Tensor]
    targets: dict[str, torch.Tensor]
    terms: float
    rows: Sequence[Row]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(
            self,
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            targets={name: tensor.to(device) for name, tensor in self.targets.items()},
        )


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a text one pass reads, and what becomes of the rest.

    `max_length` counts tokens, special ones included. `long`: `window` reads everything in overlapping
    windows (`overlap` tokens shared by neighbours), `truncate` cuts and says so, `error` refuses.
    """

    max_length: int = 512
    long: Literal["window", "truncate", "error"] = "window"
    overlap: int = 0

    def spans(self, tokens: int, special: int) -> list[tuple[int, int]]:
        """The half-open token ranges that cover `tokens` content tokens, `special` more in each window.

        At least one range, also for no tokens at all. Raises DataError under `long: error`, and
        UnsupportedError where a window has no room for content.
        """
        room = self.max_length - special
        if room <= self.overlap:
            raise UnsupportedError(
                f"max_length {self.max_length} leaves no room: {special} special or fixed tokens and an overlap "
                f"of {self.overlap}. Raise model.max_length or lower model.overlap."
            )
        if tokens <= room:
            return [(0, tokens)]
        if self.long == "error":
            raise DataError(
                f"the text has {tokens + special} tokens, the model reads {self.max_length}. "
                "Set model.long to 'window' (read all of it in windows) or 'truncate' (cut it)."
            )
        if self.long == "truncate":
            return [(0, room)]
        starts = range(0, tokens - self.overlap, room - self.overlap)
        return [(start, min(start + room, tokens)) for start in starts]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """How a model is asked. Frozen: every worker and every call may share one.

    Class variables: `head` names transformers' class for it (`SequenceClassification` …), `peft` PEFT's task type
    (None where PEFT has none); `couples_examples` is true where one example's loss depends on its neighbours in
    the batch (in-batch negatives, CoSENT), so the batch cannot be cut; `train_options` names the fields that a
    recipe's `train:` may set.
    """

    head: ClassVar[str]
    peft: ClassVar[str | None]
    couples_examples: ClassVar[bool] = False
    train_options: ClassVar[frozenset[str]] = frozenset()

    window: Window = field(default_factory=Window)

    @property
    def outputs(self) -> int | None:
        """How many outputs the head needs; None where the model's own vocabulary decides."""
        return None

    @abstractmethod
    def encode(self, query: Any, gold: Gold, tok: Tokenizers) -> list[Row]:
        """The only step from text to ids. Pure and thread-safe; a row per window, text or choice.

        `gold` is None when answering.
        """

    def settle(self, golds: Sequence[Gold]) -> Self:
        """The objective with training options that depend on all golds (class weights) worked out."""
        return self

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        """Training only: put rows together anew each epoch (next-token packing); as they are by default."""
        return iter(rows)

    @abstractmethod
    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Rows as one batch. Random masks are drawn here from `rng`, so they are new in each epoch."""

    @abstractmethod
    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and pooling, traceable: exactly what an export exports."""

    @abstractmethod
    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """The SUM of the loss over `batch.terms` terms, never the model's own mean."""

    @abstractmethod
    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """One raw answer per row, computed by `runner`; `call` has the options of this call."""

    @abstractmethod
    def join(self, query: Any, rows: Sequence[Row], raws: Sequence[Raw]) -> Answer:
        """All rows of one example as its answer. No model; decoding comes after joining."""

    def with_training(self, options: Mapping[str, Any]) -> Self:
        """The objective with a recipe's training options; raises UnsupportedError for those it does not know."""
        given = {name: value for name, value in options.items() if value is not None}
        foreign = sorted(set(given) - self.train_options)
        if foreign:
            known = ", ".join(sorted(self.train_options)) or "none"
            raise UnsupportedError(
                f"train.{foreign[0]} does nothing for {type(self).__name__}; leave it out. Its options: {known}"
            )
        return replace(self, **given)


def parts(rows: Sequence[Row]) -> list[Row]:
    """The rows of one example, numbered."""
    return [replace(row, part=index, parts=len(rows)) for index, row in enumerate(rows)]
