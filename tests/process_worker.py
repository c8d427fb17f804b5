"""What each of two processes runs (tests/test_processes.py, test_pieces.py): all cases one after the other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from tests.support import labelled, tiny

# A small rate: where a weight's gradient is nothing but rounding, AdamW still moves it by about this much.
TRAIN = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-5, "warmup": 0, "seed": 3}


def still(backbone: Path) -> Path:
    """The backbone without dropout, whose draws depend on how a batch is cut."""
    file = backbone / "config.json"
    config = json.loads(file.read_text())
    quiet = {key: 0.0 if "drop" in key and isinstance(value, float) else value for key, value in config.items()}
    file.write_text(json.dumps(quiet))
    return backbone


def searches(count: int) -> list[dict[str, Any]]:
    """Queries with the text that answers each and one that does not."""
    words = [text for text, _ in rules.first_keyword(3 * count, seed=5)]
    return [
        {"query": words[at], "positive": words[count + at], "negatives": [words[2 * count + at]]} for at in range(count)
    ]


def cases(folder: Path, out: Path) -> dict[str, Recipe]:
    """Recipes whose result must not depend on how many processes there are."""
    rows = labelled(rules.first_keyword(60, seed=1))

    def made(name: str, architecture: str, **sections: Any) -> Recipe:
        return Recipe(
            **{
                "task": "classification",
                "model": {"backbone": str(folder / architecture)},
                # 33 rows: the last step of an epoch has one, so that one of two processes has none.
                "data": {"train": rows[:33], "validation": rows[33:44], "test": rows[44:]},
                "train": TRAIN,
                "evaluate": {"bootstrap": 0},
                "run": {"threads": 1},
                "output": {"dir": str(out / name)},
                **sections,
            }
        )

    return {
        "whole": made("whole", "bert", train={**TRAIN, "micro_batch": 3, "evaluate_every": 2}),
        "adapter": made("adapter", "gpt2", adapter={"r": 4}),
        "coupled": made(
            "coupled",
            "bert",
            task="retrieval",
            data={"train": searches(17), "test": searches(9)},
            train={**TRAIN, "batch_size": 8},
        ),
    }


def backbones(folder: Path, *architectures: str) -> None:
    """Tiny models without dropout: those that `cases` name, or others."""
    for architecture in architectures or ("bert", "gpt2"):
        still(tiny(architecture, folder))


def work(folder: Path, out: Path) -> None:
    """All cases, in one of several processes."""
    for case in cases(folder, out).values():
        report = run(case)
        assert (report.scores is not None) == (os.environ["RANK"] == "0")


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))
