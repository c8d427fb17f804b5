"""Our own modules as syntax trees, and what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "nlpipe"
PLUGINS = ROOT / "plugins"


@dataclass(frozen=True)
class Import:
    """One imported name: `nlpipe.errors.DataError` for `from nlpipe.errors import DataError`."""

    target: str
    line: int
    late: bool  # inside a function: it costs nothing until the function is called

    @property
    def package(self) -> str:
        return self.target.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One of our files; `name` is dotted, and a package's `__init__.py` has the package's name."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @cached_property
    def imports(self) -> list[Import]:
        """All imports but those for the type checker alone."""
        package = self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]
        return list(imports(self.tree, package))

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


@cache
def modules(root: Path) -> tuple[Module, ...]:
    """The modules below `root`, which is `CORE` or `PLUGINS`."""
    top = root if root == PLUGINS else root.parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    assert len(found) > 1, f"no modules below {root}"
    return tuple(found)


def imports(node: ast.AST, package: str, late: bool = False) -> Iterator[Import]:
    """The imports below `node`, which belongs to `package`; `if TYPE_CHECKING:` does not count."""
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, node.lineno, late) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            parts = package.split(".")
            base = ".".join([*(parts[: len(parts) + 1 - level] if level else []), *([module] if module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno, late) for alias in names)
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=other):
            for statement in other:
                yield from imports(statement, package, late)
        case _:
            match node:  # a module named in a text is imported all the same
                case ast.Call(
                    func=ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(str(name)), *_],
                ):
                    yield Import(name, node.lineno, late)
            late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from imports(child, package, late)
