"""What the task answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from nlpipe import Result


@dataclass(frozen=True, slots=True)
class Phrase:
    """A keyphrase where it stands first: `text` is `original[start:end]`, and `score` its probability in [0, 1].

    `score` is None where no model was asked.
    """

    text: str
    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Keyphrases(Result):
    """The keyphrases of a text, the likeliest first, each once however often it stands there."""

    phrases: tuple[Phrase, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        seen = None if self.seen is None else list(self.seen)
        return {"phrases": [asdict(phrase) for phrase in self.phrases], "seen": seen}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The result that `to_dict` was made from."""
        seen = data.get("seen")
        return cls(
            tuple(Phrase(**phrase) for phrase in data["phrases"]),
            seen=None if seen is None else (int(seen[0]), int(seen[1])),
        )
