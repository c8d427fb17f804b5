"""Text after a prompt, written or judged by a causal model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from nlpipe.errors import UnsupportedError
from nlpipe.objectives import reading
from nlpipe.objectives.base import Batch, Prompt, Row
from nlpipe.objectives.fitting import Context
from nlpipe.objectives.packing import Document
from nlpipe.objectives.place import NOTHING, Place, labels
from nlpipe.objectives.text import ANSWER, TextObjective, turns

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nlpipe.tokens import Tokenizers


@dataclass(frozen=True, kw_only=True)
class CausalText(TextObjective):
    """A decoder goes on from the prompt.

    Prompt and answer are tokenised apart and joined as ids, the same in training, writing and judging. Padding
    is on the right, and on the left only while text is written: a causal model trained with left padding has
    a low loss and wrong answers where positions are learnt (GPT-2).
    """

    head: ClassVar[str] = "CausalLM"
    peft: ClassVar[str | None] = "CAUSAL_LM"

    def _fitting(self, setting: str) -> None:
        """A decoder's answer begins where its prompt ends."""
        if setting == "forced_bos_token_id":
            raise UnsupportedError(
                "generation.forced_bos_token_id does nothing for a decoder; put what answers begin with into the prompt"
            )

    def read(self, text: str, learnt: bool, tok: Tokenizers) -> list[Row]:
        """Each token after those before it, next-token prediction; in training with the end of the text."""
        if not learnt:
            return reading.following(text, tok, self.window)
        return reading.followed(text, tok, self.window, self.reading or reading.Reading())

    def arrange(self, rows: Iterable[Row], rng: np.random.Generator) -> Iterator[Row]:
        """Texts to be joined become a stream in full windows; all other rows stay as they are."""
        given = list(rows)
        joining = bool(given) and isinstance(given[0].place, Document)
        return reading.stream(given, rng, self.window) if joining else iter(given)

    def laid(self, text: str, query: Prompt, tok: Tokenizers) -> list[int]:
        """The first token of all texts, where the tokenizer has one, and no end token."""
        return [*tok.source.single.prefix, *tok.source.encode(text).ids]

    def answer_ids(self, query: Prompt, answer: str, tok: Tokenizers, *, ended: bool) -> list[int]:
        """As the chat template continues its prompt, else the text itself after `lead`."""
        if query.messages or query.chat:
            return self._chat_ids(query, answer, tok, ended=ended)
        before = "".join(segment.text for segment in query.segments)
        apart = bool(before) and not before[-1].isspace() and not answer[:1].isspace() and not tok.target.spaced
        ids = tok.target.encode((self.lead if apart else "") + answer).ids
        return [*ids, tok.target.end_id] if ended else ids

    def _chat_ids(self, query: Prompt, answer: str, tok: Tokenizers, *, ended: bool) -> list[int]:
        if not ended:
            return tok.target.encode(answer).ids
        _, rest = tok.source.chat(turns(query), answer)
        ids = tok.source.rendered(rest or "")
        end = tok.target.end_id
        # What the template writes behind the end of the turn is never asked of the model.
        return ids[: ids.index(end) + 1] if end in ids else [*ids, end]

    def answer_limit(self, tok: Tokenizers) -> int:
        """All but one token of what is read at once."""
        return self.window.max_length - 1

    def room(self, answers: Sequence[Sequence[int]], tok: Tokenizers) -> int:
        """What the answer leaves of the model's length. One yet to be written has `max_new_tokens`, at most half."""
        if answers:
            return self.window.max_length - max(map(len, answers))
        return self.window.max_length - min(self.generation.max_new_tokens or ANSWER, self.window.max_length // 2)

    def space(self, row: Row) -> int:
        """What the prompt leaves of the model's length."""
        return max(self.window.max_length - len(row.ids), 1)

    def row(self, context: Context, answer: list[int] | None, place: Place, query: Prompt, tok: Tokenizers) -> Row:
        """Prompt and answer in one row of ids."""
        place = replace(place, prompt=len(context.ids))
        return Row(ids=[*context.ids, *(answer or [])], target=answer, place=place)

    def continued(self, row: Row, ids: list[int]) -> Row:
        """The written tokens behind the prompt."""
        return replace(row, ids=[*row.ids, *ids], target=ids)

    def collate(self, rows: Sequence[Row], tok: Tokenizers, *, answering: bool, rng: np.random.Generator) -> Batch:
        """Padded on the right. `labels` [rows, tokens] has at each place the token that follows, -100 in the prompt."""
        from nlpipe import arrays

        inputs = {
            "input_ids": arrays.pad([row.ids for row in rows], tok.source.pad_id),
            "attention_mask": arrays.mask([len(row.ids) for row in rows]),
        }
        if rows[0].target is None:
            return Batch(inputs, {}, 0.0, rows, tok)
        right = [[*[NOTHING] * (row.place.prompt - 1), *labels(row), NOTHING] for row in rows]
        terms = float(sum(label != NOTHING for row in right for label in row))
        given = [row.place.prompt for row in rows] if answering else []
        return Batch(inputs, {"labels": arrays.pad(right, NOTHING)}, terms, rows, tok, given)

    def compute(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """`logits` [rows, tokens, vocabulary] with targets; without, of the next token [rows, 1, vocabulary]."""
        from nlpipe import tensors

        logits = model(**batch.inputs, use_cache=False).logits
        if batch.targets:
            return {"logits": logits}
        return {"logits": tensors.last_token(logits, batch.inputs["attention_mask"]).unsqueeze(1)}

    def continuing(self, batch: Batch) -> Batch:
        """Padded on the left."""
        from nlpipe import arrays

        if batch.tok is None:
            raise UnsupportedError("a batch without tokenizers cannot be written on")
        ids, mask = arrays.left(batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.tok.source.pad_id)
        return replace(batch, inputs={"input_ids": ids, "attention_mask": mask})
