"""Dicts and lists that definitions fill as they are made: by `@register`, or by a base class.

A package that holds the definitions fills them anew, as it is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nb2prod.extract import names
from nb2prod.extract.making import decorators
from nb2prod.extract.program import Program, Statement

_EMPTY = frozenset({"dict", "list", "set", "collections.OrderedDict", "collections.deque"})


def registered(program: Program, name: str, binding: Statement | None) -> tuple[Statement, ...]:
    """The definitions that fill what a statement binds, in order; () if other code may change that."""
    if binding is None or not _starts_empty(binding.node, program):
        return ()
    events = list(program.events(name, binding.index + 1, len(program.statements)))
    filling = _filling(events)
    bound = [other for e in filling for other in sorted(e.names.may)]
    if not filling or name in bound or len(bound) != len(set(bound)):
        return ()
    between = program.statements[binding.index + 1 : filling[-1].index]
    seen = [s for s in between if s.kind == "value" and name in s.names.reads]
    pure = all(e.kind == "definition" for e in events) and not seen
    return filling if pure else ()


def fills(program: Program, statement: Statement, name: str, position: int) -> bool:
    """Whether a function or class puts into `name` what is defined with it: a decorator, a base."""
    binding = program.reaching(name, position).only
    if binding is None or binding.kind == "definition":
        return False
    events = program.events(name, binding.index + 1, len(program.statements))
    return any(_roots(other.node) & statement.names.must for other in _filling(events))


def _filling(events: Iterable[Statement]) -> tuple[Statement, ...]:
    return tuple(e for e in events if e.kind == "definition" and _roots(e.node))


def _starts_empty(node: ast.stmt, program: Program) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=value):
            if isinstance(value, ast.Call):
                return not (value.args or value.keywords) and _made_by(program, value) in _EMPTY
            return isinstance(value, ast.Dict | ast.List) and not list(names.of_expression(value).reads)
    return False


def _made_by(program: Program, call: ast.Call) -> str:
    return program.changes.resolved(names.dotted(call.func))


def _roots(node: ast.stmt) -> set[str]:
    """The decorators and bases of a definition, by the names at their roots."""
    called = [d.func if isinstance(d, ast.Call) else d for d in decorators(node)]
    return {root for part in [*called, *getattr(node, "bases", ())] if (root := names.root_name(part))}
