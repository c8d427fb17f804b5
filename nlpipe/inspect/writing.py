"""A model writing token by token, greedily, with what it thought of at each step. Knows no view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nlpipe.inspect.numbers import Floats, softmax
from nlpipe.inspect.reading import Reading, plain_pieces
from nlpipe.inspect.subject import Subject
from nlpipe.task import Family
from nlpipe.tokens import Tokenizer


@dataclass(frozen=True)
class Choice:
    """A token that may come, and its probability."""

    id: int
    label: str
    probability: float


@dataclass(frozen=True)
class Step:
    """One written token, and those that came next in probability."""

    chosen: Choice
    runners: tuple[Choice, ...]


def next_scores(subject: Subject, reading: Reading, written: list[int]) -> Floats:
    """The scores of the token after `written`, float32 [vocabulary]."""
    if subject.family is Family.ENCODER_DECODER:
        inputs = subject.inputs(reading, [*subject.start, *written])
    else:
        longer = Reading("", (*reading.pieces, *plain_pieces(written, subject.tokenizers.source)), ())
        inputs = subject.inputs(longer)
    scores: Floats = subject.logits(inputs)[0, -1].numpy()
    return scores


def write(subject: Subject, reading: Reading, steps: int, runners: int) -> Iterator[Step]:
    """Greedy writing after `reading`: up to `steps` tokens, up to the end token, up to the end of the window.

    The whole text is read anew at each step, without a cache: slower, and the very softmax that the model has for
    that text.
    """
    tok = subject.tokenizers.target
    written: list[int] = []
    before = len(subject.start) if subject.family is Family.ENCODER_DECODER else len(reading.pieces)
    for _ in range(min(steps, subject.limit - before)):
        probabilities = softmax(next_scores(subject, reading, written))
        best = choices(probabilities, runners + 1, tok)
        yield Step(best[0], best[1:])
        written.append(best[0].id)
        if best[0].id in subject.ends:
            return


def greedy(subject: Subject, reading: Reading, steps: int) -> Reading:
    """What an encoder-decoder writes. Raises UnsupportedError where it has no trained head."""
    subject.need_head("cannot write an output of its own: give one")
    return subject.wrote([step.chosen.id for step in write(subject, reading, steps, 0)])


def choices(probabilities: Floats, count: int, tok: Tokenizer) -> tuple[Choice, ...]:
    """The likeliest tokens, best first."""
    best = [int(at) for at in np.argsort(-probabilities, kind="stable")[:count]]
    return tuple(
        Choice(token, label, float(probabilities[token])) for token, label in zip(best, labels(best, tok), strict=True)
    )


def labels(ids: list[int], tok: Tokenizer) -> list[str]:
    """What vocabulary entries are shown as; a space in front is kept visible, as it tells a word's beginning."""
    size = len(tok.upstream)
    known = [one for one in ids if one < size]
    shown = {piece.id: _spaced(piece.piece, piece.label) for piece in plain_pieces(known, tok)}
    return [shown.get(one, f"#{one}") for one in ids]  # some models have more ids than their tokenizer


def _spaced(piece: str, label: str) -> str:
    return f"␣{label}" if piece.startswith(("Ġ", "▁")) and label != "␣" else label
