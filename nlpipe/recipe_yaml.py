"""YAML to plain values that remember their lines, and back. Knows nothing of what a recipe means.

A subclass of PyYAML's SafeLoader composes the nodes; the values are made here, by the rules of YAML 1.2
rather than 1.1: only true and false are booleans (`no` is text), `1e-4` is a number; `010`, `12:30` and dates
are text. Tags, merge keys, duplicate keys and empty values are refused, aliases and depth are limited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from nlpipe.recipe_words import Key, yaml_reason

MAX_DEPTH = 20
MAX_ALIASES = 100
FAULTY = "?"
"""Stands where a value could not be made: a text, which most fields take without a complaint of their own."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{text: float(text.replace(".", "")) for text in (".inf", "-.inf", ".nan", ".Inf", "-.Inf", ".NaN")},
}
_VARIABLE = re.compile(
    r"\$\$\{"  # an escaped one
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\}"
    r"|(?P<broken>\$\{[^}]*\}?)"
)


class Mark(NamedTuple):
    """Where a value was written: `file` is "" for the recipe itself, and `line` 0 on the command line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file} line {self.line}".strip() if self.line else self.file


@dataclass(slots=True)
class Document:
    """A file's value, where each part of it was written, and the parts that could not be read."""

    value: Any
    marks: dict[Key, Mark] = field(default_factory=dict)
    faults: dict[Key, tuple[Mark, str]] = field(default_factory=dict)

    def mark(self, key: Key) -> Mark:
        """Where `key` was written, or the nearest section around it; an empty mark where neither was."""
        return next((self.marks[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.marks), Mark("", 0))


class UnreadableError(Exception):
    """YAML that cannot be read at all: where (`line 3, column 8`), and why, in plain words."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason


def typed(text: str) -> Any:
    """The value of an unquoted scalar: None, a bool, an int, a float, or the text itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def parse(text: str, file: str, environ: Mapping[str, str], first_line: int = 1) -> Document:
    """The document in `text`; its value is None where there is nothing. `file` names it in marks.

    `first_line` is 0 for a value from the command line, whose lines mean nothing.
    Raises UnreadableError for what is not YAML, or nests or repeats beyond the limits.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"holds the control character #x{error.character:04x}"
        raise UnreadableError(str(Mark(file, line)), reason) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        assert mark is not None
        where = f"{Mark(file, mark.line + 1)}, column {mark.column + 1}" if first_line else file
        raise UnreadableError(where, yaml_reason(error, text)) from error
    document = Document(None)
    if root is not None:
        document.value = _Builder(loader.tags, file, environ, first_line, document).build(root, ())
    return document


class _Alias(yaml.Node):
    """A place that repeats an anchored node; PyYAML puts the node itself there and hides the repetition."""

    def __init__(self, target: yaml.Node, mark: Any) -> None:
        super().__init__("alias", target, mark, mark)


class _Loader(yaml.SafeLoader):
    """Composes nodes, notes explicit tags and stops at too deep a nesting, where PyYAML would recurse on."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.tags: dict[int, str] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.depth > MAX_DEPTH:
            reason = f"too deep: more than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None or isinstance(event, yaml.AliasEvent):
            return node and _Alias(node, event.start_mark)
        if tag := getattr(event, "tag", None):
            self.tags[id(node)] = str(tag).replace("tag:yaml.org,2002:", "!!")
        return node


class _Builder:
    """Makes values from nodes, and fills a document's marks and faults on the way."""

    def __init__(
        self, tags: Mapping[int, str], file: str, environ: Mapping[str, str], first_line: int, into: Document
    ) -> None:
        self.tags, self.file, self.environ = tags, file, environ
        self.first_line, self.into = first_line, into
        self.aliases = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, key: Key) -> Any:
        """The value of a node. Raises UnreadableError for a circle of aliases and beyond the limits."""
        if isinstance(node, _Alias):
            self._count(node)
            node = node.value
        if len(key) > MAX_DEPTH:
            raise UnreadableError(str(self._mark(node)), f"too deep: more than {MAX_DEPTH} levels")
        if tag := self.tags.get(id(node)):
            return self._fault(key, node, f"has the tag '{tag}', which is not read here; write the plain value")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        self.open.append(node)
        value = self._mapping(node, key) if isinstance(node, yaml.MappingNode) else self._sequence(node, key)
        self.open.pop()
        return value

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + self.first_line if self.first_line else 0)

    def _fault(self, key: Key, node: yaml.Node, message: str) -> str:
        self.into.faults[key] = (self._mark(node), message)
        return FAULTY

    def _count(self, alias: _Alias) -> None:
        self.aliases += 1
        if alias.value in self.open:
            raise UnreadableError(str(self._mark(alias)), "an alias (`*name`) stands inside what it repeats")
        if self.aliases > MAX_ALIASES:
            raise UnreadableError(str(self._mark(alias)), f"aliases (`*name`) repeat more than {MAX_ALIASES} times")

    def _sequence(self, node: yaml.Node, key: Key) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            self.into.marks[*key, index] = self._mark(item)
            values.append(self.build(item, (*key, index)))
        return values

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value
            if not isinstance(name_node, yaml.ScalarNode) or id(name_node) in self.tags:
                self._fault((*key, FAULTY), name_node, "a key must be plain text")
                continue
            here = (*key, name)
            if name == "<<" and name_node.style is None:
                self._fault(here, name_node, "merge keys are not read here; repeat the settings, or use `extends`")
            elif name in value:
                first, second = self.into.marks[here].line, self._mark(name_node).line
                self._fault(here, name_node, f"is set twice, on lines {first} and {second}; keep one")
            else:
                self.into.marks[here] = self._mark(name_node)
                value[name] = self.build(value_node, here)
        return value

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        text = str(node.value)
        if "${" in text:
            return self._substituted(node, key)
        if node.style is not None:
            return text
        if not text:
            message = "is empty; write a value, null for none, {} for a section of defaults, or leave it out"
            return self._fault(key, node, message)
        return typed(text)

    def _substituted(self, node: yaml.ScalarNode, key: Key) -> Any:
        """The text with its variables filled in; typed, where it is nothing but one variable.

        Single quotes keep it text. Double quotes do not: inside { } or [ ] YAML leaves no other way to write `${`.
        """
        text = str(node.value)
        for match in _VARIABLE.finditer(text):
            if match["broken"]:
                example = "${NAME} or ${NAME:-default}, or $${ for the characters themselves"
                return self._fault(key, node, f"'{match['broken']}' is no variable; write {example}")
            if match["name"] and match["default"] is None and match["name"] not in self.environ:
                hint = f"set it, or write ${{{match['name']}:-default}}"
                return self._fault(key, node, f"the environment variable {match['name']} is not set; {hint}")
        filled = _VARIABLE.sub(self._filled, text)
        whole = _VARIABLE.fullmatch(text)
        return _retyped(filled) if whole and node.style in (None, '"') else filled

    def _filled(self, match: re.Match[str]) -> str:
        # As in a shell, `:-` also stands in for a variable that is set to nothing.
        return (self.environ.get(match["name"], "") or match["default"] or "") if match["name"] else "${"


def _retyped(text: str) -> Any:
    """A variable's text as YAML reads it: typed, and without the quotes that keep `'1.10'` a text."""
    quoted = re.fullmatch(r"\s*(['\"])(.*)\1\s*", text, re.DOTALL)
    if quoted:
        return quoted[2]
    value = typed(text.strip())
    return text if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back: quotes what either version of YAML would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Otherwise PyYAML spreads such a text over lines, and does not read all kinds of line breaks back.
    style = '"' if re.search("[\n\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_NUMBER = re.compile(f"^(?:{_FLOAT.pattern})$")
_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def to_yaml(value: Any, *, flow: bool = False) -> str:
    """A mapping as YAML that `parse` reads back, `${` in values escaped. `flow` gives one line."""
    settings: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10**6}
    text = str(yaml.dump(_escaped(value), Dumper=_Dumper, default_flow_style=flow, **settings))
    return text.rstrip("\n") if flow else text


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
