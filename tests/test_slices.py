"""Parts of the rows and their scores: which there are, and that chance is not taken for a finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from nlpipe import languages, slice_search, slices
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.metrics import Metric

MEAN = Metric("mean", "mean|test", lambda results, examples: np.array(results), lambda rows: float(rows.mean()))
ERRORS = Metric("errors", "e|test", MEAN.rows, MEAN.value, direction="minimize", perfect=0.0)


def column(values: Any) -> Any:
    return np.array(values, dtype=float).reshape(-1, 1)


def test_slices_by_column_length_label_and_comparison() -> None:
    frame = pd.DataFrame({"stars": [1, 5] * 40, "source": ["web"] * 60 + ["app"] * 20, "note": ["not so", "so"] * 40})
    texts, strata = ["w " * (at + 1) for at in range(80)], ["a"] * 40 + ["b"] * 40
    wanted = ["source", "length", "label", "stars > 3 and source == web", "note contains not", "script"]
    chosen = slices.masks(wanted, frame, texts, strata)
    assert int(chosen["source = web"].sum()) == 60
    assert int(chosen["label = a"].sum()) == 40
    assert int(chosen["stars > 3 and source == web"].sum()) == 30
    assert chosen["note contains not"].tolist() == [True, False] * 40
    assert int(chosen["script = Latin"].sum()) == 80
    quarters = [mask for name, mask in chosen.items() if name.endswith("words")]
    assert len(quarters) == 4
    assert np.array(quarters).sum(axis=0).tolist() == [1] * 80  # each row in one of them
    rows = column([0.0] * 20 + [1.0] * 60)
    found = slice_search.named(MEAN, rows, chosen, resamples=100, draw=np.random.default_rng(1))
    first = found[0]
    assert (first.name, first.n, first.score, first.difference, first.sure) == ("1 to 19 words", 19, 0.0, -0.75, True)
    assert "script = Latin" not in {one.name for one in found}  # it is all rows


@pytest.mark.parametrize("wanted", ["sorce", "stars >", "stars.mean() > 1", "__import__('os') == 1"])
def test_a_slice_that_is_none_is_refused_with_the_nearest_column(wanted: str) -> None:
    frame = pd.DataFrame({"stars": [1, 5], "source": ["web", "app"]})
    with pytest.raises(DataError, match=r"evaluate\.slices"):
        slices.masks([wanted], frame, ["a", "b"], [None, None])


def test_slices_by_language_are_guessed_where_the_text_says_enough() -> None:
    pytest.importorskip("py3langid")
    german, english = "Wie geht es dir heute, mein lieber Freund?", "How are you doing today, my dear old friend?"
    chosen = slices.masks(["language"], pd.DataFrame({"x": [1, 2, 3]}), [german, english, "ok"], [None] * 3)
    assert {name: mask.tolist() for name, mask in chosen.items()} == {
        "language = de": [True, False, False],
        "language = en": [False, True, False],
        "language = unknown": [False, False, True],
    }


def test_without_the_library_a_language_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "find_spec", lambda name: None)
    languages._identifier.cache_clear()
    with pytest.raises(UnsupportedError, match=r"nlpipe\[language\]"):
        slices.masks(["language"], pd.DataFrame({"x": [1]}), ["a"], [None])


@pytest.mark.parametrize(
    ("text", "script"), [("Привет, мир", "Cyrillic"), ("日本語", "Han"), ("hello!", "Latin"), ("123", "")]
)
def test_scripts(text: str, script: str) -> None:
    assert languages.script(text) == script


def world(draw: np.random.Generator, rows: int) -> tuple[list[str], dict[str, Any]]:
    """Texts of words at random, and slices that have nothing to do with anything."""
    words = np.array([f"w{at}" for at in range(12)])
    texts = [" ".join(words[draw.random(12) < 0.2]) for _ in range(rows)]
    return texts, {f"s{at}": draw.random(rows) < 0.2 for at in range(6)}


def test_where_nothing_is_wrong_nothing_is_found_in_nineteen_of_twenty_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 worlds with some 20 slices each: without allowing for the looks most of them would have a finding."""
    monkeypatch.setattr(slice_search, "DEALS", 100)
    draw, alarms, bare = np.random.default_rng(6), 0, 0
    for _ in range(60):
        texts, chosen = world(draw, 200)
        rows = column(draw.random(200) < 0.9)
        found, looks = slice_search.worst(MEAN, rows, chosen, texts, resamples=10, draw=draw)
        assert looks > 12
        alarms += bool(found)
        bare += any(rows[mask].mean() < 0.9 - 1.96 * 0.3 / mask.sum() ** 0.5 for mask in chosen.values())
    assert alarms <= 7
    assert bare > 8


@pytest.mark.parametrize("metric", [MEAN, ERRORS])
def test_the_worst_slices_are_found_by_word_and_by_two_at_once(metric: Metric) -> None:
    draw = np.random.default_rng(7)
    texts, chosen = world(draw, 600)
    texts = [f"{text} zebra" if at % 9 == 0 else text for at, text in enumerate(texts)]
    chosen |= {"left": draw.random(600) < 0.5, "up": draw.random(600) < 0.5}
    wrong = draw.random(600) < 0.1
    wrong[::9] |= draw.random(67) < 0.7
    wrong |= chosen["left"] & chosen["up"] & (draw.random(600) < 0.6)
    rows = column(wrong if metric is ERRORS else ~wrong)
    found, _ = slice_search.worst(metric, rows, chosen, texts, resamples=20, draw=draw)
    names = [one.name for one in found]
    assert "with the word “zebra”" in names
    assert "left and up" in names
    assert all(one.sure and one.low <= one.score <= one.high for one in found)
    sign = 1 if metric is MEAN else -1
    assert all(sign * one.difference < 0 for one in found)


def test_slices_without_a_number_or_of_a_few_rows_are_left_out() -> None:
    chosen = {"few": np.arange(100) < 9, "enough": np.arange(100) < 30}
    nan = Metric("nan", "nan|test", MEAN.rows, lambda rows: float("nan"))
    rows = column(np.arange(100) % 2)
    for metric, names in ((MEAN, ["enough"]), (nan, [])):
        found = slice_search.named(metric, rows, chosen, resamples=10, draw=np.random.default_rng(1))
        assert [one.name for one in found] == names


def test_slices_come_back_from_json() -> None:
    one = slices.Slice("a", 10, 0.5, -0.1, 0.2, 0.8, 0.01)
    found = slices.Slices("f1", (one,), (one,), 7)
    assert slices.Slices.from_dict(found.to_dict()) == found
