"""The second view: words as vectors, from the vocabulary's own to the last layer's, and the angles between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from nlpipe import upstream
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inspect.numbers import Floats, cosines, grouped, principal
from nlpipe.inspect.reading import Reading, Word, plain_pieces
from nlpipe.inspect.subject import Subject, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.task import Family


@dataclass(frozen=True)
class Item:
    """A word of a text, or a text as a whole; `text` is the index of its text."""

    label: str
    text: int


@dataclass(frozen=True)
class Neighbour:
    """A piece of the vocabulary and the cosine of its vector with a word's."""

    piece: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """One word in two places: the cosine of its two vectors at each layer, [layers].

    `others` is the mean cosine of different words of the two texts at each layer, [layers]: the yardstick, because
    in many models all vectors of a late layer lie close together (Ethayarajh 2019).
    """

    word: str
    cosine: Floats
    others: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings(View):
    """Vectors of words or of sentences, at every layer.

    `layers` names them: `vocabulary` (the word's own vector, without any context), `input` (with positions, before
    the first layer), `layer 1` and so on. `vectors` has an array [items, width] for each; a word is the mean of its
    pieces, a sentence the mean of all its tokens. `cosines` is [layers, items, items]. `points` are the first three
    principal components, [layers, items, 3], and `kept` their shares of the variance, [layers, 3]. `nearest` has,
    for each item, the pieces of the vocabulary that are nearest to its own vector, by cosine; nothing for sentences,
    whose mean lies near the commonest words whatever they say.
    """

    what: ClassVar[str] = "embeddings"

    texts: tuple[str, ...]
    of: str
    items: tuple[Item, ...]
    layers: tuple[str, ...]
    vectors: tuple[Floats, ...]
    cosines: Floats
    points: Floats
    kept: Floats
    nearest: tuple[tuple[Neighbour, ...], ...]
    contexts: Contexts | None = None

    @property
    def size(self) -> int:
        """The items."""
        return len(self.items)

    def picture(self, first: int) -> dict[str, Any]:
        """Up to 200 items, without the vectors themselves."""
        shown = slice(first - 1, first - 1 + PICTURE)
        return {
            "texts": self.texts,
            "of": self.of,
            "items": plain(self.items[shown]),
            "of_all": len(self.items),
            "first": first,
            "layers": self.layers,
            "cosines": plain(self.cosines[:, shown, shown].round(3)),
            "points": plain(self.points[:, shown].round(4)),
            "kept": plain(self.kept.round(4)),
            "nearest": plain(self.nearest[shown]),
            "contexts": plain(self.contexts),
        }


def embeddings(
    model: str | Path | Subject,
    *texts: str,
    of: Literal["words", "tokens", "sentences"] | None = None,
    word: str | None = None,
    nearest: int = 8,
) -> Embeddings:
    """The vectors of the texts' words (`of` words: the default for one text, or with `word`), tokens, or sentences.

    With `word`, also how far apart its vectors in two contexts are: the first two places where it stands, in two
    texts or in one. Raises DataError where a text is empty or too long, or the word is not there.
    """
    if not texts:
        raise DataError("there is no text; give at least one")
    subject = load(model)
    kind = of or ("words" if len(texts) == 1 or word else "sentences")
    if kind not in ("words", "tokens", "sentences"):
        raise UnsupportedError(f"embeddings are of 'words', 'tokens' or 'sentences', not of {kind!r}")
    readings = [subject.read(text) for text in texts]
    layers = [_layers(subject, reading) for reading in readings]
    names = ("vocabulary", "input", *(f"layer {index}" for index in range(1, len(layers[0]) - 1)))
    items, groups = _items(readings, kind)
    vectors = tuple(
        np.concatenate([grouped(text[at], own) for text, own in zip(layers, groups, strict=True) if own])
        for at in range(len(names))
    )
    pictures = [principal(rows) for rows in vectors]
    notes = () if len(items) > 3 else ("with so few points a picture shows little",)
    return Embeddings(
        model=subject.name,
        notes=notes,
        texts=texts,
        of=kind,
        items=items,
        layers=names,
        vectors=vectors,
        cosines=np.stack([cosines(rows) for rows in vectors]),
        points=np.stack([places for places, _ in pictures]),
        kept=np.stack([shares for _, shares in pictures]),
        nearest=() if kind == "sentences" else _nearest(subject, vectors[0], nearest),
        contexts=None if word is None else _contexts(word, readings, layers),
    )


def states(subject: Subject, reading: Reading) -> list[Floats]:
    """The state of each token before the first layer and after each one, [tokens, width] each.

    Of an encoder-decoder the encoder's. Raises UnsupportedError for a model that does not tell.
    """
    body = subject.body.get_encoder() if subject.family is Family.ENCODER_DECODER else subject.body
    with torch.inference_mode():
        shown = upstream.look(body, subject.inputs(reading))
    if "states" not in shown:
        raise UnsupportedError(f"{subject.name} ({subject.config.model_type}) does not show the states of its layers")
    return [layer[0].float().numpy() for layer in shown["states"]]


def _layers(subject: Subject, reading: Reading) -> list[Floats]:
    """The vocabulary's vectors of the tokens, and their states."""
    table = subject.body.get_input_embeddings().weight.detach().float()
    return [table[reading.ids].numpy(), *states(subject, reading)]


def _items(readings: Sequence[Reading], kind: str) -> tuple[tuple[Item, ...], list[list[tuple[int, ...]]]]:
    """The items, and for each text its items' tokens."""
    if kind == "sentences":
        items = tuple(Item(reading.text, index) for index, reading in enumerate(readings))
        return items, [[tuple(range(len(reading.pieces)))] for reading in readings]
    units = [[unit for unit in reading.units(words=kind == "words") if not unit.special] for reading in readings]
    if not any(units):
        raise DataError("the tokenizer finds no word in the text, only special tokens")
    items = tuple(Item(unit.label, index) for index, own in enumerate(units) for unit in own)
    return items, [[unit.pieces for unit in own] for own in units]


def _nearest(subject: Subject, own: Floats, count: int) -> tuple[tuple[Neighbour, ...], ...]:
    """The vocabulary's pieces nearest to each of [items, width]; a word's own piece is not its neighbour."""
    table = subject.body.get_input_embeddings().weight.detach().float().numpy()
    size = min(len(table), len(subject.tokenizers.source.upstream))
    angles = cosines(own, table[:size])
    special = [one for one in subject.tokenizers.source.upstream.all_special_ids if one < size]
    angles[:, special] = -2
    found = []
    for row in angles:
        best = [int(at) for at in np.argsort(-row)[: count + 1] if row[at] < 1 - 1e-6 and row[at] > -2][:count]
        pieces = plain_pieces(best, subject.tokenizers.source)
        found.append(tuple(Neighbour(p.label, float(row[at])) for p, at in zip(pieces, best, strict=True)))
    return tuple(found)


def _contexts(word: str, readings: Sequence[Reading], layers: Sequence[Sequence[Floats]]) -> Contexts:
    """The first two places of a word, layer by layer, and as a yardstick all other pairs of words."""
    places = [(at, found) for at, reading in enumerate(readings) for found in _all(reading, word)]
    if len(places) < 2:
        raise DataError(f"{word!r} stands there once; two contexts need a second text with it")
    (one, here), (two, there) = places[:2]
    pair, others = [], []
    for left, right in zip(layers[one], layers[two], strict=True):
        pair.append(cosines(grouped(left, [here.pieces]), grouped(right, [there.pieces]))[0, 0])
        table = cosines(
            grouped(left, [w.pieces for w in readings[one].words if w.pieces]),
            grouped(right, [w.pieces for w in readings[two].words if w.pieces]),
        )
        unlike = [
            [a.text.casefold() != b.text.casefold() for b in readings[two].words if b.pieces]
            for a in readings[one].words
            if a.pieces
        ]
        others.append(table[np.array(unlike)].mean() if np.any(unlike) else np.nan)
    return Contexts(word=word, cosine=np.array(pair), others=np.array(others))


def _all(reading: Reading, word: str) -> list[Word]:
    """Every place of a word in a text; DataError where there is none."""
    found = reading.find(word)
    return [one for one in reading.words if one.text == found.text and one.pieces]
