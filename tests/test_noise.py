"""What pretraining hides: spans as T5 draws them, BART's, whole words, and turns in which each token is hidden once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpipe.objectives import noise

seeds = st.integers(0, 2**32 - 1)


def t5_mask(length: int, rng: np.random.Generator) -> np.ndarray:
    """random_spans_noise_mask of t5/data/preprocessors.py (noise density 0.15, mean span 3), line by line in numpy."""
    noise_tokens = min(max(int(np.round(length * 0.15)), 1), length - 1)
    spans = max(int(np.round(noise_tokens / 3.0)), 1)

    def segmentation(items: int, segments: int) -> np.ndarray:
        first = np.concatenate([[0], rng.permutation((np.arange(items - 1) < segments - 1).astype(int))])
        return np.bincount(np.cumsum(first), minlength=segments)

    lengths = np.stack([segmentation(length - noise_tokens, spans), segmentation(noise_tokens, spans)], axis=1).reshape(
        -1
    )
    starts = np.zeros(length, dtype=int)
    starts[np.cumsum(lengths)[:-1]] = 1
    return np.cumsum(starts) % 2 == 1


def test_spans_are_distributed_as_t5s() -> None:
    """Over 20,000 draws each position is noise as often as in T5's own algorithm, and so is each number of spans."""
    length, draws = 24, 20_000
    ours, theirs = np.zeros(length), np.zeros(length)
    one, other = np.random.default_rng(1), np.random.default_rng(2)
    sizes: list[Counter[int]] = [Counter(), Counter()]
    for _ in range(draws):
        spans = noise.spans_of(length, one)
        for start, end in spans:
            ours[start:end] += 1
        mask = t5_mask(length, other)
        theirs += mask
        sizes[0][spans[0][1] - spans[0][0]] += 1
        padded = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
        sizes[1][int(padded[1] - padded[0])] += 1
    assert np.abs(ours - theirs).max() / draws < 0.02  # 5 standard deviations of a share at 20,000
    assert all(abs(sizes[0][size] - sizes[1][size]) / draws < 0.025 for size in range(1, 5))


@given(st.integers(1, 400), seeds)
def test_spans_and_what_is_left_are_the_text(length: int, seed: int) -> None:
    ids = list(range(1000, 1000 + length))
    blanks = list(range(100))
    spans = noise.spans_of(length, np.random.default_rng(seed))
    left, taken = noise.without(ids, spans, blanks), noise.hidden(ids, spans, blanks)
    stood: dict[int, list[int]] = {}
    for token in taken:
        if token < 100:
            stood[at := token] = []
        else:
            stood[at].append(token)
    assert [one for token in left for one in (stood[token] if token < 100 else [token])] == ids
    assert list(stood) == list(range(len(spans)))
    if length > 1:
        assert sum(end - start for start, end in spans) == min(max(round(0.15 * length), 1), length - 1)
        assert spans[0][0] > 0 and spans[-1][1] == length


def test_a_window_is_full_once_its_spans_are_sentinels() -> None:
    """T5's own figures: 568 tokens of text for 512 of input, and 114 of target with the end token."""
    assert noise.whole_length(511) == 568
    spans = noise.spans_of(568, np.random.default_rng(0))
    ids = list(range(568))
    assert len(noise.without(ids, spans, range(100))) + 1 == 512
    assert len(noise.hidden(ids, spans, range(100))) + 1 == 114


@given(st.integers(1, 200), seeds)
def test_infilled_spans_do_not_touch_and_leave_the_rest(length: int, seed: int) -> None:
    spans = noise.infilled(length, np.random.default_rng(seed))
    assert all(0 <= start <= end <= length for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert sum(end - start for start, end in spans) <= max(1, round(0.3 * length))
    kept = [token for token in noise.without(range(length), spans, [-1] * len(spans)) if token >= 0]
    inside = {at for start, end in spans for at in range(start, end)}
    assert kept == [at for at in range(length) if at not in inside]


def test_infilling_takes_about_as_much_as_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    spans = [noise.infilled(200, rng) for _ in range(300)]
    share = np.mean([sum(b - a for a, b in found) / 200 for found in spans])
    sizes = np.mean([b - a for found in spans for a, b in found])
    assert 0.2 < share <= 0.3 and 2.0 < sizes < 3.2
    assert any(a == b for found in spans for a, b in found)  # an empty span puts a blank in


@given(st.lists(st.integers(-1, 12), min_size=1, max_size=80), seeds)
def test_a_word_is_hidden_whole_or_not_at_all(units: list[int], seed: int) -> None:
    if all(unit < 0 for unit in units):
        units = [*units, 0]
    found = noise.chosen(units, np.random.default_rng(seed), 0.15)
    assert found == sorted(set(found)) and found
    hidden = {units[at] for at in found}
    assert -1 not in hidden
    assert all(at in found for at, unit in enumerate(units) if unit in hidden)


def test_as_many_tokens_are_asked_for_as_berts_script_asks_for() -> None:
    for length in (1, 3, 7, 50, 128):
        found = noise.chosen(range(length), np.random.default_rng(length))
        assert len(found) == max(1, round(0.15 * length))


@given(st.integers(1, 300), st.integers(1, 4), st.sampled_from([0.0, 0.15, 0.3]), st.integers(1, 50))
def test_every_token_has_one_turn(length: int, size: int, share: float, most: int) -> None:
    turns = list(noise.turns(length, size=size, share=share, most=most))
    seen = [at for spans in turns for start, end in spans for at in range(start, end)]
    assert sorted(seen) == list(range(length))
    assert all(len(spans) <= most for spans in turns)
    if share == 0.0:
        assert all(len(spans) == 1 for spans in turns)
    elif len(turns) > 1:
        assert all(a[1] < b[0] for spans in turns for a, b in pairwise(spans))


def test_turns_hide_about_the_share() -> None:
    turns = list(noise.turns(100, share=0.15))
    assert len(turns) == 7 and {len(spans) for spans in turns} <= {14, 15}
    with pytest.raises(StopIteration):
        next(iter(noise.turns(0)))
