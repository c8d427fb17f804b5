"""Several passes through one model side by side, each on a share of the processor's cores.

Cores that share a product wait for each other at its end, and at the end of each small step between products; cores
that have a pass each do not. Knows threads, and nothing of models.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

# At most so many: in each a pass is begun by Python, which does one thing at a time. On 16 cores 16 were the fastest
# (benchmarks/README.md); more were not tried.
MOST = 16

_own = threading.local()
# `torch.set_num_threads` is the calling thread's own, but it also says what threads that begin later take.
_SETTING = threading.Lock()


class Lanes:
    """Threads that compute side by side, on as many cores as the caller's own computations may take."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._made_for: tuple[int, int] | None = None
        self._making = threading.Lock()

    @property
    def count(self) -> int:
        """How many there are for the calling thread."""
        return 1 if in_lane() else min(MOST, torch.get_num_threads())

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """`work` on each part, in the order of the parts. What it raises is raised in its turn; later parts may be
        lost with it."""
        return self._threads().map(work, parts)

    def close(self) -> None:
        """End the threads, once what they compute is done."""
        with self._making:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _threads(self) -> ThreadPoolExecutor:
        """The pool; another one where the process is a copy of that which made it, or may take more or fewer cores."""
        wanted = (os.getpid(), torch.get_num_threads())
        with self._making:
            if self._pool is None or self._made_for != wanted:
                if self._pool is not None and self._made_for is not None and self._made_for[0] == os.getpid():
                    self._pool.shutdown(wait=False)
                self._pool, self._made_for = _pool(self.count), wanted
            return self._pool


def in_lane() -> bool:
    """Whether the calling thread is one of a lane's."""
    return getattr(_own, "lane", False)


def _pool(count: int) -> ThreadPoolExecutor:
    """So many threads, all of them begun, which share the caller's cores; others compute on as many as before."""
    before = torch.get_num_threads()
    begun = threading.Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first question sets its number to everybody's, whatever was set before
        torch.set_num_threads(before // count)
        _own.lane = True
        begun.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="nlpipe-lane", initializer=begin)
    with _SETTING:
        for _ in range(count):
            pool.submit(int)
        begun.wait()
        torch.set_num_threads(before)
    return pool


class Gate:
    """Who may compute with a model now: one caller alone, or any number of lanes together. Who waits to be alone goes
    first."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._together = self._waiting = 0
        self._alone = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With nobody else inside."""
        with self._change:
            self._waiting += 1
            try:
                self._change.wait_for(lambda: not self._alone and not self._together)
                self._alone = True
            finally:  # who is interrupted while waiting keeps nobody out
                self._waiting -= 1
                self._change.notify_all()
        try:
            yield
        finally:
            with self._change:
                self._alone = False
                self._change.notify_all()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Beside others who are inside together."""
        with self._change:
            self._change.wait_for(lambda: not self._alone and not self._waiting)
            self._together += 1
        try:
            yield
        finally:
            with self._change:
                self._together -= 1
                self._change.notify_all()
