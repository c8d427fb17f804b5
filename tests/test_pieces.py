"""Weights in pieces (FSDP 2, by Accelerate's configuration): two processes make what one makes, and resume it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlpipe import pieces, spreading
from nlpipe.errors import RecipeError, UnsupportedError
from nlpipe.events import StepDone
from nlpipe.launching import launch
from nlpipe.recipe import Recipe
from nlpipe.running import run
from nlpipe.testing import rules
from tests import process_worker
from tests.children import FORKING, forked
from tests.support import labelled, recipe

forking = pytest.mark.skipif(not FORKING, reason="processes are forked")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")

# What `accelerate launch` makes of a configuration with these settings.
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}
CASES = ("whole", "adapter", "coupled", "pair")


def cases(folder: Path, out: Path) -> dict[str, Recipe]:
    """Those that whole weights are held to, and a pair with tied embeddings."""
    made = process_worker.cases(folder, out)

    def like(name: str, **sections: Any) -> Recipe:
        return Recipe(**(made[name].model_dump(exclude_defaults=True) | sections))

    made["adapter"] = like("adapter", adapter={"r": 4, "loraplus_lr_ratio": 4.0})
    made["pair"] = like("whole", model={"backbone": str(folder / "t5")}, output={"dir": str(out / "pair")})
    return made


def small(folder: Path, out: Path) -> Recipe:
    """Six steps with dropout, a checkpoint every two."""
    rows = labelled(rules.first_keyword(48, seed=1))
    train = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "seed": 3, "checkpoint_every": 2}
    return recipe(folder / "dropping" / "bert", out, data={"train": rows[:40], "validation": rows[40:]}, train=train)


def stop_after_three(event: Any) -> None:
    if isinstance(event, StepDone) and event.step == 3:
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same runs by one process (`one`) and by two with pieces (`two`), one of those broken off."""
    folder = tmp_path_factory.mktemp("pieces")
    process_worker.backbones(folder, "bert", "gpt2", "t5")
    process_worker.tiny("bert", folder / "dropping")
    torch.set_num_threads(1)

    def work(rank: int) -> None:
        os.environ.update(FSDP)
        sizes: list[tuple[int, int]] = []
        settle = spreading.Sharded.settle

        def noting(spread: Any) -> None:
            held = [weight.to_local().numel() for weight in spread.weights.values()]
            sizes.append((sum(held), sum(weight.numel() for weight in spread.weights.values())))
            settle(spread)

        spreading.Sharded.settle = noting  # type: ignore[method-assign]
        for case in cases(folder, folder / "two").values():
            run(case)
        run(small(folder, folder / "two" / "unbroken"))
        broken = small(folder, folder / "two" / "broken")
        assert not run(broken, listeners=[stop_after_three]).finished
        run(broken, resume=True)
        (folder / f"sizes-{rank}.json").write_text(json.dumps(sizes))

    ended = forked(2, work)
    assert ended == [0, 0]
    for case in cases(folder, folder / "one").values():
        run(case)
    return folder


@forking
@pytest.mark.parametrize("case", CASES)
def test_pieces_make_the_model_that_whole_weights_make(both: Path, case: str) -> None:
    one, two = (load_file(both / side / case / "model" / "model.safetensors") for side in ("one", "two"))
    gaps = {name: float((one[name] - two[name]).abs().max()) for name in one if "key.bias" not in name}
    assert one.keys() == two.keys()
    assert max(gaps.values()) <= 1e-6, {name: gap for name, gap in gaps.items() if gap > 1e-6}
    for kind, key in (("StepDone", "loss"), ("StepDone", "norm"), ("Evaluated", "step")):
        told = [[event[key] for event in events(both / side / case, kind)] for side in ("one", "two")]
        assert told[0] == pytest.approx(told[1], rel=1e-4), (kind, key)
    scores = [json.loads((both / side / case / "metrics.json").read_text())["scores"] for side in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


@forking
def test_each_process_holds_about_half(both: Path) -> None:
    sizes = [json.loads((both / f"sizes-{rank}.json").read_text()) for rank in range(2)]
    for (one, whole), (other, _) in zip(*sizes, strict=True):
        assert one + other == whole
        assert max(one, other) < 0.6 * whole


@forking
def test_pieces_are_resumed_to_the_bit(both: Path) -> None:
    whole, broken = both / "two" / "unbroken", both / "two" / "broken"
    assert (whole / "model" / "model.safetensors").read_bytes() == (broken / "model" / "model.safetensors").read_bytes()
    assert events(broken, "RunResumed")
    assert [event["loss"] for event in events(whole, "StepDone")] == [
        event["loss"] for event in events(broken, "StepDone")
    ]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def plain(**sections: Any) -> Recipe:
    return recipe(Path("somewhere"), Path("run"), **sections)


@pytest.mark.parametrize(
    ("changes", "sections", "said"),
    [
        ({"FSDP_VERSION": "1"}, {}, r"fsdp_version: 2"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, {}, r"train\.gradient_checkpointing: true"),
        ({}, {"train": {"compile": True}}, r"train\.compile does not go with FSDP"),
        ({}, {"train": {"optimizer": "adafactor"}}, r"adafactor"),
        ({}, {"adapter": {"method": "adalora"}}, r"adapter\.method: adalora"),
        ({}, {"model": {"backbone": "x", "quantize": "4bit"}, "adapter": {}}, r"model\.quantize"),
        ({"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_MEGATRON_LM": "true"}, {}, r"asks for Megatron-LM"),
        ({"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, {}, r"a parallelism_config"),
    ],
)
def test_what_cannot_be_done_in_pieces_is_named(changes: dict[str, str], sections: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        pieces.require(plain(**sections), 2, FSDP | changes)


def test_one_process_alone_has_no_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="asks for FSDP, and there is one process"):
        run(recipe(tmp_path / "x", tmp_path / "run"))


def test_what_a_recipe_says_is_not_asked_of_the_configuration(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
    pieces.require(plain(), 2, environ)
    assert environ == {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}
    assert [record.message.partition(" in ")[0] for record in caplog.records] == [
        "mixed_precision",
        "gradient_accumulation_steps",
    ]


@pytest.mark.slow
@pytest.mark.may_skip(reason="needs deepspeed, which compiles for minutes where there is no GPU")
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not there")
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_makes_the_model_that_whole_weights_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    process_worker.backbones(tmp_path)
    made = process_worker.cases(tmp_path, tmp_path / "one")
    for case in made.values():
        run(case)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", str(stage))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    command = [sys.executable, "-m", "tests.process_worker", str(tmp_path), str(tmp_path / "two")]
    assert launch(command, 2) == 0
    for name in made:
        one, two = (load_file(tmp_path / side / name / "model" / "model.safetensors") for side in ("one", "two"))
        assert max(float((one[key] - two[key]).abs().max()) for key in one if "key.bias" not in key) <= 1e-6, name


def test_deepspeed_is_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"ACCELERATE_USE_DEEPSPEED": "true"}
    monkeypatch.setattr(pieces, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="DeepSpeed: it is not installed; pip install deepspeed"):
        pieces.require(plain(), 2, dict(asked))
    monkeypatch.setattr(pieces, "find_spec", lambda name: "there")
    pieces.require(plain(), 2, environ := dict(asked))
    assert environ["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "false"
    with pytest.raises(UnsupportedError, match="cannot be resumed"):
        pieces.require(plain(), 2, dict(asked), resume=True)
