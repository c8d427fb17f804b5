"""A record as checks see it: the texts that are asked about, and the answer. Knows no task by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpipe.task import Record, Task


@dataclass(frozen=True, eq=False)
class View:
    """One labelled row: `number` is its row in the source, `fields` the input's fields as texts, `gold` the rest.

    `answer` is the gold to be read: its texts one after the other.
    """

    number: int
    fields: Mapping[str, str]
    gold: str
    stratum: str | None
    answer: str = ""

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The input without what a reader does not see: letter case, spaces, the form of accents, punctuation."""
        return tuple(plain(text) for text in self.fields.values())

    @property
    def text(self) -> str:
        """The input's texts in a row."""
        return " | ".join(text for text in self.fields.values() if text)


def views(task: type[Task[Any, Any, Any, Any]], examples: Sequence[Record], numbers: Sequence[int]) -> list[View]:
    """The records with their row numbers."""
    asked = set(task.Input.model_fields)
    kinds, found = list(task.Example.model_fields), []
    for number, example in zip(numbers, examples, strict=True):
        fields = {name: value for name in kinds if (value := getattr(example, name)) is not None}
        inputs = {name: " ".join(_texts(fields[name])) for name in fields if name in asked}
        golds = [fields[name] for name in sorted(fields) if name not in asked]
        answer = " | ".join(text for value in golds if (text := _said(value)))
        found.append(View(number, inputs, repr(list(map(_comparable, golds))), task.stratum(example), answer))
    return found


def plain(text: str) -> str:
    """Letters and digits alone, without case, in compatibility form (NFKC), single spaces between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded).split())


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)
    elif hasattr(value, "model_dump"):
        yield from _texts(value.model_dump())
    elif value is not None:
        yield str(value)


def _said(value: Any) -> str:
    """A gold to be read: texts as they are, of mappings the names too."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text}" for name, item in value.items() if (text := _said(item)))
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        texts = [text for item in value if (text := _said(item))]
        return (" · " if any(" " in text for text in texts) else " ").join(texts)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _comparable(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value
