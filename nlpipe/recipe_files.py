"""From a recipe's file, its parents and the command line to one document. Knows where files are, not what they mean.

The few keys that hold paths are the exception: a relative path belongs to the file that wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlpipe.errors import Problem, RecipeError, nearest
from nlpipe.recipe_sources import PATHS
from nlpipe.recipe_words import Key, dotted, shown
from nlpipe.recipe_yaml import FAULTY, Document, Mark, UnreadableError, parse

MAX_BYTES = 1_000_000
COMMAND_LINE = Mark("--set", 0)


def shipped() -> dict[str, Path]:
    """The recipes that come with nlpipe: a name such as `quickstart/NAME.yaml`, and its file, sorted."""
    package = Path(__file__).parent
    # An editable install finds them in the checkout, beside the package.
    folder = next((f for f in (package / "recipes", package.parent / "recipes") if f.is_dir()), None)
    files = [file for end in ("*.yaml", "*.yml") for file in folder.rglob(end)] if folder else []
    return {file.relative_to(folder).as_posix(): file for file in sorted(files)} if folder else {}


def find(path: str | os.PathLike[str]) -> Path:
    """The recipe's file: the path itself, else a shipped recipe of that name. Raises RecipeError."""
    file = _home(os.fspath(path))
    if file.is_file():
        return file
    if file.is_dir():
        raise RecipeError(f"{path} is a folder, not a recipe")
    name, known = file.as_posix().removeprefix("recipes/"), shipped()
    if name in known:
        return known[name]
    alike = {shipped_name for shipped_name in known if Path(shipped_name).stem == file.stem}
    if near := nearest(name, known):
        alike.add(near)
    hint = f"; nlpipe ships {' and '.join(sorted(alike))}" if alike else ""
    raise RecipeError(f"there is no recipe {path}{hint}")


def load(path: str | os.PathLike[str], overrides: Sequence[str], environ: Mapping[str, str]) -> Document:
    """The recipe at `path` with its parents merged in and `overrides` (`train.epochs=1`) put over it.

    Raises RecipeError where a file cannot be read at all; what is wrong with single values becomes the
    document's faults.
    """
    main = find(path)
    document = _Files(str(path), main, environ).document(main, ())
    for override in overrides:
        document = _merge(document, _override(override, document, environ))
    return document


class _Files:
    """Reads one recipe and its parents, and names them in messages."""

    def __init__(self, title: str, main: Path, environ: Mapping[str, str]) -> None:
        self.title, self.folder, self.environ = title, main.parent, environ

    def document(self, file: Path, children: tuple[Path, ...], asked: Mark | None = None) -> Document:
        """The file's document over its parents'. `asked` is the place that says `extends`."""
        name = self._name(file) if children else ""
        try:
            document = parse(_text(file), name, self.environ)
        except UnreadableError as error:
            raise self._error(error.where, "", error.reason) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if asked is None:
                raise RecipeError(f"{self.title} cannot be read: {reason}") from error
            raise self._error(str(asked), "extends", f"{name} cannot be read: {reason}") from error
        if not isinstance(document.value, dict):
            raise self._no_mapping(document, name, asked)
        if isinstance(task := document.value.get("task"), str):
            document.value["task"] = {"name": task}
            document.marks["task", "name"] = document.marks["task",]
        _place(document.value, file.parent)
        parent = document.value.pop("extends", None)
        return document if parent is None else self._extended(document, parent, file, children)

    def _extended(self, document: Document, parent: Any, file: Path, children: tuple[Path, ...]) -> Document:
        mark = document.marks["extends",]
        if ("extends",) in document.faults:
            # Without its parent nothing can be said about the rest.
            raise self._error(str(mark), "extends", document.faults["extends",][1])
        if not isinstance(parent, str):
            raise self._error(str(mark), "extends", f"must be the path of one recipe, is {shown(parent)}")
        base = Path(os.path.normpath(file.parent / _home(parent)))
        line = [*children, file]
        if any(_same(base, child) for child in line):
            names = " → ".join(child.name for child in [*line, base])
            raise self._error(str(mark), "extends", f"goes round in a circle: {names}")
        return _merge(self.document(base, (*children, file), mark), document)

    def _name(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.folder)).as_posix()

    def _error(self, where: str, key: str, reason: str) -> RecipeError:
        return RecipeError(f"{self.title} has 1 problem", [Problem(where, key, reason)])

    def _no_mapping(self, document: Document, name: str, asked: Mark | None) -> RecipeError:
        if () in document.faults:
            mark, reason = document.faults[()]
            return self._error(str(mark), "", reason)
        empty = document.value is None
        reason = "is empty" if empty else f"must be a mapping (task:, model:, data: …), is {shown(document.value)}"
        if asked is not None:
            return self._error(str(asked), "extends", f"{name} {reason}")
        return RecipeError(f"{self.title} {reason}" + ("; `nlpipe recipe new TASK` writes a first one" * empty))


def _text(file: Path) -> str:
    """The file's text. Raises OSError, or ValueError for what is too large or not UTF-8."""
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text") from error


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _place(value: dict[str, Any], folder: Path) -> None:
    """Relative paths of data, and a backbone or tokenizer that is one, become absolute; `~` becomes the home."""
    data, model, output = value.get("data"), value.get("model"), value.get("output")
    if isinstance(data, dict):
        for name in ("train", "validation", "test"):
            source = data.get(name)
            if isinstance(source, str):
                data[name] = _absolute(source, folder)
            elif isinstance(source, dict):
                for key in PATHS:
                    if isinstance(source.get(key), str):
                        source[key] = _absolute(source[key], folder)
    for name in ("backbone", "tokenizer"):
        if isinstance(model, dict) and str(model.get(name)).startswith(("./", "../", "~")):
            model[name] = _absolute(model[name], folder)
    if isinstance(output, dict) and str(output.get("dir")).startswith("~"):
        output["dir"] = str(_home(output["dir"]))


def _home(path: str) -> Path:
    # Path.expanduser() would raise for the home of a user who is not there.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _absolute(path: str, folder: Path) -> str:
    # "" and rows that came from Python (`<DataFrame, 3 rows>`) are refused later, by what they say.
    if "://" in path or not path or path.startswith("<"):
        return path
    # Not Path.resolve(): a link keeps the name that its owner gave it.
    return os.path.abspath(folder / _home(path))  # noqa: PTH100


def _merge(base: Document, over: Document) -> Document:
    """`over` on top of `base`: mappings merge; the rest replaces, and with it what was wrong with it."""
    replaced: list[Key] = []

    def merged(low: Any, high: Any, key: Key) -> Any:
        if not (isinstance(low, dict) and isinstance(high, dict)):
            replaced.append(key)
            return high
        both = {name: merged(low[name], high[name], (*key, name)) for name in low if name in high}
        return {**low, **high, **both}

    value = merged(base.value, over.value, ())
    faults = {key: fault for key, fault in base.faults.items() if not _under(key, replaced)}
    return Document(value, {**base.marks, **over.marks}, {**faults, **over.faults})


def _under(key: Key, sections: Sequence[Key]) -> bool:
    return any(key[: len(section)] == section for section in sections)


def _override(text: str, document: Document, environ: Mapping[str, str]) -> Document:
    """`train.epochs=1` as a document of one value, to be merged over `document`."""
    name, equals, written = text.partition("=")
    key: Key = tuple(name.strip().split("."))
    if not equals or not all(key):
        return _failed((text,), "must look like KEY=VALUE, for example train.epochs=1")
    outer = document.value
    for depth, part in enumerate(key[:-1], start=1):
        outer = outer.get(part)
        if outer is None or outer == FAULTY:
            break
        if not isinstance(outer, dict):
            return _failed(key, f"'{dotted(key[:depth])}' is {shown(outer)} here, which has no settings of its own")
    try:
        found = parse(written, "--set", environ, first_line=0)
    except UnreadableError as error:
        return _failed(key, error.reason)
    value, faults = found.value, found.faults
    if not written.strip():
        faults = {(): (COMMAND_LINE, "is empty; write null for none")}
    if key == ("task",) and isinstance(value, str):
        key = ("task", "name")
    return _nested(key, value, {(*key, *rest): fault for rest, fault in faults.items()})


def _failed(key: Key, reason: str) -> Document:
    return Document({}, {}, {key: (COMMAND_LINE, reason)})


def _nested(key: Key, value: Any, faults: dict[Key, tuple[Mark, str]]) -> Document:
    marks: dict[Key, Mark] = {key: COMMAND_LINE}
    for part in reversed(key):
        value = {part: value}
    _place(value, Path.cwd())
    return Document(value, marks, faults)
