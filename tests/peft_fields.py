"""PEFT's fields as `nlpipe/adapter_fields.json` has them. `python -m tests.peft_fields` writes the file."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from nlpipe.adapter_methods import FIELDS, METHODS

_PLAIN = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict", type(None): "null"}


def recorded() -> dict[str, dict[str, str]]:
    """Each method's fields beside those of every method, with the kinds of values they take."""
    import peft

    everywhere = {field.name for field in dataclasses.fields(peft.PeftConfig)}
    found = {}
    for name in METHODS:
        config = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(name.upper())]
        hints = _hints(config)
        found[name] = {
            field.name: " | ".join(sorted(_kinds(hints[field.name])))
            for field in dataclasses.fields(config)
            if field.init and field.name not in everywhere
        }
    return found


def _hints(config: type) -> Mapping[str, Any]:
    """The annotations, which PEFT writes as text in some modules and not in others."""
    import peft.tuners

    names = {name: getattr(peft, name) for name in dir(peft)}
    names |= dict.fromkeys(("CorDAConfig", "CordaConfig", "ConfigDict"), object)
    return typing.get_type_hints(config, localns=names)


def _kinds(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        # Text stands beside an enumeration or a choice for the names of its members.
        choices = any(get_origin(arg) is Literal or _enumeration(arg) for arg in get_args(hint))
        args = [arg for arg in get_args(hint) if not (choices and arg is str)]
        return list(dict.fromkeys(kind for arg in args for kind in _kinds(arg)))
    if origin is Literal:
        return [f"'{value}'" for value in get_args(hint)]
    if _enumeration(hint):
        return [f"'{member.value}'" for member in hint]
    return [_PLAIN.get(origin or hint, "object")]


def _enumeration(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def written() -> str:
    """The file's text."""
    return json.dumps(recorded(), indent=1) + "\n"


if __name__ == "__main__":
    FIELDS.write_text(written(), encoding="utf-8")
