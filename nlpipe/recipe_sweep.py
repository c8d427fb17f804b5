"""What a recipe may say of many runs: `sweep:` and `seeds:`. Knows no recipe, no task and no file.

Which trials a section makes is worked out here too, from the section alone: the same every time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from nlpipe.recipe_sources import Count, Real, Section, Size, complain

__all__ = ["Range", "SweepSection", "dotted_settings", "rungs", "trials"]

MOST = 10_000
"""Trials of a grid that are taken for meant."""

KEEP = 3
"""In halving, of how many trials one goes on where a recipe does not say: Hyperband's default (Li et al. 2018)."""

NOT_SWEPT = {
    "sweep": "a sweep holds no sweep",
    "seeds": "seeds repeat one recipe; choose its settings first",
    "version": "it says how the recipe is to be read",
    "output": "each trial has a folder of its own below output.dir",
    "run": "it says where the work is done, and must not change the result",
    "evaluate": "trials are compared by the same scores",
    "data.validation": "trials are compared on the same rows",
    "data.test": "trials are compared on the same rows",
    "train.best": "trials are compared by the same score",
}
"""Keys that a sweep cannot go over, and why."""


class Range(Section):
    """Numbers between two ends, ends included; whole numbers where both ends are."""

    model_config = ConfigDict(serialize_by_alias=True)  # `from` is no name in Python

    low: Real | int = Field(alias="from")
    """the least"""
    high: Real | int = Field(alias="to")
    """the largest"""
    scale: Literal["linear", "log"] = "linear"
    """log: as many between 1e-5 and 1e-4 as between 1e-4 and 1e-3"""
    steps: Count | None = None
    """how many values, evenly over the scale; a grid needs it, random draws need none"""

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if not self.low < self.high:
            raise complain(f"must be less than `to` ({self.high:g}), is {self.low:g}", "from")
        if self.scale == "log" and self.low <= 0:
            raise complain(f"must be above 0 on a log scale, is {self.low:g}", "from")
        if self.steps == 1:
            raise complain("must be at least 2: both ends are values", "steps")
        return self

    def at(self, share: float) -> float | int:
        """The number at a share (0..1) of the way."""
        if self.scale == "log":
            value = float(self.low * (self.high / self.low) ** share)
        else:
            value = self.low + (self.high - self.low) * share
        if isinstance(self.low, int) and isinstance(self.high, int):
            return round(value)
        return float(f"{value:.6g}")  # as a person would write it, so that a recipe shows what was run

    def values(self) -> list[float | int]:
        """All of its `steps`, without the doubles that rounding makes of whole numbers."""
        assert self.steps is not None
        found = [self.at(step / (self.steps - 1)) for step in range(self.steps)]
        return list(dict.fromkeys(found))


def _kind(value: Any) -> str:
    return "<range>" if isinstance(value, Range) or (isinstance(value, Mapping) and "from" in value) else "<list>"


Choice = Annotated[
    Annotated[Range, Tag("<range>")] | Annotated[tuple[Any, ...], Field(min_length=1), Tag("<list>")],
    Discriminator(_kind),
]
"""The values of one key: a list, or {from, to}."""


class SweepSection(Section):
    """Several trainings that differ in some settings; the best by its score on the validation rows is named."""

    over: dict[str, Choice] = Field(min_length=1, examples=[{"train.learning_rate": [1.0e-5, 1.0e-4]}])
    """dotted keys of the recipe, each with a list of values or a range {from, to, scale, steps}"""
    method: Literal["grid", "random", "halving"] = "grid"
    """grid: every combination; random: `trials` draws; halving: random, and only the best go on to longer trainings"""
    trials: Count | None = None
    """how many draws; a grid has as many as there are combinations"""
    seed: Size = 13
    """the draws follow from it"""
    keep: int | None = Field(None, ge=2)
    """halving: one in so many goes on, for so many times as long (Jamieson and Talwalkar 2016); null: 3"""

    @field_validator("over")
    @classmethod
    def _sweepable(cls, over: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in over:
            for name, why in NOT_SWEPT.items():
                if key == name or key.startswith(f"{name}."):
                    raise complain(f"cannot be swept: {why}", f"over.{key}")
        return over

    @model_validator(mode="after")
    def _fits_the_method(self) -> SweepSection:
        if self.method == "grid":
            self._whole_grid()
        elif self.trials is None:
            raise complain(f"is missing: say how many draws method {self.method} makes", "trials")
        if self.method != "halving" and self.keep is not None:
            raise complain("is for method: halving alone", "keep")
        if self.method == "halving" and (self.trials or 0) < self.share:
            raise complain(f"must be at least sweep.keep ({self.share}), or nothing is ever left out", "trials")
        return self

    @property
    def share(self) -> int:
        """In halving, of how many trials one goes on."""
        return self.keep or KEEP

    def _whole_grid(self) -> None:
        if self.trials is not None:
            raise complain(
                "is not for a grid, which has every combination; leave it out or say method: random", "trials"
            )
        for key, choice in self.over.items():
            if isinstance(choice, Range) and choice.steps is None:
                raise complain("needs `steps` in a grid: how many values the range has", f"over.{key}")
        if (count := math.prod(len(_listed(choice)) for choice in self.over.values())) > MOST:
            raise complain(f"has {count:,} combinations; take method: random with `trials`", "over")


def _listed(choice: Range | tuple[Any, ...]) -> Sequence[Any]:
    return choice.values() if isinstance(choice, Range) else choice


def trials(section: SweepSection) -> list[dict[str, Any]]:
    """The settings of each trial, by dotted key: all combinations, or distinct draws as far as there are any.

    Draws are those of one generator seeded by `seed`: a longer sweep begins with the trials of a shorter one.
    """
    if section.method == "grid":
        combined = itertools.product(*(_listed(choice) for choice in section.over.values()))
        return [dict(zip(section.over, values, strict=True)) for values in combined]
    found: list[dict[str, Any]] = []
    for drawn in itertools.islice(_draws(section), 100 * (section.trials or 0)):
        if drawn not in found:
            found.append(drawn)
        if len(found) == section.trials:
            break
    return found


def _draws(section: SweepSection) -> Iterator[dict[str, Any]]:
    rng = random.Random(section.seed)
    while True:
        yield {key: _drawn(choice, rng) for key, choice in section.over.items()}


def _drawn(choice: Range | tuple[Any, ...], rng: random.Random) -> Any:
    share = rng.random()
    if isinstance(choice, Range) and choice.steps is None:
        return choice.at(share)
    listed = _listed(choice)
    return listed[int(share * len(listed))]


def rungs(section: SweepSection) -> list[tuple[int, float]]:
    """(trials, share of the full training) of each round, the last with share 1; one round unless halving.

    Successive halving as in Jamieson and Talwalkar 2016 (https://arxiv.org/abs/1502.07943), with `keep` for their 2:
    every round costs about as much as the others.
    """
    count = len(trials(section))
    if section.method != "halving":
        return [(count, 1.0)]
    keep, rounds = section.share, 0
    while keep ** (rounds + 1) <= count:
        rounds += 1
    return [(max(1, count // keep**done), float(keep) ** (done - rounds)) for done in range(rounds + 1)]


def dotted_settings(whole: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's mapping with dotted keys set: `{"train.epochs": 2}`."""
    found = dict(whole)
    for key, value in settings.items():
        at = found
        *path, last = key.split(".")
        for name in path:
            inner = at.get(name)
            at[name] = dict(inner) if isinstance(inner, Mapping) else {}
            at = at[name]
        at[last] = value
    return found
