"""Text classification: one label of a set for each text, or any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Objective, Seq2SeqText, SequenceLabel, prompts
from nlpipe.objectives.base import Answer, Likelihoods, Probabilities, Prompt, Query, Text
from nlpipe.results import Label
from nlpipe.task import Family, Record, Task, TaskOptions
from nlpipe_classification.scores import ACCURACY, MACRO_F1, MCC


class Question(Record):
    """A text, or two whose relation is asked for."""

    text: str
    text_pair: str | None = None


class Labelled(Question):
    """An input with its label, or with all its labels."""

    label: str | int | None = None
    labels: tuple[str | int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The right labels, as text: a data set's class number 3 is the label "3"."""
        given = self.labels if self.labels is not None else () if self.label is None else (self.label,)
        return tuple(str(label) for label in given)


class Settings(TaskOptions):
    """What stands beside `name: classification` in a recipe."""

    multi_label: bool = Field(False, description="any number of labels may hold; rows carry `labels`, a list")
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="probability from which a label holds, if multi_label; tuned on validation",
    )
    template: str = Field(
        "{text}\nLabel:", description="what a model that writes is asked, with {text}, before the label as its answer"
    )
    pair_template: str = Field(
        "{text}\n{text_pair}\nLabel:", description="the same for a pair, with {text} and {text_pair}"
    )
    words: dict[str, str] = Field({}, description="what a label is called in the answer, where not by its name")

    @field_validator("template", "pair_template")
    @classmethod
    def _names_the_texts(cls, template: str, info: ValidationInfo) -> str:
        fields = ["text"] if info.field_name == "template" else ["text", "text_pair"]
        return prompts.check(template, fields, needed=fields)


class Classification(Task[Question, Labelled, Label, Settings]):
    """Which label holds for a text."""

    name: ClassVar[str] = "classification"
    summary: ClassVar[str] = "labels for a text or a pair of texts"
    Input = Question
    Example = Labelled
    Result = Label
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1, MCC)

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """A head over the sequence, in every family; else, of models that write, how likely each label's words are."""
        return {
            Family.ENCODER: (SequenceLabel,),
            Family.DECODER: (SequenceLabel, CausalText),
            Family.ENCODER_DECODER: (SequenceLabel, Seq2SeqText),
        }

    def objective(self, kind: type[Objective]) -> Objective:
        """One label among all, or each label by itself; the latter needs a head."""
        if kind in {CausalText, Seq2SeqText}:
            if self.options.multi_label:
                raise UnsupportedError(
                    f"task.multi_label: as {kind.__name__} one label is written; set model.objective: SequenceLabel"
                )
            return CausalText() if kind is CausalText else Seq2SeqText()
        return SequenceLabel(labels=self.labels, kind="multi" if self.options.multi_label else "single")

    def query(self, given: Question, objective: Objective) -> Query:
        """The text as it is; of a model that writes, which label's words follow it."""
        if isinstance(objective, SequenceLabel):
            return Text(given.text, given.text_pair)
        if not self.labels:
            raise DataError("a model that writes must be told the labels: nlpipe.pipeline(…, labels=[…])")
        pair = given.text_pair is not None
        template = self.options.pair_template if pair else self.options.template
        values = {"text": given.text, "text_pair": given.text_pair or ""}
        # Of a pair neither text can be read in pieces: what is asked is how they stand to each other.
        segments = prompts.fill(template, values, {"text": "end" if pair else "pieces"})
        return Prompt(segments, choices=tuple(map(self._word, self.labels)))

    def _word(self, label: str) -> str:
        return self.options.words.get(label, label)

    def gold(self, example: Labelled, objective: Objective) -> int | list[int] | str:
        """The label's index, or the indices of all labels; its words for a model that writes."""
        self._check(example)
        for name in example.names:
            if name not in self.labels:
                raise DataError(f"label {name!r} does not occur in training; {suggest(name, self.labels)}")
        if not isinstance(objective, SequenceLabel):
            return self._word(example.names[0])
        indices = [self.labels.index(name) for name in example.names]
        return indices if self.options.multi_label else indices[0]

    def _check(self, example: Labelled) -> None:
        if self.options.multi_label:
            if example.labels is None:
                raise DataError("`labels` (a list) is missing; it may be empty, but must be there")
        elif example.label is None:
            raise DataError("`label` is missing (for several labels per row: task.multi_label: true)")
        elif not example.names[0].strip():
            raise DataError("`label` is empty")

    def result(self, answer: Answer, given: Question) -> Label:
        """The likeliest label, with all probabilities."""
        values = _shares(answer) if isinstance(answer, Likelihoods) else _values(answer)
        scores = dict(zip(self.labels, values, strict=True))
        best = max(scores, key=scores.__getitem__)
        if not self.options.multi_label:
            return Label(best, scores[best], scores, (best,))
        held = tuple(name for name in self.labels if scores[name] >= self.options.threshold)
        return Label(best, scores[best], scores, held) if held else Label(None, None, scores, ())

    def told(self, cells: Mapping[str, Any], example: Labelled) -> Mapping[str, Any]:
        """Also a label alone, or all `labels` that hold; spelt as in rows."""
        if "label" not in cells and "labels" not in cells:
            return cells
        given = cells["labels"] if isinstance(cells.get("labels"), list) else [cells.get("label")]
        named = [name for name in given if name is not None]
        if odd := [name for name in named if not isinstance(name, str | int)]:
            raise DataError(f"a label is a name or a number, not {odd[0]!r}")
        names = self.Example(text="", labels=tuple(named)).names
        scores = cells.get("scores") or {}
        first = names[0] if names else None
        return {"score": None, **cells, "label": first, "labels": list(names), "scores": scores}

    def tune(self, results: Sequence[Label], examples: Sequence[Labelled]) -> Settings:
        """With several labels, the threshold of the best macro F1 on validation rows, in steps of 0.05."""
        if not self.options.multi_label:
            return self.options

        def score(threshold: float) -> float:
            moved = [
                Label(None, None, r.scores, tuple(n for n, s in r.scores.items() if s >= threshold)) for r in results
            ]
            return MACRO_F1.score(moved, examples)

        # The default wins ties, so that a threshold moves only where it helps.
        steps = [0.5, *(round(0.05 * step, 2) for step in range(1, 20))]
        return self.options.model_copy(update={"threshold": max(steps, key=score)})

    def baselines(self, train: Sequence[Labelled], examples: Sequence[Labelled]) -> Mapping[str, Sequence[Label]]:
        """The labels that training has most often, whatever the text."""
        (names, _), *_ = Counter(example.names for example in train).most_common(1)
        scores = {label: float(label in names) for label in self.labels}
        first = names[0] if names else None
        return {"majority": [Label(first, 1.0 if names else None, scores, names)] * len(examples)}

    @classmethod
    def stratum(cls, example: Labelled) -> str:
        """The labels: a share of the rows has each of them in proportion."""
        return "\n".join(sorted(example.names))

    @classmethod
    def samples(cls) -> Sequence[Labelled]:
        """Three questions and what they are about."""
        return (
            Labelled(text="When does the last train leave?", label="time"),
            Labelled(text="Where can I leave my suitcase?", label="place"),
            Labelled(text="What time do you open on Sundays?", label="time"),
        )

    @classmethod
    def labels_in(cls, examples: Sequence[Labelled], options: Settings) -> tuple[str, ...]:
        """All labels, numbers in their order and names in theirs."""
        found = {name for example in examples for name in example.names}
        if not options.multi_label and len(found) < 2:
            there = f"only {found.pop()!r}" if found else "no label"
            raise DataError(f"the training rows have {there}; there must be at least two to tell apart")
        if not found:
            raise DataError("no training row has any label")
        numbers = all(name.lstrip("-").isdigit() for name in found)
        return tuple(sorted(found, key=int if numbers else str))


def _values(answer: Answer) -> list[float]:
    assert isinstance(answer, Probabilities)
    return [float(value) for value in answer.values]


def _shares(answer: Likelihoods) -> list[float]:
    """The labels' likelihoods as shares of their sum; the mean over the pieces of a long text."""
    import numpy as np

    values = answer.log_probabilities
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    return [float(share) for share in (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)]
