"""The fourth view: which tokens each token looks at, in every layer and head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nlpipe import upstream
from nlpipe.errors import UnsupportedError
from nlpipe.inspect.html import packed
from nlpipe.inspect.numbers import Floats, entropy
from nlpipe.inspect.reading import Reading, Unit, merge, plain_pieces
from nlpipe.inspect.subject import Subject, check_layer, load
from nlpipe.inspect.view import PICTURE, View, plain
from nlpipe.inspect.writing import greedy
from nlpipe.task import Family

TITLES = {
    "self": "self-attention",
    "causal": "causal self-attention",
    "encoder": "the encoder's self-attention",
    "decoder": "the decoder's causal self-attention",
    "cross": "cross-attention: from what is written to the source",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One kind of attention of a model.

    `weights` is [layers, heads, rows, columns]: how much the token of a row looks at the token of a column; each row
    sums to 1. `average` [rows, columns] is the mean over layers and heads, `rollout` [rows, columns] the attention
    passed on from layer to layer (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers": half of each
    layer is its own input; None for cross-attention, which has no such chain). Per head: `entropy` in bits
    [layers, heads], and `habits` [layers, heads, 4], the mean weight on the token itself, the one before, the one
    after and the first (nan for cross-attention).
    """

    kind: str
    rows: tuple[Unit, ...]
    columns: tuple[Unit, ...]
    weights: Floats
    average: Floats
    rollout: Floats | None
    entropy: Floats
    habits: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(View):
    """All attention of a model over a text.

    `parts` has one entry for an encoder (`self`) or decoder (`causal`), three for an encoder-decoder (`encoder`,
    `decoder`, `cross`). There, `output` is what it wrote or was given; a row of `cross` is the token being written,
    with the attention from which it is written (its decoder has read the tokens before it).
    """

    what: ClassVar[str] = "attention"

    text: str
    output: str | None
    parts: tuple[Part, ...]
    layer: int | None = None
    head: int | None = None

    def part(self, kind: str) -> Part:
        """The part of a kind. Raises UnsupportedError naming those there are."""
        for part in self.parts:
            if part.kind == kind:
                return part
        raise UnsupportedError(f"no {kind!r} attention here; there is: {', '.join(p.kind for p in self.parts)}")

    @property
    def size(self) -> int:
        """The longest side of any part."""
        return max(len(units) for part in self.parts for units in (part.rows, part.columns))

    def picture(self, first: int) -> dict[str, Any]:
        """Up to 200 tokens a side; weights as bytes, 255 for 1."""
        shown = slice(first - 1, first - 1 + PICTURE)
        parts = [
            {
                "kind": part.kind,
                "title": TITLES[part.kind],
                "rows": plain(part.rows[shown]),
                "columns": plain(part.columns[shown]),
                "of_rows": len(part.rows),
                "of_columns": len(part.columns),
                "shape": part.weights.shape[:2],
                "weights": packed(part.weights[:, :, shown, shown]),
                "average": packed(part.average[shown, shown]),
                "rollout": None if part.rollout is None else packed(part.rollout[shown, shown]),
                "entropy": plain(part.entropy.round(2)),
                "habits": plain(part.habits.round(3)),
            }
            for part in self.parts
        ]
        return {
            "text": self.text,
            "output": self.output,
            "parts": parts,
            "first": first,
            "layer": self.layer,
            "head": self.head,
        }


def attention(
    model: str | Path | Subject,
    text: str,
    output: str | None = None,
    *,
    words: bool = False,
    layer: int | None = None,
    head: int | None = None,
    steps: int = 64,
) -> Attention:
    """Every layer's and head's attention over a text.

    An encoder-decoder also reads `output` (None: what it writes by itself, greedily, at most `steps` tokens).
    `words` puts the pieces of a word together: what a word gives is the mean over its pieces, what it gets their
    sum. `layer` and `head`, counted from 1, are what renderings show first. Raises UnsupportedError for a model
    without attention weights (state-space layers), DataError for a layer or head that is not there.
    """
    subject = load(model)
    reading = subject.read(text)
    if subject.family is Family.ENCODER_DECODER:
        target = subject.output(output) if output is not None else greedy(subject, reading, steps)
        parts = _both(subject, reading, target)
        said: str | None = target.text
    else:
        if output is not None:
            raise UnsupportedError(f"{subject.name} is no encoder-decoder: it has no output beside its text")
        kind = "causal" if subject.family is Family.DECODER else "self"
        units = reading.units(words=False)
        parts, said = [_part(kind, _shown(subject, reading)["attentions"], units, units)], None
    for part in parts:
        check_layer(layer, part.weights.shape[0])
        check_layer(head, part.weights.shape[1], "head")
    if words:
        readings = {"rows": reading, "columns": reading}
        parts = [
            _merged(part, readings if part.kind in ("self", "causal", "encoder") else {}, reading) for part in parts
        ]
    return Attention(model=subject.name, text=text, output=said, parts=tuple(parts), layer=layer, head=head)


def _shown(subject: Subject, reading: Reading, decoder: Sequence[int] | None = None) -> dict[str, tuple[Any, ...]]:
    with torch.inference_mode():
        shown = upstream.look(subject.body, subject.inputs(reading, decoder))
    if not any(key.endswith("attentions") for key in shown):
        raise UnsupportedError(
            f"{subject.name} ({subject.config.model_type}) has no attention weights to show: its layers pass a state "
            "along instead of looking back. The views tokens, embeddings and next work without."
        )
    return shown


def _both(subject: Subject, source: Reading, target: Reading) -> list[Part]:
    """An encoder-decoder's three parts."""
    decoder = [*subject.start, *target.ids[:-1]]
    shown = _shown(subject, source, decoder)
    read = Reading(target.text, plain_pieces(decoder, subject.tokenizers.target), ()).units(words=False)
    from_source, written = source.units(words=False), target.units(words=False)
    return [
        _part("encoder", shown["encoder_attentions"], from_source, from_source),
        _part("decoder", shown["decoder_attentions"], read, read),
        _part("cross", [layer[:, :, -len(written) :] for layer in shown["cross_attentions"]], written, from_source),
    ]


def _part(kind: str, layers: Sequence[Any], rows: tuple[Unit, ...], columns: tuple[Unit, ...]) -> Part:
    weights = np.stack([layer[0].float().numpy() for layer in layers])
    return Part(
        kind=kind,
        rows=rows,
        columns=columns,
        weights=weights,
        average=weights.mean(axis=(0, 1)),
        rollout=None if kind == "cross" else rollout(weights),
        entropy=entropy(weights).mean(axis=-1),
        habits=_habits(weights, kind),
    )


def rollout(weights: Floats) -> Floats:
    """Attention passed on through all layers, [tokens, tokens], of weights [layers, heads, tokens, tokens].

    Abnar & Zuidema 2020, equation 1: the mean over heads and the identity in equal parts, multiplied from the first
    layer to the last. Rows sum to 1.
    """
    identity = np.eye(weights.shape[-1])
    passed = identity
    for layer in weights.astype(np.float64).mean(axis=1):
        passed = (0.5 * layer + 0.5 * identity) @ passed
    return passed


def _habits(weights: Floats, kind: str) -> Floats:
    """The mean weight on the token itself, the one before, the one after and the first, [layers, heads, 4]."""
    if kind == "cross":
        return np.full((*weights.shape[:2], 4), np.nan)
    count = weights.shape[-1]
    found = [
        np.trace(weights, offset=offset, axis1=-2, axis2=-1) / max(count - abs(offset), 1) for offset in (0, -1, 1)
    ]
    return np.stack([*found, weights[..., 0].mean(axis=-1)], axis=-1)


def _merged(part: Part, own: Mapping[str, Reading], source: Reading) -> Part:
    """With the pieces of a word put together, wherever the words are known."""
    columns = source.units(words=True) if own or part.kind == "cross" else part.columns
    rows = columns if own else part.rows
    if columns is part.columns:
        return part
    weights = merge(part.weights, rows, columns)
    return replace(
        part,
        rows=rows,
        columns=columns,
        weights=weights,
        average=merge(part.average, rows, columns),
        rollout=None if part.rollout is None else merge(part.rollout, rows, columns),
    )
