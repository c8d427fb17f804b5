"""Ctrl-C and SIGTERM as a request that is honoured between two steps, so that nothing is lost."""

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

    def __call__(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

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
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
