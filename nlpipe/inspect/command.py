"""What `nlpipe inspect` does: a view by its name, settings from words, the result on a terminal or in a file."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpipe import inspect as package
from nlpipe.errors import DataError, UnsupportedError, suggest
from nlpipe.files import atomic_write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nlpipe.inspect.view import View


def run(
    what: str, model: str, texts: Sequence[str], changes: Sequence[str] = (), *, offline: bool = False
) -> tuple[View, int]:
    """The view `what` of a model, and the first token to be shown.

    `changes` are NAME=VALUE settings: those of the view's function, and `first`. Raises UnsupportedError for a view
    or a setting that is not there, DataError for a value of another type.
    """
    if what not in package.VIEWS:
        raise UnsupportedError(f"there is no view {what!r}; {suggest(what, package.VIEWS)}")
    if not texts:
        raise DataError("there is no text; give at least one behind the model")
    function = getattr(package, what)
    settings = _settings(what, function, changes)
    first = int(settings.pop("first", 1))
    found: View = function(package.load(model, offline=offline), *_texts(what, function, texts), **settings)
    found.check_first(first)
    return found, first


def render(view: View, *, first: int = 1) -> RenderableType:
    """The view for a terminal."""
    view.check_first(first)
    drawing = importlib.import_module(f"nlpipe.inspect.terminal.{view.what}")
    found: RenderableType = drawing.render(view, first)
    return found


def save(view: View, file: str, *, first: int = 1) -> Path:
    """The view's page in a file. Raises DataError where its folder is not there."""
    path = Path(file).expanduser()
    if not path.parent.is_dir():
        raise DataError(f"there is no folder {path.parent} to write {path.name} into")
    atomic_write(path, view.to_html(first=first))
    return path


def _texts(what: str, function: Any, texts: Sequence[str]) -> Sequence[str]:
    """The texts, if the view takes as many."""
    taken = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY][1:]
    if not any(p.kind is p.VAR_POSITIONAL for p in taken) and len(texts) > len(taken):
        names = " and ".join(p.name for p in taken)
        raise DataError(f"{what} takes {len(taken)} text{'s' * (len(taken) > 1)} ({names}), not {len(texts)}")
    return texts


def _settings(what: str, function: Any, changes: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as arguments of the view's function."""
    hints = typing.get_type_hints(function)
    keywords = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = {name: hints[name] for name in keywords} | {"first": int}
    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise DataError(f"--set {change}: say NAME=VALUE, such as {keywords[0]}=…")
        if name not in known:
            raise UnsupportedError(f"{what} has no setting {name!r}; {suggest(name, known)}")
        found[name] = _value(name, value.strip(), known[name])
    return found


def _value(name: str, text: str, kind: Any) -> Any:
    """A word as a value of the argument's type."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) else (kind,)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if typing.get_origin(kind) is Sequence:
        return [part.strip() for part in text.split(",") if part.strip()]
    readers: dict[type, Callable[[str], Any]] = {bool: _bool, int: int, float: float}
    for one, reader in readers.items():
        if one in kinds:
            try:
                return reader(text)
            except ValueError:
                wanted = {bool: "true or false", int: "a whole number", float: "a number"}[one]
                raise DataError(f"{name} must be {wanted}, is {text!r}") from None
    return text


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "yes", "1")
