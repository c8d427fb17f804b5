"""Several processes that train one model: which of them this is, and what they tell each other.

Whoever starts them (`nlpipe run --processes`, torchrun, accelerate launch) says so in the environment: RANK,
WORLD_SIZE, LOCAL_RANK. One process alone is a world of its own, in which nothing of this costs anything. Knows no
model, no data and no recipe.
"""

from __future__ import annotations

import atexit
import datetime
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from nlpipe.errors import NlpipeError
from nlpipe.launching import LAUNCHED, LOST
from nlpipe.processors import processors

__all__ = ["LostError", "World", "join"]

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=1)
"""How long a process waits for what another tells it, such as the scores of a long test set. One that died is
noticed at once all the same, because its connection closes."""


class LostError(NlpipeError):
    """Another process of the run is gone, so that this one cannot go on."""


@dataclass(frozen=True)
class World:
    """The processes of a run. `rank` counts them from 0, `local` those of this machine; the first one writes."""

    rank: int = 0
    size: int = 1
    local: int = 0
    group: Any = None  # for words, always over gloo; gradients have the default one

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def once(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, in every one; an error there is raised in all.

        It travels as a pickle between processes that trust each other, tensors included.
        """
        if self.size == 1:
            return work()
        told: list[Any] = [None, None]
        failed: Exception | None = None
        if self.first:
            try:
                told[0] = work()
            except Exception as error:
                failed, told[1] = error, _portable(error)
        own = told[0]
        dist.broadcast_object_list(told, src=0, group=self.group)
        if failed is not None:
            raise failed
        if told[1] is not None:
            raise told[1]
        return own if self.first else told[0]  # type: ignore[no-any-return]

    def in_turn(self, work: Callable[[], T]) -> T:
        """`work` in every process, in one of each machine before the others: what it fetches is then there."""
        if self.size == 1:
            return work()
        done: list[T] = []
        failed: Exception | None = None
        if self.local == 0:
            try:
                done.append(work())
            except Exception as error:
                failed = error
        self.wait()
        if failed is not None:
            raise failed
        return done[0] if done else work()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier(group=self.group)

    def gathered(self, own: T) -> list[T]:
        """What each process has, in the order of their ranks."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, own, group=self.group)
        return found

    def any(self, own: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return own
        flag = torch.tensor(int(own))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.group)
        return bool(flag)

    def shared(self, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[Any]]) -> list[Any]:
        """`work` over the items, each process taking its part; all get all results, in the items' order."""
        if self.size == 1:
            return list(work(items))
        parts = self.gathered(list(work(items[self.rank :: self.size])))
        found: list[Any] = [None] * len(items)
        for rank, part in enumerate(parts):
            found[rank :: self.size] = part
        return found

    def rows(self, own: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """The rows [sum of counts, …] of all processes in the order of ranks; `own` has this one's `counts[rank]`.

        The gradient goes to `own` rows alone. Where every process computes the same loss of all rows, the sum over
        processes of the weights' gradients is that loss's gradient, because each row is some process's own.
        """
        if self.size == 1:
            return own
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own.detach()
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        pieces = [piece[:count] for piece, count in zip(found, counts, strict=True)]
        pieces[self.rank] = own
        return torch.cat(pieces)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turn what the libraries say of a lost connection into a LostError."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _lost(error):
                raise
            reason = (str(error).strip().splitlines() or [""])[0]
            raise LostError(
                f"process {self.rank} of {self.size} lost contact with another one, which ended before it ({reason})"
            ) from error


def join() -> World:
    """The world that the environment tells of. The connection is made once and lasts as long as the process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    local = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    gpu = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true"
    if gpu:
        torch.cuda.set_device(local % torch.cuda.device_count())
    else:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        torch.set_num_threads(max(1, processors() // here))
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
        atexit.register(_leave)
        if parent := os.environ.get(LAUNCHED):
            threading.Thread(target=_follow, args=(int(parent),), daemon=True).start()
    global _words  # noqa: PLW0603  (as the process group itself, there is one)
    _words = _words or dist.new_group(backend="gloo", timeout=PATIENCE)
    return World(dist.get_rank(), size, local, _words)


_words: Any = None


def _follow(parent: int) -> None:
    """End with the parent, however it ended: nobody else would stop a run that was started again beside this one."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(LOST)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _portable(error: Exception) -> Exception:
    """An error that can be told to other processes: those of ours as they are, others by their words."""
    if isinstance(error, NlpipeError):
        return type(error)(error.message, error.problems)
    return RuntimeError(f"in the first process: {type(error).__name__}: {error}")


def _lost(error: RuntimeError) -> bool:
    text = str(error)
    known = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "connection to the peer")
    return isinstance(error, dist.DistError) or any(word in text for word in known)
