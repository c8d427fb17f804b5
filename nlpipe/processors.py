"""How many processors this process may compute on. Loads nothing.

`os.cpu_count()` counts those of the machine. A process may be held to some of them (taskset, a Kubernetes CPU set), and
a container to a share of their time (`docker run --cpus`), which the kernel takes back from threads that are too many.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def processors(root: Path = ROOT) -> int:
    """The processors that this process may use: of those it is held to, as many as its control group's share lasts for.

    A share of one and a half is two: two threads that are stopped for a quarter of the time do more than one. `root` is
    where `proc` and `sys` lie. At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _shares(root))]))


def limited() -> bool:
    """Whether there are more processors than this process may use: libraries that count them all take too many."""
    return processors() < (os.cpu_count() or 1)


def _shares(root: Path) -> Iterator[float]:
    """The processors' worth of time that each group around this process may have.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`) and, of version 1,
    https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    for line in _words(root / "proc/self/cgroup", "\n"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            for folder in _upwards(root / "sys/fs/cgroup", path):
                yield from _share(*_words(folder / "cpu.max", " "))
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/cpu", path):
                quota = _words(folder / "cpu.cfs_quota_us", " ")
                yield from _share(*quota, *_words(folder / "cpu.cfs_period_us", " "))


def _upwards(top: Path, path: str) -> Iterator[Path]:
    """A group's folder and all around it. In a container the group itself may lie at the top, whatever it is called."""
    inner = top / path.strip("/")
    yield from (folder for folder in (inner, *inner.parents) if folder == top or top in folder.parents)


def _share(*said: str) -> Iterator[float]:
    """Quota over period, where both are numbers above 0; `max` and -1 stand for no limit."""
    if len(said) == 2 and all(word.isdecimal() and int(word) for word in said):
        yield int(said[0]) / int(said[1])


def _words(file: Path, between: str) -> list[str]:
    try:
        return [word for word in file.read_text(encoding="utf-8").strip().split(between) if word]
    except OSError:
        return []
