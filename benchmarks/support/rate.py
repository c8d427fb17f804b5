"""How much of the processor is used: the rate of plain matrix products, and how much work a training step is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices; large enough that only the products themselves count


def matrix_rate(seconds: float = 2.0, device: str = "cpu", dtype: str = "float32") -> float:
    """The best rate of a matrix product in this process with its threads, or on the GPU, in FLOP/s."""
    import torch

    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def training_flops(model: Any, lengths: Iterable[int], *, full: bool) -> float:
    """Floating point operations of one pass forward and back over rows of these lengths, padding not counted.

    6 per weight and token (Kaplan et al. 2020, section 2.1): 2 forward, 2 for the gradient of the inputs, 2 for that
    of the weights, which is not needed where they are frozen (`full=False`: 4). The weights are those of the
    encoder's layers: looking up an embedding is no product. Attention adds 4 per layer, unit of width and pair of
    tokens forward (scores, and sums over them), and twice that backward.
    """
    layers = next(module for name, module in model.named_modules() if name.endswith("encoder.layer"))
    weights = sum(p.numel() for name, p in layers.named_parameters() if "lora" not in name and "original" not in name)
    width, depth = model.config.hidden_size, model.config.num_hidden_layers
    return float(sum((6 if full else 4) * weights * n + 12 * depth * width * n * n for n in lengths))
