"""What a pass costs beside its tokens: the constant by which rows of unlike length are put together or apart.

    python benchmarks/pass_cost.py --threads 1

A pass over n tokens in all is taken to cost a + b·n. For models of several sizes (random weights) a and b are fitted to
passes of one row to many and of short rows to long, by least squares of relative errors, in seconds of the
processor. `a / b` is how many tokens of padding cost as much as a pass of their own: `PASS_TOKENS` in
nlpipe/runners/torch.py. `error` is the middle of how far the fitted cost lies from what was measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

SIZES = {
    "2 x 128": (2, 128, 2),
    "6 x 384 (MiniLM)": (6, 384, 12),
    "12 x 384": (12, 384, 12),
    "12 x 768 (BERT)": (12, 768, 12),
}
SHAPES = [(rows, length) for rows in (1, 4, 16) for length in (8, 16, 32, 64, 128, 256) if 16 <= rows * length <= 1024]


def network(layers: int, width: int, heads: int, vocabulary: int = 1000) -> Any:
    """A BERT of few embeddings: what is looked up is no product."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    return transformers.BertModel(config, add_pooling_layer=False).eval()


def seconds(model: Any, rows: int, length: int, repeats: int) -> float:
    """The least time of the processor that a pass took: whatever else runs only adds to it."""
    import torch

    ids = torch.randint(1000, (rows, length))
    mask = torch.ones_like(ids)
    found = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.process_time()
            model(input_ids=ids, attention_mask=mask)
            found.append(time.process_time() - start)
    return min(found[1:])


def fitted(times: dict[tuple[int, int], float]) -> tuple[float, float, float]:
    """a in seconds, b in seconds a token, and the median relative error."""
    import numpy as np

    tokens = np.array([rows * length for rows, length in times], dtype=float)
    took = np.array(list(times.values()))
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / took, tokens / took], axis=1), np.ones(len(took)), rcond=None)
    return float(a), float(b), float(statistics.median(abs((a + b * tokens) / took - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    found = {}
    for name, size in SIZES.items():
        model = network(*size)
        a, b, error = fitted({shape: seconds(model, *shape, given.repeats) for shape in SHAPES})
        found[name] = {"fixed_ms": 1e3 * a, "token_us": 1e6 * b, "tokens": a / b, "error": error}
        print(
            f"{name}: {1e3 * a:.1f} ms a pass and {1e6 * b:.0f} us a token, so as much as {a / b:.0f} tokens; "
            f"error {error:.0%}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
