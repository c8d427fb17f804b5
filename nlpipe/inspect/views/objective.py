"""The sixth view: what pretraining makes of a text. The input it reads, the target it asks for, the loss of each token.

These are the published recipes in their plainest form, drawn from a seed; nlpipe's own training has its objectives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nlpipe.errors import UnsupportedError, suggest
from nlpipe.inspect.numbers import Floats, log_softmax
from nlpipe.inspect.reading import Piece, Reading, plain_pieces
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.inspect.writing import greedy
from nlpipe.objectives.noise import infilled, spans_of
from nlpipe.task import Family

KINDS = {
    "masked": "masked language modelling: 15 % of the tokens are asked for; of these 80 % are blanked, 10 % replaced "
    "by a random token, 10 % left (Devlin et al. 2019)",
    "next": "next-token prediction: each token is asked for, given those before it (Radford et al. 2018)",
    "span": "span corruption: 15 % of the tokens in spans of 3 on average; each span becomes a sentinel, and the "
    "target tells what stood there (Raffel et al. 2020)",
    "infilling": "text infilling: 30 % of the tokens in spans of Poisson length 3; each span becomes one blank, and "
    "the target is the whole text (Lewis et al. 2020)",
    "output": "from a text to another: each token of the output is asked for, given the text and the output before it",
}
_OF_FAMILY = {
    Family.ENCODER: ("masked",),
    Family.DECODER: ("next",),
    Family.ENCODER_DECODER: ("span", "infilling", "output"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective(View):
    """One text as a training step sees it.

    `input` is what the model reads; `marks` says what happened to each of its tokens (`blank`, `random`, `kept`: asked
    for and left as it is; empty: nothing). `target` is what is asked for, `at` [targets] the index of the input
    token where it is asked (for an encoder-decoder -1: in the order of writing), `loss` [targets] the cross-entropy
    in nats; nan where the model has no trained head. `seed` drew what was drawn.
    """

    what: ClassVar[str] = "objective"

    text: str
    kind: str
    explains: str
    seed: int
    input: tuple[Piece, ...]
    marks: tuple[str, ...]
    target: tuple[Piece, ...]
    at: tuple[int, ...]
    loss: Floats

    @property
    def mean_loss(self) -> float:
        """The mean over targets in nats, which training lowers; nan without a trained head."""
        return float(self.loss.mean()) if len(self.loss) else math.nan

    @property
    def size(self) -> int:
        """The tokens of the input, or the targets if they are more."""
        return max(len(self.input), len(self.target))

    def picture(self, first: int) -> dict[str, Any]:
        """Up to 200 tokens of the input, and up to 200 targets."""
        shown = slice(first - 1, first - 1 + PICTURE)
        return {
            "text": self.text,
            "kind": self.kind,
            "explains": self.explains,
            "seed": self.seed,
            "input": plain(self.input[shown]),
            "marks": self.marks[shown],
            "of_input": len(self.input),
            "target": plain(self.target[shown]),
            "at": self.at[shown],
            "of_target": len(self.target),
            "loss": plain(self.loss[shown].round(4)),
            "mean": plain(self.mean_loss),
            "first": first,
        }


def objective(
    model: str | Path | Subject,
    text: str,
    output: str | None = None,
    *,
    kind: str | None = None,
    seed: int = 0,
) -> Objective:
    """What a pretraining objective makes of a text: by default the one the model's kind is known for.

    `kind` is `masked`, `next`, `span`, `infilling` or `output`; `output` needs an output text, else it takes what the
    model writes. Raises UnsupportedError where the model has no part in it.
    """
    subject = load(model)
    chosen = _kind(subject, kind, output)
    made = _MAKERS[chosen](subject, text, output, np.random.default_rng(seed))
    scored = replace(made, loss=_loss(subject, made)) if subject.writes else made
    notes = []
    if not subject.writes:
        notes.append(f"{subject.name} has no trained head over its vocabulary: there is no loss")
    if chosen == "output" and output is None:
        notes.append("no output was given: the target is what the model writes by itself, so the loss is low")
    return Objective(
        model=subject.name,
        notes=tuple(notes),
        text=text,
        kind=chosen,
        explains=KINDS[chosen],
        seed=seed,
        input=scored.input.pieces,
        marks=scored.marks,
        target=scored.target,
        at=scored.at,
        loss=scored.loss if scored.loss is not None else np.full(len(scored.target), np.nan),
    )


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What training would read and ask for."""

    input: Reading
    marks: tuple[str, ...]
    target: tuple[Piece, ...]
    at: tuple[int, ...]
    loss: Floats | None = None


def _kind(subject: Subject, kind: str | None, output: str | None) -> str:
    possible = [one for one in _OF_FAMILY[subject.family] if _has_blanks(subject, one)]
    if kind is None:
        if not possible:
            raise UnsupportedError(
                f"the tokenizer of {subject.name} has no token for a blank, so nothing can be masked"
            )
        return "output" if output is not None and "output" in possible else possible[0]
    if kind not in KINDS:
        raise UnsupportedError(f"unknown objective {kind!r}; {suggest(kind, KINDS)}")
    if kind not in possible:
        raise UnsupportedError(
            f"{subject.name} ({subject.family.value}) has no part in {kind!r}; "
            f"it has in: {', '.join(possible) or 'none, as its tokenizer has no token for a blank'}"
        )
    return kind


def _has_blanks(subject: Subject, kind: str) -> bool:
    needed = {"masked": 1, "infilling": 1, "span": 2}.get(kind, 0)  # T5 has one sentinel for each span
    return len(subject.blanks) >= needed and (kind != "infilling" or len(subject.blanks) == 1)


def _masked(subject: Subject, text: str, output: str | None, rng: np.random.Generator) -> _Step:
    """15 % of the tokens, at least one; of these 80 % blanks, 10 % random, 10 % as they are."""
    reading = subject.read(text)
    asked = [at for at, piece in enumerate(reading.pieces) if not piece.special]
    count = max(1, round(0.15 * len(asked)))
    chosen = sorted(int(at) for at in rng.choice(asked, size=min(count, len(asked)), replace=False))
    pieces, marks = list(reading.pieces), [""] * len(reading.pieces)
    for at in chosen:
        drawn = rng.random()
        marks[at] = "blank" if drawn < 0.8 else "random" if drawn < 0.9 else "kept"
        if marks[at] == "blank":
            pieces[at] = plain_pieces(subject.blanks[:1], subject.tokenizers.source)[0]
        elif marks[at] == "random":
            other = int(rng.integers(len(subject.tokenizers.source.upstream)))
            pieces[at] = plain_pieces([other], subject.tokenizers.source)[0]
    changed = replace(reading, pieces=tuple(pieces))
    return _Step(input=changed, marks=tuple(marks), target=tuple(reading.pieces[at] for at in chosen), at=tuple(chosen))


def _next(subject: Subject, text: str, output: str | None, rng: np.random.Generator) -> _Step:
    """Every token but the first."""
    reading = subject.read(text)
    last = len(reading.pieces) - 1
    return _Step(input=reading, marks=("",) * (last + 1), target=reading.pieces[1:], at=tuple(range(last)))


def _output(subject: Subject, text: str, output: str | None, rng: np.random.Generator) -> _Step:
    """Another text."""
    reading = subject.read(text)
    target = subject.output(output) if output is not None else greedy(subject, reading, subject.limit)
    return _Step(
        input=reading,
        marks=("",) * len(reading.pieces),
        target=target.pieces,
        at=(-1,) * len(target.pieces),
    )


def _span(subject: Subject, text: str, output: str | None, rng: np.random.Generator) -> _Step:
    """Spans as sentinels; the target repeats each sentinel before what stood there, and ends with one more."""
    reading = subject.read(text)
    content = [at for at, piece in enumerate(reading.pieces) if not piece.special]
    spans = spans_of(len(content), rng, most=len(subject.blanks) - 1)
    kept, target, marks = [], [], []
    at = 0
    for number, (start, end) in enumerate(spans):
        sentinel = plain_pieces([subject.blanks[number]], subject.tokenizers.source)[0]
        kept += [*(reading.pieces[content[i]] for i in range(at, start)), sentinel]
        marks += [*[""] * (start - at), "blank"]
        target += [sentinel, *(reading.pieces[content[i]] for i in range(start, end))]
        at = end
    rest = [reading.pieces[content[i]] for i in range(at, len(content))]
    tail = list(reading.pieces[content[-1] + 1 :]) if content else []
    head = list(reading.pieces[: content[0]]) if content else []
    closing = plain_pieces([subject.blanks[len(spans)]], subject.tokenizers.source)
    target += [*closing, *tail]
    pieces = (*head, *kept, *rest, *tail)
    return _Step(
        input=replace(reading, pieces=pieces, words=()),
        marks=(*[""] * len(head), *marks, *[""] * (len(rest) + len(tail))),
        target=tuple(target),
        at=(-1,) * len(target),
    )


def _infilling(subject: Subject, text: str, output: str | None, rng: np.random.Generator) -> _Step:
    """Spans of Poisson length, each one blank (an empty one puts a blank in), until 30 % of the tokens are gone."""
    reading = subject.read(text)
    blank = plain_pieces(subject.blanks[:1], subject.tokenizers.source)[0]
    content = [at for at, piece in enumerate(reading.pieces) if not piece.special]
    spans = infilled(len(content), rng)
    starts = {start for start, _ in spans}
    gone = {at for start, end in spans for at in range(start, end)}
    pieces, marks = [], []
    places = {at: index for index, at in enumerate(content)}
    for at, piece in enumerate(reading.pieces):
        index = places.get(at)
        if index in starts:
            pieces.append(blank)
            marks.append("blank")
        if index is None or index not in gone:
            pieces.append(piece)
            marks.append("")
    target = list(reading.pieces)
    for token in subject.start[1:]:  # BART's decoder has read <s> before it writes
        if target[0].id == token:
            del target[0]
    return _Step(
        input=replace(reading, pieces=tuple(pieces), words=()),
        marks=tuple(marks),
        target=tuple(target),
        at=(-1,) * len(target),
    )


_MAKERS: dict[str, Callable[[Subject, str, str | None, np.random.Generator], _Step]] = {
    "masked": _masked,
    "next": _next,
    "span": _span,
    "infilling": _infilling,
    "output": _output,
}


def _loss(subject: Subject, step: _Step) -> Floats:
    """The cross-entropy of each target, in nats."""
    ids = [piece.id for piece in step.target]
    if not ids:
        return np.zeros(0)
    decoder: Sequence[int] | None = None
    places: Sequence[int] = step.at
    if subject.family is Family.ENCODER_DECODER:
        decoder = [*subject.start, *ids[:-1]]
        places = range(len(subject.start) - 1, len(decoder))
    logs = log_softmax(subject.logits(subject.inputs(step.input, decoder))[0].numpy())
    return np.array([-logs[at, token] for at, token in zip(places, ids, strict=True)])
