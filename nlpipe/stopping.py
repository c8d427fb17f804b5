"""Ctrl-C and SIGTERM: in training a request that is honoured between two steps, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the process was asked to stop. Call it to know."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._waits = True

    def __call__(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

    def at_once(self) -> None:
        """From now on a signal raises KeyboardInterrupt: nothing that asks `self` is going on any more."""
        self._waits = False
        if self():
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals over; a second one stops at once. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers; a service has its own ways to stop
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set() or not self._waits:
            raise KeyboardInterrupt
        self._asked.set()
