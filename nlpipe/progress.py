"""A run's events as a person sees them: bars on a terminal, a few plain lines elsewhere.

Listens; decides nothing.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlpipe.events import (
    Evaluated,
    Event,
    RunFinished,
    RunInterrupted,
    RunResumed,
    RunStarted,
    Saved,
    StepDone,
    StoppedEarly,
    TrialFinished,
    TrialStarted,
)

# Seconds between two plain lines: often enough to see life, seldom enough for a log.
PLAIN_EVERY = 10.0
# Weight of the past in the shown loss: single batches jump too much to be read.
SMOOTHING = 0.9


class Watch:
    """Shows a run on `console`, which should write to the standard error stream."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._loss: float | None = None
        self._shown = time.monotonic()
        self._tokens, self._seconds = 0, 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case RunStarted():
                self._started(event)
            case StepDone():
                self._stepped(event)
            case Evaluated():
                scores = "  ".join(f"{name} {value:.4f}" for name, value in event.scores.items())
                self._say(f"step {event.step}: {event.split} {scores}{'  (best so far)' if event.best else ''}")
            case RunResumed():
                where = f"after step {event.step} from {event.checkpoint}" if event.checkpoint else "from the start"
                self._say(f"resumed {where}" + ("" if event.checkpoint else ": there is no checkpoint yet"))
            case StoppedEarly():
                self._say(f"stopped after step {event.step}: no better {event.score} in {event.patience} evaluations")
            case Saved() if event.what == "model":
                self._close()
                self._say(f"saved {event.path}")
            case RunInterrupted():
                self._close()
                self._say(f"interrupted after step {event.step}")
            case TrialStarted():
                settings = "  ".join(f"{key} {value}" for key, value in event.settings.items())
                again = f", round {event.round + 1}" if event.round else ""
                self._say(f"── {event.trial + 1} of {event.trials}{again}: {settings}")
            case TrialFinished(status="failed"):
                self._close()
                self._say(f"failed: {event.error}")
            case RunFinished():
                self._say(f"finished in {_clock(event.seconds)}")
            case _:
                pass

    def close(self) -> None:
        """Take the bar off the screen, also after an error."""
        self._close()

    def _started(self, event: RunStarted) -> None:
        self._loss, self._tokens, self._seconds = None, 0, 0.0
        share = 100 * event.trainable / event.parameters
        self._say(
            f"{event.task} on {event.backbone} ({event.family}, {event.objective}): {event.examples:,} examples, "
            f"{event.steps:,} steps, {event.trainable:,} of {event.parameters:,} weights trained ({share:.1f} %), "
            f"{100 * event.padding:.0f} % padding"
        )
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  {task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.add_task("training", total=event.steps, loss="–", rate="")
            self._bar.start()

    def _stepped(self, event: StepDone) -> None:
        past = event.loss if self._loss is None else self._loss
        self._loss = SMOOTHING * past + (1 - SMOOTHING) * event.loss
        self._tokens += event.tokens
        self._seconds += event.seconds
        rate = f"{self._tokens / max(self._seconds, 1e-9):,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=event.step, loss=f"{self._loss:.4f}", rate=rate)
        elif time.monotonic() - self._shown >= PLAIN_EVERY:
            self._shown = time.monotonic()
            left = (event.steps - event.step) * event.seconds
            self._say(f"step {event.step}/{event.steps}  loss {self._loss:.4f}  {rate}  {_clock(left)} left")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Rows:
    """Shows on `console` how many rows are dealt with, how fast, and when all will be."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._began: float | None = None
        self._first = 0
        self._shown = time.monotonic()

    def __call__(self, rows: int, bad: int, share: float | None) -> None:
        """Show that `rows` are dealt with, `bad` ones among them, `share` of all (None: unknown)."""
        now = time.monotonic()
        if self._began is None:  # rows of an earlier call say nothing of the speed
            self._began, self._first = now, rows - 1
        if now - self._shown < (0.2 if self.console.is_terminal else PLAIN_EVERY):
            return
        self._shown = now
        rate = (rows - self._first) / max(now - self._began, 1e-9)
        left = (rows / share - rows) / rate if share and rate else None
        text = f"{rows:,} rows  {rate:,.0f} rows/s"
        text += f"  {_clock(left)} left" if left is not None else ""
        text += f"  {bad:,} bad" if bad else ""
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
            return
        if self._bar is None:
            columns = (BarColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("", total=None)
            self._bar.start()
        total = 1.0 if share else None
        self._bar.update(self._bar.task_ids[0], description=text, completed=share or 0.0, total=total)

    def close(self) -> None:
        """Take the bar off the screen, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
