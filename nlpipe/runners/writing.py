"""Text generation with PyTorch: transformers' loop, with our ends, our random draws and our pieces of text."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nlpipe import upstream
from nlpipe.objectives.continuing import Wish, Written


def generate(model: Any, inputs: Mapping[str, Tensor], wish: Wish) -> list[list[Written]]:
    """Continue every row. Rows with unlike room go apart: a full row's positions would run past the model's end.

    So do rows whose beams are drawn: transformers draws for a batch at once, and a row's answer would depend on the
    others'.
    """
    drawn = wish.seeds is not None and int(wish.settings.get("num_beams") or upstream.default_beams(model)) > 1
    limit = wish.settings.get("max_new_tokens") or upstream.default_new_tokens(model)
    rows = len(wish.most)
    groups: dict[tuple[int, int], list[int]] = {}
    for row, room in enumerate(wish.most):
        groups.setdefault((min(limit, room), row if drawn else 0), []).append(row)
    found: list[list[Written]] = [[] for _ in range(rows)]
    for (most, _), members in groups.items():
        chosen = {name: tensor[members] for name, tensor in inputs.items()}
        seeds = None if wish.seeds is None else [seed for row in members for seed in wish.seeds[row]]
        written = _group(model, chosen, wish, most, seeds)
        for at, row in enumerate(members):
            found[row] = written[at * wish.answers : (at + 1) * wish.answers]
    return found


def _group(model: Any, inputs: dict[str, Tensor], wish: Wish, most: int, seeds: Sequence[int] | None) -> list[Written]:
    """The answers to rows that all have room for `most` tokens, answer after answer."""
    beams = int(wish.settings.get("num_beams") or upstream.default_beams(model))
    processors: list[Any] = []
    drawn = seeds is not None and beams == 1
    config = upstream.generation_config(model, {**wish.settings, "max_new_tokens": most}, ends=wish.ends, pad=wish.pad)
    config.num_return_sequences = 1 if drawn else wish.answers
    if drawn:  # a row per answer, and the draws are ours: transformers draws for the whole batch at once
        assert seeds is not None
        inputs = {name: tensor.repeat_interleave(wish.answers, 0) for name, tensor in inputs.items()}
        processors = [*upstream.warpers(config), _Draw(seeds)]
    config.do_sample = seeds is not None and not drawn
    prompt = inputs.get("decoder_input_ids", inputs["input_ids"]).size(1)
    criteria = [] if wish.stop is None else [_Stop(wish.stop, prompt)]
    with torch.random.fork_rng(devices=[]):
        if seeds is not None:
            torch.manual_seed(seeds[0])
        sequences = upstream.generate(model, inputs, config, processors, criteria)
    ends = wish.ends | upstream.end_tokens(config)
    return [_written(row[prompt:], ends, most, wish.stop) for row in sequences.tolist()]


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


def stream(model: Any, inputs: dict[str, Tensor], wish: Wish, lock: threading.Lock) -> Iterator[int]:
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
            with lock, torch.inference_mode():
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
