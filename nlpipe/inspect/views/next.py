"""The fifth view: the softmax over the next token (or a blank), what drawing keeps of it, and what a text costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inspect.html import packed_floats
from nlpipe.inspect.numbers import Floats, entropy, log_softmax, softmax
from nlpipe.inspect.reading import Piece, Reading
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.inspect.writing import Choice, Step, choices, next_scores, write
from nlpipe.task import Family

PASS = 16  # how many copies of a text, each with another blank, a masked model reads at once


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What one way of drawing leaves of the softmax.

    `kept` tokens of the vocabulary can still be drawn; before, they had the probability `mass` together.
    `probabilities` are those of the shown candidates afterwards, [top]; 0 for what is cut.
    """

    name: str
    kept: int
    mass: float
    probabilities: Floats


@dataclass(frozen=True, kw_only=True)
class Place:
    """A token to be guessed: the next one, or a blank.

    `candidates` are the likeliest tokens, `entropy` the uncertainty in bits, `scores` the model's for the whole
    vocabulary [vocabulary] (logits), `drawings` what temperature, top-k and top-p make of their softmax.
    """

    name: str
    candidates: tuple[Choice, ...]
    entropy: float
    drawings: tuple[Drawing, ...]
    scores: Floats


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """What each token of a text costs: `bits` [tokens] is -log2 of its probability, nan where nothing is asked.

    `perplexity` is 2 to the mean of the bits. `given` says what each token was predicted from: `before` (the tokens
    before it) or `around` (all others, so that it is a pseudo-perplexity; Salazar et al. 2020).
    """

    pieces: tuple[Piece, ...]
    bits: Floats
    perplexity: float
    given: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Next(View):
    """What comes next.

    `places` has the next token, or one entry per blank; `steps` is greedy writing with its runners-up, `written` the
    text it gives; `surprise` is of the text (for an encoder-decoder of its output), None where there is none.
    """

    what: ClassVar[str] = "next"

    text: str
    places: tuple[Place, ...]
    steps: tuple[Step, ...]
    written: str
    surprise: Surprise | None
    settings: dict[str, float]

    @property
    def size(self) -> int:
        """The tokens of the text."""
        return len(self.surprise.pieces) if self.surprise else 1

    def picture(self, first: int) -> dict[str, Any]:
        """The scores of each place, sorted, so that the page can draw with other settings; the labels of 40."""
        shown = slice(first - 1, first - 1 + PICTURE)
        surprise = self.surprise and {
            "pieces": plain(self.surprise.pieces[shown]),
            "bits": plain(self.surprise.bits[shown].round(3)),
            "of": len(self.surprise.pieces),
            "perplexity": plain(self.surprise.perplexity),
            "given": self.surprise.given,
        }
        places = [
            {
                "name": place.name,
                "entropy": place.entropy,
                "labels": [choice.label for choice in place.candidates],
                "scores": packed_floats(np.sort(place.scores)[::-1]),
            }
            for place in self.places
        ]
        return {
            "text": self.text,
            "places": places,
            "steps": plain(self.steps),
            "written": self.written,
            "surprise": surprise,
            "settings": self.settings,
            "first": first,
        }


def next(
    model: str | Path | Subject,
    text: str,
    output: str | None = None,
    *,
    top: int = 10,
    temperature: float = 0.7,
    top_k: int = 5,
    top_p: float = 0.9,
    steps: int = 12,
) -> Next:
    """The softmax of the token after a text, of each blank (`___`) in it, or of an encoder-decoder's first token.

    `temperature`, `top_k` and `top_p` are shown each by itself and one after the other, as drawing applies them.
    `steps` tokens are written greedily. The surprise is the text's own; an encoder-decoder's is that of `output`, or
    of what it writes. Raises UnsupportedError for a model without a trained head over its vocabulary, DataError for
    settings out of range.
    """
    _check(top, temperature, top_k, top_p, steps)
    subject = load(model)
    subject.need_head("does not say what comes next")
    draw = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if subject.family is Family.ENCODER:
        return _blanks(subject, text, top, draw, output)
    pair = subject.family is Family.ENCODER_DECODER
    if output is not None and not pair:
        raise UnsupportedError(f"{subject.name} is no encoder-decoder: it has no output beside its text")
    reading = subject.read(text, blank=pair) if pair else prompt(subject, text)
    place = _place(
        "the first token" if pair else "the next token", next_scores(subject, reading, []), subject, top, draw
    )
    written = tuple(write(subject, reading, steps, 4))
    said = subject.wrote([step.chosen.id for step in written])
    if pair:
        target = subject.output(output) if output is not None else said
        inputs = subject.inputs(reading, [*subject.start, *target.ids[:-1]])
        bits = _bits(subject, inputs, target.ids, ahead=len(subject.start) - 1)
        surprise = _surprise(target, bits, "before")
    else:
        surprise = _surprise(reading, _bits(subject, subject.inputs(reading), reading.ids, ahead=-1), "before")
    return Next(
        model=subject.name,
        text=text,
        places=(place,),
        steps=written,
        written=subject.tokenizers.target.upstream.decode([p.id for p in said.pieces], skip_special_tokens=True),
        surprise=surprise,
        settings=draw,
    )


def prompt(subject: Subject, text: str) -> Reading:
    """A text that goes on: without special tokens behind it."""
    reading = subject.read(text)
    kept = list(reading.pieces)
    while len(kept) > 1 and kept[-1].special:
        kept.pop()
    types = None if reading.types is None else reading.types[: len(kept)]
    return Reading(reading.text, tuple(kept), reading.words, types)


def _check(top: int, temperature: float, top_k: int, top_p: float, steps: int) -> None:
    for name, value, lowest in (("top", top, 1), ("top_k", top_k, 1), ("steps", steps, 0)):
        if value < lowest:
            raise DataError(f"{name} must be at least {lowest}, is {value}")
    if not temperature > 0:
        raise DataError(f"temperature must be greater than 0, is {temperature}; the nearer to 0, the nearer to greedy")
    if not 0 < top_p <= 1:
        raise DataError(f"top_p must be greater than 0 and at most 1, is {top_p}")


def _place(name: str, scores: Floats, subject: Subject, top: int, draw: dict[str, float]) -> Place:
    probabilities = softmax(scores)
    shown = choices(probabilities, max(top, 1), subject.tokenizers.target)
    ids = [choice.id for choice in shown]
    drawings = [
        _drawing(f"{key.replace('_', '-')} {value:g}", scores, ids, {key: value}) for key, value in draw.items()
    ]
    return Place(
        name=name,
        candidates=shown,
        entropy=float(entropy(probabilities)),
        drawings=(*drawings, _drawing("all three", scores, ids, draw)),
        scores=scores,
    )


def _drawing(name: str, scores: Floats, ids: list[int], settings: dict[str, float]) -> Drawing:
    left = drawn(scores, **settings)  # type: ignore[arg-type]
    kept = left > 0
    return Drawing(name=name, kept=int(kept.sum()), mass=float(softmax(scores)[kept].sum()), probabilities=left[ids])


def drawn(scores: Floats, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Floats:
    """The probabilities that are drawn from, [vocabulary], of scores [vocabulary].

    First the scores are divided by the temperature, then all but the `top_k` best are cut, then all but the fewest
    that together reach `top_p` (Holtzman et al. 2020): the order and the rules of transformers' `generate`.
    """
    probabilities = softmax(scores / temperature)
    order = np.argsort(-probabilities, kind="stable")
    if top_k is not None:
        probabilities[order[int(top_k) :]] = 0
        probabilities /= probabilities.sum()
    before = np.cumsum(probabilities[order]) - probabilities[order]
    if top_p < 1:
        probabilities[order[before >= top_p]] = 0
    found: Floats = probabilities / probabilities.sum()
    return found


def _bits(subject: Subject, inputs: dict[str, torch.Tensor], ids: list[int], *, ahead: int) -> Floats:
    """-log2 of each id's probability, [tokens]; the score of a token stands `ahead` places behind its own."""
    logs = log_softmax(subject.logits(inputs)[0].numpy()) / math.log(2)
    bits = np.full(len(ids), np.nan)
    for at in range(max(0, -ahead), len(ids)):
        bits[at] = -logs[at + ahead, ids[at]]
    return bits


def _surprise(reading: Reading, bits: Floats, given: str) -> Surprise | None:
    if not np.isfinite(bits).any():
        return None
    return Surprise(pieces=reading.pieces, bits=bits, perplexity=float(2 ** np.nanmean(bits)), given=given)


def _blanks(subject: Subject, text: str, top: int, draw: dict[str, float], output: str | None) -> Next:
    """A masked model's guesses for each blank, and the surprise of each token, blanked one at a time."""
    if output is not None:
        raise UnsupportedError(f"{subject.name} fills blanks and has no output beside its text")
    if not subject.blanks:
        raise UnsupportedError(f"the tokenizer of {subject.name} has no token for a blank")
    reading = subject.read(text, blank=True)
    scores = subject.logits(subject.inputs(reading))[0].numpy() if reading.blanks else None
    places = (
        ()
        if scores is None
        else tuple(
            _place(f"blank {number} of {len(reading.blanks)}", scores[at], subject, top, draw)
            for number, at in enumerate(reading.blanks, 1)
        )
    )
    return Next(
        model=subject.name,
        notes=() if places else ("write ___ where a word shall be guessed",),
        text=text,
        places=places,
        steps=(),
        written="",
        surprise=_surprise(reading, _pseudo_bits(subject, reading), "around"),
        settings=draw,
    )


def _pseudo_bits(subject: Subject, reading: Reading) -> Floats:
    """-log2 of each token's probability given all others, [tokens]; nan for special tokens and blanks."""
    asked = [at for at, piece in enumerate(reading.pieces) if not piece.special]
    bits = np.full(len(reading.pieces), np.nan)
    for start in range(0, len(asked), PASS):
        chosen = asked[start : start + PASS]
        inputs = {key: value.repeat(len(chosen), 1) for key, value in subject.inputs(reading).items()}
        inputs["input_ids"][range(len(chosen)), chosen] = subject.blanks[0]
        logits = subject.logits(inputs)
        for row, at in enumerate(chosen):
            bits[at] = -log_softmax(logits[row, at].numpy())[reading.ids[at]] / math.log(2)
    return bits
