"""Defaultdicts that reading does not change for anyone: what they lack is put in, and nobody can tell."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from nb2prod.domain import ROLES, Cell
from nb2prod.extract import effects, names, usage

_FACTORIES = frozenset({"int", "float", "str", "bool", "complex", "tuple", "list", "set", "dict", "Counter"})
_PLAIN = frozenset({"dict", "Counter", "OrderedDict"})


def unchanged_by_reading(nodes: Iterable[tuple[Cell, ast.stmt]]) -> frozenset[str]:
    """Names of defaultdicts that serving code may read as if that changed nothing.

    Either a plain dict has taken the place of the defaultdict, above all roles; or the roles and functions do
    nothing with it but `it[key]`, and what that makes is always the same. Whoever changes what it has given
    changes the defaultdict all the same.
    """
    pairs = list(nodes)
    if not any(_is_defaultdict(node) for _, node in pairs):
        return frozenset()
    roles = [i for i, (cell, _) in enumerate(pairs) if {*ROLES, "example"} & set(cell.tags)]
    found: dict[str, list[int]] = defaultdict(list)
    for index, (_, node) in enumerate(pairs):
        for name in usage.of(node).may:
            found[name].append(index)
    served: list[ast.AST] = [node for i, (_, node) in enumerate(pairs) if i in roles]
    served += [inner for _, node in pairs for inner in ast.walk(node) if isinstance(inner, _INSIDE)]
    other = {name for node in served for name in _other_uses(node)}
    rebound = {name for n in served if isinstance(n, ast.Global) for name in n.names}
    first = min(roles, default=0)

    def is_unchanged(name: str, bound: list[int]) -> bool:
        made = [pairs[i][1] for i in bound]
        filled = [node for node in made if _is_defaultdict(node)]
        if not filled or name in rebound:
            return False
        same = all(makes_the_same(node) for node in filled)
        if bound[-1] < first and _makes_plain(made[-1], same=same):
            return True
        return same and filled == made and name not in other

    return frozenset(name for name, bound in found.items() if is_unchanged(name, bound))


_INSIDE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Global)


def _other_uses(node: ast.AST) -> Iterator[str]:
    """Names that are used otherwise than as `it[key]` or `keys.map(it)`."""
    match node:
        case ast.Subscript(value=ast.Name(), ctx=ast.Load(), slice=key):
            yield from _other_uses(key)
            return
        case ast.Call(func=ast.Attribute(value=looked_up, attr=method), args=[ast.Name()]) if (
            method in effects.LOOKING_UP
        ):
            yield from _other_uses(looked_up)
            return
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _other_uses(child)


def _made(node: ast.stmt) -> ast.expr | None:
    match node:
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=value):
            return value
    return None


def _is_defaultdict(node: ast.stmt) -> bool:
    made = _made(node)
    return isinstance(made, ast.Call) and names.dotted(made.func).rpartition(".")[2] == "defaultdict"


def _makes_plain(node: ast.stmt, *, same: bool) -> bool:
    """`dict(it)`; of a defaultdict of defaultdicts only `{key: dict(inner) for key, inner in it.items()}`."""
    made = _made(node)
    if isinstance(made, ast.DictComp) and not same:
        made = made.value
        same = True
    if isinstance(made, ast.Call):
        return same and names.dotted(made.func).rpartition(".")[2] in _PLAIN
    return same and isinstance(made, ast.Dict | ast.DictComp)


def makes_the_same(node: ast.stmt) -> bool:
    """`defaultdict(int)`: what is made for a key does not depend on when."""
    made = _made(node)
    if not isinstance(made, ast.Call) or not _is_defaultdict(node) or not made.args:
        return False
    match made.args[0]:
        case ast.Lambda(body=body, args=ast.arguments(args=[])):
            return not any(isinstance(n, ast.Name | ast.Call | ast.Attribute) for n in ast.walk(body))
        case factory:
            return names.dotted(factory).rpartition(".")[2] in _FACTORIES
