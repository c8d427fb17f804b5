"""The training loop: a generator of events over the batch plan.

Knows no task and no family, prints nothing, evaluates by a callable that it is given, and leaves how a model lies on
several processes to `spreading.py`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nlpipe import batching, checkpoint, memory, optimization, spreading, upstream
from nlpipe.adapter import trained
from nlpipe.batching import Step, Turn, derive, rng
from nlpipe.errors import RecipeError, UnsupportedError
from nlpipe.events import Evaluated, Event, RunInterrupted, RunResumed, Saved, StepDone, StoppedEarly
from nlpipe.objectives.base import Batch
from nlpipe.optimizer_state import Taken
from nlpipe.spreading import Learner
from nlpipe.training import Progress, Training

log = logging.getLogger("nlpipe")

_BESIDE = "companion/"  # in a checkpoint, what is no weight: no parameter's name has a slash


def train(training: Training, *, resume: bool = False) -> Iterator[Event]:
    """Train, yielding events; afterwards `training.model` has the best weights, or the last without scores.

    Raises RecipeError where the settings leave nothing to train, where the loss stops being a number, where memory
    does not suffice, and where a checkpoint belongs to another recipe.
    """
    loop = _Loop(training)
    try:
        yield from loop.run(resume)
    finally:
        loop.close()


def require_same_recipe(training: Training) -> None:
    """Raise RecipeError where the newest checkpoint belongs to another recipe; nothing is written before."""
    found = checkpoint.latest(training.checkpoints, read=False).checkpoint
    if found is not None:
        _same_recipe(found, training)


def _same_recipe(found: checkpoint.Checkpoint, training: Training) -> None:
    problems = checkpoint.differences(found.state["identity"], dict(training.identity))
    if problems:
        raise RecipeError(
            f"{found.path} was written by another recipe; run that one, or choose a new output.dir",
            problems,
        )


class _Loop:
    def __init__(self, training: Training) -> None:
        self.t = training
        settings = training.settings
        self.steps = training.steps
        self._require()
        if settings.gradient_checkpointing:
            upstream.checkpoint_activations(training.model)
        if settings.compile:
            training.model.compile(dynamic=True)  # in place: no name of a weight changes
        learner = Learner(training.model, training.objective, training.world, narrow=settings.precision == "bfloat16")
        self.spread = spreading.over(learner, training.device, self._optimizer, settings.clip)
        self.accelerator = self.spread.accelerator
        self.progress = Progress()
        self.saved: int | None = None  # the step of the last checkpoint
        self.epoch, self.examples = 0, training.first

    def _optimizer(self, weights: Mapping[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
        settings = self.t.settings
        return optimization.optimizer(
            settings.optimizer,
            weights,
            rate=settings.learning_rate,
            decay=settings.weight_decay,
            shares=self.t.companion.rates,
        )

    def _require(self) -> None:
        if not trained(self.t.model):
            raise RecipeError("nothing would be trained: every weight is frozen. Freeze less, or add an `adapter`")
        warmup = self.t.settings.warmup
        if warmup >= 1 and warmup > self.steps:
            raise RecipeError(
                f"train.warmup is {warmup:g} steps, and the training has {self.steps}: the learning rate would never "
                "reach its peak. Say a share such as 0.06, or train for longer"
            )

    def close(self) -> None:
        """Leave the model as any other: nothing compiled."""
        self.t.model._compiled_call_impl = None  # torch has no way back of its own

    def run(self, resume: bool) -> Iterator[Event]:
        if resume:
            yield from self._resume()
        self.spread.learner.train()
        while not self._finished():
            memory.free(self.accelerator.device)
            for turn in self._turns():
                done = self._step(turn)
                if done is None:  # it did not fit into memory; the plan is made anew, and cut finer
                    break
                yield done
                yield from self._look(turn)
                if self._finished():
                    break
                if self.t.world.any(self.t.stop()):
                    if self.saved != self.progress.step:
                        yield self._save()
                    yield RunInterrupted(self.progress.step)
                    return
        self._take_best()
        self.spread.settle()

    def _turns(self) -> Iterator[Turn]:
        """The steps that are left, as they are cut for memory now."""
        world = self.accelerator.num_processes
        limit: int | None = batching.MICRO_TOKENS
        if self.t.objective.couples_examples or (self.accelerator.device.type == "cuda" and world == 1):
            limit = None
        return self.t.turns(start=self.progress.step, world=world, micro_tokens=self.progress.micro_tokens or limit)

    def _finished(self) -> bool:
        return self.progress.step >= self.steps or self._stalled()

    def _stalled(self) -> bool:
        settings, metric = self.t.settings, self.t.metric
        if settings.patience is None or metric is None:
            return False
        return self.progress.waited(metric, settings.min_delta) >= settings.patience

    def _step(self, turn: Turn) -> StepDone | None:
        """One optimiser step; None where it has to be tried again in smaller pieces."""
        start, number, step = time.perf_counter(), self.progress.step, turn.step
        if turn.epoch != self.epoch:
            self.epoch, self.examples = turn.epoch, self.t.arranged(turn.epoch)
        settings = self.t.settings
        rate = settings.learning_rate * optimization.factor(number, self.steps, settings.warmup, settings.schedule)
        for group in self.spread.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        try:
            loss = self._gradient(step)
        except (RuntimeError, MemoryError) as error:
            self._cut_finer(step, error)
            return None
        norm = self._move(loss)
        self.progress.step += 1
        return StepDone(
            step=self.progress.step,
            steps=self.steps,
            epoch=float(turn.after),
            loss=loss,
            learning_rate=rate,
            norm=norm,
            examples=len(step.examples),
            tokens=sum(row.length for index in step.examples for row in self.examples[index]),
            seconds=time.perf_counter() - start,
        )

    def _gradient(self, step: Step) -> float:
        """The mean loss, its gradient left in the weights: of the sum of all losses over the number of all terms."""
        number, rank, world = self.progress.step, self.accelerator.process_index, self.accelerator.num_processes
        micros = step.ranks[rank]
        batches = [self._batch(micro or step.examples[:1], at) for at, micro in enumerate(micros)]
        whole, counts = self._whole(step)
        # A step of texts without anything to learn from (no words) has no term, and a loss and gradient of 0.
        terms = self._total(sum(batch.terms for micro, batch in zip(micros, batches, strict=True) if micro))
        terms = (terms if whole is None else whole.terms) or 1.0
        alone, total, failed = self._may_fail(step), 0.0, None
        for at, (micro, batch) in enumerate(zip(micros, batches, strict=True)):
            self._seed(derive(self.t.settings.seed, "dropout", number, rank, at))
            last, counted = at == len(batches) - 1, bool(micro) or whole is not None
            try:
                with self.spread.passing(last=last and not alone):
                    # Averaged over ranks, hence times their number: the sum over all, over all terms. A row that does
                    # not count is computed so that no other process waits for this one.
                    loss = self._learn(batch, (whole, counts), counted * world / terms, last=last)
            except (RuntimeError, MemoryError) as error:
                if not alone or not memory.ran_out(error):
                    raise
                failed = error
                break
            total += loss if counted else 0.0
        if alone:
            if self.t.world.any(failed is not None):
                raise memory.OutTogether("one of the processes ran out of memory") from failed
            self.spread.average()
        self.progress.tried = max(self.progress.tried, self._largest(step))
        return (total if whole is not None else self._total(total)) / terms

    def _seed(self, seed: int) -> None:
        """What dropout draws. On a processor without torch.manual_seed, which also puts the seed down for GPUs that may
        come, with a copy of the stack for each kind of them: 0.9 ms, a tenth of a tiny model's step."""
        if self.accelerator.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _learn(self, batch: Batch, together: tuple[Batch | None, Sequence[int]], scale: float, *, last: bool) -> float:
        """Add `scale` times the loss of a micro-batch to what the gradient is of; its loss."""
        loss: torch.Tensor = self.spread.learner(batch, *together)
        penalty = self.t.companion.penalty() if last else None
        self.spread.backward(loss * scale if penalty is None else loss * scale + penalty)
        return float(loss.detach())

    def _may_fail(self, step: Step) -> bool:
        """Whether a step with more at once than any before is computed by each process alone: one may not have room."""
        several = self.t.world.size > 1 and self.spread.whole_passes and not self.t.objective.couples_examples
        return several and self._largest(step) > self.progress.tried

    def _largest(self, step: Step) -> int:
        """The most padded tokens that some process computes at once."""
        lengths, parts = self.t.lengths, self.t.parts
        return max(batching.cost(lengths, parts, micro) for rank in step.ranks for micro in rank if micro)

    def _move(self, loss: float) -> float:
        """Clip the gradient, and have the optimizer move the weights by it; its norm before that."""
        self._check("loss", loss)
        size = self.spread.clipped()
        self._check("gradient's norm", size)
        try:
            self.spread.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
            raise self._too_large("the optimizer's state does not fit") from error
        self.t.companion.stepped(self.progress.step + 1)
        self.spread.optimizer.zero_grad()
        return size

    def _whole(self, step: Step) -> tuple[Batch | None, Sequence[int]]:
        """Where examples are compared across processes, all rows of the step as targets; how many each process has."""
        if not self.t.objective.couples_examples or self.t.world.size == 1:
            return None, ()
        counts = [sum(len(self.examples[index]) for micro in rank for index in micro) for rank in step.ranks]
        return replace(self._batch(step.examples, 0), inputs={}), counts

    def _batch(self, micro: tuple[int, ...], at: int) -> Batch:
        """A micro-batch as tensors."""
        rows = [row for index in micro for row in self.examples[index]]
        draw = rng(self.t.settings.seed, "collate", self.progress.step, self.accelerator.process_index, at)
        return self.t.objective.collate(rows, self.t.tok, answering=False, rng=draw).to(self.accelerator.device)

    def _total(self, value: float) -> float:
        """The sum over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor(value, device=self.accelerator.device, dtype=torch.float64)
        return float(self.accelerator.reduce(tensor, "sum"))

    def _check(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise RecipeError(
                f"the {what} is {value} at step {self.progress.step + 1} of {self.steps}: training cannot go on. Lower "
                f"train.learning_rate (now {self.t.settings.learning_rate:g}), raise train.warmup, set train.clip: 1.0"
                + ("" if self.t.settings.precision == "float32" else ", or set train.precision: float32")
            )

    def _cut_finer(self, step: Step, error: Exception) -> None:
        """After a step that did not fit: at most half as many tokens at once. Raises where that is not possible."""
        if self.t.settings.compile and optimization.untranslatable(error):
            reason = str(error).strip().splitlines()[0]
            raise UnsupportedError(f"train.compile: torch cannot translate this model here ({reason}); leave it out")
        if not memory.ran_out(error):
            raise error
        if self.t.world.size > 1 and not isinstance(
            error, memory.OutTogether
        ):  # the others wait in the middle of this step
            raise self._too_large(
                f"process {self.t.world.rank} of {self.t.world.size} ran out of it at {self._largest(step)} tokens at "
                "once; lower train.micro_batch, for all processes alike"
            ) from error
        self.spread.optimizer.zero_grad()
        t = self.t
        couples = type(t.objective).__name__ if t.objective.couples_examples else None
        try:
            limit = memory.finer(
                step,
                t.lengths,
                t.parts,
                wanted=t.settings.micro_batch,
                couples=couples,
            )
        except UnsupportedError as why:
            raise self._too_large(str(why)) from error
        self.progress.micro_tokens = limit
        if not self.t.world.first:
            return
        log.warning(
            "step %d does not fit into memory; going on with %d tokens at once (train.micro_batch: auto)",
            self.progress.step + 1,
            limit,
        )

    def _too_large(self, what: str) -> RecipeError:
        settings, every = self.t.settings, sum(p.numel() for p in self.t.model.parameters())
        advice = memory.advice(
            adapted=2 * sum(weight.numel() for weight in trained(self.t.model).values()) < every,
            checkpointing=settings.gradient_checkpointing,
            adafactor=settings.optimizer == "adafactor",
            half=settings.precision == "bfloat16" or self.accelerator.device.type == "cpu",
        )
        return RecipeError(f"out of memory at step {self.progress.step + 1} of {self.steps}: {what}. {advice}")

    def _look(self, turn: Turn) -> Iterator[Event]:
        """After a step: the validation rows and a checkpoint, where they are due."""
        settings, step = self.t.settings, self.progress.step
        last, best = step >= self.steps, False
        if self.t.evaluate is not None and (last or settings.evaluate_every.due(step, turn)):
            seen = self._evaluate()
            best = seen.best
            yield seen
        stalled = self._stalled()
        if last or best or stalled or settings.checkpoint_every.due(step, turn):
            yield self._save()
        if stalled and not last:
            assert self.t.metric is not None
            yield StoppedEarly(step, self.t.metric.name, settings.patience or 0)

    def _evaluate(self) -> Evaluated:
        assert self.t.evaluate is not None
        assert self.t.metric is not None
        stance = "force_eager" if self.t.settings.compile else "default"
        with self.spread.whole() as model, torch.compiler.set_stance(stance):
            model.eval()
            scores = dict(self.t.evaluate(model))
        self.spread.learner.train()
        best = self.progress.evaluated(scores, self.t.metric)
        return Evaluated(self.progress.step, "validation", scores, best)

    def _save(self) -> Event:
        tensors, optimizer = self.spread.gathered(), self.spread.state()
        path = self.t.world.once(lambda: self._write(tensors, optimizer))
        self.saved = self.progress.step
        return Saved(self.progress.step, str(path), "checkpoint")

    def _write(self, tensors: Mapping[str, torch.Tensor], optimizer: Taken) -> Path:
        self.t.flush()
        return checkpoint.save(
            self.t.checkpoints,
            self.progress.step,
            tensors={**tensors, **{_BESIDE + name: value for name, value in self.t.companion.state().items()}},
            optimizer=optimizer,
            state={"progress": self.progress.to_dict(), "identity": dict(self.t.identity)},
            keep=self._kept(),
            last=self.t.settings.keep,
        )

    def _kept(self) -> tuple[int, ...]:
        """The checkpoints that are kept whatever their age."""
        return () if self.progress.best is None else (self.progress.best,)

    def _resume(self) -> Iterator[Event]:
        world = self.t.world
        found, skipped = world.once(lambda: checkpoint.latest(self.t.checkpoints))
        for path, reason in skipped:
            if world.first:
                log.warning("passing over the checkpoint %s: %s", path, reason)
        if found is None:
            yield RunResumed(0, None)
            return
        _same_recipe(found, self.t)
        self._put(found)
        state = self.spread.cut(world.once(found.optimizer))
        found.restore_optimizer(self.spread.plain, self.spread.names, state)
        self.progress = Progress.of(found.state["progress"])
        # The run may have been killed between writing it and removing what it made superfluous.
        checkpoint.rotate(self.t.checkpoints, keep=self._kept(), last=self.t.settings.keep, good=found.step)
        yield RunResumed(self.progress.step, str(found.path))

    def _take_best(self) -> None:
        if self.progress.best is not None and self.progress.best != self.progress.step:
            best = self.progress.best
            self._put(self.t.world.once(lambda: checkpoint.at(self.t.checkpoints, best)))

    def _put(self, found: checkpoint.Checkpoint) -> None:
        tensors = self.t.world.once(found.weights)
        beside = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_BESIDE)}
        self.t.companion.restore({name.removeprefix(_BESIDE): value for name, value in beside.items()})
        self.spread.put(tensors)
