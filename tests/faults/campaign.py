"""Tries runs to death: a child is forked, killed or given a full disk, and its run is resumed and compared."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlpipe import checkpoint
from nlpipe.errors import NlpipeError
from nlpipe.files import is_vacant
from nlpipe.recipe import Recipe
from nlpipe.running import run
from tests.faults.disk import Call, Disk

COMPARED = ("model/model.safetensors", "model/nlpipe.json", "metrics.json", "predictions.jsonl")
PATIENCE = 120.0  # seconds before a child counts as hanging
DONE, REFUSED, BUG = 0, 2, 1


def log(folder: Path) -> list[dict[str, Any]]:
    """A run's events, without times and paths, and without the lines that tell of a resume."""
    entries = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    told = [entry for entry in entries if entry["event"] != "RunResumed"]
    return [{key: value for key, value in entry.items() if key not in {"seconds", "path"}} for entry in told]


def files(folder: Path) -> set[str]:
    """Every file and folder of a run, leftovers included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@dataclass
class Outcome:
    """How a child ended: its exit code, or the negative number of the signal; what it said; where it was struck."""

    code: int
    said: str
    struck: str = ""


@dataclass
class Table:
    """What was tried, by where it struck."""

    title: str
    tried: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, place: str, faults: list[str]) -> None:
        """One try and what was wrong after its resume."""
        self.tried[place] += 1
        self.equal[place] += not faults
        self.faults.extend(f"{place}: {fault}" for fault in faults)

    def __str__(self) -> str:
        width = max([len(place) for place in self.tried], default=10)
        rows = [f"  {place:<{width}}  {self.tried[place]:>5}  {self.equal[place]:>5}" for place in sorted(self.tried)]
        head = f"{self.title}\n  {'where it struck':<{width}}  tried  equal"
        total = f"  {'all':<{width}}  {self.tried.total():>5}  {self.equal.total():>5}"
        lost = sum("lost" in fault for fault in self.faults)
        return "\n".join([head, *rows, total, f"  files lost: {lost}", *(f"  ! {fault}" for fault in self.faults)])


class Campaign:
    """Runs of one recipe in folders below `root`, each held against an unbroken one."""

    def __init__(self, root: Path, recipe: Callable[[Path], Recipe]) -> None:
        self.root, self.recipe, self.number = root, recipe, 0
        self.whole = root / "whole"
        began = time.monotonic()
        census = self.finish(self.fork(self.whole, watch=Disk(self.whole, how="before"), census=True))
        self.seconds = time.monotonic() - began
        assert census.code == DONE, census.said
        self.calls = [Call(*line.split(" ", 1)) for line in census.said.splitlines() if line]
        self.expected = {name: (self.whole / name).read_bytes() for name in COMPARED}

    def folder(self) -> Path:
        """A new run's."""
        self.number += 1
        return self.root / f"run-{self.number:03d}"

    def fork(self, folder: Path, *, resume: bool = False, watch: Disk | None = None, census: bool = False) -> int:
        """Run in a child process; its number. What it says goes to a file beside the folder."""
        said, struck = self._beside(folder)
        said.unlink(missing_ok=True)
        struck.unlink(missing_ok=True)
        child = os.fork()
        if child:
            return child
        code = BUG
        try:
            output = os.open(said, os.O_CREAT | os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if watch is not None:
                watch.struck = struck
                watch.install()
            code = self._run(folder, resume)
            if census and watch is not None:
                os.write(output, "\n".join(f"{call.what} {call.path}" for call in watch.calls).encode())
        finally:
            os._exit(code)

    def _run(self, folder: Path, resume: bool) -> int:
        try:
            run(self.recipe(folder), resume=resume)
        except NlpipeError as error:
            os.write(1, f"error: {error}\n".encode())
            return REFUSED
        except BaseException:
            os.write(1, traceback.format_exc().encode())
            return BUG
        return DONE

    def finish(self, child: int, folder: Path | None = None) -> Outcome:
        """Wait for a child."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError(f"a child hangs in {folder}")
            time.sleep(0.003)
        said, struck = self._beside(folder or self.whole)
        return Outcome(
            os.waitstatus_to_exitcode(status),
            said.read_text(errors="replace") if said.exists() else "",
            struck.read_text() if struck.exists() else "",
        )

    def _beside(self, folder: Path) -> tuple[Path, Path]:
        return folder.with_name(f"{folder.name}.said"), folder.with_name(f"{folder.name}.struck")

    def kill_at_call(self, at: int, how: Any) -> tuple[Path, str]:
        """A run killed in its call number `at` to the disk; its folder, and what it was doing."""
        folder = self.folder()
        ended = self.finish(self.fork(folder, watch=Disk(folder, at, how)), folder)
        assert ended.code in (-signal.SIGKILL, DONE), ended.said
        what, _, path = ended.struck.partition(" ")
        return folder, f"{what}: {place(path)}" if what else "not struck"

    def kill_after(self, seconds: float, folder: Path | None = None) -> tuple[Path, str]:
        """A run killed by the clock, or one that is gone on with."""
        resumed = folder is not None
        folder = folder or self.folder()
        child = self.fork(folder, resume=resumed and begun(folder))
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        ended = self.finish(child, folder)
        return folder, "the clock: over" if ended.code == DONE else f"the clock: {state(folder)}"

    def resume(self, folder: Path) -> list[str]:
        """Go on with a run as its user would, and say what is wrong with how it ended."""
        if (folder / "events.jsonl").exists() and '"RunFinished"' in (folder / "events.jsonl").read_text():
            return self.faults(folder)  # it was over before the strike
        ended = self.finish(self.fork(folder, resume=begun(folder)), folder)
        if ended.code != DONE:
            return [f"{folder.name} cannot be resumed: {ended.said[-700:]}"]
        return self.faults(folder)

    def faults(self, folder: Path) -> list[str]:
        """What differs from the unbroken run; the folder is removed where nothing does."""
        lost = files(self.whole) - files(folder)
        extra = files(folder) - files(self.whole)
        found = [f"{folder.name}: {name} is lost" for name in sorted(lost)]
        found += [f"{folder.name}: {name} is left over" for name in sorted(extra)]
        found += [
            f"{folder.name}: {name} differs"
            for name, content in self.expected.items()
            if name not in lost and (folder / name).read_bytes() != content
        ]
        if log(folder) != log(self.whole):
            found.append(f"{folder.name}: the event log differs")
        if not found:
            shutil.rmtree(folder)
        return found


def begun(folder: Path) -> bool:
    """Whether there is anything to resume, as the message of `--resume` says."""
    return folder.exists() and not is_vacant(folder)


def place(path: str) -> str:
    """What a path in a run's folder belongs to."""
    for sign, name in (("step-", "checkpoint"), ("model", "model"), ("events", "log"), ("checkpoints", "checkpoint")):
        if sign in path:
            return name
    return "other files"


def state(folder: Path) -> str:
    """What a killed run was doing, as far as its folder tells."""
    if not (folder / "recipe.yaml").exists():
        return "preparing"
    names = [path.name for path in folder.rglob(".tmp-*")]
    if any("step-" in name for name in names):
        return "saving a checkpoint"
    if any("model" in name for name in names):
        return "saving the model"
    return "measuring" if (folder / "model").exists() else "training"


def kills(campaign: Campaign, count: int, seed: int) -> Table:
    """So many kills at random moments: half of them inside calls to the disk, a fifth of those by the clock twice."""
    draw = random.Random(seed)
    table = Table(f"kills (seed {seed}): {len(campaign.calls)} calls to the disk in {campaign.seconds:.1f} s")
    while table.tried.total() < count:
        if draw.random() < 0.5:
            at, how = draw.randint(1, len(campaign.calls)), draw.choice(["before", "halfway", "after"])
            folder, struck = campaign.kill_at_call(at, how)
        else:
            folder, struck = campaign.kill_after(draw.uniform(0.0, campaign.seconds))
        if draw.random() < 0.2 and begun(folder) and table.tried.total() + 1 < count:
            _, again = campaign.kill_after(draw.uniform(0.0, campaign.seconds), folder)
            table.note(again, [])
        table.note(struck, campaign.resume(folder))
    return table


def full_disks(campaign: Campaign, every: int = 1) -> Table:
    """A disk that is full from the first call on that needs room, the second, …; or every so many."""
    table = Table("full disks: refused from this call on")
    at = 1
    while True:
        folder = campaign.folder()
        ended = campaign.finish(campaign.fork(folder, watch=Disk(folder, at)), folder)
        if ended.code == DONE:
            return table
        faults = [] if ended.code == REFUSED else [f"no message but a traceback: {ended.said[-1500:]}"]
        if ended.code == REFUSED and "No space left on device" not in ended.said:
            faults.append(f"the message does not say why: {ended.said[-300:]}")
        faults += [f"{path.name} is torn: {why}" for path, why in checkpoint.latest(folder / "checkpoints").skipped]
        named = ended.said.partition("cannot write ")[2].partition(":")[0]
        table.note(place(os.path.relpath(named, folder)) if named else "elsewhere", faults + campaign.resume(folder))
        at += every
