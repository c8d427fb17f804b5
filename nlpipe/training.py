"""What a training is given, and what it remembers: settings, rows, and how far it is. Knows no loop and no file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from nlpipe import batching
from nlpipe.adapter_training import Companion
from nlpipe.batching import Turn, rng
from nlpipe.errors import PluginError
from nlpipe.metrics import Metric
from nlpipe.objectives.base import Objective, Row
from nlpipe.tokens import Tokenizers
from nlpipe.world import World

Evaluate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Every:
    """How far apart two evaluations or two checkpoints are: steps, or epochs and parts of them."""

    steps: int | None = None
    epochs: Fraction = Fraction(1)

    @classmethod
    def of(cls, wanted: int | str | None) -> Every:
        """As a recipe says it: 500 steps, "0.5 epochs", or None, which is one epoch."""
        if isinstance(wanted, str):
            return cls(None, Fraction(wanted.split()[0]))
        return cls(wanted)

    def due(self, step: int, turn: Turn) -> bool:
        """Whether one is due after step number `step` (from 1)."""
        if self.steps is not None:
            return step % self.steps == 0
        return turn.after // self.epochs > turn.before // self.epochs


@dataclass(frozen=True, slots=True)
class Settings:
    """What a recipe's `train:` says, resolved. `warmup` is a share of the steps below 1, else a number of them.

    `patience` is how many evaluations without a score better by `min_delta` end the training, None for never.
    """

    epochs: float
    steps: int | None
    batch_size: int | None
    tokens_per_batch: int | None
    micro_batch: int | Literal["auto"]
    learning_rate: float
    warmup: float
    schedule: Literal["linear", "cosine", "constant", "inverse_sqrt"]
    weight_decay: float
    clip: float | None
    seed: int
    precision: Literal["float32", "bfloat16"]
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    evaluate_every: Every = Every()
    checkpoint_every: Every = Every()
    keep: int = 2
    patience: int | None = None
    min_delta: float = 0.0
    gradient_checkpointing: bool = False
    compile: bool = False


@dataclass(slots=True)
class Progress:
    """What a checkpoint remembers beside weights and optimizer.

    `micro_tokens` is what was found to fit into memory, `tried` the most padded tokens that were computed at once: the
    same cut, and the same way of adding up over processes, is the same rounding after a restart.
    """

    step: int = 0
    best: int | None = None  # the step of the best scores so far
    best_score: float = float("nan")
    history: list[dict[str, Any]] = field(default_factory=list)
    micro_tokens: int | None = None
    tried: int = 0

    def evaluated(self, scores: Mapping[str, float], metric: Metric) -> bool:
        """Note the scores of the weights as they stand; whether they are the best so far."""
        score = scores[metric.name]
        best = self.best is None or metric.better(score, self.best_score)
        if best:
            self.best, self.best_score = self.step, score
        self.history.append({"step": self.step, "scores": dict(scores)})
        return best

    def waited(self, metric: Metric, delta: float) -> int:
        """How many evaluations it is since a score was better than all before it by more than `delta`."""
        best, since = math.nan, 0
        for entry in self.history:
            score = entry["scores"][metric.name]
            since += 1
            if metric.better(score, best + (delta if metric.direction == "maximize" else -delta)):
                best, since = score, 0
        return since

    def to_dict(self) -> dict[str, Any]:
        """As JSON; nan is None there."""
        score = None if math.isnan(self.best_score) else self.best_score
        return {
            "step": self.step,
            "best": self.best,
            "best_score": score,
            "history": self.history,
            "micro_tokens": self.micro_tokens,
            "tried": self.tried,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """From `to_dict`."""
        score = float("nan") if state["best_score"] is None else state["best_score"]
        return cls(
            state["step"], state["best"], score, list(state["history"]), state["micro_tokens"], state.get("tried", 0)
        )


@dataclass(frozen=True)
class Training:
    """All that one training needs. `examples` has each example's rows, as they were encoded.

    `evaluate` gives the scores of the model as it stands, of which `metric` decides the best; `identity` is what
    a checkpoint must agree with to be resumed from; `stop` is asked after every step, and `flush` called before a
    checkpoint is written, for what has to reach the disk no later. `companion` is what an adapter asks of the loop
    beside gradients, `world` the processes that train together.
    """

    model: nn.Module
    objective: Objective
    examples: Sequence[list[Row]]
    tok: Tokenizers
    settings: Settings
    device: torch.device
    checkpoints: Path
    identity: Mapping[str, Any]
    evaluate: Evaluate | None = None
    metric: Metric | None = None
    stop: Callable[[], bool] = lambda: False
    flush: Callable[[], None] = lambda: None
    companion: Companion = field(default_factory=Companion)
    world: World = field(default_factory=World)

    def arranged(self, epoch: int) -> list[list[Row]]:
        """The examples of an epoch (from 0), as the objective arranges their rows: a function of seed and epoch.

        Raises PluginError where their sizes are not those of the first epoch, by which all steps are planned.
        """
        rows = (row for rows in self.examples for row in rows)
        made = _grouped(self.objective.arrange(rows, rng(self.settings.seed, "arrange", epoch)))
        if epoch and (_lengths(made), [len(rows) for rows in made]) != (self.lengths, self.parts):
            raise PluginError(
                f"{type(self.objective).__name__}.arrange gave examples of other sizes in epoch {epoch + 1} than in "
                "the first; it may choose what stands together, but not how many rows there are and how long each is"
            )
        return made

    @cached_property
    def first(self) -> list[list[Row]]:
        """The examples of the first epoch."""
        return self.arranged(0)

    @cached_property
    def lengths(self) -> list[int]:
        """The longest row of each example, in every epoch."""
        return _lengths(self.first)

    @cached_property
    def parts(self) -> list[int]:
        """How many rows each example has, in every epoch."""
        return [len(rows) for rows in self.first]

    @property
    def sizes(self) -> dict[str, Any]:
        """What the batch plan is made of, but for ranks and micro-batches."""
        s = self.settings
        return {
            "seed": s.seed,
            "batch_size": s.batch_size,
            "tokens_per_batch": s.tokens_per_batch,
        }

    @property
    def steps(self) -> int:
        """How many optimiser steps there will be."""
        if self.settings.steps is not None:
            return self.settings.steps
        return batching.count_steps(self.lengths, self.parts, epochs=self.settings.epochs, **self.sizes)

    def turns(self, *, start: int, world: int = 1, micro_tokens: int | None) -> Iterator[Turn]:
        """The steps from number `start` (from 0) on, each cut for `world` ranks and into what fits into memory."""
        settings = self.settings
        return batching.training_steps(
            self.lengths,
            self.parts,
            epochs=settings.steps or settings.epochs,  # an epoch has a step at least
            start=start,
            world=world,
            micro_batch=settings.micro_batch,
            micro_tokens=micro_tokens,
            **self.sizes,
        )

    def padding(self) -> float:
        """The share of the first epoch's tokens that is padding."""
        plan = batching.plan(self.lengths, self.parts, epoch=0, micro_batch=self.settings.micro_batch, **self.sizes)
        return batching.padding(self.lengths, self.parts, plan)


def _lengths(examples: Sequence[list[Row]]) -> list[int]:
    return [max(row.length for row in rows) for rows in examples]


def _grouped(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each example together: a new one begins at each row that is the first of its parts."""
    found: list[list[Row]] = []
    for row in rows:
        if row.part == 0 or not found:
            found.append([])
        found[-1].append(row)
    return found
