"""The batch plan: every example once, budgets kept, and the same steps however they are cut."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpipe.batching import Step, answering, count_steps, derive, padding, plan, rng, training_steps

EXAMPLES = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 5)), max_size=120)
SIZES = st.one_of(
    st.integers(1, 40).map(lambda size: {"batch_size": size}),
    st.integers(1, 5000).map(lambda size: {"tokens_per_batch": size}),
)
MICRO = st.one_of(
    st.integers(1, 9).map(lambda size: {"micro_batch": size}),
    st.integers(1, 3000).map(lambda size: {"micro_tokens": size}),
    st.just({"micro_tokens": None}),
    st.just({"micro_batch": "auto"}),
)
WORLD = st.integers(1, 5)
properties = settings(max_examples=60, deadline=None)


def split(examples: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [length for length, _ in examples], [rows for _, rows in examples]


def cost(chosen: tuple[int, ...], lengths: list[int], parts: list[int]) -> int:
    return sum(parts[index] for index in chosen) * max(lengths[index] for index in chosen)


def texts(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths as texts have them, log-normal around 60 tokens, windows of 512 where they are longer."""
    tokens = np.exp(rng(0, "texts").normal(4.1, 0.9, count)).astype(int) + 3
    return np.minimum(tokens, 512), -(-tokens // 512)


@properties
@given(EXAMPLES, SIZES, MICRO, WORLD, st.integers(0, 3))
def test_every_example_is_in_one_step_of_an_epoch(
    examples: list[tuple[int, int]], sizes: dict[str, int], micro: dict[str, Any], world: int, epoch: int
) -> None:
    lengths, parts = split(examples)
    steps = plan(lengths, parts, seed=1, epoch=epoch, world=world, **sizes, **micro)
    assert sorted(index for step in steps for index in step.examples) == list(range(len(examples)))
    for step in steps:
        assert len(step.ranks) == world
        assert len({len(rank) for rank in step.ranks}) == 1
        assert any(rank[-1] for rank in step.ranks), "no micro-batch is empty on every rank"


@properties
@given(EXAMPLES, SIZES, MICRO, WORLD)
def test_the_optimisers_batches_do_not_depend_on_how_they_are_cut(
    examples: list[tuple[int, int]], sizes: dict[str, int], micro: dict[str, Any], world: int
) -> None:
    lengths, parts = split(examples)
    whole = plan(lengths, parts, seed=1, epoch=2, micro_tokens=None, **sizes)
    cut = plan(lengths, parts, seed=1, epoch=2, world=world, **sizes, **micro)
    assert [set(step.examples) for step in whole] == [set(step.examples) for step in cut]


@properties
@given(EXAMPLES, st.integers(1, 5000), st.integers(1, 3000), WORLD)
def test_budgets_in_tokens_are_kept_but_for_single_examples(
    examples: list[tuple[int, int]], budget: int, micro_tokens: int, world: int
) -> None:
    lengths, parts = split(examples)
    sizes: dict[str, Any] = {"tokens_per_batch": budget, "micro_tokens": micro_tokens, "world": world}
    for step in plan(lengths, parts, seed=1, epoch=0, **sizes):
        assert len(step.examples) == 1 or cost(step.examples, lengths, parts) <= budget
        for micro in (micro for rank in step.ranks for micro in rank if len(micro) > 1):
            assert cost(micro, lengths, parts) <= micro_tokens


@properties
@given(EXAMPLES, st.integers(1, 40), st.integers(1, 9), WORLD)
def test_sizes_in_examples_are_kept_and_only_the_last_batch_is_short(
    examples: list[tuple[int, int]], size: int, micro_batch: int, world: int
) -> None:
    lengths, parts = split(examples)
    steps = plan(lengths, parts, seed=1, epoch=0, batch_size=size, micro_batch=micro_batch, world=world)
    assert len(steps) == math.ceil(len(examples) / size)
    assert sum(len(step.examples) < size for step in steps) <= 1
    assert all(len(micro) <= micro_batch for step in steps for rank in step.ranks for micro in rank)


@properties
@given(EXAMPLES, SIZES, WORLD)
def test_ranks_differ_by_at_most_one_example(
    examples: list[tuple[int, int]], sizes: dict[str, int], world: int
) -> None:
    lengths, parts = split(examples)
    tokens = [max(1, length) * rows for length, rows in examples]
    for step in plan(lengths, parts, seed=1, epoch=0, world=world, **sizes):
        loads = [sum(tokens[index] for micro in rank for index in micro) for rank in step.ranks]
        assert max(loads) - min(loads) <= max(tokens[index] for index in step.examples)


@properties
@given(EXAMPLES, SIZES, st.fractions(0, 3, max_denominator=10), st.integers(0, 200))
def test_a_restart_gives_the_rest_of_the_steps(
    examples: list[tuple[int, int]], sizes: dict[str, Any], epochs: float, start: int
) -> None:
    lengths, parts = split(examples)
    common: dict[str, Any] = {"epochs": float(epochs), "seed": 3, **sizes}
    steps = list(training_steps(lengths, parts, **common))
    assert len(steps) == count_steps(lengths, parts, **common)
    assert list(training_steps(lengths, parts, start=start, **common)) == steps[start:]
    for epoch in range(int(epochs)):
        assert [turn.step for turn in steps if turn.epoch == epoch] == plan(
            lengths, parts, seed=3, epoch=epoch, **sizes
        )


@pytest.mark.parametrize(
    ("epochs", "steps"), [(0, 0), (0.5, 5), (0.51, 6), (1, 10), (2.1, 21), (2.3, 23), (1.05, 11), (3, 30)]
)
def test_a_broken_epoch_is_rounded_up_from_the_number_as_written(epochs: float, steps: int) -> None:
    assert count_steps([5] * 80, [1] * 80, epochs=epochs, seed=1, batch_size=8) == steps
    found = list(training_steps([5] * 80, [1] * 80, epochs=epochs, seed=1, batch_size=8))
    assert len(found) == steps
    assert [turn.epoch for turn in found] == [step // 10 for step in range(steps)]
    assert [turn.after * 10 for turn in found] == list(range(1, steps + 1))


def test_the_same_arguments_give_the_same_plan_and_other_epochs_another() -> None:
    lengths, parts = texts(500)
    plans = [plan(lengths, parts, seed=s, epoch=e, batch_size=16) for s, e in [(1, 0), (1, 0), (1, 1), (2, 0)]]
    assert plans[0] == plans[1]
    company = [{frozenset(step.examples) for step in steps} for steps in plans]
    for other in (2, 3):
        assert not company[0] & company[other], "a batch came together again"


def test_a_small_set_is_not_put_together_in_the_same_way_each_epoch() -> None:
    lengths = list(range(10, 74))  # all different: sorting them as a whole would fix the batches
    company = [
        {frozenset(step.examples) for step in plan(lengths, [1] * 64, seed=1, epoch=epoch, batch_size=8)}
        for epoch in range(2)
    ]
    assert not company[0] & company[1]


def test_lengths_may_be_arrays_and_indices_are_plain_integers() -> None:
    lengths, parts = texts(50)
    steps = plan(lengths, parts, seed=1, epoch=0, tokens_per_batch=2000, world=2)
    assert steps == plan(lengths.tolist(), parts.tolist(), seed=1, epoch=0, tokens_per_batch=2000, world=2)
    assert {type(index) for step in steps for index in step.examples} == {int}


def test_an_example_longer_than_the_budget_has_a_step_to_itself() -> None:
    steps = plan([10, 900, 10, 10], [1, 1, 1, 1], seed=1, epoch=0, tokens_per_batch=40)
    assert sorted(sorted(step.examples) for step in steps) == [[0, 2, 3], [1]]


def test_a_batch_of_windows_is_cut_where_it_exceeds_the_micro_tokens() -> None:
    (step,) = plan([512, 512, 100], [9, 3, 1], seed=1, epoch=0, batch_size=3)
    assert [sorted(micro) for micro in step.ranks[0]] in ([[0], [1, 2]], [[1], [0], [2]], [[1], [0, 2]])
    (step,) = plan([512, 512, 100], [9, 3, 1], seed=1, epoch=0, batch_size=3, micro_tokens=None)
    assert len(step.ranks[0]) == 1, "an objective that couples examples gets whole batches"


def test_a_number_of_examples_is_all_that_cuts_a_micro_batch() -> None:
    (step,) = plan([512] * 24, [1] * 24, seed=1, epoch=0, batch_size=24, micro_batch=12)
    assert [len(micro) for micro in step.ranks[0]] == [12, 12], "512 × 12 is more than micro_tokens"


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([8, 1, 1, 1, 1, 1, 1, 1, 1], [1] * 9),  # one long text against many short ones
        ([10, 10, 4], [1, 1, 5]),  # the costliest is not the longest
    ],
)
def test_ranks_get_equal_cost_not_equal_numbers(lengths: list[int], parts: list[int]) -> None:
    (step,) = plan(lengths, parts, seed=1, epoch=0, batch_size=9, world=2)
    loads = [sum(lengths[i] * parts[i] for micro in rank for i in micro) for rank in step.ranks]
    assert loads[0] == loads[1]


def test_long_and_short_steps_come_in_random_order() -> None:
    lengths, parts = texts(4000)
    longest = [lengths[list(step.examples)].max() for step in plan(lengths, parts, seed=1, epoch=0, batch_size=16)]
    falling = np.mean([a >= b for a, b in pairwise(longest)])
    assert 0.4 < falling < 0.6


def test_a_rank_without_examples_gets_empty_micro_batches() -> None:
    (step,) = plan([5, 5], [1, 1], seed=1, epoch=0, batch_size=4, world=3)
    assert sorted(step.ranks) == [((),), ((0,),), ((1,),)]


def test_padding_is_far_below_that_of_a_random_order() -> None:
    lengths, parts = texts(20_000)
    for sizes in ({"batch_size": 32}, {"tokens_per_batch": 4096}):
        bucketed = padding(lengths, parts, plan(lengths, parts, seed=1, epoch=0, **sizes))
        order = rng(1, "random order").permutation(len(lengths)).tolist()
        at_random = [Step(((tuple(order[at : at + 32]),),)) for at in range(0, len(order), 32)]
        assert bucketed < 0.1
        assert padding(lengths, parts, at_random) > 0.5


def test_padding_counts_rows_by_the_longest_of_their_micro_batch() -> None:
    step = Step((((0, 1), ()), ((2,), (3,))))
    assert padding([10, 5, 7, 1], [1, 2, 1, 1], [step]) == pytest.approx(1 - (10 + 10 + 7 + 1) / (30 + 7 + 1))
    assert padding([], [], []) == 0


@properties
@given(st.lists(st.integers(0, 600)), st.integers(1, 3000), st.one_of(st.none(), st.integers(1, 9)))
def test_answering_takes_every_row_once_longest_first(lengths: list[int], tokens: int, rows: int | None) -> None:
    batches = answering(lengths, tokens=tokens, rows=rows)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    lengths = [max(1, length) for length in lengths]  # an empty row still takes a column
    assert all(lengths[a] > lengths[b] or (lengths[a] == lengths[b] and a < b) for a, b in pairwise(order))
    for batch in batches:
        assert rows is None or len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= tokens
    for batch, after in pairwise(batches):
        full = rows is not None and len(batch) == rows
        assert full or (len(batch) + 1) * lengths[batch[0]] > tokens, f"room for {after[0]} was left"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"batch_size": 4, "tokens_per_batch": 100},
        {"batch_size": 0},
        {"tokens_per_batch": 0},
        {"batch_size": 4, "micro_batch": 0},
        {"batch_size": 4, "micro_tokens": 0},
        {"batch_size": 4, "world": 0},
    ],
)
def test_wrong_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|one of"):
        plan([1, 2], [1, 1], seed=1, epoch=0, **wrong)
    with pytest.raises(ValueError, match=r"at least 1|one of"):
        training_steps([1, 2], [1, 1], seed=1, epochs=1, **wrong)


def test_wrong_numbers_are_refused_at_the_call() -> None:
    for lengths, parts in ([[1, 2], [1]], [[1], [0]], [[-1], [1]], [[[1]], [[1]]]):
        with pytest.raises(ValueError, match=r"lists|row"):
            plan(lengths, parts, seed=1, epoch=0, batch_size=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="start"):
        training_steps([1], [1], seed=1, epochs=1, start=-1, batch_size=1)
    with pytest.raises(ValueError, match="epochs"):
        count_steps([1], [1], seed=1, epochs=-0.5, batch_size=1)
    with pytest.raises(ValueError, match="tokens"):
        answering([1], tokens=0)


def test_seeds_are_pinned() -> None:
    """A released version's seeds never change: a resumed training would draw other masks."""
    assert derive(13, "plan", 0) == 3800508623054677056
    assert derive(13, "plan", np.int64(0)) == derive(13, "plan", 0)  # type: ignore[arg-type]
    bits = np.random.PCG64(derive(13, "dropout", 7, 1))
    assert rng(13, "dropout", 7, 1).bytes(8) == np.random.Generator(bits).bytes(8)


@properties
@given(
    st.lists(
        st.tuples(st.integers(-(2**70), 2**70), st.text(max_size=5), st.lists(st.integers(-3, 2**40), max_size=3)),
        unique_by=repr,
        max_size=20,
    )
)
def test_seeds_of_different_arguments_differ(arguments: list[tuple[int, str, list[int]]]) -> None:
    seeds = [derive(seed, purpose, *numbers) for seed, purpose, numbers in arguments]
    assert len(set(seeds)) == len(arguments)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_large_plan_is_made_step_by_step() -> None:
    """Two hundred thousand examples; the first steps of the second epoch do not wait for all of its steps."""
    lengths, parts = texts(200_000)
    common: dict[str, Any] = {"seed": 1, "world": 2, "tokens_per_batch": 4096}
    start = count_steps(lengths, parts, epochs=1, seed=1, tokens_per_batch=4096)
    found = list(islice(training_steps(lengths, parts, epochs=2, start=start, **common), 3))
    assert [(turn.epoch, turn.step) for turn in found] == [(1, s) for s in plan(lengths, parts, epoch=1, **common)[:3]]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(0, 200))
def test_batches_to_answer_have_little_padding(lengths: list[int], most: int) -> None:
    batches = answering(lengths, tokens=1024, padding=most)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert [lengths[at] for batch in batches for at in batch] == sorted(lengths, reverse=True)
    for batch in batches:
        assert sum(lengths[batch[0]] - lengths[at] for at in batch) <= most
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= 1024
    assert len(answering(lengths, tokens=1024)) <= len(batches)
