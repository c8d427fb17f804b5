"""Checks of an event listener: a plugin's `nlpipe_event`, which hears of a run and must not change it."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nlpipe import events
from nlpipe.events import Event
from nlpipe.testing.cases import Check, CheckFailed, require
from nlpipe.testing.meaning import light_import

SCORES = {"accuracy": 0.5}

EVENTS: tuple[Event, ...] = (
    events.RunStarted(
        task="some_task",
        backbone="tiny",
        family="encoder",
        objective="SequenceLabel",
        steps=2,
        examples=4,
        trainable=10,
        parameters=10,
        padding=0.25,
    ),
    events.RowsNoted(split="train", source="train.jsonl", what="2 tags repaired", count=2, rows=(3, 9)),
    events.RunResumed(step=1, checkpoint="runs/x/checkpoints/1"),
    events.StepDone(
        step=1, steps=2, epoch=0.5, loss=0.7, learning_rate=1e-3, norm=1.0, examples=2, tokens=20, seconds=0.1
    ),
    events.Evaluated(step=1, split="validation", scores=SCORES, best=True),
    events.Saved(step=1, path="runs/x/checkpoints/1", what="checkpoint"),
    events.RunInterrupted(step=1),
    events.RunFailed(step=1, error="RecipeError: the loss is nan"),
    events.RunFinished(steps=2, seconds=1.0, scores=SCORES),
)
"""One of each kind that a run may tell of."""


@dataclass(frozen=True)
class LaterEvent(Event):
    """A kind of event that this version of nlpipe does not have: hooks grow, and listeners are to pass it over."""

    step: int = 0


@dataclass(frozen=True, eq=False)
class ListenerSubject:
    """A listener."""

    listen: Callable[[Event], None]


def imports_lightly(subject: ListenerSubject) -> None:
    """Import the listener's module by itself."""
    light_import(subject.listen.__module__)


def hears_every_event(subject: ListenerSubject) -> None:
    """No event of a run makes it raise, in any order, nor one of a later version."""
    for event in (*EVENTS, *EVENTS[::-1], LaterEvent()):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                subject.listen(event)
        except Exception as error:
            what = type(event).__name__
            raise CheckFailed(f"on {what} it raises {type(error).__name__}: {error}") from error


def prints_nothing(subject: ListenerSubject) -> None:
    """Standard output belongs to what a command prints (`--json` is read by programs): it stays empty."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for event in EVENTS:
            subject.listen(event)
    require(not said.getvalue(), f"it prints {said.getvalue()[:60]!r} to standard output; log it, or write to stderr")


def changes_no_run(subject: ListenerSubject) -> None:
    """A run goes on as if nobody had listened: random numbers and settings of torch are as they were."""
    import random

    import torch

    states = []
    for listen in (None, subject.listen):
        torch.manual_seed(0)
        random.seed(0)
        for event in EVENTS:
            with contextlib.redirect_stdout(io.StringIO()):
                if listen is not None:
                    listen(event)
        states.append((torch.rand(4).tolist(), random.random(), torch.is_grad_enabled(), torch.get_num_threads()))
    require(states[0] == states[1], "after it has listened, random numbers or settings of torch are not what they were")


def _check(run: Callable[[Any], None], look_at: str) -> Check:
    return Check(run.__name__, inspect.getdoc(run) or "", look_at, run, on="alone")


LISTENER_CHECKS: tuple[Check, ...] = (
    _check(imports_lightly, "imports at the top of the module: a tracking library is imported when a run starts."),
    _check(hears_every_event, "the kinds of events that it tells apart: pass over all others."),
    _check(prints_nothing, "print(): use logging, or the error stream."),
    _check(changes_no_run, "seeds, random draws and torch.set_… in the listener."),
)
