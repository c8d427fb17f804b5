"""How many texts are best read at once: tokens a second by tokens in a pass, and by passes side by side.

    python benchmarks/pass_size.py                                  # a processor: 1, 2, 4 … passes side by side
    python benchmarks/pass_size.py --device cuda --dtype bfloat16   # a GPU: passes of 512 to 131,072 tokens

On a processor nlpipe embeds mixed real texts (below $NLPIPE_TEST_DATA) with a BERT of MiniLM's size, weights drawn at
random; `reached` is the share of the rate of plain matrix products that the texts' own tokens come to. What was found
is `MOST` in nlpipe/runners/lanes.py. On a GPU passes of BERTs of three sizes are timed; what was found are the
numbers of nlpipe/runners/accelerators.py. Extra `quickstart` (the tokenizer is all-MiniLM-L6-v2's).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pass_cost import network
from support.models import ENCODER, mixed
from support.rate import matrix_rate, training_flops

SIZES = {"6 x 384 (MiniLM)": (6, 384, 12), "12 x 768 (BERT)": (12, 768, 12), "24 x 1024": (24, 1024, 16)}
TOKENS = [512, 2048, 4096, 8192, 16384, 32768, 65536, 131072]
LENGTHS = (32, 128, 512)


def fastest(work: Callable[[], Any], turns: int) -> float:
    """Seconds of the fastest turn, after one to warm up."""
    found = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def passes(device: str, dtype: str, turns: int) -> dict[str, Any]:
    """By size of the model and length of a text: milliseconds and thousand tokens a second of each pass."""
    import torch

    found: dict[str, Any] = {}
    for name, size in SIZES.items():
        model = network(*size).to(device, getattr(torch, dtype))
        for length in LENGTHS:
            table = {}
            for tokens in TOKENS:
                ids = torch.randint(1000, (tokens // length, length), device=device)
                mask = torch.ones_like(ids)
                mask[0, -1] = 0  # as in any batch of unlike texts; without, attention takes another way

                def work(ids: Any = ids, mask: Any = mask, model: Any = model) -> None:
                    with torch.inference_mode():
                        model(input_ids=ids, attention_mask=mask).last_hidden_state[0, 0, 0].cpu()

                took = fastest(work, turns)
                table[tokens] = (round(took * 1e3, 2), round(ids.numel() / took / 1e3))
            found[f"{name}, {length} tokens a text"] = table
            told = "  ".join(f"{tokens}: {ms} ms, {rate}k/s" for tokens, (ms, rate) in table.items())
            print(f"{name}, {length} tokens a text  {told}", flush=True)
    return found


def side_by_side(threads: int, rows: int, turns: int) -> dict[str, Any]:
    """Seconds and share of the matrix rate by passes side by side."""
    import transformers

    import nlpipe
    from nlpipe import locating
    from nlpipe.objectives.base import Texts
    from nlpipe.runners import lanes

    texts, found = mixed(rows), {}
    with tempfile.TemporaryDirectory() as folder:
        network(6, 384, 12, vocabulary=30522).save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(locating.locate(ENCODER).folder).save_pretrained(folder)
        rate = matrix_rate()
        for most in [2**power for power in range(threads.bit_length()) if 2**power <= threads]:
            lanes.MOST = most
            with nlpipe.pipeline("similarity", model=folder, device="cpu") as pipe:
                rows_of = (pipe.objective.encode(Texts((text,)), None, pipe.tokenizers) for text in texts)
                lengths = [len(row.ids) for rows in rows_of for row in rows]
                flops = training_flops(pipe.runner.model, lengths, full=True) / 3  # type: ignore[attr-defined]
                took = fastest(lambda pipe=pipe: pipe.embed(texts), turns)  # type: ignore[misc]
            found[str(most)] = {"seconds": took, "reached": flops / took / rate}
            print(f"{most:3} side by side: {took:.2f} s, {flops / took / rate:.0%} of the matrix rate", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", default="float32", help="of a GPU's passes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=int, default=700)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    if given.device == "cuda":
        found = passes(given.device, given.dtype, given.turns)
    else:
        found = side_by_side(given.threads, given.rows, given.turns)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
