"""Scores of labels to entities: the likeliest sequence of labels that is a sequence of entities at all.

Label sets of models from elsewhere are served too: BIO, IOBES/BILOU, and sets without B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpipe_ner.schemes import OUTSIDE, Chunk, parse, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Automaton:
    """Which label may follow which: 0 where it may, -inf where not.

    `first` and `last` are [labels] for the first and last word of a text, `follows` [labels, labels] for the label
    of a word (row) and of the next (column).
    """

    labels: tuple[str, ...]
    first: Array
    follows: Array
    last: Array

    @classmethod
    def of(cls, labels: Sequence[str]) -> Automaton:
        """For labels that are tags, `O` among them; any other label says as little as `O`.

        I needs its entity open, which B, or I itself, has done; where there are E or S labels, an open entity must
        go on to its E. Of a type that no label begins, I begins it.
        """
        parsed = [parse(label) or (OUTSIDE, "") for label in labels]
        begins = {kind for prefix, kind in parsed if prefix in "BS"}
        ends = {kind for prefix, kind in parsed if prefix in "ES"}

        def may(before: tuple[str, str], after: tuple[str, str]) -> bool:
            open_ = before[1] if before[0] in "BI" else ""
            continues = after[0] in "IE" and after[1] == open_
            if open_ and open_ in ends and not continues:
                return False
            return continues or after[0] not in "IE" or after[1] not in begins

        nothing = (OUTSIDE, "")
        return cls(
            tuple(label if parse(label) else OUTSIDE for label in labels),
            _cost([may(nothing, after) for after in parsed]),
            _cost([[may(before, after) for after in parsed] for before in parsed]),
            _cost([may(before, nothing) for before in parsed]),
        )

    def path(self, scores: Array) -> list[int]:
        """The label of each word on the likeliest allowed path (Viterbi 1967), for log-probabilities [words, labels].

        Where paths are equally likely, the one with the earlier labels of the set.
        """
        if not len(scores):
            return []
        likeliest = scores.argmax(axis=1)
        if self._allows(likeliest):  # most texts: then no other path is likelier
            return [int(at) for at in likeliest]
        best = self.first + scores[0]
        back: list[NDArray[Any]] = []
        for word in scores[1:]:
            ways = best[:, None] + self.follows
            back.append(ways.argmax(axis=0))
            best = ways.max(axis=0) + word
        at = int((best + self.last).argmax())
        path = [at]
        for came in reversed(back):
            at = int(came[at])
            path.append(at)
        return path[::-1]

    def _allows(self, path: NDArray[np.intp]) -> bool:
        """Whether a sequence of labels is one of entities."""
        ways = self.follows[path[:-1], path[1:]]
        return bool(self.first[path[0]] == 0 and self.last[path[-1]] == 0 and (ways == 0).all())

    def decode(self, scores: Array) -> list[tuple[Chunk, float]]:
        """The entities on the likeliest path, each with its confidence.

        The confidence is the geometric mean of the probabilities of its words' labels, exp(mean log p): in [0, 1],
        and comparable between short entities and long ones.
        """
        path = self.path(scores)
        chosen = scores[np.arange(len(path)), path]
        chunks = read([self.labels[at] for at in path])
        return [(chunk, float(np.exp(chosen[chunk.first : chunk.last].mean()))) for chunk in chunks]


def _cost(allowed: Any) -> Array:
    return np.where(np.array(allowed, dtype=bool), 0.0, -np.inf)
