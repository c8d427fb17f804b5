"""What the objectives that write text share: prompts that fit, settings of generation, answers from tokens.

Knows no family: how a prompt and an answer become a row and a batch is `causal_text.py`'s and `seq2seq_text.py`'s.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nlpipe.errors import DataError, UnsupportedError
from nlpipe.generation import Generation
from nlpipe.objectives import pieces as cutting
from nlpipe.objectives.base import (
    Batch,
    Generated,
    Likelihoods,
    Message,
    Objective,
    Prompt,
    Raw,
    Row,
    Segment,
    parts,
)

if TYPE_CHECKING:
    import torch

    from nlpipe.runners.base import Runner
    from nlpipe.tokens import Tokenizer, Tokenizers

ANSWER = 256
"""Tokens that room is kept for where no `max_new_tokens` says how many: what transformers' pipeline writes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies in its example: its piece of the prompt, its choice, and the space that follows the piece.

    `prompt` counts the tokens of `ids` before the answer's; `start` is what the decoder of a pair reads first.
    """

    piece: int = 0
    choice: int | None = None
    after: str = ""
    prompt: int = 0
    start: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt, or a piece of one, as ids, with the space that followed the piece in the text."""

    ids: list[int]
    after: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a batch is to be continued.

    `settings` are GenerationConfig's fields; `most` is how many tokens each row has room for, which
    `max_new_tokens` may lower; `ends` the tokens that end an answer and `pad` the one that fills. With
    `seeds` tokens are drawn: one seed per row and answer, so that a row's answer does not depend on its
    neighbours. `stop` says whether the tokens written so far end an answer.
    """

    settings: Mapping[str, Any]
    most: Sequence[int]
    ends: frozenset[int]
    pad: int
    answers: int = 1
    seeds: Sequence[Sequence[int]] | None = None
    stop: Callable[[Sequence[int]], bool] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens of one answer, with its end token where `ended` by one; `ended` is also true at a stop string."""

    ids: tuple[int, ...]
    ended: bool


@dataclass(frozen=True, kw_only=True)
class TextObjective(Objective):
    """Reads a Prompt; writes text, Generated, or says how likely each of the prompt's choices is, Likelihoods.

    The gold is the answer's text. The loss is the sum over the answer's tokens, the end token among them, and
    over nothing else. `lead` is put between a prompt and an answer that do not begin or end with space, where the
    tokenizer does not mark the start of words by itself.
    """

    call_options: ClassVar[frozenset[str]] = frozenset(Generation.model_fields)
    writes: ClassVar[bool] = True

    generation: Generation = field(default_factory=Generation)
    lead: str = " "

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """With one call's settings of generation; UnsupportedError for a value out of range."""
        return replace(self, generation=self.generation.called(options))

    def with_generation(self, settings: Generation | None) -> Self:
        """With a recipe's settings of generation."""
        return self if settings is None else replace(self, generation=settings)

    # Text to ids

    def encode(self, query: Prompt, gold: str | None, tok: Tokenizers) -> list[Row]:
        """A row per piece of the prompt and choice; one row where there is a gold."""
        if gold is not None:
            return parts([self._learnt(query, gold, tok)])
        choices = [self.answer_ids(query, choice, tok, ended=False) for choice in query.choices]
        if _one_begins_another(choices):  # then only the end tells them apart
            choices = [[*ids, tok.target.end_id] for ids in choices]
        contexts, seen = self._contexts(query, tok, self.room(choices, tok))
        rows = [
            self.row(context, ids, Place(piece=at, choice=number, after=context.after), query, tok)
            for at, context in enumerate(contexts)
            for number, ids in (enumerate(choices) if choices else [(None, None)])
        ]
        return parts([replace(row, seen=seen) for row in rows])

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
        contexts, (read, there) = self._contexts(query, tok, self.room([answer], tok))
        if len(contexts) > 1:
            raise DataError(
                f"the prompt has {there} tokens, the model reads {self.room([answer], tok)} beside the answer. Long "
                "texts are answered in pieces, but cannot be learnt so: leave the row out, raise model.max_length, or "
                "set model.long: truncate to learn from its beginning"
            )
        row = self.row(contexts[0], answer, Place(), query, tok)
        return replace(row, seen=(read + len(answer), there + whole))

    def _contexts(self, query: Prompt, tok: Tokenizers, room: int) -> tuple[list[Context], tuple[int, int]]:
        """The prompt in as many pieces as it takes, and (tokens read, tokens there)."""
        whole = self.prompt_ids(query, tok)
        if len(whole) <= room:
            return [Context(whole)], (len(whole), len(whole))
        if self.window.long == "error" or room < 1:
            raise DataError(
                f"the prompt has {len(whole)} tokens, the model reads {max(room, 0)} beside its answer. Shorten it, or "
                "set model.long to 'window' (read in pieces where the task can) or 'truncate' (cut it)"
            )
        shortened = [*self._shortened(query, tok, room, len(whole))]
        read = len(whole) if self.window.long == "window" else sum(len(context.ids) for context in shortened)
        return shortened, (read, len(whole))

    def _shortened(self, query: Prompt, tok: Tokenizers, room: int, there: int) -> Iterator[Context]:
        cut = self.window.long == "truncate"
        if query.messages:
            if not cut:
                raise DataError(_refusal("the conversation", there, room, "to forget its oldest turns"))
            yield Context(self.prompt_ids(self._forgotten(query, tok, room), tok))
            return
        at = next((index for index, segment in enumerate(query.segments) if segment.long != "whole"), None)
        if at is None:
            raise DataError(f"the prompt has {there} tokens, the model reads {room} beside its answer; shorten it")
        segment = query.segments[at]
        if segment.long != "pieces" and not cut:
            raise DataError(_refusal("the prompt", there, room, f"to cut its {segment.long}"))

        def put(text: str) -> Prompt:
            return replace(query, segments=(*query.segments[:at], Segment(text), *query.segments[at + 1 :]))

        def fits(text: str) -> bool:
            return len(self.prompt_ids(put(text), tok)) <= room

        if not fits(""):
            raise DataError(
                f"what the prompt has beside its text takes more than the {room} tokens that the model reads beside "
                "its answer; shorten the template, or lower generation.max_new_tokens"
            )
        if not cut:
            for piece in cutting.cut(segment.text, fits):
                yield Context(self.prompt_ids(put(piece.strip()), tok), after=_space_after(piece))
        elif segment.long == "start":
            yield Context(self.prompt_ids(put(segment.text[cutting.suffix(segment.text, fits) :]), tok))
        else:
            yield Context(self.prompt_ids(put(segment.text[: cutting.prefix(segment.text, fits)]), tok))

    def _forgotten(self, query: Prompt, tok: Tokenizers, room: int) -> Prompt:
        """The conversation without its oldest turns; what the system says stays."""
        turns = list(query.messages)
        while len(self.prompt_ids(replace(query, messages=tuple(turns)), tok)) > room:
            old = next((i for i, turn in enumerate(turns[:-1]) if turn.role != "system"), None)
            if old is None:
                raise DataError(
                    f"the last message alone takes more than the {room} tokens that the model reads; shorten it"
                )
            del turns[old]
        return replace(query, messages=tuple(turns))

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
        """ln p of the tokens of each answer, under the model itself."""
        import numpy as np

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
            stop=_stop(stops, tok.target) if stops else None,
        )

    def join(self, query: Prompt, rows: Sequence[Row], raws: Sequence[Raw]) -> Generated | Likelihoods:
        """The answers to all pieces as one text, or the likelihoods of all choices."""
        import numpy as np

        if query.choices:
            sums = np.array([float(raw.sum()) for raw in raws]).reshape(-1, len(query.choices))
            return Likelihoods(sums, tuple(len(raw) for raw in raws[: len(query.choices)]))
        answers = [_joined(query, rows, found) for found in zip(*raws, strict=True)]
        return replace(answers[0], alternatives=tuple(answers[1:]))

    def stream(self, runner: Runner, query: Prompt, tok: Tokenizers) -> Iterator[str]:
        """The answer in pieces of text. Raises UnsupportedError for beams and for several answers."""
        if (self.generation.num_beams or 1) > 1 or (self.generation.num_return_sequences or 1) > 1:
            raise UnsupportedError(
                "one answer can be streamed, written from its first word to its last: set num_beams: 1 and "
                "num_return_sequences: 1"
            )
        if query.choices:
            raise UnsupportedError("choices are judged, not written, so there is nothing to stream")
        return self._streamed(runner, self.encode(query, None, tok), tok)

    def _streamed(self, runner: Runner, rows: Sequence[Row], tok: Tokenizers) -> Iterator[str]:
        import numpy as np

        for row in rows:
            batch = self.collate([row], tok, answering=True, rng=np.random.default_rng(0))
            tokens = runner.stream(self.continuing(batch), self._wish([row], tok))
            told = _text_pieces(tokens, partial(self._text, row, tok=tok), self.generation.stop_strings or ())
            if row.parts == 1:
                yield from told
            else:  # an answer per piece of the prompt, joined as `join` does
                yield "".join(told).strip() + (row.place.after if row.part + 1 < row.parts else "")


def _text_pieces(tokens: Iterator[int], text_of: Callable[[list[int]], str], stops: Sequence[str]) -> Iterator[str]:
    """What each token adds to the text. What may be the start of a stop string, or half a character, is held back."""
    ids: list[int] = []
    told = ""
    for token in tokens:
        ids.append(token)
        text = text_of(ids)
        if any(stop in text for stop in stops):
            break
        held = max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        ready = text[: len(text) - held]
        if ready.endswith("�") or not ready.startswith(told):
            continue
        if len(ready) > len(told):
            yield ready[len(told) :]
            told = ready
    text = text_of(ids) if ids else ""
    for stop in stops:
        text = text.partition(stop)[0]
    if text.startswith(told) and len(text) > len(told):
        yield text[len(told) :]


def _joined(query: Prompt, rows: Sequence[Row], found: Sequence[Generated]) -> Generated:
    if len(found) == 1:
        return found[0]
    texts = tuple(one.text.strip() for one in found)
    last = len(texts) - 1
    whole = "".join(
        text + (row.place.after if at < last else "") for at, (text, row) in enumerate(zip(texts, rows, strict=True))
    )
    scores = tuple(score for one in found for score in one.token_log_probabilities)
    return Generated(whole, all(one.ended for one in found), scores, texts, _again(query, texts))


def _again(query: Prompt, texts: Sequence[str]) -> Prompt | None:
    """The prompt with the answers to its pieces in the place of the text, where that is at most half as long."""
    at = next(index for index, segment in enumerate(query.segments) if segment.long == "pieces")
    joined = "\n".join(text for text in texts if text)
    if not joined or 2 * len(joined) > len(query.segments[at].text):
        return None
    return replace(query, segments=(*query.segments[:at], Segment(joined, "pieces"), *query.segments[at + 1 :]))


def turns(query: Prompt) -> list[tuple[str, str]]:
    """(role, text) of a conversation's turns; segments of a `chat` prompt are the user's."""
    text = "".join(segment.text for segment in query.segments)
    turns = [*query.messages, *([Message("user", text)] if query.chat else [])]
    return [(turn.role, turn.text) for turn in turns]


def _space_after(piece: str) -> str:
    """What parts a piece from the next: a line break, a space, or nothing in scripts that need none."""
    tail = piece[len(piece.rstrip()) :]
    return "\n" if "\n" in tail else " " if tail else ""


def _one_begins_another(choices: Sequence[Sequence[int]]) -> bool:
    return any(
        i != j and list(one) == list(other[: len(one)])
        for i, one in enumerate(choices)
        for j, other in enumerate(choices)
    )


def _stop(stops: Sequence[str], target: Tokenizer) -> Callable[[Sequence[int]], bool]:
    def stop(ids: Sequence[int]) -> bool:
        text = target.decode(ids)
        return any(string in text for string in stops)

    return stop


def _refusal(what: str, there: int, room: int, effect: str) -> str:
    return (
        f"{what} has {there} tokens, the model reads {room} beside its answer, and it cannot be read in pieces. "
        f"Shorten it, or set model.long: truncate {effect}"
    )
