"""One step on 32 examples gives the same weights whole, in two halves, and in two processes with a half each."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpipe import train
from nlpipe.events import StepDone
from nlpipe.objectives import SequenceLabel
from nlpipe.world import join
from tests.children import FORKING, forked
from tests.small_training import training, weights
from tests.support import tiny

pytestmark = [
    pytest.mark.skipif(not FORKING, reason="processes are forked"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]


def step(folder: Path, out: Path, **options: Any) -> tuple[float, float, dict[str, torch.Tensor]]:
    """The loss, the gradient's norm and the weights after one step of plain gradient descent at rate 1.

    Adam's first step is the gradient's sign, which hides its size and blows up noise.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: torch.optim.SGD(groups, lr=1.0))
        made = training(folder, out, steps=1, learning_rate=1.0, clip=None, **options)
        (done,) = [event for event in train.train(made) if isinstance(event, StepDone)]
    return done.loss, done.norm, weights(made)


@pytest.mark.parametrize(
    "options", [{"batch_size": 32}, {"batch_size": None, "tokens_per_batch": 512}], ids=["examples", "tokens"]
)
def test_the_same_weights_however_a_step_is_cut(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    bert = tiny("bert", tmp_path)

    def work(rank: int) -> None:
        torch.save(step(bert, tmp_path / f"rank-{rank}", **options), tmp_path / f"{rank}.pt")

    assert forked(2, work) == [0, 0]
    loss, norm, whole = step(bert, tmp_path / "whole", micro_batch=32, **options)
    found = [step(bert, tmp_path / "halves", micro_batch=16, **options)]
    found += [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for other_loss, other_norm, other in found:
        assert other_loss == pytest.approx(loss, abs=1e-6)
        assert other_norm == pytest.approx(norm, rel=1e-5)
        for name, tensor in whole.items():
            torch.testing.assert_close(other[name], tensor, atol=1e-6, rtol=0, msg=name)


class Cramped(SequenceLabel):
    """Has no room for more than `ROOM` rows at once in the second process; and notes what was tried."""

    def compute(self, model: Any, batch: Any) -> Any:
        rows = len(batch.inputs["input_ids"])
        if os.environ["RANK"] == "1" and rows > ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        tried.append(rows)
        return super().compute(model, batch)


ROOM = 8
tried: list[int] = []


def test_where_one_process_runs_out_of_memory_all_go_on_in_smaller_pieces(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    bert = tiny("bert", tmp_path)

    def made(out: Path, **options: Any) -> Any:
        found = training(bert, out, steps=3, learning_rate=1e-3, **options)
        kind = Cramped if out.name.startswith("rank") else type(found.objective)
        settings = {field.name: getattr(found.objective, field.name) for field in fields(found.objective)}
        return replace(found, objective=kind(**settings), world=join())

    def work(rank: int) -> None:
        started = made(tmp_path / f"rank-{rank}")
        list(train.train(started))
        assert max(tried[-4:]) <= ROOM < max(tried) if rank == 0 else max(tried) <= ROOM
        torch.save(weights(started), tmp_path / f"{rank}.pt")

    assert forked(2, work) == [0, 0]
    whole = training(bert, tmp_path / "whole", steps=3, learning_rate=1e-3)
    list(train.train(whole))
    for rank in range(2):
        for name, tensor in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            if "key.bias" not in name:
                torch.testing.assert_close(tensor, weights(whole)[name], atol=1e-5, rtol=0, msg=name)
