"""Checks of a task on a model: that what was trained is what was saved, and can be trained again to the bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nlpipe.events import Event, StepDone
from nlpipe.testing.cases import Check, require
from nlpipe.testing.comparing import differences
from nlpipe.testing.subjects import TaskCell

ADAPTED = {"steps": 8}  # of a training with an adapter


def reloaded_it_answers_the_same(cell: TaskCell) -> None:
    """Two fresh loads answer as the run did, whatever the state of the process's random numbers."""
    import torch

    examples = cell.learnt.examples
    inputs = [cell.given(example) for example in examples]
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = differences(cell.learnt.results, cell.pipe()(inputs), inputs, 0.0)
        require(not found, f"loaded again it answers otherwise than the run did:\n{found}")


def an_adapter_answers_the_same_merged_and_apart(cell: TaskCell) -> None:
    """LoRA, saved in the weights and beside them: both answer alike when loaded, and as their runs did."""
    told = {}
    for weights in ("merged", "adapter"):
        report = cell.run(cell.brief(ADAPTED, adapter={"method": "lora", "r": 4}, output={"weights": weights}))
        inputs = [cell.given(example) for example in report.examples]
        told[weights] = cell.over(cell.load(report), report.examples)(inputs)
        found = differences(report.results, told[weights], inputs, 0.0)
        require(not found, f"with an adapter ({weights}), loaded again it answers otherwise than the run did:\n{found}")
    found = differences(told["merged"], told["adapter"], inputs, 1e-3)
    require(not found, f"an adapter kept apart answers otherwise than merged into the weights:\n{found}")


def the_same_seed_gives_the_same_weights(cell: TaskCell) -> None:
    """Two runs of one recipe end with the same bytes, whatever the state of the process's random numbers."""
    import torch

    torch.manual_seed(1)
    one = _weights(cell.briefly)
    torch.manual_seed(2)
    other = _weights(cell.run(cell.brief()))
    require(one == other, "two runs of the same recipe end with other weights")


def resumed_it_ends_the_same(cell: TaskCell) -> None:
    """A run that is killed after three of four steps, and goes on from its checkpoint, ends with the same bytes."""
    recipe = cell.brief()

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            raise _Killed

    try:
        cell.run(recipe, listeners=[kill])
    except _Killed:
        pass
    else:
        raise AssertionError("the run did not take three steps")
    resumed = cell.run(recipe, resume=True)
    require(_weights(resumed) == _weights(cell.briefly), "a resumed run ends with other weights than one in a piece")


class _Killed(Exception):
    pass


def _weights(report: Any) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(report.model).glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


CHECKS = (
    Check(
        "reloaded_it_answers_the_same",
        "Saved and loaded again, a model answers exactly as it did, and twice the same.",
        "state that the Card does not hold: what the task or the objective keeps outside labels, options and "
        "recorded(); random numbers in query(), result() or predict().",
        reloaded_it_answers_the_same,
    ),
    Check(
        "an_adapter_answers_the_same_merged_and_apart",
        "With LoRA it is saved whole, merged into the weights or beside them.",
        "the objective's `head` and `peft`: a head that is not named is not saved with the adapter.",
        an_adapter_answers_the_same_merged_and_apart,
        costly=True,
    ),
    Check(
        "the_same_seed_gives_the_same_weights",
        "The same recipe gives the same weights, bit by bit.",
        "random numbers that are not drawn from collate()'s `rng`; sets and dictionaries whose order is chance.",
        the_same_seed_gives_the_same_weights,
    ),
    Check(
        "resumed_it_ends_the_same",
        "A run that was killed and resumed ends with the weights of one that was not.",
        "state that a checkpoint does not hold: counters and random generators kept in the task or the objective.",
        resumed_it_ends_the_same,
    ),
)
