"""Text after a prompt, written or judged by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives import reading
from nlpipe.objectives.base import Batch, Prompt, Row
from nlpipe.objectives.fitting import Context
from nlpipe.objectives.packing import Document
from nlpipe.objectives.place import NOTHING, Place, labels
from nlpipe.objectives.reading import Denoising
from nlpipe.objectives.text import TextObjective

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.tokens import Tokenizers


@dataclass(frozen=True, kw_only=True)
class Seq2SeqText(TextObjective):
    """The encoder reads the prompt, the decoder writes the answer.

    What the decoder reads is the answer shifted by us, behind its start token. The token that every answer of the
    model begins with (BART's <s>, a language of mBART-50, M2M100 or NLLB) is learnt as transformers' own training
    does, and given when an answer is written or judged. An encoder alone becomes a pair (`nlpipe.pairs`).
    """

    head: ClassVar[str] = "Seq2SeqLM"
    peft: ClassVar[str | None] = "SEQ_2_SEQ_LM"

    def _denoising(self, tok: Tokenizers) -> Denoising:
        return Denoising(tok, self.window, self.reading or reading.Reading(), self._start(Prompt(), tok))

    def read(self, text: str, learnt: bool, tok: Tokenizers) -> list[Row]:
        """Spans of the text restored from the rest of it: span corruption, or text infilling (`Denoising`)."""
        denoising = self._denoising(tok)
        return denoising.learnt(text) if learnt else denoising.judged(text)

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        """Texts to be joined become full windows; all other rows stay as they are."""
        given = list(rows)
        joining = bool(given) and isinstance(given[0].place, Document) and (self.reading or reading.Reading()).pack
        return reading.windows(given, rng) if joining else iter(given)

    def laid(self, text: str, query: Prompt, tok: Tokenizers) -> list[int]:
        """The source with its special tokens, in its language where the model is told one."""
        layout = tok.source.layout_in(self._languages(query, tok)[0])
        return layout.lay(tok.source.encode(text).ids)[0]

    def answer_ids(self, query: Prompt, answer: str, tok: Tokenizers, *, ended: bool) -> list[int]:
        """The target's ids; those to be learnt with the tokens that answers begin and end with."""
        ids = tok.target.encode(answer).ids
        return [*self._start(query, tok)[1:], *ids, tok.target.end_id] if ended else ids

    def answer_limit(self, tok: Tokenizers) -> int:
        """As long as what is read at once, without what the decoder is given."""
        return self.window.max_length - 1

    def room(self, answers: Sequence[Sequence[int]], tok: Tokenizers) -> int:
        """The whole of the encoder: the answer is the decoder's."""
        return self.window.max_length

    def space(self, row: Row) -> int:
        """The decoder's length without what it is given."""
        return max(self.window.max_length - len(row.place.start), 1)

    def row(self, context: Context, answer: list[int] | None, place: Place, query: Prompt, tok: Tokenizers) -> Row:
        """The source, with the target beside it."""
        start = self._start(query, tok)
        if answer is not None and place.choice is None:
            start = start[:1]  # what follows it is part of what is learnt
        beside = len(start) + len(answer or [])
        return Row(ids=context.ids, target=answer, place=replace(place, start=start), beside=beside)

    def told(self, tok: Tokenizers) -> bool:
        """Those of many languages are."""
        return tok.target.told_languages

    def _languages(self, query: Prompt, tok: Tokenizers) -> tuple[str | None, str | None]:
        """The source's and the target's: as asked, else as the model's own files say it. Neither where none is told."""
        said = query.languages or (None, None)
        own = tok.target.languages if query.languages is not None and self.told(tok) else (None, None)
        return said[0] or own[0], said[1] or own[1]

    def _start(self, query: Prompt, tok: Tokenizers) -> tuple[int, ...]:
        """What the decoder reads before its answer."""
        if not tok.start:
            raise UnsupportedError("the model's config names no decoder_start_token_id, so no answer can begin")
        if self.generation.forced_bos_token_id is not None:
            return tok.start[0], self.generation.forced_bos_token_id
        source, language = self._languages(query, tok)
        if query.languages is None or not self.told(tok):
            return tok.start
        if language is None and source is not None and len(tok.start) > 1:
            return tok.start  # it writes one language, whose token all its answers begin with
        if language is None or source is None:
            missing = "target_lang" if language is None else "source_lang"
            raise DataError(
                f"this model is told its languages, and `{missing}` is not given: say it in the row or as "
                f"task.{missing}; task.codes: false if the model is to learn one pair without"
            )
        code = tok.target.language_id(language)
        return (code,) if tok.target.starts_with_language else (tok.start[0], code)

    def continued(self, row: Row, ids: list[int]) -> Row:
        """The written tokens as the target."""
        return replace(row, target=ids, beside=len(row.place.start) + len(ids))

    def _text(self, row: Row, ids: Sequence[int], tok: Tokenizers) -> str:
        text = tok.target.decode(ids)
        return text.removeprefix(" ") if tok.target.spaced else text  # the space was the tokenizer's, not the text's

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right; `labels` [rows, tokens] lie under the decoder's input, -100 before the answer."""
        from nlpipe import arrays

        if isinstance(rows[0].place, Document):
            denoising = self._denoising(tok)
            rows = [denoising.drawn(row, rng) for row in rows]
        inputs = {
            "input_ids": arrays.pad([row.ids for row in rows], tok.source.pad_id),
            "attention_mask": arrays.mask([len(row.ids) for row in rows]),
        }
        read = [[*row.place.start, *(row.target or [])[:-1]] for row in rows]
        inputs["decoder_input_ids"] = arrays.pad(read, tok.target.pad_id)
        if rows[0].target is None:
            return Batch(inputs, {}, 0.0, rows, tok)
        right = [[*[NOTHING] * (len(row.place.start) - 1), *labels(row)] for row in rows]
        terms = float(sum(label != NOTHING for row in right for label in row))
        return Batch(inputs, {"labels": arrays.pad(right, NOTHING)}, terms, rows, tok)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits`, [rows, what the decoder reads, vocabulary]."""
        return {"logits": model(**batch.inputs, use_cache=False).logits}

    def continuing(self, batch: Batch) -> Batch:
        """As it is: the encoder reads padding on the right, and the decoder's beginnings are equally long."""
        return batch
