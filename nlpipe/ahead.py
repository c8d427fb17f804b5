"""Work done in a thread on what comes next, while the caller uses what came before. Knows nothing of what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def worked_ahead(items: Iterable[T], work: Callable[[Sequence[T]], R], size: int) -> Iterator[R]:
    """`work` on each `size` items in turn; while one result is used, a thread works on the next.

    Items are taken in the caller's own thread, since many sources (cursors, generators over them) belong to one, and
    at most 2 × `size` of them before the first result is given. What `work` raises is raised in its turn, after
    the results before it. A caller that stops early waits for at most the one call that is running.
    """
    waiting = iter(items)
    now = list(islice(waiting, size))
    following = list(islice(waiting, size)) if len(now) == size else []
    if not following:  # the common case of a call: no thread is worth its start
        if now:
            yield work(now)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="nlpipe-ahead") as pool:
        done = work(now)
        while following:
            coming = pool.submit(work, following)
            following = []  # the thread has them now
            yield done
            # taken after the caller has used what it has, so that at most 2 × size are ever ahead of it
            following = list(islice(waiting, size))
            done = coming.result()
        yield done
