"""The kit's checks of data readers and listeners, on right ones and on wrong ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nlpipe.events import Event, StepDone
from nlpipe.testing import CheckFailed, Lab, dataset_cases, dataset_checks, listener_cases, listener_checks
from nlpipe_classification import Classification

ROWS = {"text": ["ba", "be"], "label": ["no", "yes"]}


def nlpipe_dataset(source: Any) -> Any:
    """Reads `pairs:NAME`."""
    if not isinstance(source, str) or not source.startswith("pairs:"):
        return None
    return {"train": pd.DataFrame(ROWS)}


def nlpipe_event(event: Event) -> None:
    """Counts steps."""
    if isinstance(event, StepDone):
        COUNTED.append(event.step)


COUNTED: list[int] = []
LIGHT = {"imports_lightly": "this module is a test and imports pandas"}


@dataset_checks(nlpipe_dataset, sources=["pairs:x"], task=Classification, without=LIGHT)
class TestReader: ...


@listener_checks(nlpipe_event, without=LIGHT)
class TestListener: ...


def greedy(source: Any) -> Any:
    return nlpipe_dataset("pairs:x")


def careless(source: str) -> Any:
    scheme, _, _name = source.partition(":")
    return {"pairs": {"train": pd.DataFrame({"txt": ["ba"]})}}[scheme]


def fresh(source: Any) -> Any:
    found = nlpipe_dataset(source)
    return found and {"train": pd.DataFrame({"text": [str(random.random())], "label": ["a"]})}


@pytest.mark.parametrize(
    ("read", "check", "message"),
    [
        (greedy, "leaves_other_sources_alone", "which is not its own"),
        (careless, "leaves_other_sources_alone", "raises KeyError"),
        (careless, "rows_fit_the_task", "row 0"),
        (fresh, "gives_tables_by_split", "read twice"),
        (lambda source: None, "gives_tables_by_split", "does not take"),
    ],
)
def test_a_wrong_reader_is_found_out(read: Callable[[Any], Any], check: str, message: str, tmp_path: Path) -> None:
    cases = dataset_cases(read, sources=["pairs:x"], task=Classification)
    (case,) = [case for case in cases if case.check.name == check]
    with pytest.raises(CheckFailed, match=message):
        case.run(Lab(tmp_path))


def loud(event: Event) -> None:
    print(event)  # noqa: T201


def picky(event: Event) -> None:
    if not isinstance(event, StepDone):
        raise TypeError("what is this?")


def drawing(event: Event) -> None:
    random.random()


@pytest.mark.parametrize(
    ("listen", "check", "message"),
    [
        (loud, "prints_nothing", "to standard output"),
        (picky, "hears_every_event", "raises TypeError"),
        (drawing, "changes_no_run", "random numbers"),
    ],
)
def test_a_wrong_listener_is_found_out(
    listen: Callable[[Event], None], check: str, message: str, tmp_path: Path
) -> None:
    (case,) = [case for case in listener_cases(listen) if case.check.name == check]
    with pytest.raises(CheckFailed, match=message):
        case.run(Lab(tmp_path))
