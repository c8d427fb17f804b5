"""What all pipelines of version 4 had in common: inputs of several shapes, arguments twice, answers in plain values."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from nlpipe.ahead import worked_ahead
from nlpipe.answering import LOOK_AHEAD, answer
from nlpipe.compat.models import Model
from nlpipe.compat.names import Name
from nlpipe.compat.settings import Settings
from nlpipe.errors import DataError, UnsupportedError
from nlpipe.objectives.base import Objective, Query, Row, Window

log = logging.getLogger("nlpipe")

SettingsT = TypeVar("SettingsT", bound=Settings)


class Pipeline(ABC, Generic[SettingsT]):
    """A model, asked as a pipeline of transformers 4 asked it; `nlpipe.compat.pipeline` makes one.

    A list is answered with a list, a generator or a data set with an iterator, anything else is one input. Arguments
    given when it is made hold for all calls; those of a call stand over them.
    """

    framework: ClassVar[str] = "pt"
    cuts: ClassVar[bool] = False
    """Whether a long text is cut without having been asked for, as version 4 did."""

    def __init__(self, name: Name, model: Model, settings: SettingsT) -> None:
        self.task = name.given
        self.kind = name.kind
        self.name = name
        self.loaded = model
        self.settings = settings

    @classmethod
    @abstractmethod
    def asking(cls, labels: tuple[str, ...]) -> Objective:
        """The objective that a model is loaded for; `labels` are those of its head."""

    @abstractmethod
    def objective(self, settings: SettingsT) -> Objective:
        """The objective of a call."""

    @abstractmethod
    def query(self, value: Any, settings: SettingsT) -> Query:
        """What is asked about one input. Raises DataError where it is none."""

    @abstractmethod
    def told(self, found: Any, value: Any, settings: SettingsT) -> Any:
        """The objective's answer as version 4 gave it."""

    @property
    def model(self) -> Any:
        """The model itself, as transformers has it."""
        return self.loaded.network

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, as transformers has it."""
        return self.loaded.tokenizers.source.upstream

    @property
    def device(self) -> Any:
        """Where the model lies."""
        return next(self.loaded.network.parameters()).device

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """The answers to `inputs`; `options` hold for this call."""
        return self.run(inputs, self.settings.over(self.kind, options))

    def predict(self, X: Any) -> Any:
        """The same as a call."""
        return self(X)

    transform = predict

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model and its tokenizer as transformers reads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def run(self, inputs: Any, settings: SettingsT) -> Any:
        """The answers in the shape that the inputs have."""
        if isinstance(inputs, list | tuple):
            return list(self.answers(inputs, settings))
        if is_stream(inputs):
            return self.answers(inputs, settings)
        return next(self.answers([inputs], settings, alone=True))

    def answers(self, values: Iterable[Any], settings: SettingsT, *, alone: bool = False) -> Iterator[Any]:
        """The answer to each of any number of inputs, in constant memory."""
        objective = self.objective(settings)
        work = partial(self._encoded, objective=objective, settings=settings, alone=alone)
        model, said = self.loaded, not self.cuts
        for asked in worked_ahead(enumerate(values), work, LOOK_AHEAD):
            found = answer(objective, model.runner, model.tokenizers, [(query, rows) for _, query, rows in asked])
            for (value, _, rows), one in zip(asked, found, strict=True):
                if not said and rows[0].seen[0] < rows[0].seen[1]:
                    said = True
                    log.warning(
                        "a text has %d tokens, and %d of them are read: it is cut, as by transformers 4 (said once a "
                        "call)",
                        *reversed(rows[0].seen),
                    )
                yield self.told(one, value, settings)

    def _encoded(
        self, numbered: Sequence[tuple[int, Any]], *, objective: Objective, settings: SettingsT, alone: bool
    ) -> list[tuple[Any, Query, list[Row]]]:
        found = []
        for number, value in numbered:
            try:
                query = self.query(value, settings)
                found.append((value, query, objective.encode(query, None, self.loaded.tokenizers)))
            except DataError as error:
                raise error if alone else DataError(f"input {number}: {error}") from error
        return found

    def window(self, *, cut: bool, longest: int | None = None, long: str = "window") -> Window:
        """How much is read at once: `longest` tokens at most, or what the model can; `long` what becomes of more."""
        length = min(longest or self.loaded.limit, self.loaded.limit)
        return Window(max_length=length, long=cast(Any, "truncate" if cut else long))


def is_stream(inputs: Any) -> bool:
    """Whether inputs come one by one: a generator, or a data set that has a length and items."""
    if isinstance(inputs, str | bytes | Mapping | list | tuple):
        return False
    return hasattr(inputs, "__next__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def cutting(options: Mapping[str, Any] | None, argument: str) -> tuple[bool, int | None]:
    """Whether `truncation` is asked for in a mapping of the tokenizer's arguments, and its `max_length`."""
    given = dict(options or {})
    cut = given.pop("truncation", False) not in (False, None, "do_not_truncate")
    longest = given.pop("max_length", None)
    given.pop("padding", None)
    if given:
        raise UnsupportedError(
            f"{argument}: {next(iter(given))!r} is not heard; truncation, max_length and padding are (the last without "
            "effect)"
        )
    return cut, longest
