"""What import statements bind, and to what."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nb2prod.extract import usage

if TYPE_CHECKING:
    from nb2prod.extract.program import Statement


def imports_of(node: ast.stmt, name: str) -> list[ast.Import | ast.ImportFrom]:
    """The import statements in a statement that bind a name at the top level."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        bound = {(alias.asname or alias.name.partition(".")[0]) for alias in node.names}
        return [node] if name in bound or "*" in bound else []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    return [found for child in _statements_in(node) for found in imports_of(child, name)]


def only_imports(node: ast.stmt, name: str) -> bool:
    """Whether imports bind a name in a statement, all of them the same, and nothing else does."""
    meanings = {ast.dump(found) for found in imports_of(node, name)}
    return len(meanings) == 1 and not _binds_otherwise(node, name)


def _statements_in(node: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def _binds_otherwise(node: ast.stmt, name: str) -> bool:
    """Whether a statement binds a name by anything but an import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return False
    inner = list(_statements_in(node))
    if not inner or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return name in usage.of(node).may
    stores = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return any(n.id == name for n in stores) or any(_binds_otherwise(child, name) for child in inner)


def import_root(node: ast.stmt, name: str) -> str | None:
    """The top-level module that an import statement binds `name` from."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] or None
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                return alias.name.partition(".")[0]
    return None


def imported_as(node: ast.stmt, name: str) -> str | None:
    """What an import statement binds a name to, dots and all; None of other statements."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        start = f"{'.' * node.level}{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            if (alias.asname or (alias.name if start else alias.name.partition(".")[0])) == name:
                return start + (alias.name if start or alias.asname else name)
    return None


def enablers(above: Iterable[Statement], imports: Iterable[Statement]) -> Iterator[tuple[str, Statement]]:
    """The imports among those above that make the given ones work, by the names that they bind:
    `sklearn.experimental.enable_...`, where anything of sklearn is imported."""
    if any(import_root(s.node, name) == "sklearn" for s in imports for name in s.names.may):
        for statement in above:
            if statement.kind == "import" and _enables(statement.node):
                yield from ((name, statement) for name in sorted(statement.names.must))


def _enables(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "sklearn.experimental"
    return isinstance(node, ast.Import) and any(
        a.name.startswith("sklearn.experimental.") for a in node.names
    )


def is_star(node: ast.stmt) -> bool:
    """True of `from module import *`."""
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
