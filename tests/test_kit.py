"""The kit's own machinery: cases, decorators, and what a failed check says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nlpipe import UnsupportedError
from nlpipe.testing import REPRESENTATIVES, Case, CheckFailed, Lab, rules, task_cases, task_checks
from nlpipe_classification import Classification
from nlpipe_classification.examples import Labelled


def first_keyword(rows: int, seed: int) -> Sequence[Labelled]:
    return [Labelled(text=text, label=label) for text, label in rules.first_keyword(rows, seed=seed)]


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


MEANING = [case.check.name for case in task_cases(Classification) if not case.architecture]


@task_checks(Classification, architectures=["bert"])
class TestOnAClass:
    seen = False

    def test_samples_are_valid(self) -> None:
        """The author's own word stands."""
        type(self).seen = True

    def test_afterwards(self) -> None:
        assert self.seen
        assert {f"test_{name}" for name in MEANING} <= set(vars(type(self)))


@task_checks(Classification, architectures=["bert"], without={"imports_lightly": "it is tried on the class"})
def test_on_a_function(nlpipe_check: Callable[[], None]) -> None:
    nlpipe_check()


def test_a_case_knows_its_name() -> None:
    cases = task_cases(Classification)
    assert all(isinstance(case, Case) for case in cases)
    assert {case.id for case in cases if not case.architecture} == {"classification"}
