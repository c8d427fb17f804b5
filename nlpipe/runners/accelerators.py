"""How much a GPU is given at once: as much as its memory bears, in passes as large as what beginning one costs.

Measured on an H100 (80 GiB; benchmarks/pass_size.py) with BERTs of 6 x 384, 12 x 768 and 24 x 1024: in float32 passes
of 64, 40 and 30 thousand tokens come to 96 % or more of the best rate, in bfloat16 (the first two) passes of 64
thousand to 92 %; beginning a pass takes 0.4 to 0.6 ms a layer, whatever is in it. The sizes made of that were not
measured against others.
"""

from __future__ import annotations

import math
import time
from functools import cache

import torch

from nlpipe.runners.base import Passes

# Of the memory, what a pass's widest states may take: a pass took 2.8 times as much in all, so a fifty-seventh. On an
# H100 that is the passes above.
SHARE = 1 / 160
LEAST_TOKENS, MOST_TOKENS = 512, 65536
# Of the memory, what rows that are written together may keep of what they have read; and bytes for a prompt's token
# while it is read. Guesses on the safe side: BERTs took 17 to 45 kB a token, and keys and values of seven billion
# weights take 512.
CACHE_SHARE = 1 / 8
PROMPT_TOKEN = 2**20
# Rows that are written at once: beginning a step costs more than hundreds of rows in it (words to phonemes, BART: 1,881
# words a second by 64 rows, 4,189 by 256, 5,014 by 512).
ROWS = 512
# Seconds of a layer's time in which nothing is computed.
BEGIN = 0.45e-3
_UNKNOWN = 8 * 2**30


def passes(device: torch.device, width: int, hidden: int, dtype: torch.dtype, *, writing: bool) -> Passes:
    """How rows are best read by a model whose widest layer gives `width` bytes a token, and whose layers `hidden` wide
    take most of the time."""
    room = memory(device)
    if writing:
        return Passes(_between(room // PROMPT_TOKEN))
    return Passes(_between(int(room * SHARE) // width), begin_tokens(device, hidden, dtype))


def memory(device: torch.device) -> int:
    """The bytes that the device has in all; 8 GiB where torch does not say."""
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return _UNKNOWN


@cache
def begin_tokens(device: torch.device, hidden: int, dtype: torch.dtype) -> int:
    """How many tokens a layer computes in the time that beginning it takes: measured, and as a power of 2, so that it
    is the same again.

    A layer's products are 24 x hidden² operations for a token (Kaplan et al. 2020, section 2.1), three times those of
    the one that is measured.
    """
    rows = 4096
    states = torch.zeros(rows, hidden, device=device, dtype=dtype)
    weight = torch.zeros(hidden, 4 * hidden, device=device, dtype=dtype)
    best = math.inf
    with torch.inference_mode():
        for _ in range(4):  # the first loads the library
            start = time.perf_counter()
            for _ in range(8):
                states @ weight
            (states[:1] @ weight).cpu()  # waits for all
            best = min(best, (time.perf_counter() - start) / 8)
    return int(2 ** round(math.log2(max(1.0, BEGIN * rows / (3 * best)))))


def _between(tokens: int) -> int:
    return max(LEAST_TOKENS, min(MOST_TOKENS, tokens))
