"""What is known of one plugin: where it comes from, what became of it, and what it said of itself unread.

Nothing here imports a plugin.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nlpipe.errors import PluginError

API_NAME = "nlpipe_api"
"""The constant by which a plugin's module says which API versions it supports: `nlpipe_api = ">=1.0,<2"`."""


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one plugin.

    `name` is the entry point's and `module` what it points at. `distribution` and `version` are None where
    the metadata do not say; `folder` is where the module lies, None where it lies nowhere. `api` is the range of API
    versions that the plugin states, None where it states none. `tasks`, the `families` that they serve and `hooks`
    are what a loaded plugin brings. `seconds` is the time that loading took, and `heavy` which of
    `plugins.HEAVY` it was the first to import; both cover the import, the check of its hooks and `nlpipe_tasks`.
    `error` is one line: why a plugin failed, or by what it was blocked. `warnings` are what is wrong with one that
    works.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    state: Literal["loaded", "blocked", "failed"]
    tasks: tuple[str, ...] = ()
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    error: str | None = None
    families: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    api: str | None = None
    folder: str | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.source})"

    @property
    def source(self) -> str:
        """The distribution and its version, as messages name them."""
        return f"{self.distribution or 'unknown distribution'} {self.version or ''}".rstrip()

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that a user should know of it, a sentence each."""
        cost = f"takes {1000 * self.seconds:,.0f} ms to load because it imports {', '.join(self.heavy)} at once; "
        told = (f"{cost}importing inside functions would cost nothing here",) if self.heavy else ()
        return (*([self.error] if self.error else []), *told, *self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def unread(entry: importlib.metadata.EntryPoint) -> PluginRecord:
    """The record of a plugin that was not imported, with what its distribution and its source text say."""
    try:
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else (None, None)
    except Exception:  # a half removed distribution has entry points and no metadata
        name, version = None, None
    source = _source(entry)
    folder = str(source.parent) if source else None
    return PluginRecord(entry.name, name, version, entry.value, "blocked", api=_stated(source), folder=folder)


def refused(api: str | None, version: str) -> str | None:
    """Why a plugin that states `api` does not work with this version of the API; None where it does.

    Raises PluginError where what it states is no range.
    """
    if api is None:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        if version in SpecifierSet(api):
            return None
    except InvalidSpecifier as error:
        raise PluginError(f"{API_NAME} is {api!r}, which is no range of versions; say such as '>=1.0,<2'") from error
    return f"it is written for the plugin API {api}, and this nlpipe has {version}: install versions that go together"


def line(error: BaseException) -> str:
    """What went wrong, in one line, and where in the plugin it did."""
    if isinstance(error, PluginError):
        return error.message
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    place = traceback.extract_tb(error.__traceback__)[-1]
    if "importlib" in place.filename or "pluggy" in place.filename:  # the plugin was not running
        return text
    return f"{text} ({Path(place.filename).name}, line {place.lineno})"


def _source(entry: importlib.metadata.EntryPoint) -> Path | None:
    """The file of the entry point's module, found without running any of it; None where there is none to read."""
    try:
        first, *rest = entry.module.split(".")
        spec = importlib.util.find_spec(first)
        name = first
        for part in rest:  # find_spec("a.b") would import a
            name = f"{name}.{part}"
            places = spec.submodule_search_locations if spec else None
            spec = importlib.machinery.PathFinder.find_spec(name, places) if places else None
    except Exception:  # whatever is wrong with it, loading will say
        return None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _stated(source: Path | None) -> str | None:
    """The value of `nlpipe_api` in a module's text, so that a plugin for another version need not be run."""
    try:
        text = source.read_text(encoding="utf-8") if source else ""
        if API_NAME not in text:
            return None
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(str(api))) if name == API_NAME:
                    return api
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(str(api))) if name == API_NAME:
                    return api
    except (OSError, ValueError, SyntaxError):
        pass  # no text to read; what is wrong with it shows when it is loaded
    return None
