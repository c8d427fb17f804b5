"""token-classification: tokens, or entities put together from them by one of version 4's strategies.

Version 4 knew tokens and no words: what it calls a word here is what its tokenizer left together. nlpipe's own `ner`
decodes valid sequences of tags over real words instead, and is the better choice for new code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nlpipe.compat.base import Pipeline, is_stream
from nlpipe.compat.objectives import Read, TokenProbabilities, Tokens, TokenScores
from nlpipe.compat.settings import Tagging
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.inputs import as_text
from nlpipe.objectives.base import Objective, Query

if TYPE_CHECKING:
    import numpy as np

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token as it is written, its place in the row and in the text, and whether it goes on the word before it."""

    word: str
    scores: np.ndarray
    index: int
    start: int | None
    end: int | None
    goes_on: bool


class TokenClassificationPipeline(Pipeline[Tagging]):
    """Labels of tokens."""

    cuts = True

    @classmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The head's outputs."""
        return TokenProbabilities(labels=labels)

    def objective(self, settings: Tagging) -> Objective:
        """A long text is cut, or read in windows where `stride` says so."""
        if settings.offset_mapping is not None:
            raise UnsupportedError("offset_mapping: offsets are those of the model's own tokenizer; leave it out")
        fast = getattr(self.tokenizer, "is_fast", False)
        if settings.strategy in ("first", "average", "max") and not fast:
            raise UnsupportedError(
                f"aggregation_strategy {settings.strategy!r} needs a tokenizer that tells where its tokens lie; this "
                "model's does not: take 'simple'"
            )
        if settings.stride is None:
            window = self.window(cut=True)
        else:
            if settings.strategy == "none":
                raise UnsupportedError(
                    "stride reads a text in windows, which only entities join: say an aggregation_strategy"
                )
            if not fast or settings.stride >= self.loaded.limit:
                raise UnsupportedError(
                    f"stride must be less than the {self.loaded.limit} tokens that the model reads, and its tokenizer "
                    "must tell where its tokens lie"
                )
            window = replace(self.window(cut=False), overlap=settings.stride)
        return TokenProbabilities(labels=self.loaded.labels, window=window)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """A text gives a list of entities, a list of texts a list of such lists."""
        settings = self.settings.over(self.kind, options)
        if isinstance(inputs, list | tuple) and not inputs:
            raise DataError("at least one input is needed")
        if settings.is_split_into_words and not is_stream(inputs) and not all(isinstance(one, list) for one in inputs):
            return self.run([list(inputs)], settings)  # one list of words; the answer is a list of one, as it was
        return self.run(inputs, settings)

    def query(self, value: Any, settings: Tagging) -> Query:
        """The text, or its words."""
        if not settings.is_split_into_words:
            return Tokens(as_text(value, "an input"))
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            raise DataError("with is_split_into_words an input is a list of words")
        starts, at = [], 0
        for word in value:
            starts.append(at)
            at += len(word) + len(settings.delimiter)
        return Tokens(settings.delimiter.join(value), tuple(value), tuple(starts))

    def told(self, found: TokenScores, value: Any, settings: Tagging) -> list[Entity]:
        """The entities that are not among `ignore_labels`."""
        text = value if isinstance(value, str) else settings.delimiter.join(value)
        entities: list[Entity] = []
        for read, scores in found.windows:
            tokens = list(self._tokens(read, scores, text))
            entities += [
                one for one in self._entities(tokens, settings.strategy) if _label(one) not in settings.ignore_labels
            ]
        return entities if len(found.windows) == 1 else _longest(entities)

    def _tokens(self, read: Read, scores: np.ndarray, text: str) -> Iterator[_Token]:
        tok = self.tokenizer
        model = getattr(getattr(tok, "_tokenizer", None), "model", None)
        marked = bool(getattr(model, "continuing_subword_prefix", None))  # ## before what goes on a word
        for at, token in enumerate(read.ids):
            word, start, end, goes_on = tok.convert_ids_to_tokens(token), None, None, False
            if read.spans is not None:
                start, end = read.spans[at]
                there = text[start:end]
                goes_on = len(word) != len(there) if marked else start > 0 and " " not in text[start - 1 : start + 1]
                if token == tok.unk_token_id:
                    word, goes_on = there, False
            yield _Token(word, scores[at], read.first + at, start, end, goes_on)

    def _entities(self, tokens: Sequence[_Token], strategy: str) -> list[Entity]:
        if strategy in ("none", "simple"):
            found = [self._entity(one.scores, [one], index=one.index) for one in tokens]
            return found if strategy == "none" else self._grouped(found)
        words: list[list[_Token]] = []
        for token in tokens:
            if words and token.goes_on:
                words[-1].append(token)
            else:
                words.append([token])
        return self._grouped([self._entity(_scores(word, strategy), word) for word in words])

    def _entity(self, scores: np.ndarray, tokens: Sequence[_Token], index: int | None = None) -> Entity:
        best = int(scores.argmax())
        found: Entity = {"entity": self.loaded.labels[best], "score": float(scores[best])}
        if index is None:
            found["word"] = self.tokenizer.convert_tokens_to_string([one.word for one in tokens])
        else:
            found |= {"index": index, "word": tokens[0].word}
        return {**found, "start": tokens[0].start, "end": tokens[-1].end}

    def _grouped(self, entities: Sequence[Entity]) -> list[Entity]:
        """Neighbours of one type together; B- begins anew."""
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, kind = _parted(entity["entity"])
            if groups and not begins and kind == _parted(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [self._group(group) for group in groups]

    def _group(self, group: Sequence[Entity]) -> Entity:
        import numpy as np

        return {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([one["score"] for one in group])),
            "word": self.tokenizer.convert_tokens_to_string([one["word"] for one in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }


def _scores(word: Sequence[_Token], strategy: str) -> np.ndarray:
    """The scores of a word: its first token's, those of the token that is surest, or the mean."""
    import numpy as np

    if strategy == "first":
        return word[0].scores
    if strategy == "max":
        return max(word, key=lambda one: float(one.scores.max())).scores
    mean: np.ndarray = np.mean([one.scores for one in word], axis=0)
    return mean


def _label(entity: Entity) -> str:
    return str(entity.get("entity", entity.get("entity_group")))


def _parted(label: str) -> tuple[bool, str]:
    """Whether a tag begins an entity, and its type; one without B- or I- goes on."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _longest(entities: Sequence[Entity]) -> list[Entity]:
    """Of entities that overlap, from windows that share tokens, the longest; of equal ones the surest."""
    found: list[Entity] = []
    for entity in sorted(entities, key=lambda one: int(one["start"])):
        if found and entity["start"] < found[-1]["end"]:
            found[-1] = max(found[-1], entity, key=lambda one: (one["end"] - one["start"], one["score"]))
        else:
            found.append(entity)
    return found
