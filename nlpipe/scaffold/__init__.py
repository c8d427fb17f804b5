"""`nlpipe plugin new`: a complete package for a plugin, written from the templates in the folders beside this file.

A template is a file as it will be, with `{{name}}` and the other words of `_words` in it; in paths `NAME` stands for
the name and `dot_` for a leading dot. `common` goes into every package, and one more folder says which kind it is.
Knows no task.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from nlpipe.errors import PluginError
from nlpipe.hookspecs import API_VERSION
from nlpipe.plugins import Plugins

Kind = Literal["task", "objective", "dataset", "listener"]

_TEMPLATES = Path(__file__).parent

_SUMMARIES: Mapping[Kind, str] = {
    "task": "The task {name}",
    "objective": "An objective for labels in an order, and the task {name} that uses it",
    "dataset": "Tables of a SQLite file as data",
    "listener": "A diary of runs",
}


def write(name: str, kind: Kind, folder: Path, plugins: Plugins) -> list[Path]:
    """Write the package `nlpipe-NAME` to `folder`, which must not be there or be empty; its files, in order.

    Raises PluginError for a name that cannot be one or is taken by one of `plugins`, and for a folder in use.
    """
    _check_name(name, plugins)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder} is there already; say --path FOLDER, or remove it")
    words = _words(name, kind)
    written = []
    for source in (_TEMPLATES / "common", _TEMPLATES / kind):
        for template in sorted(source.rglob("*")):
            if template.is_file():
                target = folder / _place(template.relative_to(source), name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(_filled(template.read_text(encoding="utf-8"), words), encoding="utf-8")
                written.append(target)
    return sorted(written)


def _check_name(name: str, plugins: Plugins) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        plain = re.sub(r"\W+", "_", name.lower()).strip("_")
        good = re.fullmatch(r"[a-z][a-z0-9_]*", plain) and not keyword.iskeyword(plain)
        hint = f"; '{plain}' would do" if good and plain != name else ""
        rule = "lower-case letters, digits and _, and no word that Python keeps for itself"
        raise PluginError(f"'{name}' cannot be the name of a task and of a Python module: {rule}{hint}")
    if name.startswith("nlpipe"):
        raise PluginError(f"the package will be called nlpipe-{name}; leave 'nlpipe' out of the name")
    for record in plugins.records:
        if name == record.name or name in record.tasks:
            raise PluginError(f"the name '{name}' is taken by {record}; choose another")
    if name in plugins.tasks or importlib.util.find_spec(f"nlpipe_{name}"):
        raise PluginError(f"there is a Python module nlpipe_{name} already; choose another name")


def _words(name: str, kind: Kind) -> Mapping[str, str]:
    from nlpipe import __version__

    major = API_VERSION.partition(".")[0]
    return {
        "name": name,
        "Name": "".join(part.capitalize() for part in name.split("_")),
        "NAME": name.upper(),
        "summary": _SUMMARIES[kind].format(name=name),
        "task_summary": "a label for each text, in an order" if kind == "objective" else "a label for each text",
        "version": __version__,
        "api": f">={API_VERSION},<{int(major) + 1}",
    }


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text


def _place(template: Path, name: str) -> Path:
    parts = (re.sub("^dot_", ".", part).replace("NAME", name) for part in template.parts)
    return Path(*parts).with_name(re.sub("^dot_", ".", template.name).replace("NAME", name).removesuffix(".tmpl"))
