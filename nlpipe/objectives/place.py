"""Where a row of text lies in its example, and which of its target's tokens count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlpipe.objectives.base import Row

NOTHING = -100
"""The label of a token that is not asked for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies in its example: its piece of the prompt, its choice, and the space that follows the piece.

    `prompt` counts the tokens of `ids` before the answer's; `start` is what the decoder of a pair reads first.
    `scored` says which tokens of the target count, None: all. Of a text read for its own likelihood `at` has the
    number in the text of each token that counts.
    """

    piece: int = 0
    choice: int | None = None
    after: str = ""
    prompt: int = 0
    start: tuple[int, ...] = ()
    scored: tuple[bool, ...] | None = None
    at: tuple[int, ...] = ()


def labels(row: Row) -> list[int]:
    """The target's tokens, -100 in the place of those that do not count."""
    scored = row.place.scored
    if scored is None:
        return list(row.target)
    return [token if counts else NOTHING for token, counts in zip(row.target, scored, strict=True)]
