"""What a pipeline answers: plain frozen values that go to JSON and back. No model, no tensor, no heavy import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Result:
    """The base of every answer.

    `seen` is (tokens read, tokens there): the two differ only where truncation was asked for by name.
    It is None where no model read anything, as in a baseline or in answers made elsewhere.
    """

    seen: tuple[int, int] | None = field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; `from_dict` gives an equal result back."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self) -> str:
        """`to_dict` on one line; `from_dict(json.loads(…))` gives an equal result back."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The result that `to_dict` was made from. Raises TypeError for keys that are not fields."""
        seen = data.get("seen")
        rest = {key: value for key, value in data.items() if key != "seen"}
        return cls(**cls._restore(rest), seen=None if seen is None else (int(seen[0]), int(seen[1])))

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        """JSON values back to the fields' types; a subclass with tuples or nested values overrides it."""
        return data


@dataclass(frozen=True, slots=True)
class Label(Result):
    """The label of a text.

    `label` is the likeliest one and `score` its probability in [0, 1]; None for both where a
    multi-label text carries none of the labels. `scores` has every label's probability (they sum to 1
    where exactly one label holds), and `labels` all labels that hold: one, or any number if multi-label.
    """

    label: str | None
    score: float | None
    scores: Mapping[str, float]
    labels: tuple[str, ...]

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {"labels": tuple(data["labels"])}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text and what it is.

    `start` and `end` are half-open indices into the original string, so that `text` is `original[start:end]`;
    `score` is a probability in [0, 1], or None where nothing was computed.
    """

    start: int
    end: int
    label: str
    score: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Entities(Result):
    """The labelled stretches of a text, in its order and without overlap.

    Of a text given as tokens the offsets count in the tokens joined by single spaces. `prefixes` are there where the
    spans were read off tags made elsewhere: for each span its tags' first letters, such as `BII`, which say whether
    the tags were well-formed.
    """

    spans: tuple[Span, ...]
    prefixes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; without `prefixes` where there are none."""
        found = Result.to_dict(self)  # `super()` does not survive how dataclasses make classes with slots
        return found if self.prefixes else {name: value for name, value in found.items() if name != "prefixes"}

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        prefixes = tuple(data.get("prefixes", ()))
        return data | {"spans": tuple(Span(**span) for span in data["spans"]), "prefixes": prefixes}


@dataclass(frozen=True, slots=True)
class Answer(Result):
    """The part of a context that answers a question.

    `start` and `end` are half-open indices into the original context, so that `text` is `context[start:end]`; where
    there is no answer, `text` is empty and both are None. `score` is the answer's probability in [0, 1] and
    `no_answer_score` that of "no answer", among all candidates; they are equal where that is the answer, and None
    where nothing was computed. `alternatives` are further candidates, the next best first.
    """

    text: str
    start: int | None
    end: int | None
    score: float | None = None
    no_answer_score: float | None = None
    alternatives: tuple[Answer, ...] = ()

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {"alternatives": tuple(cls.from_dict(other) for other in data.get("alternatives", ()))}


@dataclass(frozen=True, slots=True)
class Text(Result):
    """A text that was written.

    `ended` is False where it reached its greatest length before its end. `log_probability` is the natural
    logarithm of its probability under the model (the end included), None where no model wrote it;
    `token_log_probabilities` those of its tokens, where they were asked for. `alternatives` are further texts.
    """

    text: str
    ended: bool = True
    log_probability: float | None = None
    alternatives: tuple[Text, ...] = ()
    token_log_probabilities: tuple[float, ...] = ()

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {
            "alternatives": tuple(cls.from_dict(other) for other in data.get("alternatives", ())),
            "token_log_probabilities": tuple(data.get("token_log_probabilities", ())),
        }


@dataclass(frozen=True, slots=True)
class Likelihood(Result):
    """How likely a text is.

    `log_probability` is the sum of the natural logarithms of its tokens' probabilities, `tokens` their number, and
    `perplexity` exp(-log_probability / tokens), at least 1. `token_log_probabilities` are there where they were asked
    for.
    """

    log_probability: float
    tokens: int
    perplexity: float
    token_log_probabilities: tuple[float, ...] = ()

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {"token_log_probabilities": tuple(data.get("token_log_probabilities", ()))}


@dataclass(frozen=True, slots=True)
class Similarity(Result):
    """How alike two texts are.

    `measure` says what `similarity` is: `cosine` in [-1, 1] or `dot` of two vectors, `score` a number on the
    scale of the training data (it may fall a little outside), `words` in a baseline.
    """

    similarity: float
    measure: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document of a ranking: its id, how alike it is to the query, and its text."""

    id: str
    similarity: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ranking(Result):
    """The documents most alike to a query, the best first; equally alike ones in the collection's order."""

    documents: tuple[Ranked, ...]
    measure: str = "cosine"

    @classmethod
    def _restore(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data | {"documents": tuple(Ranked(**document) for document in data["documents"])}


def to_frame(results: Iterable[Result]) -> pd.DataFrame:
    """One row per result, one column per field."""
    import pandas as pd

    return pd.DataFrame([result.to_dict() for result in results])


def to_arrow(results: Iterable[Result]) -> pa.Table:
    """One row per result, one column per field, nested fields as Arrow's structs and lists."""
    import pyarrow as pa

    return pa.Table.from_pylist([result.to_dict() for result in results])


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Span | Ranked):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
