"""The most memory that `nlpipe predict` takes for few rows and for a hundred times as many.

    python benchmarks/predict_memory.py --rows 10000 1000000 --json FILE

Claim: within 5 %: rows are read, answered and written in constant memory. The model is a BERT of two layers and random
weights, so that minutes suffice for a million short rows; what is measured is the greatest resident size of the child
process, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TEXT = "a quiet film stays with you and its music even more so than the slow story of two old friends"
WORDS = TEXT.split(" ")


def model(folder: Path) -> Path:
    """A BERT of two layers, 64 wide, with two labels."""
    import transformers

    from nlpipe.testing.tiny import tiny_model

    base = tiny_model("bert", folder / "model", words=WORDS)
    config = transformers.AutoConfig.from_pretrained(base, num_labels=2)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(base)
    return base


def rows(count: int, file: Path) -> Path:
    """Short texts, of 4 to 16 words."""
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            words = (WORDS[(number * step) % len(WORDS)] for step in range(1, 5 + number % 13))
            stream.write(" ".join(words) + f" {number % 100}\n")
    return file


def predicted(model: Path, source: Path, target: Path) -> dict[str, Any]:
    """Peak memory in MiB and seconds of answering a file."""
    command = [sys.executable, "-m", "nlpipe", "predict", str(model), "--task", "classification", "--quiet"]
    start = time.perf_counter()
    child = subprocess.Popen([*command, "--input", str(source), "--output", str(target)])
    _, status, usage = os.wait4(child.pid, 0)
    took = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"nlpipe predict ended with exit code {child.returncode}")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    with target.open("rb") as answers:
        count = sum(1 for _ in answers)
    return {"rows": count, "mebibytes": peak, "seconds": took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        made = model(Path(folder))
        for count in given.rows:
            source = rows(count, Path(folder, f"{count}.txt"))
            one = predicted(made, source, Path(folder, f"{count}.jsonl"))
            one["ratio"] = one["mebibytes"] / (found[0]["mebibytes"] if found else one["mebibytes"])
            found.append(one)
            print(
                f"{one['rows']:,} rows: {one['mebibytes']:.0f} MiB, {one['ratio']:.3f} of the first, "
                f"{one['seconds']:.0f} s, {one['rows'] / one['seconds']:.0f} rows a second",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
