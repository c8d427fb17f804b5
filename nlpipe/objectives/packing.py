"""Texts joined into full windows, in another order in each epoch: what makes pretraining on short texts cheap.

Every token is in exactly one window. A window may hold several texts; the model sees across their border, as GPT-2's,
RoBERTa's (FULL-SENTENCES, Liu et al. 2019, section 4.2) and T5's pretraining did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from nlpipe.objectives.base import Row


@dataclass(frozen=True, slots=True)
class Document:
    """The place of a row that is a whole text still: `marks` [tokens] say what each token is to its objective.

    `prefix` and `suffix` are laid around a window. Of a text that spans are taken out of, `room` is how many of its
    tokens a window holds; with `again` its decoder writes the whole text.
    """

    marks: tuple[int, ...]
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    room: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of joined texts: ids, marks, and for each token the place where its text begins in the whole."""

    ids: list[int]
    marks: list[int]
    texts: list[int]


def joined(rows: Sequence[Row], rng: np.random.Generator) -> Stretch:
    """All texts in a random order, one behind the other."""
    found = Stretch([], [], [])
    for at in rng.permutation(len(rows)):
        row = rows[at]
        found.texts.extend([len(found.ids)] * len(row.ids))
        found.ids.extend(row.ids)
        found.marks.extend(row.place.marks)
    return found


def cut(whole: Stretch, room: int) -> Iterator[Stretch]:
    """Stretches of `room` tokens, the last one shorter: as many and as long for any order of the texts."""
    for at in range(0, len(whole.ids), room):
        part = slice(at, at + room)
        yield Stretch(whole.ids[part], whole.marks[part], whole.texts[part])
