"""What a question about nlpipe should come with: versions, devices, caches, plugins."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from nlpipe.plugins import Plugins
from nlpipe.processors import processors

PACKAGES = (
    "nlpipe",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "pluggy",
)


def examine(plugins: Plugins) -> dict[str, str]:
    """Facts of this machine and installation, as text by name."""
    import torch
    from huggingface_hub import constants

    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found | {
        "processors": f"{os.cpu_count()}, of which this process may use {processors()}; PyTorch takes "
        f"{torch.get_num_threads()} threads",
        "GPUs": ", ".join(devices) or "none",
        "model cache": constants.HF_HUB_CACHE,
        "network": "forbidden by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "allowed",
        "plugins": ", ".join(f"{record.name} ({record.state})" for record in plugins.records),
    }
