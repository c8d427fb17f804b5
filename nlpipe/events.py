"""What happens in a run, in order. The training loop yields these; printing and tracking listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

NAMED = 5  # rows of a note that are named by their numbers; all are counted


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; `to_dict` is its line in `events.jsonl`."""

    def to_dict(self) -> dict[str, Any]:
        """The event's fields as JSON values, with its `event` name first."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """Before the first step: what will be trained on what, and how much."""

    task: str
    backbone: str
    family: str
    objective: str
    steps: int
    examples: int
    trainable: int  # weights that receive a gradient
    parameters: int  # all weights
    padding: float  # share of the tokens in the first epoch's batches that is padding, 0..1


@dataclass(frozen=True, slots=True)
class RowsNoted(Event):
    """Rows of a split that are used, but not as they came, or not used: repaired, widened, left out.

    `count` is how many rows `what` is about (0: the set as a whole), `rows` the first of their numbers in `source`.
    """

    split: str
    source: str
    what: str
    count: int = 0
    rows: tuple[int, ...] = ()

    @classmethod
    def of(cls, split: str, source: str, what: str, rows: Sequence[int]) -> RowsNoted:
        """What is to be told of these rows, of which the first are named."""
        return cls(split, source, what, len(rows), tuple(rows[:NAMED]))

    @property
    def sentence(self) -> str:
        """All of it in a line, as it is logged."""
        more = f" and {self.count - len(self.rows):,} more" if self.count > len(self.rows) else ""
        numbers = ", ".join(map(str, self.rows))
        where = f" (row{'s' if self.count > 1 else ''} {numbers}{more})" if self.rows else ""
        return f"{self.source} ({self.split}): {self.what}{where}"


@dataclass(frozen=True, slots=True)
class RunResumed(Event):
    """The run goes on after `step` from a checkpoint; from its start, where there was none yet."""

    step: int
    checkpoint: str | None


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """One optimiser step. `loss` is the mean over the step's terms, `norm` the gradient's before clipping.

    `epoch` is how many epochs are done, with the part of the one at hand.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    norm: float
    examples: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """Scores on a split after `step`; `best` says whether these are the best weights so far."""

    step: int
    split: str
    scores: Mapping[str, float] = field(default_factory=dict)
    best: bool = False


@dataclass(frozen=True, slots=True)
class Saved(Event):
    """A checkpoint or the model is complete on disk."""

    step: int
    path: str
    what: str  # "checkpoint" or "model"


@dataclass(frozen=True, slots=True)
class StoppedEarly(Event):
    """The training ends before its last step: `patience` evaluations brought no better score."""

    step: int
    score: str
    patience: int


@dataclass(frozen=True, slots=True)
class RunInterrupted(Event):
    """Ctrl-C or SIGTERM; the run can be resumed from `step`."""

    step: int


@dataclass(frozen=True, slots=True)
class RunFailed(Event):
    """The run ended with an error."""

    step: int
    error: str


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The model is saved, checked and measured."""

    steps: int
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialStarted(Event):
    """One of many runs begins, number `trial` (from 0) of `trials` in this round of the sweep."""

    trial: int
    trials: int
    round: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrialFinished(Event):
    """One of many runs is over. `score` decides between trials; of one that failed `error` says why."""

    trial: int
    status: str  # "finished" or "failed"
    score: float | None
    seconds: float
    error: str | None = None
