"""Tokens of a text guessed from those around them: masked language modelling."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nlpipe.errors import ArtifactError, DataError, UnsupportedError
from nlpipe.objectives import noise, packing
from nlpipe.objectives.base import (
    Batch,
    Blanked,
    Filling,
    Fillings,
    Objective,
    Raw,
    Row,
    Text,
    TextLikelihood,
    parts,
)
from nlpipe.objectives.place import NOTHING
from nlpipe.objectives.reading import told

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Pieces, Tokenizer, Tokenizers

# A word, or a Chinese, Japanese or Thai character by itself, or a sign.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿฀-๿]|[^\W_぀-ヿ㐀-鿿豈-﫿฀-๿]+|\S")

TOP = 100
"""Fillings that are worked out for a blank; a query takes the first of them."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Where a row lies: `asked` are positions in its ids whose tokens are hidden, `at` their numbers in the text."""

    asked: tuple[int, ...] = ()
    at: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MaskedText(Objective):
    """Hides tokens of a text and asks for them.

    Training draws `share` of the tokens anew each time; of these 80 % become the mask token, 10 % a random one, and
    10 % stay as they are (Devlin et al. 2019, section 3.1). With `whole_words` a word is hidden whole or not at all
    (BERT's later checkpoints). With `pack` texts are joined into full windows.

    Answering a Text, every token is hidden once and its probability given all that is not hidden is told,
    TextLikelihood: with `hidden: one` a single token at a time, the pseudo-log-likelihood of Salazar et al. 2020,
    "Masked Language Model Scoring"; with `share` as many at once as in training, evenly spread, which takes
    1 / `share` passes instead of one per token, and is the loss that training lowers. Answering a Blanked, the
    likeliest tokens for each blank are told, Fillings. The gold of a text is the text itself.
    """

    head: ClassVar[str] = "MaskedLM"
    peft: ClassVar[str | None] = None
    pooled: ClassVar[bool] = False
    one_graph: ClassVar[bool] = False
    call_options: ClassVar[frozenset[str]] = frozenset({"hidden"})
    reentrant: ClassVar[bool] = True

    share: float = noise.SHARE
    whole_words: bool = False
    pack: bool = True
    hidden: Literal["share", "one"] = "share"

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """With `hidden` of one call."""
        if options.get("hidden", "share") not in ("share", "one"):
            raise UnsupportedError(f"option hidden = {options['hidden']!r}: must be 'share' or 'one'")
        return replace(self, **options)

    # Text to ids

    def encode(self, query: Text | Blanked, gold: Any, tok: Tokenizers) -> list[Row]:
        """A row per window and turn of hiding; in training one per window, or one per text that is yet to be joined."""
        source = tok.source
        mask_of(source)
        if isinstance(query, Blanked):
            return [self._blanked(query, source)]
        pieces, layout = source.encode(query.first), source.single
        if not pieces.ids:
            raise DataError("the tokenizer makes no token of this text; leave it out")
        spans = self.window.spans(len(pieces.ids), layout.special)
        seen = (spans[-1][1], len(pieces.ids))
        if gold is not None:
            return self._learnt(query.first, pieces, spans, source)
        rows, done = [], 0
        for start, end in spans:
            ids, new = pieces.ids[start:end], range(max(start, done), end)
            for group in noise.turns(len(new), share=0 if self.hidden == "one" else self.share):
                at = tuple(new.start + first for first, _ in group)
                asked = tuple(place - start + len(layout.prefix) for place in at)
                rows.append(Row([*layout.prefix, *ids, *layout.suffix], place=Hidden(asked, at), seen=seen))
            done = end
        return parts(rows)

    def _learnt(self, text: str, pieces: Pieces, spans: Sequence[tuple[int, int]], source: Tokenizer) -> list[Row]:
        layout, units = source.single, self._units(text, pieces)
        read, there = spans[-1][1], len(pieces.ids)
        if self.pack:
            ids, marks = pieces.ids[:read], units[:read]
            place = packing.Document((*marks, *[-1] * len(layout.suffix)), layout.prefix, layout.suffix)
            return [Row([*ids, *layout.suffix], place=place, seen=(read, there))]
        rows = [
            self._window(pieces.ids[start:end], units[start:end], layout.prefix, layout.suffix) for start, end in spans
        ]
        return parts([replace(row, seen=(read, there)) for row in rows])

    def _window(self, ids: Sequence[int], units: Sequence[int], prefix: Sequence[int], suffix: Sequence[int]) -> Row:
        around = [-1] * len(prefix), [-1] * len(suffix)
        return Row([*prefix, *ids, *suffix], target=[*around[0], *units, *around[1]])

    def _units(self, text: str, pieces: Pieces) -> list[int]:
        """For each piece the number of what it is hidden with: itself, or the first piece of its word."""
        if not self.whole_words:
            return list(range(len(pieces.ids)))
        if pieces.offsets is None:
            raise UnsupportedError(
                "task.whole_words needs a tokenizer that says where its tokens lie in the text, and this one does not"
            )
        begins = [match.start() for match in _WORD.finditer(text)]
        units, first = [], dict[int, int]()
        for number, (start, end) in enumerate(pieces.offsets):
            place = next((at for at in range(start, end) if not text[at].isspace()), start)
            word = bisect_right(begins, place) - 1
            units.append(first.setdefault(word, number))
        return units

    def _blanked(self, query: Blanked, source: Tokenizer) -> Row:
        """The one row of a text with blanks. Raises DataError where it is too long: a blank needs all around it."""
        mask, layout = mask_of(source), source.single
        ids, asked = list(layout.prefix), []
        for number, text in enumerate(query.parts):
            if number:
                asked.append(len(ids))
                ids.append(mask)
            ids += source.encode(text).ids
        ids += layout.suffix
        if len(ids) > self.window.max_length:
            raise DataError(
                f"the text has {len(ids)} tokens, the model reads {self.window.max_length} around a blank; shorten it"
            )
        return Row(ids, place=Hidden(tuple(asked), tuple(range(len(asked)))), seen=(len(ids), len(ids)))

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        """Texts joined into full windows, where `pack` says so."""
        given = list(rows)
        if not self.pack or not given:
            yield from given
            return
        place = given[0].place
        room = self.window.max_length - len(place.prefix) - len(place.suffix)
        whole = packing.joined(given, rng)
        for part in packing.cut(whole, room):
            units = [-1 if m < 0 else text + m for m, text in zip(part.marks, part.texts, strict=True)]
            yield self._window(part.ids, units, place.prefix, place.suffix)

    # Ids to tensors

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right; `labels` [rows, tokens] has each token asked for, -100 elsewhere."""
        from nlpipe import arrays

        read, labels = [], []
        for row in rows:
            if row.target is None:
                ids, right = _hidden(row.ids, row.place.asked, mask_of(tok.source))
            else:
                ids, right = self._drawn(row, tok.source, rng)
            read.append(ids)
            labels.append(right)
        inputs = arrays.readings(read, [None] * len(read), tok.source.pad_id)
        terms = float(sum(label != NOTHING for right in labels for label in right))
        return Batch(inputs, {"labels": arrays.pad(labels, NOTHING)}, terms, rows, tok)

    def _drawn(self, row: Row, source: Tokenizer, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """A training row's ids with some hidden, and what is asked for."""
        if all(unit < 0 for unit in row.target):
            return row.ids, [NOTHING] * len(row.ids)
        asked = noise.chosen(row.target, rng, self.share)
        ids, labels = list(row.ids), [NOTHING] * len(row.ids)
        plain, mask = source.plain_ids, mask_of(source)
        for at, draw in zip(asked, rng.random(len(asked)), strict=True):
            labels[at] = ids[at]
            if draw < 0.8:
                ids[at] = mask
            elif draw < 0.9:
                ids[at] = plain[int(rng.integers(len(plain)))]
        return ids, labels

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits`, [rows, tokens, vocabulary]."""
        return {"logits": model(**batch.inputs).logits}

    def log_probabilities(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """ln p of each token asked for, [rows, tokens]; 0 elsewhere."""
        from nlpipe import tensors

        return tensors.token_log_probabilities(outputs["logits"], batch.targets["labels"])

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Cross-entropy, summed over the tokens asked for."""
        return -self.log_probabilities(outputs, batch).sum()

    # Tensors to answers

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Per row ln p of its hidden tokens, float64 [tokens]; for blanks the Filling of each, the likeliest first."""
        assert batch.tok is not None
        mask = mask_of(batch.tok.source)
        blank = [any(row.ids[at] == mask for at in row.place.asked) for row in batch.rows]
        if not any(blank):
            return list(runner.likelihood(self, batch))
        logits = runner.compute(self, batch)["logits"]
        return [
            [_fillings(logits[at, place], batch.tok.source) for place in row.place.asked]
            for at, row in enumerate(batch.rows)
        ]

    def join(self, query: Text | Blanked, rows: Sequence[Row], raws: Sequence[Raw]) -> TextLikelihood | Fillings:
        """The tokens of all windows and turns in the text's order, or the fillings."""
        if isinstance(query, Blanked):
            return Fillings(tuple(tuple(found[: query.top]) for found in raws[0]))
        return told(rows, raws)


def _hidden(ids: Sequence[int], asked: Sequence[int], mask: int) -> tuple[list[int], list[int]]:
    read, labels = list(ids), [NOTHING] * len(ids)
    for at in asked:
        read[at], labels[at] = mask, ids[at]
    return read, labels


def _fillings(logits: Any, source: Tokenizer) -> list[Filling]:
    """The likeliest tokens at one place, float32 [vocabulary] of logits."""
    import numpy as np

    logits = logits.astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")[:TOP]
    return [Filling(source.decode([int(token)]).strip(), float(shares[token]), int(token)) for token in order]


def mask_of(source: Tokenizer) -> int:
    """The mask token. Raises ArtifactError where the tokenizer has none."""
    mask = source.upstream.mask_token_id
    if mask is None:
        raise ArtifactError(
            "the tokenizer has no mask token, so nothing can be hidden from this model; take one that was pretrained "
            "by masking (BERT, RoBERTa, ModernBERT)"
        )
    return int(mask)
