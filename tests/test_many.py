"""Sweeps and seeds: which runs are made, what is chosen, what is refused beforehand, and what survives a stop."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpipe import many
from nlpipe.errors import RecipeError
from nlpipe.events import Event, StepDone, TrialFinished, TrialStarted
from nlpipe.loading import load
from nlpipe.plugins import Plugins
from nlpipe.recipe import Recipe, build, dump, read
from nlpipe.recipe_sweep import Range, SweepSection, rungs, trials
from nlpipe.running import run
from nlpipe.testing import rules
from tests.support import labelled, tiny

PLUGINS = Plugins.discover(strict=True)
TRAIN = {"epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "warmup": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("many"))


def made(backbone: Path, out: Path, **sections: Any) -> Recipe:
    rows = labelled(rules.first_keyword(96, seed=1))
    return Recipe(
        **{
            "task": "classification",
            "model": {"backbone": str(backbone)},
            "data": {"train": rows[:64], "validation": rows[64:80], "test": rows[80:]},
            "train": TRAIN,
            "evaluate": {"bootstrap": 0},
            "run": {"threads": 1},
            "output": {"dir": str(out)},
            **sections,
        }
    )


def test_a_grid_has_every_combination() -> None:
    section = SweepSection(over={"a.b": [1, 2], "c.d": {"from": 1e-4, "to": 1e-2, "scale": "log", "steps": 3}})
    assert [tuple(one.values()) for one in trials(section)] == [(a, c) for a in (1, 2) for c in (1e-4, 1e-3, 1e-2)]


@given(st.integers(1, 40), st.integers(0, 99))
def test_draws_lie_within_and_a_longer_sweep_begins_with_a_shorter_one(count: int, seed: int) -> None:
    over: dict[str, Any] = {
        "x.rate": {"from": 1e-5, "to": 1e-2, "scale": "log"},
        "x.rank": {"from": 2, "to": 64},
        "x.kind": ["p", "q"],
    }
    found = trials(SweepSection(over=over, method="random", trials=count, seed=seed))
    assert len(found) == count
    for one in found:
        assert 1e-5 <= one["x.rate"] <= 1e-2
        assert isinstance(one["x.rank"], int) and 2 <= one["x.rank"] <= 64
        assert one["x.kind"] in ("p", "q")
    assert trials(SweepSection(over=over, method="random", trials=count + 1, seed=seed))[:count] == found


def test_draws_on_a_log_scale_are_even_over_its_powers() -> None:
    over = {"x.rate": {"from": 1e-5, "to": 1e-1, "scale": "log"}}
    found = trials(SweepSection(over=over, method="random", trials=400))
    below = sum(one["x.rate"] < 1e-3 for one in found)
    assert 160 < below < 240


def test_draws_are_distinct_as_far_as_there_are_any() -> None:
    assert len(trials(SweepSection(over={"a.b": [1, 2], "c.d": [3, 4]}, method="random", trials=9))) == 4


@given(st.integers(2, 60), st.integers(2, 4))
def test_halving_ends_with_a_whole_training(count: int, keep: int) -> None:
    if count < keep:
        return
    over = {"x.rate": {"from": 0.0, "to": 1.0}}
    found = rungs(SweepSection(over=over, method="halving", trials=count, keep=keep))
    assert found[0][0] == count and found[-1][1] == 1.0 and found[-1][0] >= 1
    for (more, short), (fewer, long) in itertools.pairwise(found):
        assert fewer <= more // keep + 1
        assert math.isclose(long, keep * short)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"over": {"output.dir": ["a"]}}, "folder of its own"),
        ({"over": {"data.validation": [0.1]}}, "same rows"),
        ({"over": {"evaluate.split": ["test"]}}, "same scores"),
        ({"over": {"train.epochs": {"from": 1, "to": 3}}}, "needs `steps`"),
        ({"over": {"train.epochs": {"from": 3, "to": 1, "steps": 2}}}, "must be less than"),
        ({"over": {"train.learning_rate": {"from": 0, "to": 1, "scale": "log", "steps": 2}}}, "above 0 on a log scale"),
        ({"over": {"train.epochs": [1]}, "trials": 3}, "not for a grid"),
        ({"over": {"train.epochs": [1]}, "method": "random"}, "how many draws"),
        ({"over": {"train.epochs": [1, 2]}, "method": "halving", "trials": 2}, "must be at least sweep.keep"),
        ({"over": {"train.epochs": [1]}, "keep": 2}, "method: halving alone"),
        ({"over": {}}, "must not be empty"),
        ({"over": {"a.b": list(range(101)), "c.d": list(range(100))}}, "10,100 combinations"),
    ],
)
def test_a_section_that_makes_no_sense(backbone: Path, section: Mapping[str, Any], message: str) -> None:
    whole = {"task": "sentiment", "model": {"backbone": "x"}, "data": {"train": "a.csv", "validation": 0.1}}
    with pytest.raises(RecipeError, match=message):
        build({**whole, "train": {}, "sweep": section}, PLUGINS.tasks)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"sweep": {"over": {"train.epochs": [1]}}, "train": None}, "recipes that train"),
        ({"sweep": {"over": {"train.epochs": [1]}}, "data": {"train": "a.csv"}}, "rows to choose by"),
        ({"sweep": {"over": {"train.epochs": [1]}}, "seeds": [1]}, "stands beside sweep"),
        ({"seeds": [1, 1]}, "more than once"),
        ({"seeds": [1], "data": {"train": "a.csv"}}, "rows to score"),
    ],
)
def test_recipes_that_cannot_be_run_many_times(sections: Mapping[str, Any], message: str) -> None:
    whole = {"task": "sentiment", "model": {"backbone": "x"}, "data": {"train": "a.csv", "validation": 0.1}}
    with pytest.raises(RecipeError, match=message):
        build({**whole, "train": {}, **sections}, PLUGINS.tasks)


def test_wrong_keys_and_values_are_found_before_anything_is_run(backbone: Path, tmp_path: Path) -> None:
    over = {"train.lerning_rate": [1e-3], "train.epochs": [1, -1], "task.multi_labl": [True]}
    with pytest.raises(RecipeError) as caught:
        many.sweep(made(backbone, tmp_path / "s", sweep={"over": over}), plugins=PLUGINS)
    said = str(caught.value)
    assert "learning_rate" in said and "multi_label" in said and "greater than 0" in said
    assert not (tmp_path / "s").exists()


def test_a_sweep_names_the_best(backbone: Path, tmp_path: Path) -> None:
    """A rate that learns the rule beats one that cannot; a trial that fails is recorded and the others go on."""
    heard: list[Event] = []
    over = {"train.learning_rate": [1e-9, 3e-3], "train.tokens_per_batch": [400], "model.max_length": [32, 5000]}
    recipe = made(backbone, tmp_path / "s", sweep={"over": over}, train={**TRAIN, "epochs": 12})
    report = many.sweep(recipe, plugins=PLUGINS, listeners=[heard.append])
    assert [one.status for one in report.outcomes] == ["finished", "failed", "finished", "failed"]
    assert "at most 64 tokens" in (report.outcomes[1].error or "")
    assert report.finished and report.best is report.outcomes[2]
    assert report.best.settings["train.learning_rate"] == 3e-3
    assert (report.outcomes[2].score or 0) > (report.outcomes[0].score or 0)
    assert report.best.model and load(report.best.model).card.scores == report.best.scores
    written = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert written["best"]["model"] == report.best.model and len(written["trials"]) == 4
    kinds = [type(event).__name__ for event in heard]
    assert kinds.count("TrialStarted") == kinds.count("TrialFinished") == 4
    # Once more: what is finished is read, what failed is tried again.
    heard.clear()
    again = many.sweep(recipe, plugins=PLUGINS, resume=True, listeners=[heard.append])
    assert not [event for event in heard if isinstance(event, StepDone)]
    assert again.best and again.best.model == report.best.model and again.best.score == report.best.score
    with pytest.raises(RecipeError, match="in use"):
        many.sweep(recipe, plugins=PLUGINS)
    other = made(backbone, tmp_path / "s", sweep={"over": over}, train={**TRAIN, "epochs": 11})
    with pytest.raises(RecipeError, match=r"(?s)another recipe.*train.epochs.*was 12"):
        many.sweep(other, plugins=PLUGINS, resume=True)


def test_a_torn_sweep_goes_on(backbone: Path, tmp_path: Path) -> None:
    over = {"train.learning_rate": [1e-3, 2e-3, 3e-3]}
    train = {**TRAIN, "epochs": 3, "checkpoint_every": 1}
    whole = many.sweep(made(backbone, tmp_path / "a", sweep={"over": over}, train=train), plugins=PLUGINS)
    recipe = made(backbone, tmp_path / "b", sweep={"over": over}, train=train)
    begun: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, TrialStarted):
            begun.append(event.trial)
        if isinstance(event, StepDone) and event.step == 4 and begun[-1] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        many.sweep(recipe, plugins=PLUGINS, listeners=[kill])
    steps: list[tuple[int, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialStarted):
            begun.append(event.trial)
        if isinstance(event, StepDone):
            steps.append((begun[-1], event.step))

    report = many.sweep(recipe, plugins=PLUGINS, resume=True, listeners=[watch])
    assert {trial for trial, _ in steps} == {1, 2} and min(step for trial, step in steps if trial == 1) > 1
    assert [one.score for one in report.outcomes] == [one.score for one in whole.outcomes]
    one, two = ((tmp_path / name / "trials" / "001" / "model" / "model.safetensors").read_bytes() for name in "ab")
    assert one == two


def test_where_every_trial_fails_the_first_error_is_raised(backbone: Path, tmp_path: Path) -> None:
    recipe = made(backbone, tmp_path / "s", sweep={"over": {"model.max_length": [5000, 6000]}})
    with pytest.raises(Exception, match="5000"):
        many.sweep(recipe, plugins=PLUGINS)
    written = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert written["best"] is None and [one["status"] for one in written["trials"]] == ["failed", "failed"]


@pytest.mark.slow
def test_halving_gives_the_better_ones_longer(backbone: Path, tmp_path: Path) -> None:
    sweep = {"over": {"train.learning_rate": [1e-9, 2e-9, 3e-3, 1e-10]}, "method": "halving", "trials": 4, "keep": 2}
    recipe = made(backbone, tmp_path / "s", sweep=sweep, train={**TRAIN, "epochs": 16})
    heard: list[Event] = []
    report = many.sweep(recipe, plugins=PLUGINS, listeners=[heard.append])
    assert [(one.round, one.share) for one in report.outcomes] == [(0, 0.25)] * 4 + [(1, 0.5)] * 2 + [(2, 1.0)]
    assert report.best is report.outcomes[-1] and report.best.settings["train.learning_rate"] == 3e-3
    assert all(isinstance(event, TrialStarted | TrialFinished) or event for event in heard)
    assert Path(report.best.model or "").is_dir()


def test_seeds_give_mean_and_deviation(backbone: Path, tmp_path: Path) -> None:
    recipe = made(backbone, tmp_path / "s", seeds=[1, 2, 3], train={**TRAIN, "epochs": 2})
    report = many.seeds(recipe, plugins=PLUGINS)
    alone = run(made(backbone, tmp_path / "one", train={**TRAIN, "epochs": 2, "seed": 2}), plugins=PLUGINS)
    assert alone.scores is not None and report.runs[2] == pytest.approx(dict(alone.scores.scores))
    values = [report.runs[seed]["accuracy"] for seed in (1, 2, 3)]
    mean = sum(values) / 3
    assert report.mean["accuracy"] == pytest.approx(mean)
    assert report.deviation["accuracy"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 2))
    written = json.loads((tmp_path / "s" / "seeds.json").read_text())
    assert written["n"] == 3 and written["mean"]["accuracy"] == pytest.approx(mean)
    assert many.seeds(recipe, plugins=PLUGINS, resume=True).runs == report.runs


def test_one_run_is_not_many(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"many\.seeds"):
        run(made(backbone, tmp_path / "s", seeds=[1, 2]), plugins=PLUGINS)
    with pytest.raises(RecipeError, match="no `sweep`"):
        many.sweep(made(backbone, tmp_path / "s"), plugins=PLUGINS)


def test_a_range_of_whole_numbers_has_whole_numbers() -> None:
    assert Range.model_validate({"from": 1, "to": 3, "steps": 5}).values() == [1, 2, 3]
    assert Range.model_validate({"from": 0.0, "to": 1.0, "steps": 3}).values() == [0.0, 0.5, 1.0]


def test_what_is_written_of_a_sweep_can_be_read(backbone: Path, tmp_path: Path) -> None:
    over = {"train.learning_rate": {"from": 1e-5, "to": 1e-3, "scale": "log"}, "train.epochs": [1, 2]}
    sweep = {"method": "random", "trials": 2, "over": over}
    made = build(
        {
            "task": "sentiment",
            "model": {"backbone": "x"},
            "data": {"train": str(tmp_path / "a.csv"), "validation": 0.1},
            "train": {},
            "sweep": sweep,
        },
        PLUGINS.tasks,
    )
    (tmp_path / "recipe.yaml").write_text(dump(made))
    assert read(tmp_path / "recipe.yaml", PLUGINS.tasks) == made
    assert [one.settings for one in many.check(made, PLUGINS)] == trials(SweepSection.model_validate(sweep))
