"""The kit's own machinery: cases, decorators, and what a failed check says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from nlpipe import UnsupportedError
from nlpipe.objectives import Objective, SequenceLabel
from nlpipe.task import Family
from nlpipe.testing import REPRESENTATIVES, Case, CheckFailed, Lab, task_cases, task_checks
from nlpipe_classification import Classification
from nlpipe_classification.examples import Labelled
from tests.cells.test_labels import first_keyword


def test_there_is_a_case_for_each_check_and_architecture() -> None:
    cases = task_cases(Classification, rule=first_keyword)
    learns = [case for case in cases if case.check.name == "learns_the_rule"]
    assert [case.architecture for case in learns] == list(REPRESENTATIVES)
    assert [case.slow for case in learns] == [False, True] * 3
    assert len({case.group for case in learns}) == len(REPRESENTATIVES)
    assert [c.architecture for c in cases if c.check.name == "imports_lightly"] == [""]


def test_without_a_rule_nothing_is_said_of_learning_one() -> None:
    assert "learns_the_rule" not in {case.check.name for case in task_cases(Classification)}


def test_a_check_left_out_has_a_name_and_a_reason() -> None:
    assert "samples_are_valid" not in {
        case.check.name for case in task_cases(Classification, without={"samples_are_valid": "shown elsewhere"})
    }
    with pytest.raises(UnsupportedError, match="did you mean 'samples_are_valid'"):
        task_cases(Classification, without={"samples_are_vaild": "a slip"})
    with pytest.raises(UnsupportedError, match="say why"):
        task_cases(Classification, without={"samples_are_valid": " "})


def test_a_failed_check_says_whose_it_is_and_where_to_look(tmp_path: Path) -> None:
    class Few(Classification):
        @classmethod
        def samples(cls) -> Sequence[Labelled]:
            return super().samples()[:1]

    (case,) = [case for case in task_cases(Few) if case.check.name == "samples_are_valid"]
    with pytest.raises(CheckFailed, match=r"(?s)^classification: samples\(\) gives 1 .*Look at: samples\(\)"):
        case.run(Lab(tmp_path))


def test_a_class_gets_a_method_for_each_check_and_keeps_its_own() -> None:
    class Plain:
        def test_samples_are_valid(self) -> str:
            return "the author's own word"

    made = task_checks(Classification)(Plain)
    names = {f"test_{case.check.name}" for case in task_cases(Classification)}
    assert names <= set(vars(made))
    assert made().test_samples_are_valid() == "the author's own word"
    (mark,) = made.test_imports_lightly.pytestmark  # type: ignore[attr-defined]
    assert mark.args[0] == "nlpipe_check"
    assert [case.id for case in mark.args[1]] == ["classification"]
    learnt = made.test_gradients_reach_every_weight.pytestmark[0].args[1]  # type: ignore[attr-defined]
    groups = {mark.args[0] for case in learnt for mark in case.marks if mark.name == "xdist_group"}
    assert groups == {f"classification-{name}" for name in REPRESENTATIVES}


FEW = {case.check.name: "enough of them run in tests/cells" for case in task_cases(Classification)[1:]}


@task_checks(Classification, without=FEW)
def test_a_function_is_called_with_each_case(nlpipe_check: Callable[[], None]) -> None:
    nlpipe_check()


def test_a_case_knows_its_name() -> None:
    cases = task_cases(Classification)
    assert all(isinstance(case, Case) for case in cases)
    assert {case.id for case in cases if not case.architecture} == {"classification"}


class OnlyEncoders(Classification):
    """A task of one family, as a plugin's first one may be."""

    name = "only_encoders"

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        return {Family.ENCODER: (SequenceLabel,)}


def test_a_family_left_out_is_refused_in_one_sentence(tmp_path: Path) -> None:
    cases = [case for case in task_cases(OnlyEncoders) if case.check.name == "other_families_are_refused"]
    assert [case.family for case in cases] == ["decoder", "encoder-decoder"]
    for case in cases:
        case.run(Lab(tmp_path))
