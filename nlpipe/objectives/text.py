"""What the objectives that write text share: prompts that fit, settings of generation, answers from tokens.

Knows no family: how a prompt and an answer become a row and a batch is `causal_text.py`'s and `seq2seq_text.py`'s.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.generation import Generation
from nlpipe.objectives import codes, reading
from nlpipe.objectives.base import (
    Batch,
    Generated,
    Likelihoods,
    Message,
    Objective,
    Prompt,
    Raw,
    Row,
    Text,
    TextLikelihood,
    parts,
)
from nlpipe.objectives.continuing import Wish, Written, joined, stopper, text_pieces
from nlpipe.objectives.fitting import Context, Fit
from nlpipe.objectives.place import Place
from nlpipe.objectives.reading import Reading

if TYPE_CHECKING:
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizers

ANSWER = 256
"""Tokens that room is kept for where no `max_new_tokens` says how many: what transformers' pipeline writes."""


@dataclass(frozen=True, kw_only=True)
class TextObjective(Objective):
    """Reads a Prompt; writes text, Generated, or says how likely each of the prompt's choices is, Likelihoods.

    Of a Text it says how likely each of its tokens is, TextLikelihood, and learns it as `reading` says; the gold is
    then the text itself, and with `reading` set nothing is written.

    Of a Prompt the gold is the answer's text. The loss is the sum over the answer's tokens, the end token among
    them, and over nothing else. `lead` is put between a prompt and an answer that do not begin or end with space,
    where the tokenizer does not mark the start of words by itself.
    """

    call_options: ClassVar[frozenset[str]] = frozenset(Generation.model_fields)
    writes: ClassVar[bool] = True
    one_graph: ClassVar[bool] = False

    generation: Generation = field(default_factory=Generation)
    lead: str = " "
    reading: Reading | None = None

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """With one call's settings of generation; UnsupportedError for a value out of range."""
        self._check([name for name, value in options.items() if value is not None])
        return replace(self, generation=self.generation.called(options))

    def with_generation(self, settings: Generation | None) -> Self:
        """With a recipe's settings of generation."""
        self._check(settings.given if settings is not None else ())
        return self if settings is None else replace(self, generation=settings)

    def _check(self, settings: Iterable[str]) -> None:
        """Raise UnsupportedError for a setting that would do nothing."""
        for setting in settings:
            if self.reading is not None:
                raise UnsupportedError(f"generation.{setting} does nothing here: texts are read, none is written")
            self._fitting(setting)

    def _fitting(self, setting: str) -> None:
        """Raise UnsupportedError for a setting that means nothing to the family."""

    # Text to ids

    def encode(self, query: Prompt | Text, gold: str | None, tok: Tokenizers) -> list[Row]:
        """A row per piece of the prompt and choice, or per window of a text; one row where there is a gold."""
        if isinstance(query, Text):
            return self.read(query.first, gold is not None, tok)
        if query.languages and not self.told(tok):
            codes.require(query, tok.source.languages, learnt=gold is not None)
        if gold is not None:
            return parts([self._learnt(asked, answer, tok) for asked, answer in _learnable(query, gold)])
        choices = [self.answer_ids(query, choice, tok, ended=False) for choice in query.choices]
        if _one_begins_another(choices):  # then only the end tells them apart
            choices = [[*ids, tok.target.end_id] for ids in choices]
        contexts, seen = self._fit(query, tok, self.room(choices, tok)).contexts()
        rows = [
            self.row(context, ids, Place(piece=at, choice=number, after=context.after), query, tok)
            for at, context in enumerate(contexts)
            for number, ids in (enumerate(choices) if choices else [(None, None)])
        ]
        return parts([replace(row, seen=seen) for row in rows])

    def told(self, tok: Tokenizers) -> bool:
        """Whether the model is told languages by their tokens."""
        return False

    @abstractmethod
    def read(self, text: str, learnt: bool, tok: Tokenizers) -> list[Row]:
        """A text as rows: to be learnt as `reading` says, or judged."""

    def _learnt(self, query: Prompt, gold: str, tok: Tokenizers) -> Row:
        """The one row of a prompt with its answer."""
        answer = self.answer_ids(query, gold, tok, ended=True)
        whole, most = len(answer), self.answer_limit(tok)
        if whole > most:
            if self.window.long != "truncate":
                raise DataError(
                    f"the answer has {whole} tokens, at most {most} can be learnt. Shorten it, raise model.max_length, "
                    "or set model.long: truncate to cut it"
                )
            answer = answer[:most]
        contexts, (read, there) = self._fit(query, tok, self.room([answer], tok)).contexts()
        if len(contexts) > 1:
            raise DataError(
                f"the prompt has {there} tokens, the model reads {self.room([answer], tok)} beside the answer. Long "
                "texts are answered in pieces, but cannot be learnt so: leave the row out, raise model.max_length, or "
                "set model.long: truncate to learn from its beginning"
            )
        row = self.row(contexts[0], answer, Place(), query, tok)
        return replace(row, seen=(read + len(answer), there + whole))

    def _fit(self, query: Prompt, tok: Tokenizers, room: int) -> Fit:
        return Fit(query, room, self.window.long, lambda prompt: self.prompt_ids(prompt, tok))

    def prompt_ids(self, query: Prompt, tok: Tokenizers) -> list[int]:
        """The ids of a whole prompt, special tokens included."""
        if query.messages or query.chat:
            prompt, _ = tok.source.chat(turns(query))
            return tok.source.rendered(prompt) or [tok.source.fallback_id]
        return self.laid("".join(segment.text for segment in query.segments), query, tok) or [tok.source.fallback_id]

    @abstractmethod
    def laid(self, text: str, query: Prompt, tok: Tokenizers) -> list[int]:
        """A prompt of plain text with the special tokens around it."""

    @abstractmethod
    def answer_ids(self, query: Prompt, answer: str, tok: Tokenizers, *, ended: bool) -> list[int]:
        """The ids of an answer, tokenised apart from its prompt; `ended` adds the end token."""

    @abstractmethod
    def answer_limit(self, tok: Tokenizers) -> int:
        """The most tokens of an answer that can be learnt."""

    @abstractmethod
    def room(self, answers: Sequence[Sequence[int]], tok: Tokenizers) -> int:
        """How many tokens a prompt may have beside the longest of `answers`, or one yet to be written."""

    @abstractmethod
    def row(self, context: Context, answer: list[int] | None, place: Place, query: Prompt, tok: Tokenizers) -> Row:
        """A prompt with an answer to learn or to judge, or alone."""

    # Ids to tensors

    @abstractmethod
    def continuing(self, batch: Batch) -> Batch:
        """The batch as generation needs it: with the padding on its side."""

    @abstractmethod
    def space(self, row: Row) -> int:
        """How many tokens may be written after the row's prompt."""

    def log_probabilities(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """ln p of each target token, [rows, tokens]; 0 elsewhere."""
        from nlpipe import tensors

        return tensors.token_log_probabilities(outputs["logits"], batch.targets["labels"])

    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Cross-entropy, summed over the answers' tokens."""
        return -self.log_probabilities(outputs, batch).sum()

    # Tokens to answers

    def predict(self, runner: Runner, batch: Batch, call: Mapping[str, Any]) -> list[Raw]:
        """Per row ln p of a choice's tokens, float64 [tokens]; else a tuple of Generated, the best first."""
        if batch.rows[0].target is not None:
            return list(runner.likelihood(self, batch))
        tok = batch.tok
        assert tok is not None
        written = runner.generate(self.continuing(batch), self._wish(batch.rows, tok))
        pairs = [(row, one) for row, found in zip(batch.rows, written, strict=True) for one in found]
        told = [
            self._told(row, one, scores, tok)
            for (row, one), scores in zip(pairs, self._scored(runner, pairs, tok), strict=True)
        ]
        each = len(pairs) // len(batch.rows)
        return [tuple(told[at * each : (at + 1) * each]) for at in range(len(batch.rows))]

    def _scored(self, runner: Runner, pairs: Sequence[tuple[Row, Written]], tok: Tokenizers) -> list[Any]:
        """ln p of each answer's tokens, under the model itself: as the writing told them, else in one more pass."""
        import numpy as np

        if all(one.scores is not None for _, one in pairs):
            return [one.scores for _, one in pairs]

        rows = [self.continued(row, list(one.ids)) for row, one in pairs]
        return list(runner.likelihood(self, self.collate(rows, tok, answering=True, rng=np.random.default_rng(0))))

    @abstractmethod
    def continued(self, row: Row, ids: list[int]) -> Row:
        """A row with what was written after it as its target."""

    def _told(self, row: Row, written: Written, scores: Any, tok: Tokenizers) -> Generated:
        text = self._text(row, written.ids, tok)
        for stop in self.generation.stop_strings or ():
            text = text.partition(stop)[0]
        return Generated(text, written.ended, tuple(float(score) for score in scores))

    def _text(self, row: Row, ids: Sequence[int], tok: Tokenizers) -> str:
        return tok.target.decode_after(row.ids[: row.place.prompt], ids)

    def _wish(self, rows: Sequence[Row], tok: Tokenizers) -> Wish:
        from nlpipe.batching import derive

        given = self.generation.given
        stops, answers = given.pop("stop_strings", ()), given.pop("num_return_sequences", 1)
        sample, seed = given.pop("do_sample", False), given.pop("seed", None)
        seeds = None
        if sample:
            seeds = [
                [
                    secrets.randbits(62) if seed is None else derive(seed, "sample", at, *row.ids)
                    for at in range(answers)
                ]
                for row in rows
            ]
        return Wish(
            settings=given,
            most=[self.space(row) for row in rows],
            ends=frozenset({tok.target.end_id}),
            pad=tok.target.pad_id,
            answers=answers,
            seeds=seeds,
            stop=stopper(stops, tok.target) if stops else None,
        )

    def join(
        self, query: Prompt | Text, rows: Sequence[Row], raws: Sequence[Raw]
    ) -> Generated | Likelihoods | TextLikelihood:
        """The answers to all pieces as one text, the likelihoods of all choices, or those of a text's tokens."""
        import numpy as np

        if isinstance(query, Text):
            return reading.told(rows, raws)
        if query.choices:
            sums = np.array([float(raw.sum()) for raw in raws]).reshape(-1, len(query.choices))
            return Likelihoods(sums, tuple(len(raw) for raw in raws[: len(query.choices)]))
        answers = [joined(query, rows, found) for found in zip(*raws, strict=True)]
        return replace(answers[0], alternatives=tuple(answers[1:]))

    def stream(self, runner: Runner, query: Prompt | Text, tok: Tokenizers) -> Iterator[str]:
        """The answer in pieces of text. Raises UnsupportedError for beams and for several answers."""
        if (self.generation.num_beams or 1) > 1 or (self.generation.num_return_sequences or 1) > 1:
            raise UnsupportedError(
                "one answer can be streamed, written from its first word to its last: set num_beams: 1 and "
                "num_return_sequences: 1"
            )
        if isinstance(query, Text):
            raise UnsupportedError("texts are read here, none is written, so there is nothing to stream")
        if query.choices:
            raise UnsupportedError("choices are judged, not written, so there is nothing to stream")
        return self._streamed(runner, self.encode(query, None, tok), tok)

    def _streamed(self, runner: Runner, rows: Sequence[Row], tok: Tokenizers) -> Iterator[str]:
        import numpy as np

        for row in rows:
            batch = self.collate([row], tok, answering=True, rng=np.random.default_rng(0))
            tokens = runner.stream(self.continuing(batch), self._wish([row], tok))
            told = text_pieces(tokens, partial(self._text, row, tok=tok), self.generation.stop_strings or ())
            if row.parts == 1:
                yield from told
            else:  # an answer per piece of the prompt, joined as `join` does
                yield "".join(told).strip() + (row.place.after if row.part + 1 < row.parts else "")


def _learnable(query: Prompt, gold: str) -> list[tuple[Prompt, str]]:
    """What is learnt of a prompt: its gold, and with `each_turn` what the assistant said before."""
    earlier = [
        (replace(query, messages=query.messages[:at]), turn.text)
        for at, turn in enumerate(query.messages)
        if query.each_turn and turn.role == "assistant" and turn.text.strip()
    ]
    return [*earlier, (query, gold)]


def turns(query: Prompt) -> list[tuple[str, str]]:
    """(role, text) of a conversation's turns; segments of a `chat` prompt are the user's."""
    text = "".join(segment.text for segment in query.segments)
    turns = [*query.messages, *([Message("user", text)] if query.chat else [])]
    return [(turn.role, turn.text) for turn in turns]


def _one_begins_another(choices: Sequence[Sequence[int]]) -> bool:
    return any(
        i != j and list(one) == list(other[: len(one)])
        for i, one in enumerate(choices)
        for j, other in enumerate(choices)
    )
