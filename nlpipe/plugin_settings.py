"""Which plugins are left out, and by whose wish: a flag, the environment, or a settings file.

The settings file is the `nlpipe.toml`, or the `pyproject.toml` with a table `[tool.nlpipe]`, in the folder where
nlpipe was started or else the nearest one above it. It has one setting:

    disable_plugins = ["mine"]
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from nlpipe.errors import PluginError, nearest, suggest
from nlpipe.plugin_records import PluginRecord

log = logging.getLogger("nlpipe")

NO_PLUGIN = "NLPIPE_NO_PLUGIN"
"""The environment variable with the names of plugins to leave out, separated by commas."""

KEY = "disable_plugins"


def left_out(blocked: Collection[str], found: Iterable[PluginRecord], *, start: Path | None = None) -> dict[str, str]:
    """The names of plugins and distributions to leave out, each with what asked for it.

    A name in `blocked` must exist. The environment and a settings file may serve many machines, so a name that this
    one lacks is no mistake there; one that nearly exists is warned of. Settings are looked for from `start` (the
    working directory) upwards. Raises PluginError.
    """
    known = dict.fromkeys(name for record in found for name in (record.name, record.distribution) if name)
    unknown = [name for name in blocked if name not in known]
    if unknown:
        raise PluginError(f"no plugin '{unknown[0]}' to leave out; {suggest(unknown[0], known)}")
    path, listed = _settings(start or Path.cwd())
    given = [name.strip() for name in os.environ.get(NO_PLUGIN, "").split(",") if name.strip()]
    asked = [*((name, str(path)) for name in listed), *((name, NO_PLUGIN) for name in given)]
    for name, where in asked:
        if name not in known and (near := nearest(name, known)):
            log.warning("%s leaves out '%s', and there is no such plugin; did you mean '%s'?", where, name, near)
    return dict(asked) | dict.fromkeys(blocked, "--no-plugin")


def _settings(start: Path) -> tuple[Path | None, list[str]]:
    """The nearest settings file and the names it lists."""
    for folder in (start, *start.parents):
        for name in ("nlpipe.toml", "pyproject.toml"):
            path = folder / name
            table = _table(path) if path.is_file() else None
            if table is not None:
                return path, _names(table, path)
    return None, []


def _table(path: Path) -> dict[str, Any] | None:
    """The settings in a file; None for a `pyproject.toml` that has none."""
    try:
        content = path.read_text(encoding="utf-8")
        if path.name == "pyproject.toml" and "nlpipe" not in content:
            return None
        whole = tomllib.loads(content)
    except (OSError, ValueError) as error:
        if path.name == "pyproject.toml":  # somebody else's file, with their own way of reading it
            return None
        raise PluginError(f"{path} cannot be read: {error}") from error
    if path.name == "nlpipe.toml":
        return whole
    tools = whole.get("tool", {})
    found = tools.get("nlpipe") if isinstance(tools, dict) else None
    if found is not None and not isinstance(found, dict):
        raise PluginError(f"{path}: tool.nlpipe is no table")
    return found


def _names(table: dict[str, Any], path: Path) -> list[str]:
    unknown = [key for key in table if key != KEY]
    if unknown:
        raise PluginError(f"{path}: unknown setting '{unknown[0]}'; {suggest(unknown[0], [KEY])}")
    names = table.get(KEY, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PluginError(f'{path}: {KEY} is a list of names, such as ["mine"]; it is {names!r}')
    return names
