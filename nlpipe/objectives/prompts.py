"""Prompts from templates: `Summarize: {document}` with the fields of a row. Text alone; no tokens, no model."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Literal

from nlpipe.errors import suggest
from nlpipe.objectives.base import Segment

Long = Literal["whole", "pieces", "start", "end"]


def check(template: str, fields: Iterable[str], needed: Iterable[str] = ()) -> str:
    """The template itself. Raises ValueError where it names a field that there is not, or lacks one it needs."""
    known = list(fields)
    try:
        named = [name for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"is no template: {error}; a brace that is meant is written twice, {{{{ or }}}}") from error
    for name in named:
        if name not in known:
            raise ValueError(f"has no field to put for {{{name}}}; {suggest(name, known)}")
    for name in needed:
        if named.count(name) != 1:
            raise ValueError(f"must have {{{name}}} once, has it {named.count(name)} times")
    return template


def fill(template: str, values: Mapping[str, str], long: Mapping[str, Long] | None = None) -> tuple[Segment, ...]:
    """The segments of a checked template; `long` says of a field what may become of it where the whole is too long.

    A value is text and never a template: braces in it stay.
    """
    made = []
    for literal, name, _, _ in string.Formatter().parse(template):
        if literal:
            made.append(Segment(literal))
        if name is not None:
            made.append(Segment(values[name], (long or {}).get(name, "whole")))
    return tuple(made)
