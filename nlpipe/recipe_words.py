"""What pydantic and the YAML library complain about, in plain words and with the nearest known name.

Knows the shape of models, but no recipe, file or line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from nlpipe.errors import nearest

if TYPE_CHECKING:
    import yaml
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Key = tuple[str | int, ...]
"""The way to a value: ("train", "epochs")."""

ELSEWHERE = {
    "base_model": "model.backbone",
    "gradient_accumulation_steps": "train.micro_batch",
    "gradient_clipping": "train.clip",
    "load_in_4bit": "model.quantize",
    "load_in_8bit": "model.quantize",
    "lora": "adapter",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_r": "adapter.r",
    "lr": "train.learning_rate",
    "lr_scheduler_type": "train.schedule",
    "max_grad_norm": "train.clip",
    "max_seq_length": "model.max_length",
    "max_steps": "train.steps",
    "model_name_or_path": "model.backbone",
    "num_train_epochs": "train.epochs",
    "output_dir": "output.dir",
    "peft": "adapter",
    "peft_type": "adapter.method",
    "quantization": "model.quantize",
    "per_device_train_batch_size": "train.batch_size",
    "pretrained": "model.backbone",
    "rank": "adapter.r",
    "scheduler": "train.schedule",
    "target_modules": "adapter.targets",
    "warmup_ratio": "train.warmup",
    "warmup_steps": "train.warmup",
}
"""What other projects call our settings; a wrong name gets the right one as its hint."""

_NOUNS = {
    "a whole number": ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
    "a number": ("float_type", "float_parsing"),
    "a finite number": ("finite_number",),
    "true or false": ("bool_type", "bool_parsing"),
    "text": ("string_type",),
    "a list": ("list_type", "tuple_type", "set_type", "frozen_set_type", "sequence_type", "iterable_type"),
    "a mapping": ("dict_type", "mapping_type"),
    "a mapping of settings": ("model_type", "model_attributes_type"),
    "null": ("none_required",),
}
_NOUN_OF = {kind: noun for noun, kinds in _NOUNS.items() for kind in kinds}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_CHOICES = ("literal_error", "enum")


def dotted(key: Key) -> str:
    """`("task", "labels", 1)` as `task.labels[1]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in key if part != "")
    return "".join(parts).removeprefix(".")


def shown(value: Any) -> str:
    """A value as a message shows it: short, and as YAML writes it."""
    if isinstance(value, str):
        line = " ".join(value.split())
        return f"'{line}'" if len(line) <= 60 else f"'{line[:57]}…'"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, Mapping | BaseModel) else f"a {type(value).__name__}"


def explain(
    error: ValidationError,
    data: Any,
    model: type[BaseModel],
    *,
    root: type[BaseModel],
    beside: Iterable[str] = (),
    section: str = "",
) -> dict[Key, str]:
    """A message for each key of `data` that does not fit `model`.

    `root` is the model of the whole recipe, where a misplaced setting may belong. `section` is where `data` stands
    in it, and `beside` names settings that may stand next to the model's own.
    """
    groups: dict[Key, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        groups.setdefault(_key(detail, data), []).append(detail)
    messages = {}
    for key, details in groups.items():
        if details[0]["type"] == "extra_forbidden":
            known = [*_fields(model, key[:-1], data), *(beside if len(key) == 1 else ())]
            messages[key] = _unknown(str(key[-1]), dotted((section, *key[:-1])), known, root)
        elif details[0]["type"] == "missing":
            messages[key] = _missing(key, model, data)
        elif not (_only_kinds(details) and any(other[: len(key)] == key != other for other in groups)):
            # A wrong kind says nothing where another part of a union got further into the value.
            messages[key] = _wrong(details)
    return messages


def _key(detail: ErrorDetails, data: Any) -> Key:
    """The key in `data` that an error is about: pydantic's location without the names it gives to unions."""
    if at := detail.get("ctx", {}).get("at"):
        return tuple(at.split("."))
    key: list[str | int] = []
    here = False
    for part in detail["loc"]:
        here = part in data if isinstance(data, Mapping) else isinstance(data, list | tuple) and isinstance(part, int)
        if here:
            key.append(part)
            data = data[part]
    if not here and (detail["type"] == "missing" or not key):
        # Not in the data: what is missing, or a section of defaults that does not fit the others.
        key += detail["loc"][-1:]
    return tuple(key)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models(arg)]


def _model_at(model: type[BaseModel], key: Key, data: Any) -> type[BaseModel] | None:
    """The model of the section at `key`: of several, the one that its keys suggest."""
    for part in key:
        data = data[part]
        given = data if isinstance(data, Mapping) else {}
        if isinstance(part, int):
            continue
        models = _models(model.model_fields[part].annotation) if part in model.model_fields else []
        if not models:
            return None
        model = max(models, key=lambda m: _fits(m, given))
    return model


def _fits(model: type[BaseModel], given: Mapping[str, Any]) -> tuple[bool, int]:
    """How likely `given` means `model`: whether what it needs is there, and how many of its fields are."""
    needed = {name for name, field in model.model_fields.items() if field.is_required()}
    return needed <= set(given), len(set(given) & set(model.model_fields))


def _fields(model: type[BaseModel], key: Key, data: Any) -> list[str]:
    found = _model_at(model, key, data)
    return list(found.model_fields) if found else []


def _unknown(word: str, section: str, known: list[str], root: type[BaseModel]) -> str:
    """`unknown setting`, and the likeliest of: another project's name, another section's, a slip of the pen."""
    places = {
        field: f"{name}.{field}"
        for name, info in root.model_fields.items()
        for part in _models(info.annotation)
        for field in part.model_fields
        if field not in ("options", "fields")  # in a file they stand beside `name` and `method`
    }
    place = ELSEWHERE.get(word) or places.get(word) or (word if word in root.model_fields else None)
    if place:
        where, _, name = place.rpartition(".")
        if where != section and not where:
            return f"unknown setting; '{place}' is a section of its own, not indented"
        return f"unknown setting; did you mean '{name if where == section else place}'?"
    if near := nearest(word, known):
        return f"unknown setting; did you mean '{near}'?"
    return f"unknown setting; known here: {', '.join(known) if known else 'none'}"


def _missing(key: Key, model: type[BaseModel], data: Any) -> str:
    found = _model_at(model, key[:-1], data)
    field = found.model_fields.get(str(key[-1])) if found else None
    if field is not None and field.examples:
        example = field.examples[0]
        if isinstance(example, Mapping):
            example = "{" + ", ".join(f"{name}: {value}" for name, value in example.items()) + "}"
        return f"is missing; say for example `{key[-1]}: {example}`"
    return f"is missing: {field.description}" if field is not None and field.description else "is missing"


def _only_kinds(details: list[ErrorDetails]) -> bool:
    return all(detail["type"] in _NOUN_OF or detail["type"] in _CHOICES for detail in details)


def _wrong(details: list[ErrorDetails]) -> str:
    """One message for all that a value is not; what got past its kind (a bound, say) speaks alone."""
    for detail in details:
        if not _only_kinds([detail]):
            return _refused(detail)
    value, nouns, choices = details[0]["input"], [], []
    for detail in details:
        if detail["type"] in _CHOICES:
            expected = str(detail["ctx"]["expected"])
            found = re.findall(r"'([^']*)'", expected)
            choices += found
            nouns.append(f"one of {expected}" if len(found) > 1 else expected)
        else:
            nouns.append(_NOUN_OF[detail["type"]])
    message = f"must be {' or '.join(dict.fromkeys(nouns))}, is {shown(value)}"
    near = nearest(value, choices) if isinstance(value, str) and len(choices) + len(nouns) > 2 else None
    if near:
        return f"{message}; did you mean '{near}'?"
    return f"{message}; put it in quotes" if nouns == ["text"] and isinstance(value, int | float) else message


def _refused(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}, is {shown(value)}"
    if kind in ("string_too_short", "too_short") and context["min_length"] == 1:
        return "must not be empty"
    if kind == "nlpipe":
        return str(context["message"])
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, is {shown(value)}"


_YAML_REASONS = (
    (r"found character '\\t'", "a tab; YAML is indented with spaces"),
    (r"found character '(.)'", "a text that begins with {0} needs quotes"),
    (r"mapping values are not allowed", "a second ':' in one line; a text with ': ' in it needs quotes"),
    (r"could not find expected ':'", "the line before is neither `key: value` nor an item"),
    (r"expected <block end>", "the indentation does not fit the lines above"),
    (r"expected ',' or '(.)'", "a comma or the closing {0} is missing"),
    (r"found unexpected end of stream", "a quote is not closed"),
    (r"found undefined alias '(.+)'", "the alias *{0} has no anchor &{0} before it"),
    (r"but found another document", "a second document (`---`); a recipe is one"),
    (r"expected the node content", "a value is missing, or a closing ] or }}"),
    (r"(too deep.*)", "{0}"),
)


def yaml_reason(error: yaml.MarkedYAMLError, text: str) -> str:
    """The YAML library's reason in plain words, with the line where an unfinished thing began."""
    problem = str(error.problem).replace("\t", "\\t")
    matches = ((re.search(pattern, problem), words) for pattern, words in _YAML_REASONS)
    plain = next((words.format(*match.groups()) for match, words in matches if match), None)
    if plain is None:
        return f"is not YAML: {' '.join(filter(None, (error.context, problem)))}"
    begun, found = error.context_mark, error.problem_mark
    if "expected ','" in problem and found and "${" in text.split("\n")[found.line]:
        return 'inside { } or [ ], a variable needs quotes: "${NAME}"'
    if begun and found and begun.line != found.line and "clos" in plain:
        return f"{plain} (begun on line {begun.line + 1})"
    return plain
