"""Vectors in front: what is read, written and counted is the text's, and the same as PEFT's own classes compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import loading
from nlpipe.errors import UnsupportedError
from nlpipe.running import run
from nlpipe.testing import rules
from tests.adapter_cells import FIRST, Cell
from tests.support import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


def loaded(cell: Cell, folder: Path, out: Path, **changes: Any) -> Any:
    report = run(cell.recipe(tiny(cell.architecture, folder), out, **changes))
    assert report.model is not None
    return loading.load(report.model)


WRITERS = [
    Cell(method, objective, architecture)
    for method in ("prompt_tuning", "prefix_tuning")
    for objective, architecture in (("CausalText", "gpt2"), ("CausalText", "llama"), ("Seq2SeqText", "t5"))
]


@pytest.mark.parametrize("cell", WRITERS, ids=lambda cell: cell.name)
def test_what_is_written_is_what_the_model_thinks_likeliest(cell: Cell, folder: Path, tmp_path: Path) -> None:
    """Writing goes through caches, padding on the left and positions; judging is one pass. They must agree."""
    pipe = loaded(cell, folder, tmp_path)
    objective, tok, runner = pipe.objective, pipe.tokenizers, pipe.runner
    rows = [row for text in FIRST for row in objective.encode(pipe.task.query(pipe.given(text), objective), None, tok)]
    draw = np.random.default_rng(0)
    batch = objective.collate(rows, tok, answering=True, rng=draw)
    written = runner.generate(objective.continuing(batch), objective._wish(rows, tok))
    for row, [found] in zip(rows, written, strict=True):
        for at, token in enumerate(found.ids):
            before = objective.continued(row, [*found.ids[:at], token])
            logits = runner.compute(objective, objective.collate([before], tok, answering=True, rng=draw))["logits"][0]
            place = row.place.prompt - 1 + at if cell.objective == "CausalText" else at
            assert int(logits[place].argmax()) == token


@pytest.mark.parametrize("cell", WRITERS, ids=lambda cell: cell.name)
def test_beams_and_streams(cell: Cell, folder: Path, tmp_path: Path) -> None:
    pipe = loaded(cell, folder, tmp_path)
    texts = list(FIRST[:3])
    for options in ({"num_beams": 2}, {"do_sample": True, "seed": 3}, {"repetition_penalty": 1.3}):
        together, alone = pipe(texts, **options), [pipe(text, **options) for text in texts]
        assert [r.text for r in together] == [r.text for r in alone]
    assert "".join(pipe.stream(texts[0])) == pipe(texts[0]).text


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning", "p_tuning"])
def test_peft_alone_computes_the_same(method: str, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    pipe = loaded(Cell(method, "SequenceLabel", "bert"), folder, tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(tiny("bert", folder), num_labels=2, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny("bert", folder))
    for text in FIRST:
        with torch.inference_mode():
            theirs = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist()
        assert [*pipe(text).scores.values()] == pytest.approx(theirs, abs=2e-5)


def test_vectors_take_their_places_from_the_models_length(folder: Path, tmp_path: Path) -> None:
    cell = Cell("prompt_tuning", "SequenceLabel", "bert")
    pipe = loaded(cell, folder, tmp_path / "a", model={"backbone": str(tiny("bert", folder))})
    assert pipe.card.window.max_length == 64 - 3
    read = pipe(" ".join(rules.FILLERS * 5))
    assert read.seen[0] == read.seen[1] > 61
    with pytest.raises(UnsupportedError, match=r"model.max_length is 64, the model reads at most 61"):
        loaded(cell, folder, tmp_path / "b", model={"backbone": str(tiny("bert", folder)), "max_length": 64})


def test_a_text_begins_the_vectors(folder: Path, tmp_path: Path) -> None:
    fields = {"method": "prompt_tuning", "num_virtual_tokens": 3, "prompt_tuning_init_text": "north south be"}
    pipe = loaded(Cell("prompt_tuning", "SequenceLabel", "bert"), folder, tmp_path, adapter=fields)
    assert pipe.card.weights == "adapter"


def test_a_model_without_a_cache_takes_no_prefix(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match="prefix_tuning puts keys and values in front, which distilbert does not"
    ):
        loaded(Cell("prefix_tuning", "SequenceLabel", "distilbert"), folder, tmp_path)
