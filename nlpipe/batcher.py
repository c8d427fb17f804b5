"""Answers awaited one by one by many callers, and computed together. Knows a pipeline, and no web framework."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nlpipe.errors import NlpipeError, UnsupportedError

if TYPE_CHECKING:
    from nlpipe.pipelines import Pipeline


class _Waiting(NamedTuple):
    value: Any
    options: Mapping[str, Any]
    answer: asyncio.Future[Any]


class Batcher:
    """`await batcher(text)` from any number of tasks of one event loop; `async with` opens and closes it.

    The first input that comes waits `max_wait_ms` at most for others, and for fewer once `max_rows` are there; while
    a batch is computed, in a thread, what comes is the next. A caller that gives up leaves the others' answers as
    they are, and what has not begun is left out.
    """

    def __init__(self, pipe: Pipeline, *, max_wait_ms: float = 5.0, max_rows: int = 64) -> None:
        if max_wait_ms < 0 or max_rows < 1:
            raise UnsupportedError(
                f"max_wait_ms is 0 or more and max_rows 1 or more, not {max_wait_ms:g} and {max_rows}"
            )
        self.pipe = pipe
        self._seconds, self._rows = max_wait_ms / 1000, max_rows
        self._waiting: list[_Waiting] = []
        self._came = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def __call__(self, value: Any, **options: Any) -> Any:
        """The Result of one input, as the pipeline gives it.

        Raises as the pipeline does, DataError without a row's number; UnsupportedError for a list, and where the
        batcher is not open.
        """
        if self._work is None or self._closing:
            raise UnsupportedError("this batcher is not open: `async with pipe.batcher() as batcher: …`")
        if self._work.get_loop() is not asyncio.get_running_loop():
            raise UnsupportedError("a batcher serves the event loop that opened it; open another in this one")
        if isinstance(value, list | tuple):
            raise UnsupportedError("a batcher takes one input at a time: asyncio.gather(*map(batcher, texts))")
        self.pipe.called(options)  # what is wrong with them is this caller's alone
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(value, options, answer))
        self._came.set()
        return await answer

    async def close(self) -> None:
        """Answer all that came, and take no more. The pipeline stays open."""
        self._closing = True
        self._came.set()
        if self._work is not None:
            await self._work

    async def _serve(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="nlpipe-batcher") as pool:
            while not (self._closing and not self._waiting):
                await self._came.wait()
                await self._filled()
                now, self._waiting = self._waiting[: self._rows], self._waiting[self._rows :]
                if not self._waiting and not self._closing:
                    self._came.clear()
                await self._answer([one for one in now if not one.answer.done()], pool)

    async def _filled(self) -> None:
        """Wait until a batch is full, or its time is over."""
        until = asyncio.get_running_loop().time() + self._seconds
        while len(self._waiting) < self._rows and not self._closing:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except TimeoutError:
                return

    async def _answer(self, batch: list[_Waiting], pool: ThreadPoolExecutor) -> None:
        """Compute what is still asked for; inputs with equal options together."""
        alike: dict[str, list[_Waiting]] = {}
        for one in batch:
            alike.setdefault(repr(sorted(one.options.items())), []).append(one)
        loop = asyncio.get_running_loop()
        for group in alike.values():
            values, options = [one.value for one in group], group[0].options
            try:
                found = await loop.run_in_executor(pool, self._computed, values, options)
            except Exception as error:  # a fault of nlpipe or of a plugin: it is every caller's
                found = [error] * len(group)
            for one, result in zip(group, found, strict=True):
                if one.answer.done():
                    continue
                if isinstance(result, Exception):
                    one.answer.set_exception(result)
                else:
                    one.answer.set_result(result)

    def _computed(self, values: list[Any], options: Mapping[str, Any]) -> list[Any]:
        """Each value's Result, or what was wrong with it: one caller's mistake is not the others'."""
        try:
            return list(self.pipe.map(values, errors="return", **options))
        except NlpipeError as error:
            if len(values) == 1:
                return [error]
            return [found for value in values for found in self._computed([value], options)]
