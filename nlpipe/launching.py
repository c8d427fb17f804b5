"""Start a command in several processes of this machine, and end them all where one dies.

What torchrun does, with messages for a person: which process ended, by what, and its last words. Loads nothing heavy;
the processes find each other by the environment, as `nlpipe.world` reads it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from nlpipe.errors import NlpipeError
from nlpipe.processors import processors

__all__ = ["LAUNCHED", "LOST", "launch"]

LAUNCHED = "NLPIPE_LAUNCHED"
"""The parent's number in processes that were started here: they leave messages about each other to it."""

LOST = 3
"""The exit code of a process that went because another had."""

GRACE = 15.0  # seconds that the others have to end by themselves after one ended: all may find the same mistake
TERM = 10.0  # seconds between SIGTERM and SIGKILL: a checkpoint may be half written
LINES = 15  # of the last words


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    words: IO[bytes] | None  # what it wrote to its standard error, for all but the first

    @property
    def ended_badly(self) -> bool:
        return self.process.poll() not in (None, 0)


def launch(command: Sequence[str], processes: int) -> int:
    """Run `command` as `processes` ranks of one world; the exit code of the first.

    Its output is the first one's. Ctrl-C and SIGTERM reach all of them, once; a second one ends them hard. Raises
    NlpipeError naming the process where one of them ended badly and the first had no words about it.
    """
    with ExitStack() as stack:
        port = str(_free_port())
        ranks = [_start(command, number, processes, port, stack) for number in range(processes)]
        with _forwarding(ranks) as asked:
            culprit = _watch(ranks)
        if asked and culprit is not None and culprit.process.returncode in (-signal.SIGTERM, -signal.SIGKILL):
            return 130  # before they could listen, or the second time
        own = ranks[0].process.returncode
        if culprit is None or (culprit.number == 0 and own >= 0):  # what it had to say, it has said
            return own
        raise NlpipeError(_obituary(culprit, processes))


def _start(command: Sequence[str], number: int, processes: int, port: str, stack: ExitStack) -> _Rank:
    threads = str(max(1, processors() // processes))
    environment = {
        "OMP_NUM_THREADS": threads,
        **os.environ,
        LAUNCHED: str(os.getpid()),
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    words = stack.enter_context(tempfile.TemporaryFile()) if number else None  # noqa: SIM115  (the stack closes it)
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=None if number == 0 else subprocess.DEVNULL,
        stdout=None if number == 0 else subprocess.DEVNULL,
        stderr=words,
        start_new_session=True,  # Ctrl-C reaches them through us, and so once
    )
    return _Rank(number, process, words)


def _watch(ranks: Sequence[_Rank]) -> _Rank | None:
    """Wait for all; the one that ended badly and first, after the others have been ended too; None where none did."""
    while all(rank.process.poll() is None for rank in ranks) or not any(rank.ended_badly for rank in ranks):
        if all(rank.process.poll() == 0 for rank in ranks):
            return None
        time.sleep(0.1)
    fallen = [rank for rank in ranks if rank.ended_badly]
    _end(ranks, GRACE if all(rank.process.returncode > 0 for rank in fallen) else 1.0)
    # Who died by a signal is the cause; who left because another had is not; of a mistake that all found, the
    # first one has told.
    found = [rank for rank in ranks if rank.process.returncode not in (0, LOST)]
    told = next((rank for rank in found if rank.number == 0 and rank.process.returncode > 0), None)
    return next((rank for rank in fallen if rank.process.returncode < 0), told or next(iter(found), fallen[0]))


def _end(ranks: Sequence[_Rank], grace: float) -> None:
    """Let all end, then ask them to, then make them."""
    for seconds, number in ((grace, signal.SIGTERM), (TERM, signal.SIGKILL)):
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(rank.process.poll() is None for rank in ranks):
            time.sleep(0.1)
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(number)
    for rank in ranks:
        rank.process.wait()


@contextmanager
def _forwarding(ranks: Sequence[_Rank]) -> Iterator[list[int]]:
    """Hand signals on to the ranks; the list has those that came."""
    asked: list[int] = []

    def forward(number: int, frame: object) -> None:
        asked.append(number)
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(signal.SIGTERM if len(asked) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.kill()


def _obituary(rank: _Rank, processes: int) -> str:
    code = rank.process.returncode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = ""
    if code == -signal.SIGKILL and sys.platform == "linux":
        hint = "; where nobody did that by hand, the machine ran out of memory: lower train.micro_batch, or --processes"
    message = f"process {rank.number} of {processes} {how}, so the run is over{hint}. Go on with --resume"
    words = b""
    if rank.words is not None:
        rank.words.seek(0)
        words = rank.words.read()
    lines = words.decode(errors="replace").strip().splitlines()[-LINES:]
    return "\n".join([message, *(["its last words:", *(f"  {line}" for line in lines)] if lines else [])])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
