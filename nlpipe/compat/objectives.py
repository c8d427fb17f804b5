"""How version 4 asked models, where nlpipe asks otherwise: objectives whose answers are what its pipelines began with.

Windows, batches, padding and the model's pass are those of the objectives they derive from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives import Entailment, MaskedText, SequenceLabel, TokenLabel
from nlpipe.objectives.base import Answer, Batch, Objective, Query, Raw, Row, Text, Window, parts
from nlpipe.objectives.masked_text import mask_of

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.objectives.base import Gold
    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers


@dataclass(frozen=True, slots=True)
class Logits(Answer):
    """A head's outputs, float64 [windows, labels]."""

    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LabelLogits(SequenceLabel):
    """Reads a Text, answers Logits: which function makes scores of them is said by call."""

    def join(self, query: Text, rows: Sequence[Row], raws: Sequence[Raw]) -> Logits:  # type: ignore[override]
        """All windows as they are."""
        import numpy as np

        return Logits(np.stack(list(raws)))


@dataclass(frozen=True, kw_only=True)
class Hypotheses(Entailment):
    """Entailment in which a text that is cut leaves room for its own hypothesis, and not for the longest of all."""

    def encode(self, query: Text, gold: Gold, tok: Tokenizers) -> list[Row]:
        """A row per choice, each with as much of the text as fits."""
        if self.window.long != "truncate":
            return Entailment.encode(self, query, gold, tok)
        rows = []
        for number, choice in enumerate(query.choices):
            (row,) = Entailment.encode(self, replace(query, choices=(choice,)), gold, tok)
            rows.append(replace(row, place=row.place._replace(choice=number)))
        return parts(rows)


@dataclass(frozen=True, slots=True)
class Tokens(Query):
    """A text whose tokens are to be labelled; `words` are its words where it came as a list, with their places."""

    text: str
    words: tuple[str, ...] | None = None
    starts: tuple[int, ...] = ()

    @property
    def contents(self) -> tuple[str, ...]:
        """The text."""
        return (self.text,)


class Read(NamedTuple):
    """The tokens that one row reads: where the first stands in the row, their ids and characters."""

    first: int
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True, slots=True)
class TokenScores(Answer):
    """Each window's tokens, with the probabilities of their labels, float32 [tokens, labels]."""

    windows: tuple[tuple[Read, np.ndarray], ...]


@dataclass(frozen=True, kw_only=True)
class TokenProbabilities(TokenLabel):
    """Reads Tokens, answers TokenScores."""

    def encode(self, query: Tokens, gold: Gold, tok: Tokenizers) -> list[Row]:  # type: ignore[override]
        """A row per window, cut between any two tokens."""
        source, layout = tok.source, tok.source.single
        pieces = source.encode(query.text) if query.words is None else source.encode_words(query.words, query.starts)
        ids, offsets = pieces.ids, pieces.offsets
        spans = self.window.spans(len(ids), layout.special)
        rows = []
        for start, end in spans:
            laid, types = layout.lay(ids[start:end])
            place = Read(
                len(layout.prefix), tuple(ids[start:end]), None if offsets is None else tuple(offsets[start:end])
            )
            rows.append(
                Row(
                    ids=laid or [source.fallback_id],
                    types=(types or [0]) if source.segments else None,
                    seen=(spans[-1][1], len(ids)),
                    place=place,
                )
            )
        return parts(rows)

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Probabilities of the row's tokens, float32 [tokens, labels]."""
        logits = runner.compute(self, batch)["logits"]
        return [
            softmax(found[row.place.first : row.place.first + len(row.place.ids)])
            for row, found in zip(batch.rows, logits, strict=True)
        ]

    def join(self, query: Tokens, rows: Sequence[Row], raws: Sequence[Raw]) -> TokenScores:  # type: ignore[override]
        """All windows as they are."""
        return TokenScores(tuple((row.place, raw) for row, raw in zip(rows, raws, strict=True)))


@dataclass(frozen=True, slots=True)
class Masked(Query):
    """A text with mask tokens in it, written out as the tokenizer calls them."""

    text: str

    @property
    def contents(self) -> tuple[str, ...]:
        """The text."""
        return (self.text,)


@dataclass(frozen=True, slots=True)
class Likeliest(Answer):
    """The row's ids, and for each mask in it its place and the likeliest tokens with their probabilities."""

    ids: tuple[int, ...]
    masks: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]


@dataclass(frozen=True, kw_only=True)
class MaskFillings(MaskedText):
    """Reads Masked, answers Likeliest: the `top` tokens, or those of `targets` alone."""

    top: int = 5
    targets: tuple[int, ...] | None = None

    def encode(self, query: Masked, gold: Any, tok: Tokenizers) -> list[Row]:  # type: ignore[override]
        """The one row of a text; where it is cut, only its beginning is looked at for masks."""
        source, mask = tok.source, mask_of(tok.source)
        ids, layout = source.rendered(query.text), source.single
        end = _end(self.window, len(ids), layout.special, "tokenizer_kwargs={'truncation': True}")
        laid, types = layout.lay(ids[:end])
        masks = tuple(at for at, token in enumerate(laid) if token == mask)
        if not masks:
            cut = " in what is read of it" if end < len(ids) else ""
            raise DataError(
                f"there is no {source.upstream.mask_token} in the text{cut}, which is how this model's tokenizer "
                f"calls a blank: {query.text[:60]!r}"
            )
        return [Row(ids=laid, types=types if source.segments else None, seen=(end, len(ids)), place=masks)]

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right."""
        return _padded(rows, tok)

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """For each mask its likeliest tokens."""
        logits = runner.compute(self, batch)["logits"]
        return [
            tuple((at, self._best(softmax(found[at]))) for at in row.place)
            for row, found in zip(batch.rows, logits, strict=True)
        ]

    def _best(self, shares: np.ndarray) -> tuple[tuple[int, float], ...]:
        import numpy as np

        asked = np.arange(len(shares)) if self.targets is None else np.array(self.targets)
        count = min(self.top, len(asked))
        best = np.argpartition(-shares[asked], count - 1)[:count]
        order = best[np.argsort(-shares[asked[best]], kind="stable")]
        return tuple((int(asked[at]), float(shares[asked[at]])) for at in order)

    def join(self, query: Masked, rows: Sequence[Row], raws: Sequence[Raw]) -> Likeliest:  # type: ignore[override]
        """The row's masks."""
        return Likeliest(tuple(rows[0].ids), raws[0])


@dataclass(frozen=True, slots=True)
class States(Answer):
    """The last hidden states of a text's tokens, special ones included, float32 [tokens, width]."""

    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class HiddenStates(Objective):
    """Reads a Text, answers States. Of an encoder-decoder they are the encoder's."""

    head: ClassVar[str | None] = None
    peft: ClassVar[str | None] = "FEATURE_EXTRACTION"

    def encode(self, query: Text, gold: Gold, tok: Tokenizers) -> list[Row]:
        """The one row of a text. Raises DataError where it is too long and not to be cut."""
        source, layout = tok.source, tok.source.single
        ids = source.encode(query.first).ids
        end = _end(self.window, len(ids), layout.special, "truncation=True")
        laid, types = layout.lay(ids[:end])
        row = Row(
            ids=laid or [source.fallback_id],
            types=(types or [0]) if source.segments else None,
            seen=(end, len(ids)),
        )
        return [row]

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right."""
        return _padded(rows, tok)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`states`, [rows, tokens, width]."""
        return {"states": model(**batch.inputs).last_hidden_state}

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Nothing is learnt here."""
        raise UnsupportedError("hidden states are looked at, not learnt")

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """The states of the row's own tokens."""
        states = runner.compute(self, batch)["states"]
        return [found[: row.length] for row, found in zip(batch.rows, states, strict=True)]

    def join(self, query: Text, rows: Sequence[Row], raws: Sequence[Raw]) -> States:
        """The one row's."""
        return States(raws[0])


def _end(window: Window, tokens: int, special: int, how: str) -> int:
    """How many of the tokens are read. Raises DataError where they are too many and not to be cut."""
    if tokens + special > window.max_length and window.long == "error":
        raise DataError(
            f"the text has {tokens + special} tokens, the model reads {window.max_length} at once: shorten it, or say "
            f"{how} to have it cut"
        )
    return window.spans(tokens, special)[0][1]


def _padded(rows: Sequence[Row], tok: Tokenizers) -> Batch:
    from nlpipe import arrays

    inputs = arrays.readings([row.ids for row in rows], [row.types for row in rows], tok.source.pad_id)
    return Batch(inputs, {}, 0.0, rows)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    import numpy as np

    shares: np.ndarray = np.exp(logits - logits.max(axis=-1, keepdims=True))
    whole: np.ndarray = shares.sum(axis=-1, keepdims=True)
    found: np.ndarray = shares / whole
    return found
