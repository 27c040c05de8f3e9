"""What an inline role answers: the expression on its last line, or the name that its last statement binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Literal

from nb2prod.domain import Diagnostic, Role
from nb2prod.extract import names, usage
from nb2prod.extract.findings import at
from nb2prod.extract.program import Program
from nb2prod.extract.refusals import own_name
from nb2prod.extract.rolecode import RoleCode

ANSWERS: dict[Role, str] = {"preprocess": "prepared", "model": "scores", "postprocess": "answer"}

Result = tuple[Literal["expression", "names"], str]


def result_of(program: Program, code: RoleCode) -> Result | Diagnostic:
    """How a role gives its answer, and under which name; NB207 if it has none."""
    if not code.body:
        return _shows_only(program, code)
    last = code.body[-1]
    if isinstance(last.node, ast.Expr):
        return "expression", ANSWERS[code.role]
    found = sorted(_bound_last(last.node, code.bound.may))
    if len(found) == 1 and found[0] in code.bound.must | code.bound.reads:
        return "names", found[0]
    if guarded := next(own_name(last), None):
        return guarded
    hint = "End the cell with the answer: an expression on its last line, or an assignment."
    if len(found) == 1:
        hint = f"Bind `{found[0]}` on every path: give it a value above this line."
    elif found:
        hint = f"Name the answer on a last line: {' or '.join(f'`{name}`' for name in found)}."
    return at(last, "NB207", f"the {code.role} cell has no result", hint)


def _bound_last(node: ast.stmt, own: set[str]) -> set[str]:
    """The names that a statement binds last on its paths, or of its `own` changes last."""
    match node:
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() as target]):
            return {root} if (root := names.root_name(target)) is not None else set()
        case ast.AugAssign(target=target):
            return {root} if (root := names.root_name(target)) is not None else set()
        case ast.Assign(targets=targets):
            return {name for target in targets for name in _names_in(target)}
        case ast.AnnAssign(target=target, value=value):
            return set(_names_in(target)) if value is not None else set()
        case ast.Expr():
            return usage.of(node).mutates & own
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return set()
    return {name for block in _blocks(node) for name in _last_of(block, own)}


def _names_in(target: ast.expr) -> Iterator[str]:
    """The names that an assignment binds; not those that its value binds on the way, by `:=`."""
    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _last_of(block: list[ast.stmt], own: set[str]) -> set[str]:
    return next((found for node in reversed(block) if (found := _bound_last(node, own))), set())


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The branches of a statement; what `else` of a `try` holds goes on from its body."""
    match node:
        case ast.Try() | ast.TryStar():
            yield [*node.body, *node.orelse]
            yield from (handler.body for handler in node.handlers)
        case ast.Match():
            yield from (case.body for case in node.cases)
        case _:
            yield getattr(node, "body", [])
            yield getattr(node, "orelse", [])


def _shows_only(program: Program, code: RoleCode) -> Diagnostic:
    """NB207 of a role without code of its own: what it shows is meant."""
    message = f"the {code.role} cell has no result"
    hint = "End the cell with the answer: an expression on its last line, or an assignment."
    cell = code.cells[-1]
    last = next(iter(program.of_cell(cell)[-1:]), None)
    match last and last.node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print" | "display" as shows), args=[shown])):
            hint = f"End the cell with `{ast.unparse(shown)}` alone: `{shows}` shows it, and gives nothing."
        case ast.ClassDef(name=name):
            hint = f"End the cell with what an object of `{name}` answers: a class alone answers nothing."
    return at(cell, "NB207", message, hint, line=1)
