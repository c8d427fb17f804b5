"""What a caller hands over as a task's Input: a text, a mapping or a record. No file, no table, no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nlpipe.errors import DataError, suggest
from nlpipe.rows import show, to_record

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
    needed = [name for name, field in model.model_fields.items() if field.is_required()]
    alone = len(needed) < 2  # a text serves where one field is enough
    if isinstance(value, str) and alone:
        value = {fields[0]: value}
    if not isinstance(value, Mapping):
        form = f"a text or a mapping with {', '.join(fields)}" if alone else f"a mapping with {' and '.join(needed)}"
        raise DataError(f"{what} is {form}, not {type(value).__name__}{_hint(value)}")
    unknown = [str(key) for key in value if key not in model.model_fields]
    if unknown:
        raise DataError(f"{what} has no {unknown[0]!r}; {suggest(unknown[0], fields)}")
    try:
        return to_record(value, model)
    except DataError as error:
        raise DataError(f"this is not {what}", error.problems) if error.problems else error from None


def several(values: Any, what: str, one: str) -> Iterable[Any]:
    """Values that come one after the other. Raises DataError for a single one, which would be taken to pieces.

    `what` they are, and `one` is how a single one is said.
    """
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | bytearray | Mapping):
        return values
    raise DataError(f"{what}: a list or anything else that can be gone through, not {show(values)}; for one say {one}")


def as_text(value: Any, what: str) -> str:
    """The value, where it is a text. Raises DataError otherwise."""
    if not isinstance(value, str):
        raise DataError(f"{what} is a text, not {type(value).__name__}{_hint(value)}")
    return value


def _hint(value: Any) -> str:
    """What to do about a value that is none, where that is known."""
    if isinstance(value, bytes | bytearray):
        return ": decode it first, value.decode()"
    return ""
