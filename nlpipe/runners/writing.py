"""Text generation with PyTorch: our loop (`decoding.py`) or transformers', our ends, draws and pieces of text."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nlpipe import upstream
from nlpipe.objectives.continuing import Wish, Written
from nlpipe.runners import accelerators, prefixes
from nlpipe.runners.decoding import Line, loop
from nlpipe.upstream_cache import bytes_per_token, growing

# Bytes that what a batch has read and written may take on a processor; more rows are written batch after batch.
CACHE = 2**30
# Rows at once on a processor: two cores wrote phonemes of words (BART) 1.5 times as fast by 128 as by 64 and no faster
# beyond 256, and with a model of GPT-2 small's size no faster beyond 64.
ROWS = 128

# Settings that transformers holds row by row for the whole batch.
_LOOK_AT_SOURCE = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size")


def generate(model: Any, inputs: Mapping[str, Tensor], wish: Wish) -> list[list[Written]]:
    """Continue every row.

    Rows are cut into batches whose cache fits. Where transformers' own loop runs, rows with unlike room go apart: a
    full row's positions would run past the model's end. So do rows whose beams are drawn, which transformers draws
    for a batch at once: a row's answer would depend on the others'.
    """
    config = upstream.generation_config(model, wish.settings, ends=wish.ends, pad=wish.pad)
    beams = int(wish.settings.get("num_beams") or upstream.default_beams(model))
    ours = beams == 1 and not any(_acts(config, name) for name in _LOOK_AT_SOURCE) and growing(model) is not None
    limit = wish.settings.get("max_new_tokens") or upstream.default_new_tokens(model)
    lengths = inputs["attention_mask"].sum(1).tolist()
    most, room = _bounds(inputs["input_ids"].device)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, left in enumerate(wish.most):
        apart = () if ours else (min(limit, left), row if wish.seeds is not None and beams > 1 else 0)
        groups.setdefault(apart, []).append(row)
    found: list[list[Written]] = [[] for _ in lengths]
    for members in groups.values():
        size = max(1, min(most, room // (bytes_per_token(model) * (max(lengths) + limit))) // (wish.answers * beams))
        for start in range(0, len(members), size):
            rows = members[start : start + size]
            seeds = None if wish.seeds is None else [seed for row in rows for seed in wish.seeds[row]]
            part = _Part(_chosen_rows(inputs, rows), [min(limit, wish.most[row]) for row in rows], seeds)
            written = _ours(model, part, wish) if ours else _theirs(model, part, wish, beams)
            for at, row in enumerate(rows):
                found[row] = written[at * wish.answers : (at + 1) * wish.answers]
    return found


def _bounds(device: torch.device) -> tuple[int, int]:
    """Rows that are written together, and bytes of their cache, at most."""
    if device.type == "cpu":
        return ROWS, CACHE
    return accelerators.ROWS, int(accelerators.memory(device) * accelerators.CACHE_SHARE)


def _acts(config: Any, name: str) -> bool:
    """Whether a setting of a generation config changes anything: 1 is no penalty, 0 no n-gram."""
    return getattr(config, name, None) not in (None, 0, 1.0)


def _chosen_rows(inputs: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Some rows of a batch, without the columns that none of them fills."""
    chosen = {name: tensor[rows] for name, tensor in inputs.items()}
    filled = chosen["attention_mask"].any(0)
    return {name: t[:, filled] if name in ("input_ids", "attention_mask") else t for name, t in chosen.items()}


class _Part(NamedTuple):
    """Rows that are written together, how many tokens each may have, and where they are drawn a seed per answer."""

    inputs: dict[str, Tensor]
    most: Sequence[int]
    seeds: Sequence[int] | None

    @property
    def prompt(self) -> int:
        """How many tokens stand before what is written."""
        return int(self.inputs.get("decoder_input_ids", self.inputs["input_ids"]).size(1))


def _ours(model: Any, part: _Part, wish: Wish) -> list[Written]:
    """The answers to rows, answer after answer, by our own loop."""
    most = max(part.most)
    config = upstream.generation_config(model, {**wish.settings, "max_new_tokens": most}, ends=wish.ends, pad=wish.pad)
    inputs, draw, processors = part.inputs, None, []
    config.num_return_sequences = 1
    config.do_sample = False  # the draws are ours: transformers draws for the whole batch at once
    if part.seeds is not None:  # a row per answer
        inputs = {name: tensor.repeat_interleave(wish.answers, 0) for name, tensor in inputs.items()}
        draw = _Draw(part.seeds)
        processors = [*upstream.warpers(config), draw]
    lines = [Line(room) for room in part.most for _ in range(wish.answers)]
    criteria = [] if wish.stop is None else [_Stop(wish.stop, part.prompt)]
    if _acts(config, "no_repeat_ngram_size"):  # an n-gram across padding would be none of the text's
        cache = growing(model)
    else:
        inputs, cache = prefixes.read_once(model, inputs)
    write = loop(lines, lambda kept: None if draw is None else draw.keep(kept))
    upstream.generate(model, {**inputs, "past_key_values": cache}, config, processors, criteria, write=write)
    ends = wish.ends | upstream.end_tokens(config)
    return [_scored(_written(line.ids, ends, line.most, wish.stop), line) for line in lines]


def _scored(written: Written, line: Line) -> Written:
    return replace(written, scores=tuple(line.scores[: len(written.ids)]))


def _theirs(model: Any, part: _Part, wish: Wish, beams: int) -> list[Written]:
    """The answers to rows that all have equal room, answer after answer, by transformers' loop."""
    inputs, (most, *_), seeds = part.inputs, part.most, part.seeds
    processors: list[Any] = []
    drawn = seeds is not None and beams == 1
    config = upstream.generation_config(model, {**wish.settings, "max_new_tokens": most}, ends=wish.ends, pad=wish.pad)
    config.num_return_sequences = 1 if drawn else wish.answers
    if drawn:
        assert seeds is not None
        inputs = {name: tensor.repeat_interleave(wish.answers, 0) for name, tensor in inputs.items()}
        processors = [*upstream.warpers(config), _Draw(seeds)]
    config.do_sample = seeds is not None and not drawn
    criteria = [] if wish.stop is None else [_Stop(wish.stop, part.prompt)]
    with torch.random.fork_rng(devices=[]):
        if seeds is not None:
            torch.manual_seed(seeds[0])
        sequences = upstream.generate(model, inputs, config, processors, criteria)
    ends = wish.ends | upstream.end_tokens(config)
    return [_written(row[part.prompt :], ends, most, wish.stop) for row in sequences.tolist()]


def _written(ids: list[int], ends: frozenset[int], most: int, stop: Callable[[Sequence[int]], bool] | None) -> Written:
    """A row's own tokens: what comes after its end fills the batch."""
    ids = ids[:most]
    at = next((index for index, token in enumerate(ids) if token in ends), None)
    if at is not None and (stop is None or not stop(ids[:at])):
        return Written(tuple(ids[: at + 1]), True)
    if stop is not None and stop(ids):
        first = next(count for count in range(1, len(ids) + 1) if stop(ids[:count]))
        return Written(tuple(ids[:first]), True)
    return Written(tuple(ids), False)


def stream(model: Any, inputs: dict[str, Tensor], wish: Wish, turn: AbstractContextManager[None]) -> Iterator[int]:
    """The tokens of one row as a thread writes them; it stops when the reader goes away."""
    pipe: queue.Queue[int | BaseException | None] = queue.Queue()
    gone = threading.Event()
    limit = wish.settings.get("max_new_tokens") or upstream.default_new_tokens(model)
    config = upstream.generation_config(
        model, {**wish.settings, "max_new_tokens": min(limit, wish.most[0])}, ends=wish.ends, pad=wish.pad
    )
    processors = [] if wish.seeds is None else [*upstream.warpers(config), _Draw(wish.seeds[0])]
    config.do_sample, config.num_beams = False, 1
    prompt = inputs.get("decoder_input_ids", inputs["input_ids"]).size(1)
    criteria: list[Any] = [_Gone(gone)] + ([] if wish.stop is None else [_Stop(wish.stop, prompt)])

    def work() -> None:
        try:
            with turn, torch.inference_mode():
                upstream.generate(model, inputs, config, processors, criteria, streamer=_Streamer(pipe))
            pipe.put(None)
        except BaseException as error:  # whatever it is, the reader must hear of it
            pipe.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ends = wish.ends | upstream.end_tokens(config)
    try:
        while (token := pipe.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            if token in ends:
                continue
            yield token
    finally:
        gone.set()
        thread.join()


class _Draw:
    """Draws each row's token from its own generator and leaves only that one possible.

    The token with the greatest p / e, e from an exponential distribution, is a draw from p (the Gumbel-max trick,
    Maddison et al. 2014, in its exponential form).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows go on."""
        self.generators = [self.generators[row] for row in rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack(
            [torch.empty(scores.size(1)).exponential_(generator=generator) for generator in self.generators]
        )
        chosen = (scores.float().softmax(-1).cpu() / noise).argmax(-1, keepdim=True).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class _Stop:
    """Ends rows at stop strings."""

    eos_token_id = None  # transformers pads finished rows where a criterion has this attribute

    def __init__(self, stop: Callable[[Sequence[int]], bool], prompt: int) -> None:
        self.stop, self.prompt = stop, prompt

    def __call__(self, input_ids: Tensor, scores: Any, **rest: Any) -> Tensor:
        done = [self.stop(row) for row in input_ids[:, self.prompt :].tolist()]
        return torch.tensor(done, device=input_ids.device, dtype=torch.bool)


class _Gone:
    """Ends all rows once nobody reads any more."""

    def __init__(self, gone: threading.Event) -> None:
        self.gone = gone

    def __call__(self, input_ids: Tensor, scores: Any, **rest: Any) -> Tensor:
        return torch.full((len(input_ids),), self.gone.is_set(), device=input_ids.device, dtype=torch.bool)


class _Streamer:
    """Takes what transformers writes: first the prompt, then token by token."""

    def __init__(self, pipe: queue.Queue[int | BaseException | None]) -> None:
        self.pipe, self.started = pipe, False

    def put(self, value: Tensor) -> None:
        if self.started:
            self.pipe.put(int(value.flatten()[-1]))
        self.started = True

    def end(self) -> None:
        """Nothing: the thread says when it is done."""
