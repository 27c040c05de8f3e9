"""What making a definition calls, and when the functions involved read their globals.

`@logged` calls `logged` as the function is defined, `class B(A)` only keeps `A`: the globals of the one
are read then, those of the other when a method is called.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from nb2prod.extract import names


def read_when(node: ast.stmt, times: int | None) -> tuple[set[str], set[str]]:
    """What a definition reads if making another calls it `times` in a row: then, and when that is called.

    None: it is not known whether it is called. Names may be in both.
    """
    found = names.of(node)
    every = found.deferred - found.reads
    function = node.value if isinstance(node, ast.Assign) else node
    if times == 0:
        return set(), every
    if times is None or not isinstance(function, names.Function):
        return every, every
    now, later = _read_by(function, times)
    return now & every, later & every


def _read_by(function: names.Function, times: int) -> tuple[set[str], set[str]]:
    inside = names.body_of(function)
    now, later = set(inside.names.reads), set(inside.names.deferred)
    if times > 1:
        for inner in _functions_in(function):
            here, there = _read_by(inner, times - 1)
            later -= here - there
            now |= here
    return now - inside.local, later - inside.local


def _functions_in(node: ast.AST) -> Iterator[names.Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, names.Function):
            yield child
        elif not isinstance(child, ast.ClassDef):
            yield from _functions_in(child)


def calls_of(node: ast.stmt) -> dict[str, int | None]:
    """By name: how many times in a row making a definition calls it, 0 if it is only kept; None: unknown."""
    known = dict(_uses(node))
    read = Counter(n.id for part in _evaluated(node) for n in ast.walk(part) if isinstance(n, ast.Name))
    return {name: known.get(name) if count == 1 else None for name, count in read.items()}


def _uses(node: ast.stmt) -> Iterator[tuple[str, int]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            for decorator in node.decorator_list:
                yield from _called(decorator, 1)
            for kept in node.bases if isinstance(node, ast.ClassDef) else _defaults(node.args):
                yield from _called(kept, 0)
        case ast.Assign(value=ast.Lambda(args=arguments)):
            for kept in _defaults(arguments):
                yield from _called(kept, 0)
        case ast.Assign(value=ast.Call(func=func) as call):
            yield from _called(call, 0)
            if names.dotted(func).rpartition(".")[2] == "partial":
                for kept in [*call.args, *(k.value for k in call.keywords)]:
                    yield from _called(kept, 0)


def _called(node: ast.expr, times: int) -> Iterator[tuple[str, int]]:
    while isinstance(node, ast.Call):
        node, times = node.func, times + 1
    if isinstance(node, ast.Name):
        yield node.id, times


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]


def _evaluated(node: ast.stmt) -> list[ast.AST]:
    """The parts of a definition that are evaluated as it is made: not what stands in functions."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*node.decorator_list, *_defaults(node.args)]
        case ast.Assign(value=ast.Lambda(args=arguments)):
            return [*_defaults(arguments)]
        case ast.Assign(value=value):
            return [value]
    return [node]


def remembered(node: ast.AST) -> set[str]:
    """Names of functions in a piece of code that the functions inside them change: caches, counters."""
    found: set[str] = set()
    for function in _functions_in(node):
        local = names.body_of(function).local
        for inner in _functions_in(function):
            changed = names.body_of(inner).names
            rebound = {n for s in ast.walk(inner) if isinstance(s, ast.Nonlocal) for n in s.names}
            found |= local & (changed.mutates | changed.augments | rebound)
        found |= remembered(function)
    return found
