"""Which examples are computed together: the steps of training, the batches of answering, and every seed.

Knows lengths and budgets in tokens, and nothing of texts, tensors, models or process groups. Everything here
is a pure function: the same arguments give the same plan in every process and after every restart, so no plan
is ever sent or stored, and resuming is a step number.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

MICRO_TOKENS = 4096
"""Padded tokens that `micro_batch: auto` computes at once, where it cannot find out what fits.

What autograd keeps for the backward pass was measured at 1.6 MB per token for BERT base and 2.2 MB for GPT-2
small (float32, 512 tokens a row, attention dropout, processor): 6 and 8.4 GiB for 4,096 tokens, which 16 GiB
hold beside the weights and AdamW's state. One GPU begins with the whole batch and tries less where that is too much.
"""

SMALLEST, TURNS = 512, 4
"""Where batches are answered side by side: padded tokens that are not divided further, and batches for each place.
Fewer batches leave places idle at the end; one core read all-MiniLM-L6-v2's texts as fast by 512 tokens as by 4,096.
"""

BUCKET = 50
"""Batches among which examples are sorted by length; transformers' `LengthGroupedSampler` takes 50 too."""

Numbers = Sequence[int] | npt.NDArray[np.integer[Any]]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: `ranks` → micro-batches → indices of examples.

    All ranks have equally many micro-batches; an empty one tells the rank to run a row of weight zero, so
    that no rank waits for another. Within a micro-batch the longest example comes first.
    """

    ranks: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def examples(self) -> tuple[int, ...]:
        """All examples of the step, rank by rank."""
        return tuple(index for rank in self.ranks for micro in rank for index in micro)


class Turn(NamedTuple):
    """A step of a training, and how many epochs are done before and after it."""

    before: Fraction
    after: Fraction
    step: Step

    @property
    def epoch(self) -> int:
        """The epoch it belongs to, from 0."""
        return math.floor(self.before)


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A seed in [0, 2**63): a function of the run's seed, the purpose, and numbers such as step and rank.

    The one way a random draw is seeded: what one draw takes can then never shift another. BLAKE2b makes seeds
    of neighbouring numbers independent of each other and is the same in every version.
    """
    text = json.dumps([int(seed), purpose, *map(int, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A generator seeded by `derive`. What it draws is fixed for one version of numpy (NEP 19)."""
    return np.random.Generator(np.random.PCG64(derive(seed, purpose, *numbers)))


def plan(
    lengths: Numbers,
    parts: Numbers,
    *,
    seed: int,
    epoch: int,
    world: int = 1,
    batch_size: int | None = None,
    tokens_per_batch: int | None = None,
    micro_batch: int | Literal["auto"] | None = None,
    micro_tokens: int | None = MICRO_TOKENS,
) -> list[Step]:
    """All steps of one epoch: every example once, none dropped.

    `lengths` [n] is the tokens of the longest row of each example, `parts` [n] its rows; a batch costs (all
    its rows) × (its longest length) padded tokens. A step holds `batch_size` examples, or as many as
    `tokens_per_batch` padded tokens hold (a longer example has a step to itself), counted over all `world`
    ranks. Which examples share a step, and in which order steps come, depends on neither `world` nor the
    micro-batches.

    A rank's share is cut into micro-batches of `micro_batch` examples at most; with None or "auto" only where
    it exceeds `micro_tokens` padded tokens, and never with `micro_tokens` None (objectives that couple
    examples).

    Raises ValueError unless exactly one of `batch_size` and `tokens_per_batch` is given, and for sizes below
    1.
    """
    table = _Table.of(lengths, parts)
    micro = _micro(world, micro_batch, micro_tokens)
    batches = table.batches(rng(seed, "plan", epoch), *_sizes(batch_size, tokens_per_batch))
    return [table.step(batch, world, *micro) for batch in batches]


def count_steps(
    lengths: Numbers,
    parts: Numbers,
    *,
    epochs: float,
    seed: int,
    batch_size: int | None = None,
    tokens_per_batch: int | None = None,
) -> int:
    """How many steps `training_steps` yields from its start: exact, by planning where budgets are in tokens.

    Under a token budget the number differs a little between epochs. Half an epoch is half of its steps,
    rounded up. Raises ValueError as `plan` does, and for a negative `epochs`.
    """
    table = _Table.of(lengths, parts)
    sizes = _sizes(batch_size, tokens_per_batch)

    def steps(epoch: int) -> int:
        if batch_size is not None:
            return math.ceil(len(table.lengths) / batch_size)
        return len(table.batches(rng(seed, "plan", epoch), *sizes))

    return sum(math.ceil(share * steps(epoch)) for epoch, share in _shares(epochs))


def training_steps(
    lengths: Numbers,
    parts: Numbers,
    *,
    epochs: float,
    seed: int,
    start: int = 0,
    world: int = 1,
    batch_size: int | None = None,
    tokens_per_batch: int | None = None,
    micro_batch: int | Literal["auto"] | None = None,
    micro_tokens: int | None = MICRO_TOKENS,
) -> Iterator[Turn]:
    """Each step of a training and where it lies in its epoch, without the first `start` steps.

    The steps are those of `plan`, epoch after epoch, made as they are asked for. Starting late costs one
    planning per epoch passed over (a fifth of a second for a million examples). Raises ValueError as `plan` does.
    """
    table = _Table.of(lengths, parts)
    sizes = _sizes(batch_size, tokens_per_batch)
    micro = _micro(world, micro_batch, micro_tokens)
    shares = _shares(epochs)
    if start < 0:
        raise ValueError(f"start must not be negative, is {start}")

    def steps(skip: int) -> Iterator[Turn]:
        for epoch, share in shares:
            batches = table.batches(rng(seed, "plan", epoch), *sizes)
            wanted, part = math.ceil(share * len(batches)), Fraction(1, max(1, len(batches)))
            for at in range(skip, wanted):
                step = table.step(batches[at], world, *micro)
                yield Turn(epoch + at * part, epoch + (at + 1) * part, step)
            skip = max(0, skip - wanted)

    return steps(start)  # an inner generator, so that wrong arguments fail at the call


def padding(lengths: Numbers, parts: Numbers, steps: Sequence[Step]) -> float:
    """The share of the steps' padded tokens that is padding, 0..1; 0 for no steps.

    All rows of an example count as long as its longest, so a short last window is not counted as padding.
    """
    table = _Table.of(lengths, parts)
    real = padded = 0
    for step in steps:
        for micro in (np.array(micro) for rank in step.ranks for micro in rank if micro):
            real += int(table.tokens[micro].sum())
            padded += int(table.parts[micro].sum() * table.lengths[micro].max())
    return 1 - real / padded if padded else 0.0


def cost(lengths: Numbers, parts: Numbers, micro: Sequence[int]) -> int:
    """The padded tokens of a micro-batch."""
    return sum(parts[index] for index in micro) * max((max(1, lengths[index]) for index in micro), default=0)


def answering(
    lengths: Numbers, *, tokens: int, rows: int | None = None, padding: int | None = None, abreast: int = 1
) -> list[list[int]]:
    """Batches of rows to answer, the longest first: where memory runs out, it does so at once.

    `lengths` [n] counts each row's tokens. A batch holds at most `tokens` padded tokens (a longer row is
    alone) and `rows` rows, and at most `padding` of its tokens are padding: the number of tokens that a pass of its
    own costs. Where batches are computed `abreast`, they are made so small (but for SMALLEST tokens) that each place
    has several. The caller puts the answers back in order. Raises ValueError for sizes below 1.
    """
    _positive(tokens=tokens, rows=rows, abreast=abreast)
    table = _Table.of(lengths, np.ones(len(lengths), dtype=np.int64))
    if abreast > 1:
        tokens = min(tokens, max(SMALLEST, int(table.tokens.sum()) // (TURNS * abreast)))
    order = np.argsort(-table.lengths, kind="stable")
    pieces = [order[piece] for piece in table.pieces(order, tokens, rows)]
    return [part.tolist() for piece in pieces for part in table.tight(piece, padding)]


@dataclass(frozen=True, slots=True)
class _Table:
    """What a plan knows of the examples: int64 [n] each; `tokens` is lengths × parts."""

    lengths: _Ints
    parts: _Ints
    tokens: _Ints

    @classmethod
    def of(cls, lengths: Numbers, parts: Numbers) -> _Table:
        longest = np.asarray(lengths, dtype=np.int64)
        rows = np.asarray(parts, dtype=np.int64)
        if longest.ndim != 1 or longest.shape != rows.shape:
            raise ValueError(f"lengths {longest.shape} and parts {rows.shape} must be two lists of equal length")
        if rows.size and (rows.min() < 1 or longest.min() < 0):
            raise ValueError("an example has at least one row, and no row has less than no tokens")
        longest = np.maximum(longest, 1)  # a batch of empty rows still takes a column
        return cls(longest, rows, longest * rows)

    def pieces(self, order: _Ints, tokens: int | None, examples: int | None) -> Iterator[slice]:
        """Cut `order`, longest first, into the fewest runs within `tokens` padded tokens and `examples`."""
        longest = self.lengths[order].tolist()
        rows = np.cumsum(self.parts[order]).tolist()
        start = before = 0
        while start < len(longest):
            end = len(longest) if examples is None else min(start + examples, len(longest))
            if tokens is not None:
                room = before + tokens // longest[start]
                end = max(start + 1, bisect_right(rows, room, start, end))
            yield slice(start, end)
            start, before = end, rows[end - 1]

    def tight(self, batch: _Ints, padding: int | None) -> list[_Ints]:
        """The batch, longest first, cut where a part would come to have more padding than that."""
        lengths = self.lengths[batch]
        if padding is None or int((lengths[0] - lengths).sum()) <= padding:
            return [batch]
        cuts, longest, wasted = [], int(lengths[0]), 0
        for at, length in enumerate(lengths.tolist()):
            wasted += longest - length
            if wasted > padding:
                cuts.append(at)
                longest, wasted = length, 0
        return np.split(batch, cuts)

    def batches(self, generator: np.random.Generator, tokens: int | None, examples: int | None) -> list[_Ints]:
        """The optimiser's batches of one epoch in their order, each sorted longest first.

        All examples are shuffled, cut into stretches of up to BUCKET batches, and sorted by length within
        each. At least four stretches where there are batches enough, as in transformers'
        `LengthGroupedSampler`: sorting a small set as a whole would put the same examples together in every
        epoch.
        """
        order = generator.permutation(len(self.lengths))
        load = np.ones_like(self.lengths) if tokens is None else self.tokens[order]
        budget = tokens or examples or 1
        stretch = min(max(int(load.sum()) // (4 * budget), 1), BUCKET) * budget
        bucket = (np.cumsum(load) - load) // stretch
        order = order[np.lexsort((-self.lengths[order], bucket))]
        edges = np.flatnonzero(np.diff(bucket)) + 1
        found = [part[cut] for part in np.split(order, edges) for cut in self.pieces(part, tokens, examples)]
        return [found[index] for index in generator.permutation(len(found))]

    def step(self, batch: _Ints, world: int, tokens: int | None, examples: int | None) -> Step:
        """One optimiser batch, divided among the ranks and cut into micro-batches."""
        shares = [
            [tuple(share[cut].tolist()) for cut in self.pieces(share, tokens, examples)]
            for share in self.divide(batch, world)
        ]
        most = max(map(len, shares))
        return Step(tuple((*share, *[()] * (most - len(share))) for share in shares))

    def divide(self, batch: _Ints, world: int) -> list[_Ints]:
        """Shares of about equal cost: the costliest example left goes to the rank with least so far.

        Graham 1969, "Bounds on Multiprocessing Timing Anomalies": at most a third above the best division.
        """
        if world == 1:
            return [batch]
        cost = self.tokens[batch]
        ranks = [(0, rank) for rank in range(world)]
        places: list[list[int]] = [[] for _ in range(world)]
        for place in np.argsort(-cost, kind="stable").tolist():
            load, rank = ranks[0]
            places[rank].append(place)
            heapq.heapreplace(ranks, (load + int(cost[place]), rank))
        return [batch[sorted(chosen)] for chosen in places]


def _shares(epochs: float) -> list[tuple[int, Fraction]]:
    """The epochs with the share of each that is trained: 1 but for a last broken one."""
    exact = Fraction(str(epochs))  # as written: 2.1 as a float is a little more than 2.1, one step too many
    if exact < 0:
        raise ValueError(f"epochs must not be negative, is {epochs}")
    return [(epoch, min(Fraction(1), exact - epoch)) for epoch in range(math.ceil(exact))]


def _sizes(batch_size: int | None, tokens_per_batch: int | None) -> tuple[int | None, int | None]:
    """(padded tokens, examples) of an optimiser's batch; one of them is None."""
    if (batch_size is None) == (tokens_per_batch is None):
        raise ValueError("give one of batch_size and tokens_per_batch")
    _positive(batch_size=batch_size, tokens_per_batch=tokens_per_batch)
    return tokens_per_batch, batch_size


def _micro(
    world: int, micro_batch: int | Literal["auto"] | None, micro_tokens: int | None
) -> tuple[int | None, int | None]:
    """(padded tokens, examples) of a micro-batch; None is no limit."""
    examples = None if micro_batch == "auto" else micro_batch
    _positive(world=world, micro_batch=examples, micro_tokens=micro_tokens)
    return (micro_tokens, None) if examples is None else (None, examples)


def _positive(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, is {size}")
