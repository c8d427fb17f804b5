"""What a caller hands over as a task's Input: a text, a mapping or a record. No file, no table, no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError, suggest
from nlpipe.rows import to_record

if TYPE_CHECKING:
    from nlpipe.task import Record, Task


def as_input(value: Any, task: Task[Any, Any, Any, Any]) -> Record:
    """A str (the Input's first field), a mapping or an Input as the task's Input.

    Raises DataError naming the right keys.
    """
    return as_record(value, task.Input, f"an input of {task.name}")


def as_record(value: Any, model: type[Record], what: str) -> Record:
    """A str (the model's first field), a mapping or a record as a record of `model`, which messages call `what`."""
    fields = list(model.model_fields)
    if isinstance(value, model):
        return value
    if isinstance(value, str):
        value = {fields[0]: value}
    if not isinstance(value, Mapping):
        raise DataError(f"{what} is a text or a mapping with {', '.join(fields)}, not {type(value).__name__}")
    unknown = [str(key) for key in value if key not in model.model_fields]
    if unknown:
        raise DataError(f"{what} has no {unknown[0]!r}; {suggest(unknown[0], fields)}")
    return to_record(value, model)
