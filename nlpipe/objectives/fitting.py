"""Prompts made to fit what a model reads: whole, in pieces at sentence borders, or cut where that is asked for.

Knows no family: how many tokens a prompt has is asked of a function.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nlpipe.errors import DataError
from nlpipe.objectives import pieces as cutting
from nlpipe.objectives.base import Prompt, Segment


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt, or a piece of one, as ids, with the space that followed the piece in the text."""

    ids: list[int]
    after: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """A prompt and the room there is: `ids` gives the ids of any prompt, special tokens included."""

    query: Prompt
    room: int
    long: Literal["window", "truncate", "error"]
    ids: Callable[[Prompt], list[int]]

    def contexts(self) -> tuple[list[Context], tuple[int, int]]:
        """The prompt in as many pieces as it takes, and (tokens read, tokens there).

        Raises DataError where it does not fit and may be neither read in pieces nor cut.
        """
        whole = self.ids(self.query)
        if len(whole) <= self.room:
            return [Context(whole)], (len(whole), len(whole))
        if self.long == "error" or self.room < 1:
            raise DataError(
                f"the prompt has {len(whole)} tokens, the model reads {max(self.room, 0)} beside its answer. Shorten "
                "it, or set model.long to 'window' (read in pieces where the task can) or 'truncate' (cut it)"
            )
        found = [*self._shortened(len(whole))]
        read = len(whole) if self.long == "window" else sum(len(context.ids) for context in found)
        return found, (read, len(whole))

    def _shortened(self, there: int) -> Iterator[Context]:
        cut, query, room = self.long == "truncate", self.query, self.room
        if query.messages:
            if not cut:
                raise DataError(_refusal("the conversation", there, room, "to forget its oldest turns"))
            yield Context(self.ids(self._forgotten()))
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
            return len(self.ids(put(text))) <= room

        if not fits(""):
            raise DataError(
                f"what the prompt has beside its text takes more than the {room} tokens that the model reads beside "
                "its answer; shorten the template, or lower generation.max_new_tokens"
            )
        if not cut:
            for piece in cutting.cut(segment.text, fits):
                yield Context(self.ids(put(piece.strip())), after=_space_after(piece))
        elif segment.long == "start":
            yield Context(self.ids(put(segment.text[cutting.suffix(segment.text, fits) :])))
        else:
            yield Context(self.ids(put(segment.text[: cutting.prefix(segment.text, fits)])))

    def _forgotten(self) -> Prompt:
        """The conversation without its oldest turns; what the system says stays."""
        turns = self.query.messages
        old = [at for at, turn in enumerate(turns[:-1]) if turn.role != "system"]
        # Never an answer without what it answers: they are forgotten together.
        borders = [at for at in range(len(old) + 1) if at == len(old) or at == 0 or turns[old[at]].role != "assistant"]

        def without(border: int) -> Prompt:
            gone = set(old[:border])
            return replace(self.query, messages=tuple(turn for at, turn in enumerate(turns) if at not in gone))

        # By halving: of a long conversation each try takes long.
        at = bisect_left(borders, True, key=lambda border: len(self.ids(without(border))) <= self.room)
        if at == len(borders):
            raise DataError(
                f"the last message alone takes more than the {self.room} tokens that the model reads; shorten it"
            )
        return without(borders[at])


def _space_after(piece: str) -> str:
    """What parts a piece from the next: a line break, a space, or nothing in scripts that need none."""
    tail = piece[len(piece.rstrip()) :]
    return "\n" if "\n" in tail else " " if tail else ""


def _refusal(what: str, there: int, room: int, effect: str) -> str:
    return (
        f"{what} has {there} tokens, the model reads {room} beside its answer, and it cannot be read in pieces. "
        f"Shorten it, or set model.long: truncate {effect}"
    )
