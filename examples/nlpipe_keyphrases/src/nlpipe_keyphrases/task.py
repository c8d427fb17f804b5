"""The task `keyphrases`: which phrases of a text say what it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from nlpipe import DataError, Family, Metric, Objective, Record, Task, TaskOptions
from nlpipe.objectives import Answer, Query, TokenLabel, Words, WordScores
from pydantic import Field

from nlpipe_keyphrases.results import Keyphrases, Phrase
from nlpipe_keyphrases.scores import F1, PRECISION, RECALL
from nlpipe_keyphrases.words import OUTSIDE, places, plain, read, tags, words


class PlainText(Record):
    """What is asked."""

    text: str


class Tagged(PlainText):
    """A text with its keyphrases, each of which stands in it."""

    keyphrases: tuple[str, ...]


class Settings(TaskOptions):
    """What may stand beside `name: keyphrases` in a recipe."""

    top: int = Field(10, ge=1, description="at most so many keyphrases are answered")
    absent: bool = Field(
        False, description="rows may have keyphrases that do not stand in their text; they are not learnt, but scored"
    )


class KeyphraseExtraction(Task[PlainText, Tagged, Keyphrases, Settings]):
    """Keyphrases as words that are marked in the text."""

    name: ClassVar[str] = "keyphrases"
    summary: ClassVar[str] = "the phrases of a text that say what it is about, ranked"
    Input = PlainText
    Example = Tagged
    Result = Keyphrases
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (F1, PRECISION, RECALL)
    call_options: ClassVar[frozenset[str]] = frozenset({"top"})

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """A label per word, in every family."""
        return dict.fromkeys(Family, (TokenLabel,))

    def objective(self, kind: type[Objective]) -> Objective:
        """O, B or I for each word."""
        return TokenLabel(labels=self.labels, background=OUTSIDE)

    def query(self, given: PlainText, objective: Objective) -> Query:
        """The text and its words."""
        return Words(given.text, words(given.text))

    def gold(self, example: Tagged, objective: Objective) -> list[int]:
        """A label's index for each word."""
        for phrase in example.keyphrases:
            if not plain(phrase):
                raise DataError("a keyphrase is empty; leave it out")
            if not self.options.absent and next(places(example.text, phrase), None) is None:
                raise DataError(
                    f"the keyphrase {phrase!r} does not stand in the text; leave it out, or set task.absent: true"
                )
        return tags(example.text, example.keyphrases)

    def result(self, answer: Answer, given: PlainText) -> Keyphrases:
        """The phrases that the likeliest labels spell; a phrase's score is the mean probability of its words' labels."""
        assert isinstance(answer, WordScores)
        labels = answer.values.argmax(axis=1) if len(answer.values) else []
        found: dict[str, Phrase] = {}
        for first, last in read(labels):
            start, end = answer.spans[first][0], answer.spans[last - 1][1]
            score = float(np.exp(answer.values[first:last].max(axis=1)).mean())
            phrase = Phrase(given.text[start:end], start, end, min(score, 1.0))
            known = found.get(plain(phrase.text))
            if known is None:
                found[plain(phrase.text)] = phrase
            elif (known.score or 0.0) < score:  # said once, as surely as anywhere, where it stands first
                found[plain(phrase.text)] = Phrase(known.text, known.start, known.end, phrase.score)
        ranked = sorted(found.values(), key=lambda phrase: (-(phrase.score or 0.0), phrase.start))
        return Keyphrases(tuple(ranked[: self.options.top]))

    def baselines(self, train: Sequence[Tagged], examples: Sequence[Tagged]) -> Mapping[str, Sequence[Keyphrases]]:
        """The keyphrases of training that stand in the text, the most frequent ones first."""
        known = Counter(plain(phrase) for example in train for phrase in example.keyphrases)
        ranked = sorted(known, key=lambda phrase: (-known[phrase], phrase))
        return {"keyphrases of training": [self._looked_up(example.text, ranked) for example in examples]}

    def _looked_up(self, text: str, phrases: Sequence[str]) -> Keyphrases:
        cuts, found = words(text), []
        for phrase in phrases:
            place = next(places(text, phrase), None)
            if place is not None:
                start, end = cuts[place[0]][0], cuts[place[1] - 1][1]
                found.append(Phrase(text[start:end], start, end))
        return Keyphrases(tuple(found[: self.options.top]))

    @classmethod
    def samples(cls) -> Sequence[Tagged]:
        """Three texts."""
        return (
            Tagged(
                text="Word embeddings map words to vectors; we train word embeddings on news.",
                keyphrases=("word embeddings", "vectors"),
            ),
            Tagged(text="Soil moisture decides when irrigation pays.", keyphrases=("soil moisture", "irrigation")),
            Tagged(text="Nothing of note happened.", keyphrases=()),
        )

    @classmethod
    def labels_in(cls, examples: Sequence[Tagged], options: Settings) -> tuple[str, ...]:
        """O, B and I, whatever the rows."""
        if not any(example.keyphrases for example in examples):
            raise DataError("no training row has any keyphrase, so there is nothing to learn")
        return ("O", "B", "I")

    @classmethod
    def notes(cls, examples: Sequence[Tagged], options: Settings) -> tuple[str, ...]:
        """How many keyphrases do not stand in their texts."""
        absent = [
            phrase
            for example in examples
            for phrase in example.keyphrases
            if next(places(example.text, phrase), None) is None
        ]
        told = f"{len(absent)} keyphrases do not stand in their text and are not learnt; the first is"
        return (f"{told} {absent[0]!r}",) if absent else ()
