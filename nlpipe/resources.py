"""What a process has used of its machine so far. Loads nothing; asks torch only where it has been loaded already."""

from __future__ import annotations

import sys

GIB = 1 << 30


def used() -> dict[str, str]:
    """The most memory that this process has had, on the processor and on each GPU, in words by name."""
    found = {}
    if sys.platform != "win32":
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        found["most memory of the process"] = f"{most / GIB:.1f} GiB"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            if most := torch.cuda.max_memory_allocated(device):
                found[f"most memory on {torch.cuda.get_device_name(device)} {device}"] = f"{most / GIB:.1f} GiB"
    return found
