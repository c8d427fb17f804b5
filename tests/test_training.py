"""The loop: the gradient does not depend on how a step is cut, and a resumed run ends where an unbroken one does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpipe import tensors, train
from nlpipe.errors import PluginError, RecipeError, UnsupportedError
from nlpipe.events import Evaluated, RunInterrupted, RunResumed, StepDone
from nlpipe.metrics import Metric
from nlpipe.objectives import AnswerSpan, SequenceLabel, TokenLabel
from nlpipe.objectives.base import Row
from nlpipe.optimization import factor
from nlpipe.running import run
from nlpipe.training import Every, Training
from tests.small_training import LABELS, equal, training, weights
from tests.support import Trainings, recipe, tiny


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("tiny"))


def test_the_gradient_does_not_depend_on_micro_batches(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plain gradient descent: Adam's first step is the gradient's sign, which hides its size and blows up noise.
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: torch.optim.SGD(groups, lr=1.0))
    found = []
    for micro in (32, 16, 5, 1):
        made = training(bert, tmp_path / str(micro), steps=1, micro_batch=micro, learning_rate=1.0, clip=None)
        *_, done = [event for event in train.train(made) if isinstance(event, StepDone)]
        found.append((done.loss, done.norm, weights(made)))
    loss, norm, first = found[0]
    for other_loss, other_norm, other in found[1:]:
        assert other_loss == pytest.approx(loss, abs=1e-6)
        assert other_norm == pytest.approx(norm, rel=1e-5)
        for name, tensor in first.items():
            torch.testing.assert_close(other[name], tensor, atol=1e-6, rtol=0, msg=name)


def test_windows_of_an_example_weigh_as_one_example(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path, steps=1)
    assert max(len(rows) for rows in made.examples) > 1
    for rows in made.examples:
        assert sum(row.weight for row in rows) == pytest.approx(1)
        batch = made.objective.collate(rows, made.tok, answering=False, rng=None).to("cpu")  # type: ignore[arg-type]
        assert batch.terms == pytest.approx(1)


def test_the_same_seed_gives_the_same_weights(bert: Path, tmp_path: Path) -> None:
    first, second = training(bert, tmp_path / "1", dropout=0.1), training(bert, tmp_path / "2", dropout=0.1)
    third = training(bert, tmp_path / "3", dropout=0.1, seed=8)
    for made in (first, second, third):
        torch.rand(3)  # what happened before does not matter
        list(train.train(made))
    assert equal(weights(first), weights(second))
    assert not equal(weights(first), weights(third))


def _until(made: Training, step: int) -> list[Any]:
    """The events of a training that is asked to stop after a step."""
    seen: list[Any] = []
    stopping = replace(made, stop=lambda: bool(seen) and getattr(seen[-1], "step", 0) >= step)
    seen.extend([])
    for event in train.train(stopping):
        seen.append(event)
    return seen


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_resumed_run_ends_with_the_same_weights(bert: Path, tmp_path: Path, step: int) -> None:
    whole = training(bert, tmp_path / "whole", dropout=0.1)
    expected = [event.loss for event in train.train(whole) if isinstance(event, StepDone)]
    broken = _until(training(bert, tmp_path / "broken", dropout=0.1), step)
    assert isinstance(broken[-1], RunInterrupted)
    again = training(bert, tmp_path / "broken", dropout=0.1)
    events = list(train.train(again, resume=True))
    assert isinstance(events[0], RunResumed)
    assert events[0].step == step
    losses = [event.loss for event in [*broken, *events] if isinstance(event, StepDone)]
    assert losses == expected
    assert equal(weights(again), weights(whole))


class Mixing(SequenceLabel):
    """Puts other texts of equal length in each other's places, anew each epoch."""

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        given = [row for row in rows if row.parts == 1]
        order = sorted(range(len(given)), key=lambda at: (given[at].length, rng.random()))
        places = sorted(range(len(given)), key=lambda at: (given[at].length, at))
        mixed = dict(zip(places, (given[at] for at in order), strict=True))
        return (mixed[at] for at in range(len(given)))


class Growing(SequenceLabel):
    """Breaks the contract."""

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        return iter([row for row in rows if rng.random() < 0.5])


def test_rows_are_arranged_anew_each_epoch_and_a_resumed_run_ends_the_same(bert: Path, tmp_path: Path) -> None:
    def made(name: str) -> Training:
        given = training(bert, tmp_path / name, dropout=0.1, rows=128, batch_size=16)
        return replace(given, objective=Mixing(labels=LABELS, window=given.objective.window))

    whole = made("whole")
    first, second = ([row.ids for (row,) in whole.arranged(epoch)] for epoch in (0, 1))
    assert first != second and sorted(first) == sorted(second)
    assert [len(ids) for ids in first] == [len(ids) for ids in second] == whole.lengths
    assert whole.steps >= 6
    list(train.train(whole))
    stop = whole.steps // 2 + 1  # in the second epoch
    _until(made("broken"), stop)
    again = made("broken")
    assert (
        len([event for event in train.train(again, resume=True) if isinstance(event, StepDone)]) == whole.steps - stop
    )
    assert equal(weights(again), weights(whole))
    other = replace(whole, objective=Growing(labels=LABELS), checkpoints=tmp_path / "other")
    with pytest.raises(PluginError, match="other sizes in epoch 2"):
        list(train.train(other))


def test_a_checkpoint_of_another_recipe_is_refused(bert: Path, tmp_path: Path) -> None:
    list(train.train(training(bert, tmp_path, steps=2)))
    other = replace(training(bert, tmp_path, steps=2), identity={"a": 2})
    with pytest.raises(RecipeError, match="another recipe") as caught:
        list(train.train(other, resume=True))
    assert "was 1, is 2" in str(caught.value)


def _scripted(scores: list[float]) -> Iterator[float]:
    yield from scores


def test_the_best_weights_are_kept(bert: Path, tmp_path: Path) -> None:
    metric = Metric("score", "score|test", lambda r, e: None, lambda rows: 0.0)  # type: ignore[arg-type, return-value]
    script, seen = _scripted([0.2, 0.9, 0.1]), []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        seen.append({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
        return {"score": next(script)}

    made = training(bert, tmp_path, steps=3, evaluate_every=Every(1), evaluate=evaluate, metric=metric)
    events = [event for event in train.train(made) if isinstance(event, Evaluated)]
    assert [event.best for event in events] == [True, True, False]
    assert equal(weights(made), seen[1])


def test_a_loss_that_is_no_number_stops_with_advice(bert: Path, tmp_path: Path) -> None:
    made = training(bert, tmp_path, learning_rate=1e30, clip=None, warmup=0.0, epochs=20)
    with pytest.raises(RecipeError, match=r"the loss is \w+ at step \d+.*learning_rate"):
        list(train.train(made))


def test_schedules() -> None:
    linear = [factor(step, 10, 0.2, "linear") for step in range(10)]
    assert linear[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert linear[-1] == pytest.approx(1 / 8)
    assert factor(6, 10, 2, "cosine") == pytest.approx(0.5)
    assert [factor(step, 10, 0, "constant") for step in (0, 9)] == [1.0, 1.0]


def test_training_options_an_objective_does_not_have() -> None:
    with pytest.raises(UnsupportedError, match=r"train\.focal does nothing for AnswerSpan; leave it out"):
        AnswerSpan().with_training({"focal": 2.0})
    for kind, option in (("multi", "label_smoothing"), ("number", "focal"), ("number", "class_weights")):
        labels = SequenceLabel(labels=LABELS, kind=kind)  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match=rf"train\.{option} does nothing where .*; leave it out"):
            labels.with_training({option: 0.1})


def test_class_weights_balance_the_gradient() -> None:
    objective = SequenceLabel(labels=("a", "b"), class_weights="balanced")
    assert objective.settle([0, 0, 0, 1]).class_weights == pytest.approx((4 / 6, 2.0))  # as scikit-learn has it
    assert SequenceLabel(labels=("a", "b"), class_weights={"b": 3.0}).settle([0]).class_weights == (1.0, 3.0)


def test_class_weights_of_words_count_words() -> None:
    objective = TokenLabel(labels=("O", "B-x"), class_weights="balanced")
    assert objective.settle([[0, 0, None], [0, 1]]).class_weights == pytest.approx((4 / 6, 2.0))
    with pytest.raises(UnsupportedError, match=r"unknown label 'B-y'; did you mean 'B-x'\?"):
        replace(objective, class_weights={"B-y": 2.0}).settle([])


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_is_that_of_its_paper(gamma: float) -> None:
    """FL(p) = -alpha (1 - p)^gamma ln p, Lin et al. 2017, equation 5."""
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.1], [-50.0, 50.0]], requires_grad=True)
    right, alpha = torch.tensor([0, 1, 1]), torch.tensor([0.25, 3.0])
    p = logits.detach().softmax(1)[range(3), right].double()
    expected = -alpha[right] * (1 - p) ** gamma * p.log()
    found = tensors.label_loss(logits, right, weight=alpha, smoothing=0.0, focal=gamma)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    found.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()

    many = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    p = torch.where(many == 1, logits.detach().sigmoid(), 1 - logits.detach().sigmoid()).double()
    expected = (-torch.where(many == 1, alpha, 1.0) * (1 - p) ** gamma * p.log()).mean(1)
    found = tensors.multi_label_loss(logits, many, weight=alpha, focal=gamma)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_run_resumed_from_its_folder_equals_an_unbroken_one(trainings: Trainings, tmp_path: Path) -> None:
    """Through `nlpipe.run`: interrupted after two epochs, resumed, the same answers."""
    backbone_folder = tiny("bert", trainings.folder)
    section = {"epochs": 3, "batch_size": 100, "learning_rate": 3e-3, "seed": 3}
    whole = run(recipe(backbone_folder, tmp_path / "whole", train=section))

    def stop_at_six(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 6:
            import signal

            signal.raise_signal(signal.SIGTERM)

    broken = run(recipe(backbone_folder, tmp_path / "broken", train=section), listeners=[stop_at_six])
    assert not broken.finished
    assert broken.model is None
    resumed = run(recipe(backbone_folder, tmp_path / "broken", train=section), resume=True)
    assert resumed.results == whole.results
    one, other = (report.model / "model.safetensors" for report in (whole, resumed) if report.model)
    assert one.read_bytes() == other.read_bytes()
