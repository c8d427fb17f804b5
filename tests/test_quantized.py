"""Backbones in 4 and 8 bits: trained under an adapter, saved without the base, quantised again when loaded."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import loading, upstream
from nlpipe.errors import UnsupportedError
from nlpipe.running import run
from nlpipe.testing.tiny import tiny_model
from tests.adapter_cells import Cell, given

installed = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="nlpipe[quantized] is not there"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


def tiny(architecture: str, folder: Path) -> Path:
    """64 wide: bitsandbytes scales so many weights of a row together."""
    target = folder / architecture
    return (
        target if target.exists() else tiny_model(architecture, target, words=["ba", "be", "north", "south"], width=64)
    )


def trained(cell: Cell, bits: str, folder: Path, out: Path, **changes: Any) -> Any:
    section = {"backbone": str(tiny(cell.architecture, folder)), "objective": cell.objective, "quantize": bits}
    report = run(cell.recipe(tiny(cell.architecture, folder), out, model=section, **changes))
    assert report.model is not None
    return loading.load(report.model)


CELLS = [
    pytest.param(Cell(method, objective, architecture), bits, marks=marks, id=f"{method}-{architecture}-{bits}")
    for method, objective, architecture, bits, marks in (
        ("lora", "SequenceLabel", "bert", "4bit", ()),
        ("lora", "SequenceLabel", "t5", "8bit", ()),
        ("lora", "SequenceLabel", "t5", "4bit", pytest.mark.slow),
        ("lora", "CausalText", "llama", "4bit", ()),
        ("lora", "CausalText", "llama", "8bit", pytest.mark.slow),
        ("lora", "Seq2SeqText", "t5", "4bit", pytest.mark.slow),
        ("lora", "Embedding", "bert", "4bit", pytest.mark.slow),
        ("lora", "SequenceLabel", "marian", "4bit", pytest.mark.slow),
        ("ia3", "SequenceLabel", "bert", "4bit", pytest.mark.slow),
        ("adalora", "SequenceLabel", "bert", "4bit", pytest.mark.slow),
        ("prompt_tuning", "CausalText", "llama", "4bit", pytest.mark.slow),
        ("ln_tuning", "SequenceLabel", "bert", "8bit", pytest.mark.slow),
    )
]


@installed
@pytest.mark.parametrize(("cell", "bits"), CELLS)
def test_a_quantised_backbone_trains_and_answers_alike(
    cell: Cell, bits: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run compares the model loaded and quantised again with the trained one, bit for bit."""
    with caplog.at_level(logging.WARNING, "nlpipe"):
        pipe = trained(cell, bits, folder, tmp_path, output={"dir": str(tmp_path / "run")})
    assert any("output.weights: adapter" in record.message for record in caplog.records)
    assert (pipe.card.weights, pipe.card.quantize) == ("adapter", bits)
    kinds = {type(module).__name__ for module in pipe.runner.model.modules()}
    assert ("Linear4bit" if bits == "4bit" else "Linear8bitLt") in kinds
    heads = [m for n, m in pipe.runner.model.named_modules() if "modules_to_save.default" in n]
    assert not any(type(inner).__name__ in ("Linear4bit", "Linear8bitLt") for head in heads for inner in head.modules())
    values = given(cell.objective)
    assert [r.to_dict() for r in pipe(values)] == [
        r.to_dict() for r in loading.load(tmp_path / "run" / "model")(values)
    ]


@installed
def test_a_method_that_cannot_adapt_quantised_layers_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"vera cannot adapt layers like .* few bits .* Methods that can: lora, adalora, ia3"
    ):
        trained(Cell("vera", "SequenceLabel", "bert"), "4bit", folder, tmp_path)


def test_without_the_extra_one_sentence_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else found(name, *a)
    )
    config = upstream.read_config(tiny("bert", folder))
    with pytest.raises(UnsupportedError, match=r"needs bitsandbytes, .* pip install 'nlpipe\[quantized\]'$"):
        upstream.load_model(None, tiny("bert", folder), config, torch.float32, "4bit")


@installed
def test_eight_bits_stay_near_the_full_weights(folder: Path) -> None:
    config = upstream.read_config(tiny("bert", folder))
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    states = []
    for bits in (None, "8bit", "4bit"):
        model, _ = upstream.load_model(None, tiny("bert", folder), config, torch.float32, bits)
        with torch.inference_mode():
            states.append(model(input_ids=ids).last_hidden_state.float().numpy())
    eight, four = (np.abs(other - states[0]).mean() for other in states[1:])
    assert 0 < eight < four < 0.5
