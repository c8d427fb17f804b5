"""The seventh view: which tokens an answer rests on, how exact that is, and a test of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nlpipe.errors import DataError
from nlpipe.inspect.attribution import Measure, Vectors
from nlpipe.inspect.explaining import aim
from nlpipe.inspect.numbers import Floats
from nlpipe.inspect.reading import Piece, Unit, plain_pieces, read
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.tokens import Tokenizer

ENOUGH = 0.01  # the completeness error at which no more steps are taken
MOST = 1024  # steps after which the error that is left is reported as it is
ORDERS = 16  # random orders that the ranking is compared with
POINTS = 10  # at how many shares of hidden words the curve is computed


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The explained number while words are hidden, a share of them at a time.

    `share` [points] of the words are hidden: those with the largest attributions first in `ranked` [points]; in
    `random` [points] the mean over 16 random orders, with the standard deviation `spread` [points]. A ranking that
    says something falls faster than random (of two texts that are compared, only the first one's words are hidden):
    `gain` is the mean of `random - ranked` over the points between none and
    all. Samek et al. 2017, "Evaluating the Visualization of What a Deep Neural Network Has Learned"; hidden is what
    `Why.hidden` says.
    """

    share: Floats
    ranked: Floats
    random: Floats
    spread: Floats
    gain: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Why(View):
    """An answer and what it rests on, by integrated gradients (Sundararajan et al. 2017).

    `attributions` [tokens] and `shares` [units] (the sum over the unit's tokens) say how much each has added to the
    explained number: they sum to `value - baseline` up to `error`, a share of it. `baselines` has one number, with all
    words hidden; where two texts are compared it has one for each, hidden while the other stays, and the attributions
    of each text sum to its own difference. `units` are words, and tokens that belong to none; special tokens take no
    part; `rows` [units] says which text a unit belongs to. `odds`: the number is log-odds.
    """

    what: ClassVar[str] = "why"

    texts: tuple[str, ...]
    answer: str
    explains: str
    hidden: str
    odds: bool
    pieces: tuple[Piece, ...]
    attributions: Floats
    units: tuple[Unit, ...]
    shares: Floats
    rows: tuple[int, ...]
    value: float
    baselines: tuple[float, ...]
    error: float
    steps: int
    deletion: Deletion

    @property
    def size(self) -> int:
        """The units."""
        return len(self.units)

    def picture(self, first: int) -> dict[str, Any]:
        """Up to 200 units."""
        shown = slice(first - 1, first - 1 + PICTURE)
        return {
            "texts": self.texts,
            "answer": self.answer,
            "explains": self.explains,
            "hidden": self.hidden,
            "odds": self.odds,
            "units": plain(self.units[shown]),
            "shares": plain(self.shares[shown].round(5)),
            "rows": self.rows[shown],
            "of": len(self.units),
            "value": self.value,
            "baselines": self.baselines,
            "error": plain(self.error),
            "steps": self.steps,
            "deletion": plain(self.deletion),
            "first": first,
        }


def why(
    model: str | Path | Subject,
    *texts: str,
    task: str | None = None,
    target: str | None = None,
    steps: int = 32,
    seed: int = 0,
) -> Why:
    """What the model's answer about `texts` (the fields of the task's input, in order) rests on.

    `task` is for models that nlpipe did not write. `target` asks about another label than the predicted one, or about
    an entity by its text. Integration takes `steps` steps, and twice as many until the error is under 1 % or 1,024
    are done. Raises UnsupportedError where the task gives no such answer or captum is missing, DataError for a text
    that is empty or longer than the model reads at once.
    """
    if not texts or not all(text.strip() for text in texts):
        raise DataError("the text is empty; give at least one word")
    if steps < 1:
        raise DataError(f"steps must be at least 1, is {steps}")
    subject = load(model)
    pipe = subject.pipe(task)
    fields = list(pipe.task.Input.model_fields)
    if len(texts) > len(fields):
        raise DataError(f"{pipe.task.name} reads {len(fields)} texts ({', '.join(fields)}), not {len(texts)}")
    given = pipe.given(dict(zip(fields, texts, strict=False)))
    query = pipe.task.query(given, pipe.objective)
    rows = pipe.objective.encode(query, None, pipe.tokenizers)
    chosen = aim(pipe, given, query, rows, target)
    network: Any = pipe.runner
    vectors = Vectors(network.model, pipe.objective, rows, pipe.tokenizers)
    groups = [[row] for row in range(len(rows))] if chosen.apart else [list(range(len(rows)))]
    found = vectors.gradients(chosen.measure, groups, steps=steps, enough=ENOUGH, most=MOST)
    pieces, units, owners = _units([row.ids for row in rows], texts, pipe.tokenizers.source)
    flat = np.concatenate([found.attributions[at, : row.length] for at, row in enumerate(rows)])
    shares = np.array([flat[list(unit.pieces)].sum() for unit in units])
    return Why(
        model=subject.name,
        notes=_notes(found.error, found.steps),
        texts=texts,
        answer=chosen.answer,
        explains=chosen.explains,
        hidden=_hidden(pipe.tokenizers.source),
        odds=chosen.odds,
        pieces=pieces,
        attributions=flat,
        units=units,
        shares=shares,
        rows=owners,
        value=found.value,
        baselines=found.baselines,
        error=found.error,
        steps=found.steps,
        deletion=_deletion(vectors, chosen.measure, units, shares, [row.length for row in rows], groups[0], seed),
    )


def _notes(error: float, steps: int) -> tuple[str, ...]:
    if error <= ENOUGH:
        return ()
    return (f"after {steps} steps the attributions still miss the explained number by {error:.1%}: take them as rough",)


def _hidden(tok: Tokenizer) -> str:
    mask = tok.upstream.mask_token
    return f"replaced by {mask}" if mask else "replaced by the mean of all vectors of the vocabulary"


def _units(
    rows: Sequence[Sequence[int]], texts: Sequence[str], tok: Tokenizer
) -> tuple[tuple[Piece, ...], tuple[Unit, ...], tuple[int, ...]]:
    """The rows' tokens one after the other, the words they make up, and each word's row."""
    pieces: list[Piece] = []
    units: list[Unit] = []
    owners: list[int] = []
    readings = [read(text, tok, bare=True) for text in texts]
    for row, ids in enumerate(rows):
        shift, own = len(pieces), list(plain_pieces(ids, tok))
        covered: dict[int, Unit] = {}
        start = 0
        for reading in readings:
            at = _within(ids, reading.ids, start)
            if at is None:
                continue
            start = at + len(reading.ids)
            own[at:start] = reading.pieces
            for unit in reading.units(words=True):
                moved = replace(unit, pieces=tuple(shift + at + piece for piece in unit.pieces))
                covered |= dict.fromkeys(moved.pieces, moved)
        for place, piece in enumerate(own):
            unit = covered.get(shift + place) or Unit(piece.label, (shift + place,), piece.special)
            if unit.pieces[0] == shift + place:
                units.append(unit)
                owners.append(row)
        pieces += own
    return tuple(pieces), tuple(units), tuple(owners)


def _within(ids: Sequence[int], part: Sequence[int], start: int) -> int | None:
    """Where `part` begins in `ids`, looking from `start`; None where it does not stand there as a whole."""
    return next(
        (at for at in range(start, len(ids) - len(part) + 1) if part and list(ids[at : at + len(part)]) == list(part)),
        None,
    )


def _deletion(
    vectors: Vectors,
    measure: Measure,
    units: Sequence[Unit],
    shares: Floats,
    lengths: Sequence[int],
    rows: Sequence[int],
    seed: int,
) -> Deletion:
    """The curve by rank and by 16 random orders over the words of `rows`, all measured in a few passes."""
    starts = np.cumsum([0, *lengths])
    where = {int(starts[row]) + at: (row, at) for row, length in enumerate(lengths) for at in range(length)}
    movable = [
        index
        for index, unit in enumerate(units)
        if where[unit.pieces[0]][0] in rows
        and not unit.special
        and all(bool(vectors.free[where[piece]]) for piece in unit.pieces)
    ]
    rng = np.random.default_rng(seed)
    counts = sorted({round(share * len(movable)) for share in np.linspace(0, 1, POINTS + 1)})
    ranked = sorted(movable, key=lambda index: -shares[index])
    orders = [ranked, *(rng.permutation(movable).tolist() for _ in range(ORDERS))]
    places = [
        [where[piece] for index in order[:count] for piece in units[index].pieces]
        for order in orders
        for count in counts
    ]
    values = vectors.without(places, measure).reshape(len(orders), len(counts))
    random = values[1:].mean(axis=0)
    inner = slice(1, -1) if len(counts) > 2 else slice(None)
    return Deletion(
        share=np.array(counts) / max(len(movable), 1),
        ranked=values[0],
        random=random,
        spread=values[1:].std(axis=0),
        gain=float((random - values[0])[inner].mean()),
    )
