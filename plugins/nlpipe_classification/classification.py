"""Text classification: one label of a set for each text, or any number of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from nlpipe.details import Detail
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.metrics import Metric
from nlpipe.objectives import CausalText, Entailment, Objective, Seq2SeqText, SequenceLabel, prompts
from nlpipe.objectives.base import Answer, Likelihoods, Probabilities, Prompt, Query, Text
from nlpipe.objectives.entailment import Entailed
from nlpipe.objectives.sequence_label import over_windows
from nlpipe.results import Label
from nlpipe.task import Family, Task
from nlpipe_classification.answers import likeliest
from nlpipe_classification.details import details
from nlpipe_classification.examples import Labelled, Question
from nlpipe_classification.options import HEARD, Settings
from nlpipe_classification.scores import ACCURACY, FURTHER, MACRO_F1, MCC, of_label
from nlpipe_classification.words import by_words

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Classification(Task[Question, Labelled, Label, Settings]):
    """Which label holds for a text."""

    name: ClassVar[str] = "classification"
    summary: ClassVar[str] = "labels for a text or a pair of texts"
    Input = Question
    Example = Labelled
    Result = Label
    Options = Settings
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1, MCC)
    further: ClassVar[tuple[Metric, ...]] = FURTHER
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {
        "label": ("class", "category", "intent"),
        "labels": ("classes", "categories"),
        "score": ("probability", "confidence"),
        "scores": ("probabilities", "probs"),
    }
    right_lines: ClassVar[str | None] = "label"
    call_options: ClassVar[frozenset[str]] = frozenset(
        {"labels", "multi_label", "threshold", "thresholds", "windows", *HEARD}
    )

    @classmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """A head over the sequence, in every family; else, of models that write, how likely each label's words are.

        A model of inference judges any labels, without training.
        """
        return {
            Family.ENCODER: (SequenceLabel, Entailment),
            Family.DECODER: (SequenceLabel, CausalText, Entailment),
            Family.ENCODER_DECODER: (SequenceLabel, Seq2SeqText, Entailment),
        }

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """With the options of one call, among which are `labels`: those to choose from, of a model that takes any."""
        rest = {name: value for name, value in options.items() if name != "labels"}
        if "threshold" in rest:
            rest.setdefault("thresholds", {})  # what was tuned gives way to what is said
        found = copy.copy(super().with_call(rest))
        if "labels" in options:
            found.labels = _distinct(options["labels"])
        return found

    def objective(self, kind: type[Objective]) -> Objective:
        """One label among all, or each label by itself."""
        self.options.check(kind)
        if kind is Entailment:
            return Entailment()
        if kind in {CausalText, Seq2SeqText}:
            return CausalText() if kind is CausalText else Seq2SeqText()
        kinds: Any = "multi" if self.options.multi_label else "single"
        return SequenceLabel(labels=self.labels, kind=kinds, windows=self.options.windows)

    def query(self, given: Question, objective: Objective) -> Query:
        """The text as it is; of a model that writes, which label's words follow it; of inference, sentences on it."""
        self.options.check(type(objective))
        if isinstance(objective, SequenceLabel):
            self._check_head(objective)
            return Text(given.text, given.text_pair)
        if not self.labels:
            raise UnsupportedError(
                "this model must be told the labels: pipe(text, labels=[…]), or nlpipe.pipeline(…, labels=[…])"
            )
        if isinstance(objective, Entailment):
            if given.text_pair is not None:
                raise DataError("asked as Entailment, a model reads one text; this input has a `text_pair`")
            return Text(given.text, choices=tuple(map(self._sentence, self.labels)))
        pair = given.text_pair is not None
        template = self.options.pair_template if pair else self.options.template
        values = {"text": given.text, "text_pair": given.text_pair or ""}
        # Of a pair neither text can be read in pieces: what is asked is how they stand to each other.
        segments = prompts.fill(template, values, {"text": "end" if pair else "pieces"})
        return Prompt(segments, choices=tuple(map(self._word, self.labels)))

    def _check_head(self, objective: SequenceLabel) -> None:
        """Raise UnsupportedError where a call asks of a head what it was not trained for."""
        if self.labels != objective.labels:
            hint = "; to have it judge any labels: nlpipe.pipeline(…, objective='Entailment')"
            raise UnsupportedError(
                f"labels: this model was trained for {', '.join(objective.labels)} and knows no others"
                + hint * Entailment.fits(objective.labels)
            )
        if self.options.multi_label != (objective.kind == "multi"):
            trained = "any number of labels" if objective.kind == "multi" else "exactly one label"
            raise UnsupportedError(f"multi_label: this model was trained for {trained} per text; leave it out")

    def _word(self, label: str) -> str:
        return self.options.words.get(label, label)

    def _sentence(self, label: str) -> str:
        return "".join(part.text for part in prompts.fill(self.options.hypothesis, {"label": self._word(label)}, {}))

    def gold(self, example: Labelled, objective: Objective) -> int | list[int] | str:
        """The label's index, or the indices of all labels; its words for a model that writes."""
        self._check(example)
        for name in example.names:
            if name not in self.labels:
                raise DataError(f"label {name!r} does not occur in training; {suggest(name, self.labels)}")
        if isinstance(objective, CausalText | Seq2SeqText):
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
        return self._answered(dict(zip(self.labels, self._values(answer), strict=True)))

    def _values(self, answer: Answer) -> list[float]:
        """Each label's probability."""
        if isinstance(answer, Probabilities):
            values = answer.values
        elif isinstance(answer, Entailed):
            several = self.options.multi_label
            # Of several, each by itself: entailed or not. Of one, entailed rather than the others.
            each = 1 / (1 + np.exp(answer.no - answer.yes)) if several else _shares(answer.yes)
            values = over_windows(each, self.options.windows, whole=not several)
        else:
            assert isinstance(answer, Likelihoods)
            values = over_windows(_shares(answer.log_probabilities), self.options.windows, whole=True)
        return [float(value) for value in values]

    def _held(self, scores: Mapping[str, float]) -> Label:
        """The labels that hold, each from its threshold on."""
        least = {name: self.options.thresholds.get(name, self.options.threshold) for name in scores}
        held = tuple(name for name, score in scores.items() if score >= least[name])
        if not held:
            return Label(None, None, scores, ())
        best = max(held, key=lambda name: scores[name])
        return Label(best, scores[best], scores, held)

    def told(self, cells: Mapping[str, Any], example: Labelled) -> Mapping[str, Any]:
        """Also a label alone, all `labels` that hold, or the probabilities alone; spelt as in rows."""
        cells = likeliest(cells)
        if "label" not in cells and "labels" not in cells:
            return cells
        lists = [cells[name] for name in ("labels", "label") if isinstance(cells.get(name), list)]
        given = lists[0] if lists else [cells.get("label")]
        named = [name for name in given if name is not None]
        if odd := [name for name in named if not isinstance(name, str | int)]:
            raise DataError(f"a label is a name or a number, not {odd[0]!r}")
        spelt = self._spelt
        names = spelt(named)
        scores = {spelt([name])[0]: value for name, value in (cells.get("scores") or {}).items()}
        first = names[0] if names else None
        return {"score": None, **cells, "label": first, "labels": list(names), "scores": scores}

    def _spelt(self, names: Sequence[str | int]) -> tuple[str, ...]:
        return self.Example(text="", labels=tuple(names)).names

    def tune(self, results: Sequence[Label], examples: Sequence[Labelled]) -> Settings:
        """With several labels, each one's threshold of the best F1 on validation rows, in steps of 0.05.

        So the macro F1 is best, too. A label that no row has keeps its threshold; so does one that gains nothing.
        """
        if not self.options.multi_label or not results:
            return self.options
        found = dict(self.options.thresholds)
        for name in self.labels:
            scores = np.array([result.scores[name] for result in results])
            right = np.array([name in example.names for example in examples])
            if right.any():
                usual = found.get(name, self.options.threshold)
                found[name] = max([usual, *_STEPS], key=lambda least: _f1(scores >= least, right))
        return self.options.model_copy(update={"thresholds": found})

    def baselines(self, train: Sequence[Labelled], examples: Sequence[Labelled]) -> Mapping[str, Sequence[Label]]:
        """The labels that training has most often, whatever the text; a logistic regression on words."""
        (names, _), *_ = Counter(example.names for example in train).most_common(1)
        scores = {label: float(label in names) for label in self.labels}
        first = names[0] if names else None
        found = {"majority": [Label(first, 1.0 if names else None, scores, names)] * len(examples)}
        learnt = by_words(train, examples, self.labels, multi=self.options.multi_label)
        return found if learnt is None else found | {"TF-IDF + logistic regression": list(map(self._answered, learnt))}

    def _answered(self, scores: Mapping[str, float]) -> Label:
        best = max(scores, key=scores.__getitem__)
        return self._held(scores) if self.options.multi_label else Label(best, scores[best], scores, (best,))

    @classmethod
    def named(cls, name: str, examples: Sequence[Labelled] = ()) -> Sequence[Metric] | None:
        """`f1:LABEL`: the F1 of one label; `f1:each`: of each label that the rows have."""
        score, _, label = name.partition(":")
        if score != "f1" or not label:
            return None
        names = sorted({one for example in examples for one in example.names}) if label == "each" else [label]
        return [of_label(one) for one in names]

    def details(self, results: Sequence[Label], examples: Sequence[Labelled]) -> Iterable[Detail]:
        """Label by label, confusions, calibration, thresholds, the most confident errors."""
        one = None if self.options.thresholds else self.options.threshold
        return details(results, examples, multi=self.options.multi_label, threshold=one)

    def plain(self, result: Label, example: Labelled) -> tuple[Any, Any]:
        """The labels' names; of several each as a list."""
        if self.options.multi_label:
            return list(result.labels), list(example.names)
        return result.label or "", example.names[0] if example.names else ""

    @classmethod
    def stratum(cls, example: Labelled) -> str:
        """The labels: a share of the rows has each of them in proportion."""
        return "\n".join(sorted(example.names))

    @classmethod
    def hub_task(cls, family: Family) -> str:
        """What the Hub calls it."""
        return "text-classification"

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


_STEPS = [round(0.05 * step, 2) for step in range(1, 20)]


def _f1(said: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    return float(2 * (said & right).sum() / (said.sum() + right.sum()))


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The softmax over labels, [pieces, labels]: log-likelihoods or logits as shares of their sum."""
    shares: NDArray[np.float64] = np.exp(values - values.max(axis=1, keepdims=True))
    whole: NDArray[np.float64] = shares.sum(axis=1, keepdims=True)
    return shares / whole


def _distinct(labels: Any) -> tuple[str, ...]:
    """Labels given for one call. Raises UnsupportedError where they are no list of different names."""
    if not isinstance(labels, list | tuple) or not labels or not all(isinstance(one, str) and one for one in labels):
        raise UnsupportedError(f"labels must be a list of names, is {labels!r}")
    if twice := next((one for one in labels if labels.count(one) > 1), None):
        raise UnsupportedError(f"labels has {twice!r} more than once")
    return tuple(labels)
