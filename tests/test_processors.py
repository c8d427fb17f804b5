"""How many processors a process may use, as control groups of both versions and the scheduler say it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nlpipe import devices, processors
from nlpipe.runners.graph import threads_of

V2 = {"proc/self/cgroup": "0::/pods/one", "sys/fs/cgroup/pods/one/cpu.max": "max 100000"}
V1 = {"proc/self/cgroup": "12:cpu,cpuacct:/docker/x\n3:memory:/docker/x"}
SHARES = [
    ({}, 8),  # not Linux
    (V2, 8),
    (V2 | {"sys/fs/cgroup/pods/one/cpu.max": "250000 100000"}, 3),
    (V2 | {"sys/fs/cgroup/pods/one/cpu.max": "5000 100000"}, 1),
    (V2 | {"sys/fs/cgroup/pods/cpu.max": "200000 100000"}, 2),  # of the group around it
    (V2 | {"sys/fs/cgroup/pods/one/cpu.max": "1600000 100000"}, 8),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),  # as in a container
    ({"proc/self/cgroup": "0::/../other", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
    (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 8),
    (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
    ({"proc/self/cgroup": "nonsense\n0::/", "sys/fs/cgroup/cpu.max": "what is this"}, 8),
]


@pytest.mark.parametrize(("files", "wanted"), SHARES)
def test_a_share_of_the_time(
    files: dict[str, str], wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert processors.processors(tmp_path) == wanted


def test_this_machine() -> None:
    assert 1 <= processors.processors() <= (os.cpu_count() or 1)


def test_back_ends_take_no_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process may use fewer than the machine has; else each back end's own choice stands."""
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for module in ("nlpipe.devices", "nlpipe.runners.graph"):
        monkeypatch.setattr(f"{module}.processors", lambda: 3)
        monkeypatch.setattr(f"{module}.limited", lambda: True)
    devices.set_threads(None)
    assert (taken, threads_of(None), threads_of(5)) == ([3], 3, 5)
    devices.set_threads(7)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    devices.set_threads(None)
    assert (taken, threads_of(None)) == ([3, 7], 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    for module in ("nlpipe.devices", "nlpipe.runners.graph"):
        monkeypatch.setattr(f"{module}.limited", lambda: False)
    devices.set_threads(None)
    assert (taken, threads_of(None)) == ([3, 7], 0)
