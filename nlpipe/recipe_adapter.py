"""A recipe's `adapter:` held against PEFT's methods: which settings its method has, and of what kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from nlpipe import adapter_methods as methods
from nlpipe.errors import nearest
from nlpipe.recipe_sections import AdapterSection, Recipe
from nlpipe.recipe_words import Key, explain, shown

_CORE = ("r", "alpha", "dropout", "targets")


def against_method(section: Mapping[str, Any]) -> dict[Key, str]:
    """A message for each key of an `adapter:` that does not fit its method.

    `section` is as written, the method's own settings beside the core's. What is wrong whatever the method is
    AdapterSection's to say.
    """
    name = section.get("method") or "lora"
    if not isinstance(name, str):
        return {}
    if name not in methods.METHODS:
        return {("adapter", "method"): _unknown(name)}
    method = methods.METHODS[name]
    wrong: dict[Key, str] = {
        ("adapter", key): f"does nothing for {name}; it has: {_listed(name)}"
        for key in _CORE
        if section.get(key) is not None and key not in method.core and not (key == "targets" and section[key] == "auto")
    }
    own = {key: value for key, value in section.items() if key not in AdapterSection.model_fields and value is not None}
    renamed = {theirs: ours for ours, theirs in method.core.items()}
    for key in [*own]:
        if key in renamed and key not in _CORE:
            wrong["adapter", key] = f"unknown setting; did you mean '{renamed[key]}'?"
        elif key in methods.CLOSED and key in methods.fields()[name]:
            wrong["adapter", key] = f"cannot be set in a recipe: {methods.CLOSED[key]}"
        else:
            continue
        del own[key]
    model = methods.model_of(name)
    try:
        model.model_validate(own)
    except ValidationError as error:
        found = explain(error, own, model, root=Recipe, beside=("method", *method.core), section="adapter")
        wrong |= {("adapter", *key): message for key, message in found.items()}
    return wrong


def _listed(name: str) -> str:
    return ", ".join([*methods.METHODS[name].core, *methods.open_fields(name)])


def _unknown(name: str) -> str:
    if name in methods.OUT:
        return f"{name} is left out: {methods.OUT[name]}"
    near = nearest(name, methods.METHODS)
    return f"unknown method {shown(name)}; " + (
        f"did you mean '{near}'?" if near else f"there are: {', '.join(methods.METHODS)}"
    )
