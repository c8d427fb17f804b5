"""The training loop: a generator of events over the batch plan. The one door to Accelerate.

Knows no task and no family, prints nothing, and evaluates by a callable that it is given.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from nlpipe import batching, checkpoint
from nlpipe.adapter import trained
from nlpipe.adapter_training import Companion
from nlpipe.batching import Step, derive, rng
from nlpipe.errors import PluginError, RecipeError, UnsupportedError
from nlpipe.events import Evaluated, Event, RunInterrupted, RunResumed, Saved, StepDone
from nlpipe.metrics import Metric
from nlpipe.objectives.base import Batch, Objective, Row
from nlpipe.optimizer_state import parameter_names
from nlpipe.tokens import Tokenizers

log = logging.getLogger("nlpipe")

Evaluate = Callable[[nn.Module], Mapping[str, float]]

_BESIDE = "companion/"  # in a checkpoint, what is no weight: no parameter's name has a slash


@dataclass(frozen=True, slots=True)
class Settings:
    """What a recipe's `train:` says, resolved. `warmup` is a share of the steps below 1, else a number of them."""

    epochs: float
    steps: int | None
    batch_size: int | None
    tokens_per_batch: int | None
    micro_batch: int | Literal["auto"]
    learning_rate: float
    warmup: float
    schedule: Literal["linear", "cosine", "constant"]
    weight_decay: float
    clip: float | None
    seed: int
    precision: Literal["float32", "bfloat16"]
    evaluate_every: int | None
    checkpoint_every: int | None


@dataclass(slots=True)
class Progress:
    """What a checkpoint remembers beside weights and optimizer."""

    step: int = 0
    best: int | None = None  # the step of the best scores so far
    best_score: float = float("nan")
    history: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; nan is None there."""
        score = None if math.isnan(self.best_score) else self.best_score
        return {"step": self.step, "best": self.best, "best_score": score, "history": self.history}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """From `to_dict`."""
        score = float("nan") if state["best_score"] is None else state["best_score"]
        return cls(state["step"], state["best"], score, list(state["history"]))


@dataclass(frozen=True)
class Training:
    """All that one training needs. `examples` has each example's rows, as they were encoded.

    `evaluate` gives the scores of the model as it stands, of which `metric` decides the best; `identity` is what
    a checkpoint must agree with to be resumed from; `stop` is asked after every step. `companion` is what an adapter
    asks of the loop beside gradients.
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
    companion: Companion = field(default_factory=Companion)

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

    def padding(self) -> float:
        """The share of the first epoch's tokens that is padding."""
        plan = batching.plan(self.lengths, self.parts, epoch=0, micro_batch=self.settings.micro_batch, **self.sizes)
        return batching.padding(self.lengths, self.parts, plan)


def train(training: Training, *, resume: bool = False) -> Iterator[Event]:
    """Train, yielding events; afterwards `training.model` has the best weights, or the last without scores.

    Raises RecipeError where the loss stops being a number or a checkpoint belongs to another recipe.
    """
    AcceleratorState._reset_state(True)  # a process-wide singleton: an earlier run's precision would stay
    loop = _Loop(training)
    yield from loop.run(resume)


class _Loop:
    def __init__(self, training: Training) -> None:
        self.t = training
        settings = training.settings
        self.accelerator = Accelerator(
            cpu=training.device.type == "cpu",
            mixed_precision="bf16" if settings.precision == "bfloat16" else "no",
        )
        if training.objective.couples_examples and self.accelerator.num_processes > 1:
            raise UnsupportedError(
                f"{type(training.objective).__name__} compares all examples of a batch with each other here, and that "
                "is not built for several processes yet: train in one, or with a loss that does not compare examples"
            )
        self.weights = trained(training.model)
        self.plain = torch.optim.AdamW(
            _groups(self.weights, settings.weight_decay, training.companion.rates),
            lr=settings.learning_rate,
            fused=True,
        )
        self.names = parameter_names(self.plain, self.weights.items())
        self.model: nn.Module
        self.model, self.optimizer = self.accelerator.prepare(training.model, self.plain)
        self.steps = training.steps
        self.progress = Progress()
        self.examples = training.first

    def run(self, resume: bool) -> Iterator[Event]:
        if resume:
            yield from self._resume()
        settings, t = self.t.settings, self.t
        plan = batching.training_steps(
            t.lengths,
            t.parts,
            epochs=settings.steps or settings.epochs,  # an epoch has a step at least
            start=self.progress.step,
            world=self.accelerator.num_processes,
            micro_batch=settings.micro_batch,
            micro_tokens=None if t.objective.couples_examples else batching.MICRO_TOKENS,
            **t.sizes,
        )
        epoch = None
        for now, step in plan:
            if self.progress.step >= self.steps:
                break
            if epoch is not None and now != epoch:
                yield from self._milestone(last=False)
            if now != epoch:
                epoch, self.examples = now, t.arranged(now) if now else t.first
            yield self._step(now, step)
            if self._due(settings.evaluate_every):
                yield from self._evaluate()
            if self._due(settings.checkpoint_every) or self._due(settings.evaluate_every):
                yield self._save()
            if t.stop():
                yield self._save()
                yield RunInterrupted(self.progress.step)
                return
        yield from self._milestone(last=True)
        self._take_best()

    def _step(self, epoch: int, step: Step) -> StepDone:
        """One optimiser step: the gradient of the sum of all losses over the number of all terms."""
        start, number = time.perf_counter(), self.progress.step
        settings, accelerator = self.t.settings, self.accelerator
        self.model.train()
        rate = settings.learning_rate * factor(number, self.steps, settings.warmup, settings.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        batches = [self._batch(micro, number, at) for at, micro in enumerate(step.ranks[accelerator.process_index])]
        # A step of texts without anything to learn from (no words) has no term, and a loss and gradient of 0.
        terms = self._total(sum(batch.terms for batch in batches)) or 1.0
        total = 0.0
        for at, batch in enumerate(batches):
            torch.manual_seed(derive(settings.seed, "dropout", number, accelerator.process_index, at))
            last = at == len(batches) - 1
            with torch.enable_grad() if last else accelerator.no_sync(self.model), accelerator.autocast():
                loss = self.t.objective.loss(self.t.objective.compute(self.model, batch), batch)
                # Averaged over ranks by DDP, hence times their number: the sum over all, over all terms.
                share = loss * (accelerator.num_processes / terms)
                penalty = self.t.companion.penalty() if last else None
                accelerator.backward(share if penalty is None else share + penalty)
            total += float(loss.detach())
        total = self._total(total)
        self._check(total / terms, number)
        norm = accelerator.clip_grad_norm_(self.weights.values(), settings.clip or math.inf)
        self.optimizer.step()
        self.t.companion.stepped(number + 1)
        self.optimizer.zero_grad()
        self.progress.step += 1
        return StepDone(
            step=self.progress.step,
            steps=self.steps,
            epoch=epoch,
            loss=total / terms,
            learning_rate=rate,
            norm=float(norm) if norm is not None else 0.0,
            examples=len(step.examples),
            tokens=sum(row.length for index in step.examples for row in self.examples[index]),
            seconds=time.perf_counter() - start,
        )

    def _batch(self, micro: tuple[int, ...], step: int, at: int) -> Batch:
        """A micro-batch as tensors; a rank that has none runs a row whose loss weighs nothing."""
        rows = [row for index in micro for row in self.examples[index]]
        draw = rng(self.t.settings.seed, "collate", step, self.accelerator.process_index, at)
        return self.t.objective.collate(rows, self.t.tok, answering=False, rng=draw).to(self.accelerator.device)

    def _total(self, value: float) -> float:
        """The sum over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor(value, device=self.accelerator.device, dtype=torch.float64)
        return float(self.accelerator.reduce(tensor, "sum"))

    def _check(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise RecipeError(
                f"the loss is {loss} at step {step + 1} of {self.steps}: training cannot go on. Lower "
                f"train.learning_rate (now {self.t.settings.learning_rate:g}), raise train.warmup, set train.clip: 1.0"
                + ("" if self.t.settings.precision == "float32" else ", or set train.precision: float32")
            )

    def _due(self, every: int | None) -> bool:
        return every is not None and self.progress.step % every == 0

    def _milestone(self, *, last: bool) -> Iterator[Event]:
        """The end of an epoch, and of the training."""
        settings = self.t.settings
        evaluated = self.progress.history and self.progress.history[-1]["step"] == self.progress.step
        if not evaluated and (last or settings.evaluate_every is None):
            yield from self._evaluate()
            yield self._save()
        elif last or settings.checkpoint_every is None:
            yield self._save()

    def _evaluate(self) -> Iterator[Event]:
        if self.t.evaluate is None or self.t.metric is None:
            return
        self.model.eval()
        scores = dict(self.t.evaluate(self.accelerator.unwrap_model(self.model)))
        score = scores[self.t.metric.name]
        best = self.progress.best is None or self.t.metric.better(score, self.progress.best_score)
        if best:
            self.progress.best, self.progress.best_score = self.progress.step, score
        self.progress.history.append({"step": self.progress.step, "scores": scores})
        yield Evaluated(self.progress.step, "validation", scores, best)

    def _save(self) -> Event:
        keep = () if self.progress.best is None else (self.progress.best,)
        path = checkpoint.save(
            self.t.checkpoints,
            self.progress.step,
            tensors={**self.weights, **{_BESIDE + name: value for name, value in self.t.companion.state().items()}},
            optimizer=self.plain,
            names=self.names,
            state={"progress": self.progress.to_dict(), "identity": dict(self.t.identity)},
            keep=keep,
        )
        return Saved(self.progress.step, str(path), "checkpoint")

    def _resume(self) -> Iterator[Event]:
        found, skipped = checkpoint.latest(self.t.checkpoints)
        for path, reason in skipped:
            log.warning("passing over the checkpoint %s: %s", path, reason)
        if found is None:
            return
        problems = checkpoint.differences(found.state["identity"], dict(self.t.identity))
        if problems:
            raise RecipeError(
                f"{found.path} was written by another recipe; run that one, or choose a new output.dir",
                problems,
            )
        self._put(found)
        found.restore_optimizer(self.plain, self.names)
        self.progress = Progress.of(found.state["progress"])
        yield RunResumed(self.progress.step, str(found.path))

    def _take_best(self) -> None:
        if self.progress.best is not None and self.progress.best != self.progress.step:
            self._put(checkpoint.at(self.t.checkpoints, self.progress.best))

    def _put(self, found: checkpoint.Checkpoint) -> None:
        tensors = found.weights()
        beside = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_BESIDE)}
        self.t.companion.restore({name.removeprefix(_BESIDE): value for name, value in beside.items()})
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.weights[name].copy_(tensor)


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


def factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The learning rate's share of its peak at `step` (from 0): a linear rise, then the schedule down to 0."""
    rise = warmup * steps if warmup < 1 else warmup
    if step < rise:
        return (step + 1) / (rise + 1)
    share = (step - rise) / max(1, steps - rise)
    if schedule == "linear":
        return max(0.0, 1 - share)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return 1.0


def _groups(weights: Mapping[str, nn.Parameter], decay: float, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Weight decay for matrices alone: on biases and norms it only pulls towards zero (as BERT was trained).

    `shares` are multiples of the learning rate by parameter name, where they are not 1.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, weight in weights.items():
        matrix, share = weight.ndim > 1, shares.get(name, 1.0)
        group = {"params": [], "weight_decay": decay if matrix else 0.0, "share": share}
        groups.setdefault((matrix, share), group)["params"].append(weight)
    return list(groups.values())
