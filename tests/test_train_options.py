"""What a recipe's `train:` may ask of the loop: optimizers, schedules, when to look and to stop, what saves memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpipe import adapter, train
from nlpipe.adapter_training import Companion
from nlpipe.batching import Step, Turn
from nlpipe.errors import RecipeError
from nlpipe.events import Evaluated, RunInterrupted, Saved, StepDone, StoppedEarly
from nlpipe.metrics import Metric
from nlpipe.optimization import factor
from nlpipe.recipe import AdapterSection
from nlpipe.training import Every, Progress, Training
from tests.small_training import equal, training, weights
from tests.support import tiny

SCORE = Metric("score", "score|test", lambda r, e: None, lambda rows: 0.0)  # type: ignore[arg-type, return-value]
ERROR = replace(SCORE, name="error", direction="minimize")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("tiny"))


def adapted(made: Training, **settings: Any) -> Training:
    """The same training with a LoRA adapter on every attention layer."""
    section = AdapterSection(dropout=0.1, **settings)
    torch.manual_seed(1)
    found = adapter.attach(made.model, section, made.objective, ("classifier",), steps=made.steps, folder=Path())
    return replace(made, model=found.model, companion=found.companion)


def scripted(name: str, scores: list[float]) -> Callable[[torch.nn.Module], dict[str, float]]:
    """An evaluation that gives these scores, one after the other."""
    script = iter(scores)
    return lambda model: {name: next(script)}


def done(made: Training, kind: type) -> list[Any]:
    """The events of one kind that the training gives."""
    return [event for event in train.train(made) if isinstance(event, kind)]


# Schedules and optimizers


def test_the_inverse_square_root_falls_from_the_end_of_the_warm_up() -> None:
    found = [factor(step, 1000, 100, "inverse_sqrt") for step in (0, 99, 100, 300, 800)]
    assert found == pytest.approx([1 / 101, 100 / 101, 1.0, math.sqrt(1 / 3), math.sqrt(1 / 8)])
    assert factor(3, 1000, 0, "inverse_sqrt") == 0.5


def test_more_warm_up_than_steps_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.warmup is 5 steps, and the training has 4"):
        list(train.train(training(bert, tmp_path, warmup=5.0)))
    list(train.train(training(bert, tmp_path, warmup=4.0)))


def test_nothing_to_train_is_refused(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path)
    made.model.requires_grad_(False)
    with pytest.raises(RecipeError, match=r"every weight is frozen\. Freeze less"):
        list(train.train(made))


def test_a_gradient_that_is_no_number_stops_before_the_weights_are_lost(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path)
    parameter = next(made.model.parameters())
    parameter.register_hook(lambda gradient: gradient * math.nan)
    before = weights(made)
    with pytest.raises(RecipeError, match=r"the gradient's norm is nan at step 1 of 4.*learning_rate"):
        list(train.train(made))
    assert equal(weights(made), before)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adafactor", "schedule": "inverse_sqrt"},
        {"gradient_checkpointing": True, "schedule": "cosine"},
        {"precision": "bfloat16", "weight_decay": 0.1},
    ],
    ids=["adafactor", "checkpointing", "bfloat16"],
)
def test_every_option_resumes_to_the_same_weights(bert: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    whole = training(bert, tmp_path / "whole", dropout=0.1, **options)
    losses = [event.loss for event in done(whole, StepDone)]
    seen: list[Any] = []
    broken = training(bert, tmp_path / "broken", dropout=0.1, **options)
    seen.extend(train.train(replace(broken, stop=lambda: True)))
    assert isinstance(seen[-1], RunInterrupted)
    again = training(bert, tmp_path / "broken", dropout=0.1, **options)
    seen.extend(train.train(again, resume=True))
    assert [event.loss for event in seen if isinstance(event, StepDone)] == losses
    assert equal(weights(again), weights(whole))


# When to look, and when to stop


def test_distances_in_steps_and_in_epochs() -> None:
    turns = [Turn(Fraction(step, 3), Fraction(step + 1, 3), Step(())) for step in range(9)]  # three epochs of three

    def due(wanted: int | str | None) -> list[int]:
        return [step for step, turn in enumerate(turns, 1) if Every.of(wanted).due(step, turn)]

    assert due(None) == due("1 epoch") == [3, 6, 9]
    assert due(4) == [4, 8]
    assert due("2 epochs") == [6]
    assert due("0.5 epochs") == [2, 3, 5, 6, 8, 9]
    assert due("0.1 epochs") == list(range(1, 10))


def test_evaluation_and_checkpoints_come_when_they_are_due(bert: Path, tmp_path: Path) -> None:
    """Four steps in two epochs: a look at each step, a checkpoint where the weights are the best, and at the end."""
    made = training(
        bert,
        tmp_path,
        evaluate=scripted("score", [0.3, 0.2, 0.4, 0.1]),
        metric=SCORE,
        evaluate_every=Every.of("0.5 epochs"),
        checkpoint_every=Every.of("9 epochs"),
        keep=1,
    )
    events = list(train.train(made))
    assert [event.step for event in events if isinstance(event, Evaluated)] == [1, 2, 3, 4]
    assert [event.step for event in events if isinstance(event, Saved)] == [1, 3, 4]
    assert [event.epoch for event in events if isinstance(event, StepDone)] == [0.5, 1.0, 1.5, 2.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"], "best and newest"


@pytest.mark.parametrize(
    ("metric", "delta", "scores", "ends"),
    [
        (SCORE, 0.0, [0.5, 0.4, 0.5, 0.9], 3),
        (SCORE, 0.0, [0.5, 0.4, 0.6, 0.7], 4),
        (SCORE, 0.1, [0.5, 0.55, 0.59, 0.9], 3),
        (SCORE, 0.0, [math.nan, 0.1, math.nan, 0.1], 4),
        (ERROR, 0.1, [0.5, 0.3, 0.25, 0.21], 4),
        (ERROR, 0.0, [0.5, 0.6, 0.7, 0.1], 3),
    ],
)
def test_early_stopping(
    bert: Path, tmp_path: Path, metric: Metric, delta: float, scores: list[float], ends: int
) -> None:
    made = training(
        bert,
        tmp_path,
        evaluate=scripted(metric.name, scores),
        metric=metric,
        evaluate_every=Every(1),
        patience=2,
        min_delta=delta,
    )
    events = list(train.train(made))
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, ends + 1))
    assert [event.step for event in events if isinstance(event, StoppedEarly)] == [3] * (ends == 3)
    again = replace(training(bert, tmp_path, patience=2, min_delta=delta), metric=metric)
    assert not [event for event in train.train(again, resume=True) if isinstance(event, StepDone)], "it stays stopped"
    assert equal(weights(again), weights(made))


def test_waiting_counts_from_the_last_score_that_was_better_by_enough() -> None:
    progress = Progress()
    found = []
    for score in (0.1, 0.2, 0.25, 0.31, 0.30):
        progress.evaluated({"score": score}, SCORE)
        found.append(progress.waited(SCORE, 0.1))
    assert found == [0, 1, 0, 1, 2]
    assert Progress.of(progress.to_dict()).waited(SCORE, 0.1) == 2


# Memory


def test_recomputed_activations_change_nothing_and_reach_the_adapter(bert: Path, tmp_path: Path) -> None:
    """Bit for bit, dropout too; with the reentrant kind an adapter's B would stay at zero, silently."""
    found = []
    for recompute in (False, True):
        made = adapted(training(bert, tmp_path / str(recompute), dropout=0.1, gradient_checkpointing=recompute))
        norms = [event.norm for event in done(made, StepDone)]
        found.append((norms, weights(made)))
    (norms, plain), (other_norms, recomputed) = found
    assert other_norms == norms
    assert equal(recomputed, plain)
    moved = [tensor.abs().max().item() for name, tensor in recomputed.items() if "lora_B" in name]
    assert moved
    assert min(moved) > 0


def narrow(made: Training, rows: int, calls: list[int]) -> Training:
    """The training on a device that holds the activations of so many rows."""
    forward = made.model.forward

    def limited(**inputs: Any) -> Any:
        calls.append(len(inputs["input_ids"]))
        if calls[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(**inputs)

    made.model.forward = limited  # type: ignore[method-assign]
    return made


def test_what_does_not_fit_is_computed_in_smaller_pieces_with_the_same_result(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = training(bert, tmp_path / "whole")
    expected = [event.loss for event in done(whole, StepDone)]
    calls: list[int] = []
    with caplog.at_level(logging.WARNING):
        made = narrow(training(bert, tmp_path / "narrow"), 7, calls)
        found = [event.loss for event in done(made, StepDone)]
    assert max(calls) > 7
    assert sum(rows > 7 for rows in calls) < 6, "what was found out is kept"
    assert found == pytest.approx(expected, abs=1e-5)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(made)[name], tensor, atol=2e-4, rtol=0, msg=name)
    assert "step 1 does not fit into memory; going on with" in caplog.text


def test_a_resumed_run_is_cut_as_the_broken_one_was(bert: Path, tmp_path: Path) -> None:
    whole = narrow(training(bert, tmp_path / "whole", dropout=0.1), 7, [])
    list(train.train(whole))
    list(train.train(replace(narrow(training(bert, tmp_path / "b", dropout=0.1), 7, []), stop=lambda: True)))
    calls: list[int] = []
    again = narrow(training(bert, tmp_path / "b", dropout=0.1), 7, calls)
    list(train.train(again, resume=True))
    assert max(calls) <= 7, "it does not try again what did not fit"
    assert equal(weights(again), weights(whole))


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (0, {}, r"step 1 of 4: one example at a time does not fit\. What takes less: train\.gradient_checkpointing"),
        (0, {"gradient_checkpointing": True}, r"does not fit\. What takes less: an `adapter`.*max_length.*adafactor"),
        (4, {"micro_batch": 8}, r"8 examples at once do not fit: set train\.micro_batch below 8, or to auto"),
    ],
)
def test_where_nothing_smaller_is_left_it_says_what_to_change(
    bert: Path, tmp_path: Path, rows: int, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        list(train.train(narrow(training(bert, tmp_path, **options), rows, [])))


def test_other_errors_are_not_taken_for_a_lack_of_memory(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path)

    def broken(**inputs: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    made.model.forward = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(train.train(made))


@pytest.mark.slow
def test_a_compiled_model_trains_alike_and_keeps_its_names(bert: Path, tmp_path: Path) -> None:
    """torch.compile on a processor: the same names in the checkpoint, the same weights but for rounding."""
    plain, made = training(bert, tmp_path / "plain", steps=2), training(bert, tmp_path / "fast", steps=2, compile=True)
    list(train.train(plain))
    list(train.train(made))
    assert weights(made).keys() == weights(plain).keys()
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(made)[name], tensor, atol=2e-4, rtol=0, msg=name)
    assert made.model._compiled_call_impl is None


def test_the_rates_of_an_adapter_hold_with_adafactor_too(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path, optimizer="adafactor", steps=1)
    still = {name for name, _ in made.model.named_parameters() if name.startswith("classifier")}
    before = weights(made)
    list(train.train(replace(made, companion=Companion(dict.fromkeys(still, 0.0)))))
    moved = {name for name, tensor in weights(made).items() if not torch.equal(tensor, before[name])}
    assert moved
    assert not moved & still
