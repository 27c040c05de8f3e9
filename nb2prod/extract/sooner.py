"""Whether a helper is called only before a role binds a global that it reads: it reads the older value.

So it does in the package, where the role's is a local. Nothing may keep the helper, or what could call it,
until the role has bound the name: it is only ever called, and nothing that is called makes functions.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from nb2prod.extract import usage
from nb2prod.extract.names import Names
from nb2prod.extract.rolecode import RoleCode

_MAKES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.GeneratorExp)
_MAKES_OR_YIELDS = (*_MAKES, ast.Yield, ast.YieldFrom)


def called_sooner(code: RoleCode, name: str, helpers: Iterable[ast.stmt]) -> bool:
    """Whether a role calls `helpers`, which reach one that reads `name`, only before it binds the name."""
    known, inside, arguments = dict[str, bool](), list[ast.stmt](), list[ast.arguments]()
    for node in helpers:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.decorator_list:
            return False
        known[node.name] = isinstance(node, ast.AsyncFunctionDef)
        if any(isinstance(n, _MAKES_OR_YIELDS) for part in node.body for n in ast.walk(part)):
            return False
        inside += node.body
        arguments.append(node.args)
    body = [statement.node for statement in code.body]
    if known.keys() & code.local or not all(_only_called(n, known) for n in [*body, *inside, *arguments]):
        return False
    spelt = all(_is_spelt(node, usage.of(node), known.keys()) for node in [*body, *inside])
    return spelt and _ordered(_steps(body), name, known.keys())


def _is_spelt(node: ast.stmt, found: Names, helpers: Collection[str]) -> bool:
    """Whether code names the helpers that it reads, and no text in it does: `eval("f(1)")`."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return (found.reads | found.deferred) & set(helpers) <= names


def _only_called(node: ast.AST, known: dict[str, bool], parents: tuple[ast.AST, ...] = ()) -> bool:
    """Whether functions are nothing but called, and awaited if they are asynchronous, as the code runs."""
    if isinstance(node, ast.Name) and node.id in known:
        call = parents[-1] if parents else node
        called = isinstance(call, ast.Call) and call.func is node
        awaited = not known[node.id] or (len(parents) > 1 and isinstance(parents[-2], ast.Await))
        return called and awaited and not any(isinstance(parent, _MAKES) for parent in parents)
    return all(_only_called(child, known, (*parents, node)) for child in ast.iter_child_nodes(node))


@dataclass(frozen=True, slots=True)
class _Step:
    """A piece of code that runs as one; `last`: what it binds it binds at its end."""

    names: Names
    last: bool = False


def _ordered(steps: Iterable[_Step], name: str, helpers: Collection[str]) -> bool:
    """Whether no step calls a helper once the name is bound."""
    bound = False
    for step in steps:
        used = (step.names.reads | step.names.deferred) & set(helpers)
        binds = name in step.names.may | step.names.deletes
        if used and (bound or (binds and not step.last)):
            return False
        bound = bound or binds
    return True


def _steps(nodes: Iterable[ast.stmt]) -> Iterator[_Step]:
    """Code in the order in which it may run; what may run again comes twice."""
    for node in nodes:
        match node:
            case ast.If(test=test):
                yield from [_expression(test), *_steps(node.body), *_steps(node.orelse)]
            case ast.While(test=test):
                yield from 2 * [_expression(test), *_steps(node.body)]
                yield from _steps(node.orelse)
            case ast.For() | ast.AsyncFor():
                target = ast.Assign([node.target], ast.Constant(None))
                yield _expression(node.iter)
                yield from 2 * [_Step(usage.of(target)), *_steps(node.body)]
                yield from _steps(node.orelse)
            case ast.Try():
                yield from _steps([*node.body, *node.orelse])
                for handler in node.handlers:
                    yield _Step(usage.of_expression(handler.type))
                    yield from _steps(handler.body)
                yield from _steps(node.finalbody)
            case _:
                yield _Step(usage.of(node), _binds_last(node))


def _expression(node: ast.expr) -> _Step:
    return _Step(usage.of_expression(node))


def _binds_last(node: ast.stmt) -> bool:
    """`name = value`, without `:=` in it."""
    match node:
        case ast.Assign(targets=targets):
            plain = all(isinstance(target, ast.Name) for target in targets)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            plain = isinstance(target, ast.Name)
        case _:
            return False
    return plain and not any(isinstance(part, ast.NamedExpr) for part in ast.walk(node))
