"""Recipes as text: written back as YAML, as a JSON schema for editors, and as a first recipe for a task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nlpipe.adapter_methods import METHODS, model_of
from nlpipe.errors import RecipeError
from nlpipe.recipe_sections import AdapterSection, Recipe, TaskSection
from nlpipe.recipe_sources import PATHS, CollectionSource, FileSource, HubSource
from nlpipe.recipe_yaml import to_yaml
from nlpipe.task import Family, Task

_Tasks = Mapping[str, type[Task[Any, Any, Any, Any]]]

BACKBONES = {
    Family.ENCODER: "FacebookAI/roberta-base",
    Family.DECODER: "openai-community/gpt2",
    Family.ENCODER_DECODER: "google-t5/t5-small",
}
"""A well-known small model of each family, for a first recipe."""


def dump(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included, to be written as UTF-8; `read` gives an equal one back.

    Paths are written absolute, so that the file may be moved. Rows that came from Python cannot be written:
    `<DataFrame, 120 rows>` stands in their place, and `read` says so.
    """
    plain = _plain(recipe)
    task = plain["task"]
    plain["task"] = {"name": task["name"], "labels": task["labels"], **task["options"]}
    if recipe.adapter is not None:
        plain["adapter"] = _plain(recipe.adapter.written)
    for name in ("train", "validation", "test"):
        plain["data"][name] = _source(getattr(recipe.data, name))
    for name in ("backbone", "tokenizer"):
        given = plain["model"][name]
        if isinstance(given, str) and given.startswith(("./", "../")):
            plain["model"][name] = _absolute(given)
    if recipe.model.new is not None:
        del plain["model"]["revision"]  # of a backbone
    return to_yaml(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {field.alias or name: _plain(getattr(value, name)) for name, field in type(value).model_fields.items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _source(source: Any) -> Any:
    if isinstance(source, str):
        return _absolute(source)
    if isinstance(source, FileSource | CollectionSource):
        plain = _plain(source)
        return plain | {key: _absolute(plain[key]) for key in PATHS if key in plain}
    if source is None or isinstance(source, float | HubSource):
        return _plain(source)
    rows = f", {len(source)} rows" if hasattr(source, "__len__") else ""
    return f"<{type(source).__name__}{rows}>"


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 -- a link keeps its name


def schema(tasks: _Tasks) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe with these tasks, for editors.

    Each task's options are allowed beside its name and nowhere else.
    """
    whole = Recipe.model_json_schema()
    definitions = whole["$defs"]
    del definitions["TaskSection"]
    names = sorted(tasks)
    cases = []
    for name in names:
        found = tasks[name].Options.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        definitions |= {f"{name}.{inner}": part for inner, part in found.pop("$defs", {}).items()}
        cases.append(_case(name, tasks[name].summary, found))
    definitions["AdapterSection"] = {
        "description": definitions["AdapterSection"].get("description", ""),
        "oneOf": [_method_case(name) for name in METHODS],
    }
    description = whole["properties"]["task"].get("description", "")
    short = {"enum": names, "type": "string"}
    whole["properties"]["task"] = {"description": description, "oneOf": [short, *cases]}
    whole["properties"]["extends"] = {"type": "string", "description": "a recipe that this one is put over"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _method_case(name: str) -> dict[str, Any]:
    """What may stand in an `adapter:` of one method; lora is meant where none is named."""
    core = AdapterSection.model_json_schema()["properties"]
    own = model_of(name).model_json_schema()["properties"]
    return {
        "type": "object",
        "description": METHODS[name].about,
        "properties": {
            "method": {**core["method"], "const": name},
            **{key: core[key] for key in METHODS[name].core},
            **own,
        },
        "required": [] if name == "lora" else ["method"],
        "additionalProperties": False,
    }


def _case(name: str, summary: str, options: Mapping[str, Any]) -> dict[str, Any]:
    core = TaskSection.model_json_schema()["properties"]
    return {
        "type": "object",
        "description": summary,
        "properties": {
            "name": {**core["name"], "const": name},
            "labels": core["labels"],
            **options.get("properties", {}),
        },
        "required": ["name", *options.get("required", ())],
        "additionalProperties": False,
    }


def template(task: type[Task[Any, Any, Any, Any]], family: Family | None = None) -> str:
    """A first recipe for `task`, with comments, on a model of `family` (the first of the task's row by default).

    It reads as it stands; its data files are yet to come. Raises RecipeError where the task has no objective
    for the family.
    """
    row = task.row()
    family = next(iter(row)) if family is None else family
    if family not in row:
        raise RecipeError(f"task '{task.name}' does not serve {family} models; it serves: {', '.join(row)}")
    objectives = ", ".join(kind.__name__ for kind in row[family])
    sample = task.samples()[0].model_dump(mode="json", exclude_none=True)
    lines = [
        f"# {task.name}: {task.summary}",
        f"# Run it:    nlpipe run {task.name}.yaml",
        "# It needs:  the files named under `data`, a row per line, such as",
        f"#            {json.dumps(sample, ensure_ascii=False)}",
        "# Score:     the run prints it beside those of trivial answers; write yours here.",
        "version: 1",
        "task:",
        f"  name: {task.name}",
        *_labels(task),
        *(_option(name, info) for name, info in task.Options.model_fields.items()),
        "model:",
        f"  backbone: {BACKBONES[family]}",
        f"  # objective: auto          # {objectives}",
        "  # max_length: 256          # tokens read at once; longer texts are read in windows",
        "adapter:                     # leave the section out to train all weights",
        "  method: lora",
        "  r: 8",
        "  alpha: 16",
        "data:                        # relative to this file",
        "  train: data/train.jsonl",
        "  validation: 0.1            # a file, or a share of train",
        "  test: data/test.jsonl",
        f"  # columns: {{{next(iter(sample), 'text')}: their_name}}   # ours: theirs",
        "train:",
        "  epochs: 3",
        "  batch_size: 32",
        "  learning_rate: 5e-4",
        "  seed: 13",
        "output:",
        f"  dir: runs/{task.name}",
    ]
    return "\n".join(lines) + "\n"


def _labels(task: type[Task[Any, Any, Any, Any]]) -> Sequence[str]:
    # A task without labels keeps the base class's labels_in, which finds none.
    if task.labels_in.__func__ is Task.labels_in.__func__:  # type: ignore[attr-defined]
        return ()
    return ("  # labels: [one, two]       # names and their order; left out: as found in the training data",)


def _option(name: str, info: FieldInfo) -> str:
    """One of the task's settings on a line, behind a # where it has a default."""
    about = " ".join((info.description or "").split())
    if info.is_required():
        example = info.examples[0] if info.examples else None
        return f"  {to_yaml({name: _plain(example)}, flow=True)[1:-1]}    # {about or 'needed'}"
    written = to_yaml({name: _plain(info.get_default(call_default_factory=True))}, flow=True)[1:-1]
    return f"  # {written:<24} # {about}".rstrip(" #")
