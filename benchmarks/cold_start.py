"""One text answered by a process that has just started: nlpipe's command, with PyTorch and exported; transformers.

    python benchmarks/cold_start.py --turns 5 --json FILE

Claims: `nlpipe predict` is no slower than a script of three lines around `transformers.pipeline`, which both load the
same model's class; with a model in ONNX Runtime's form it takes a third, and torch is not imported. The model is
all-MiniLM-L6-v2 (extra `quickstart`) with a head drawn at random. Each turn starts each of them afresh, one after the
other; what is printed are medians over turns. The first turn, which may read files into memory, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.models import headed

TEXT = "A quiet film that stays with you.\n"
THEIRS = """
import sys, transformers
pipe = transformers.pipeline("text-classification", model=sys.argv[1], device="cpu")
print(pipe(sys.stdin.read().strip()))
"""
# As `python -m nlpipe` does, and then what was imported.
ASKED = """
import sys
from nlpipe import cli
sys.argv[0] = "nlpipe"
try:
    cli.main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """Each contender's command, which reads one text from its standard input."""
    from nlpipe.exporting import export

    model = headed("SequenceClassification", ["no", "yes"], folder)
    export(str(model), "onnx", output=folder / "onnx", task="classification")
    ours = [sys.executable, "-m", "nlpipe", "predict"]
    rest = ["--input", "-", "--quiet"]
    return {
        "nlpipe": [*ours, str(model), "--task", "classification", *rest],
        "nlpipe, exported": [*ours, str(folder / "onnx"), *rest],
        "transformers": [sys.executable, "-c", THEIRS, str(model)],
    }


def started(command: list[str]) -> float:
    """Seconds from the start of a process to its end."""
    start = time.perf_counter()
    subprocess.run(command, input=TEXT, text=True, capture_output=True, check=True)
    return time.perf_counter() - start


def imports_torch(command: list[str]) -> bool:
    """Whether one of our commands had torch imported at its end."""
    if command[1] != "-m":
        return True
    asked = [command[0], "-c", ASKED, *command[3:]]
    done = subprocess.run(asked, input=TEXT, text=True, capture_output=True, check=True)
    return done.stderr.split()[-1] == "True"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        asked = commands(Path(folder))
        torch = {name: imports_torch(command) for name, command in asked.items()}
        for turn in range(given.turns + 1):
            for name, command in asked.items():
                took = started(command)
                if turn:
                    seconds.setdefault(name, []).append(took)
    found: dict[str, Any] = {}
    for name, times in seconds.items():
        ratio = statistics.median(one / peer for one, peer in zip(times, seconds["transformers"], strict=True))
        found[name] = {"seconds": times, "of_transformers": ratio, "torch": torch[name]}
        print(f"{name}: {statistics.median(times):.2f} s, {ratio:.2f} of transformers', torch imported: {torch[name]}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
