"""Every module says what it is for; every public name has a docstring and types; nothing prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

import nlpipe

from .source import CORE, PLUGINS, modules

ALL = (*modules(CORE), *modules(PLUGINS))

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    """The public functions and classes of a module, and the public methods of those classes."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def unannotated(node: Definition) -> list[str]:
    """The parameters of a function without a type, and `return` where that one is missing."""
    if isinstance(node, ast.ClassDef):
        return []
    given = node.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    missing = [p.arg for p in parameters if p and not p.annotation and p.arg not in {"self", "cls"}]
    return missing if node.returns else [*missing, "return"]


@pytest.mark.parametrize("name", nlpipe.__all__)
def test_a_public_name_resolves(name: str) -> None:
    value = getattr(nlpipe, name)
    assert isinstance(value, str) or value.__doc__


def test_the_list_of_public_names_is_whole() -> None:
    assert sorted(nlpipe.__all__, key=str) == nlpipe.__all__
    assert set(nlpipe._LATE) <= set(nlpipe.__all__)


def test_every_module_says_what_it_is_for() -> None:
    wrong = [module.at(1) for module in ALL if not ast.get_docstring(module.tree)]
    assert not wrong, f"no module docstring: {wrong}"


def test_every_public_name_has_a_docstring() -> None:
    wrong = [
        f"{module.at(node.lineno)} {node.name}"
        for module in ALL
        for node in public(module.tree.body)
        if not ast.get_docstring(node) and not any(ast.unparse(one) == "overload" for one in node.decorator_list)
    ]
    assert not wrong, "no docstring: " + ", ".join(wrong)


def test_every_public_name_has_types() -> None:
    wrong = [
        f"{module.at(node.lineno)} {node.name}: {', '.join(missing)}"
        for module in ALL
        for node in public(module.tree.body)
        if (missing := unannotated(node))
    ]
    assert not wrong, "no type: " + "; ".join(wrong)


def test_nothing_prints() -> None:
    """Output goes through the command line's console or the logger `nlpipe`."""
    wrong = [
        module.at(node.lineno)
        for module in ALL
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id in {"print", "pprint"}
    ]
    assert not wrong, f"prints: {wrong}"


def test_the_readers_see_what_is_missing() -> None:
    tree = ast.parse("class A:\n def b(self, c, *d, e=1, **f): ...\n def _g(self): ...\ndef h(i: int) -> int: ...")
    found = {node.name: unannotated(node) for node in public(tree.body)}
    assert found == {"A": [], "b": ["c", "e", "d", "f", "return"], "h": []}
