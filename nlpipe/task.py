"""What a task plugin is: the meaning of its data, and nothing about tokens, files, devices or batches.

This file, `hookspecs.py` and `objectives/base.py` are the whole contract for a plugin author.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nlpipe.errors import UnsupportedError
from nlpipe.results import Result

if TYPE_CHECKING:
    from nlpipe.details import Detail
    from nlpipe.metrics import Metric
    from nlpipe.objectives.base import Answer, Gold, Objective, Query


class Family(StrEnum):
    """What a backbone is made of."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"


class Record(BaseModel):
    """The base of a task's Input and Example: typed rows; text is never made from a number silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @property
    def says_nothing(self) -> bool:
        """Whether the row is none, such as an empty line between paragraphs: left out of labelled rows, and counted."""
        return False


class TaskOptions(BaseModel):
    """The base of a task's own settings: what stands beside `name` under `task:` in a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Note(str):
    """A sentence about gold rows that knows its rows.

    `at` has the place of each among the examples, from 0, and what is to be seen there in words.
    """

    __slots__ = ("at",)
    at: Mapping[int, str]

    def __new__(cls, sentence: str, at: Mapping[int, str]) -> Self:
        """The sentence, and where it holds."""
        made = super().__new__(cls, sentence)
        made.at = dict(at)
        return made

    def __getnewargs__(self) -> tuple[str, Mapping[int, str]]:  # type: ignore[override]  # of str, for copies
        return str(self), self.at


@dataclass(frozen=True, slots=True)
class FormatRow:
    """One row as a Format reads it.

    `cells` are under the task's field names; others are kept as further columns. `line` is the line on which the row
    begins, from 1, None where lines mean nothing. `fault` says why a row cannot be read; its cells then do not count.
    """

    cells: Mapping[str, Any]
    line: int | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """How files of a field's own kind hold a task's rows, or answers to them. Knows lines of text, and no paths.

    `rows` reads rows to learn from, to score or to answer. `answers` reads answers made elsewhere: cells for
    `Task.told`, with the row's `id` where the format has one; else they stand in the order of the rows. `pairs` reads
    both from one file: the answer's cells as `predicted_x`. `write` turns (a row's cells, its Result) into pieces of
    text. Each is None where the format has nothing of the kind. Lines keep their ends. All raise DataError where a text
    as a whole is not of the format. `looks` says whether the beginning of a file looks like it, for those whose names
    tell nothing.
    """

    summary: str
    rows: Callable[[Iterable[str]], Iterator[FormatRow]] | None = None
    answers: Callable[[Iterable[str]], Iterator[FormatRow]] | None = None
    pairs: Callable[[Iterable[str]], Iterator[FormatRow]] | None = None
    write: Callable[[Iterable[tuple[Mapping[str, Any], Any]]], Iterator[str]] | None = None
    looks: Callable[[str], bool] | None = None


InputT = TypeVar("InputT", bound=Record)
ExampleT = TypeVar("ExampleT", bound=Record)
ResultT = TypeVar("ResultT", bound=Result)
OptionsT = TypeVar("OptionsT", bound=TaskOptions)


class Task(ABC, Generic[InputT, ExampleT, ResultT, OptionsT]):
    """Translates Examples into Queries and golds, and Answers into Results.

    One task has one Input, one Result and one list of metrics. `metrics[0]` decides which weights are best.
    An instance is configured: `labels` are the names in the order of the model's outputs (empty for a
    task without labels), `options` the task's settings; `call_options` names those of them that a single call may
    replace. `formats` are the files of the task's own kind, by the name that a recipe gives as `format`. `further` are
    metrics that are computed where a recipe (`evaluate.metrics`) or a call names them; `named` has those of them whose
    names have a part to choose.

    Of answers made elsewhere: `said_as` has the fields of the Result that they must have, the one that a bare answer is
    first, with the names that others give them. `right_lines` is the field of an Example (a list, where there may be
    several) that files of one right answer a line fill. `unanswered` is the Result of a row without an answer; None:
    each row needs one.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Input: ClassVar[type[Record]]
    Example: ClassVar[type[Record]]
    Result: ClassVar[type[Result]]
    Judged: ClassVar[type[Record] | None] = None  # what scores need of an Example, where that is less
    Item: ClassVar[type[Record] | None] = None  # of the collection that inputs are answered from, if there is one
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    metrics: ClassVar[tuple[Metric, ...]]
    further: ClassVar[tuple[Metric, ...]] = ()
    formats: ClassVar[Mapping[str, Format]] = {}
    said_as: ClassVar[Mapping[str, Sequence[str]]] = {}
    right_lines: ClassVar[str | None] = None
    unanswered: ClassVar[Any] = None
    call_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, labels: Sequence[str] = (), options: OptionsT | None = None) -> None:
        self.labels = tuple(labels)
        self.options: OptionsT = options if options is not None else self.Options()  # type: ignore[assignment]

    def with_call(self, options: Mapping[str, Any]) -> Self:
        """The task with the options of one call. Raises UnsupportedError for values that the Options refuse."""
        if not options:
            return self
        found = copy.copy(self)
        try:
            found.options = type(self.options).model_validate({**dict(self.options), **options})
        except ValidationError as error:
            first = error.errors()[0]
            raise UnsupportedError(f"option {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return found

    @classmethod
    @abstractmethod
    def row(cls) -> Mapping[Family, tuple[type[Objective], ...]]:
        """The task's row of the grid: for each family the objectives that serve it, the default first."""

    @abstractmethod
    def objective(self, kind: type[Objective]) -> Objective:
        """An objective of `kind` (one of the row's) configured with this task's labels and options."""

    @abstractmethod
    def query(self, given: InputT, objective: Objective) -> Query:
        """What to ask the model about one input. Examples come without their gold fields."""

    @abstractmethod
    def gold(self, example: ExampleT, objective: Objective) -> Gold:
        """The right answer in the objective's terms.

        Raises DataError where the example cannot be learnt or scored; the core adds the row's number.
        """

    @abstractmethod
    def result(self, answer: Answer, given: InputT) -> ResultT | Query:
        """The answer in the task's terms; a Query asks again (a summary of summaries)."""

    def tune(self, results: Sequence[ResultT], examples: Sequence[ExampleT]) -> OptionsT:
        """Options with thresholds chosen on validation rows; unchanged by default."""
        return self.options

    def baselines(self, train: Sequence[ExampleT], examples: Sequence[ExampleT]) -> Mapping[str, Sequence[ResultT]]:
        """Trivial answers to `examples` that a model has to beat, by name; learnt from `train` alone."""
        return {}

    @classmethod
    def named(cls, name: str, examples: Sequence[ExampleT] = ()) -> Sequence[Metric] | None:
        """Further metrics under names with a part to choose (`recall@100`, `f1:PER`); None where it means nothing.

        `examples` are there where a name stands for a metric of each kind that they have (`f1:each`).
        """
        return None

    def besides(self, results: Sequence[ResultT], examples: Sequence[ExampleT]) -> Sequence[Metric]:
        """The further metrics that these rows and answers are always measured by; none by default.

        Not while training, nor of the rows of the validation.
        """
        return ()

    def details(self, results: Sequence[ResultT], examples: Sequence[ExampleT]) -> Iterable[Detail]:
        """What there is to see of answers beside their scores, for a report; nothing by default."""
        return ()

    @classmethod
    @abstractmethod
    def samples(cls) -> Sequence[ExampleT]:
        """A handful of valid examples, as documentation and for the test kit."""

    @classmethod
    def options_in(cls, examples: Sequence[ExampleT], options: OptionsT) -> OptionsT:
        """The options with what they leave open read off the training rows; unchanged by default.

        Raises DataError where the rows do not fit the options.
        """
        return options

    def items_in(self, examples: Sequence[ExampleT]) -> Sequence[Record]:
        """The collection that labelled rows carry themselves, for rows that came without one; none by default."""
        return ()

    @classmethod
    def learnt(cls, examples: Sequence[ExampleT], items: Sequence[Any]) -> Iterable[tuple[int, ExampleT]]:
        """Rows to learn from, of rows that judge items of a collection: (place of the example, a row that needs none).

        Only for a task with `Item`.
        """
        raise NotImplementedError(f"{cls.name} learns from no collection")

    def item_query(self, item: Any, objective: Objective) -> Query:
        """What to ask the model about one item of a collection. Only for a task with `Item`."""
        raise NotImplementedError(f"{self.name} answers from no collection")

    def over(self, items: Sequence[Any], answers: Sequence[Answer]) -> Self:
        """The task answering from this collection; `answers` are those to `item_query`. Only with `Item`."""
        raise NotImplementedError(f"{self.name} answers from no collection")

    @classmethod
    def labels_in(cls, examples: Sequence[ExampleT], options: OptionsT) -> tuple[str, ...]:
        """The label names of a training set in an order that does not depend on the order of its rows.

        Raises DataError where there are too few to learn anything. Empty for a task without labels.
        """
        return ()

    @classmethod
    def notes(cls, examples: Sequence[ExampleT], options: OptionsT) -> tuple[str, ...]:
        """What a user should know of a set of gold rows that are not refused, such as repairs and their number.

        Each is a sentence of its own, or a Note, which also says of which rows. The core puts it behind the source's
        name, logs it once per set, and tells it in a run as `RowsNoted`; `nlpipe data check` shows the rows.
        """
        return ()

    @classmethod
    def gathered(cls, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Rows of a table of which several make one, put together, as judgements and rankings; as they are by default.

        Only for a task with `Item`. Raises DataError for rows that cannot be put together.
        """
        return rows

    def told(self, cells: Mapping[str, Any], example: ExampleT) -> Mapping[str, Any]:
        """An answer made elsewhere as the Result's fields, for answers in other forms; as it is by default.

        Raises DataError for an answer that cannot be one to this example.
        """
        return cells

    def plain(self, result: ResultT, example: ExampleT) -> tuple[Any, Any]:
        """An answer and what is right, as metrics of other libraries take them: names, numbers, texts or lists of tags.

        Of several right texts a list. Raises UnsupportedError where the task has no such form, as by default.
        """
        raise UnsupportedError(f"answers of {self.name} have no form that metrics of other libraries take")

    @classmethod
    def stratum(cls, example: ExampleT) -> str | None:
        """What a share split off the training rows keeps the proportions of; None: nothing."""
        return None

    @classmethod
    def hub_task(cls, family: Family) -> str | None:
        """What the Hugging Face Hub calls this task (its `pipeline_tag`), for model cards; None: it has no name."""
        return None

    def given(self, example: ExampleT) -> InputT:
        """The example without its gold fields: what the model is asked."""
        fields: dict[str, Any] = {name: getattr(example, name) for name in self.Input.model_fields}
        return self.Input.model_construct(**fields)  # type: ignore[return-value]
