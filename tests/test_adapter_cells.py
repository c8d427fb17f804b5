"""PEFT's table: each method on each objective and family trains, is saved, answers alike loaded again and merged.

What passed is recorded in docs/adapters.json with `--evidence`, and docs/adapters.md shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import adapter, backbone, loading, locating, parity
from nlpipe.adapter_methods import METHODS
from nlpipe.errors import UnsupportedError
from nlpipe.pipelines import Pipeline
from nlpipe.recipe import Recipe
from nlpipe.running import run
from tests import adapter_table
from tests.adapter_cells import CELLS, Cell, given
from tests.support import tiny

QUICK = {
    "lora-SequenceLabel-t5",
    "adalora-SequenceLabel-bert",
    "ia3-TokenLabel-bert",
    "prompt_tuning-CausalText-llama",
    "prefix_tuning-CausalText-gpt2",
    "p_tuning-Embedding-t5",
    "oft-SequenceLabel-gpt2",
    "ln_tuning-Seq2SeqText-t5",
}
ALL = [pytest.param(cell, marks=() if cell.name in QUICK else pytest.mark.slow, id=cell.name) for cell in CELLS]


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def passed(request: pytest.FixtureRequest) -> Iterator[set[Cell]]:
    """The cells that passed, for the table: written where all were run."""
    found: set[Cell] = set()
    yield found
    ran = [item for item in request.session.items if item.path == request.path and "cell" in item.fixturenames]
    if request.config.getoption("--evidence") and len(ran) == len(CELLS):
        adapter_table.EVIDENCE.write_text(adapter_table.evidence(found), encoding="utf-8")


def rows_of(pipe: Pipeline, objective: str) -> list[Any]:
    inputs = [pipe.given(value) for value in given(objective)]
    queries = [pipe.task.query(one, pipe.objective) for one in inputs]
    return [row for query in queries for row in pipe.objective.encode(query, None, pipe.tokenizers)]


def numbers(found: Any) -> list[float]:
    """All numbers of a result's plain form, in order."""
    if isinstance(found, dict):
        return [n for value in found.values() for n in numbers(value)]
    if isinstance(found, list | tuple):
        return [n for value in found for n in numbers(value)]
    return [float(found)] if isinstance(found, int | float) else []


@pytest.mark.parametrize("cell", ALL)
def test_a_cell_trains_is_saved_and_answers_alike(
    cell: Cell, backbones: Path, tmp_path: Path, passed: set[Cell]
) -> None:
    """The run itself compares the loaded model with the trained one, bit for bit, and fails otherwise."""
    made = cell.recipe(tiny(cell.architecture, backbones), tmp_path / "run")
    if cell.refusal:
        with pytest.raises(UnsupportedError, match=cell.refusal):
            run(made)
        return
    report = run(made)
    assert report.model is not None
    pipe = loading.load(report.model)
    model: Any = pipe.runner.model  # type: ignore[attr-defined]
    values = given(cell.objective)
    together, alone = pipe(values), [pipe(value) for value in values]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(numbers(one.to_dict()), numbers(other.to_dict()), atol=2e-5)
    if pipe.card.weights == "adapter":
        fresh = started(made, pipe)
        learnt = {name for name, value in weights(model).items() if not value.equal(fresh[name])}
        assert any("modules_to_save" not in name and not name.startswith(head(report.model)) for name in learnt), (
            sorted(fresh)
        )
    rows = rows_of(pipe, cell.objective)
    if pipe.card.weights == "adapter" and METHODS[cell.method].merges:
        merged = parity.merged(pipe.objective, model, pipe.tokenizers, rows)
        left = [name for name, _ in merged.named_parameters() if "base_layer" in name or "modules_to_save" in name]
        assert not left
    passed.add(cell)


def weights(model: Any) -> dict[str, torch.Tensor]:
    """What an adapter saves, by name."""
    import peft

    found: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(getattr(model, "adapted", model))
    return found


def started(made: Recipe, pipe: Pipeline) -> dict[str, torch.Tensor]:
    """The same before a run has trained it."""
    assert made.adapter is not None
    base = backbone.load(
        locating.locate(made.model.backbone), pipe.objective, seed=3, labels=pipe.card.labels, attention="causal"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        new = adapter.attach(base.model, made.adapter, pipe.objective, base.fresh, steps=2, folder=base.location.folder)
    return weights(new.model)


def head(folder: Path) -> tuple[str, ...]:
    """Under which names PEFT saves what was trained in full."""
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    return tuple(f"base_model.model.{name}" for name in config["modules_to_save"] or ()) or ("none",)


def test_the_docs_have_the_recorded_table() -> None:
    page = (adapter_table.EVIDENCE.parent / "adapters.md").read_text(encoding="utf-8")
    recorded = json.loads(adapter_table.EVIDENCE.read_text(encoding="utf-8"))
    assert adapter_table.markdown(recorded) in page
    assert adapter_table.left_out() in page
