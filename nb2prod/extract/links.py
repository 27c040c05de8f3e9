"""Every place where code of the package mentions a name, and what the name stands for there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nb2prod.domain import Role
from nb2prod.extract.findings import place
from nb2prod.extract.imports import is_star
from nb2prod.extract.program import Statement
from nb2prod.extract.units import Slice, Target, Unit


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """`statement`, which `unit` holds, mentions `name` in `line` of its cell, and means `target`.

    `how`: "called" if the first mention calls it, else "used". `role` is that of a role's own code.
    """

    unit: Unit
    statement: Statement
    name: str
    target: Target
    line: int
    how: str
    role: Role | None = None

    @property
    def reader(self) -> str:
        """Who reads, in words: `the model role (cell 5, line 2)`."""
        where = f"(cell {self.statement.cell.number}, line {self.line})"
        if self.role is not None:
            return f"the {self.role} role {where}"
        kind = "the constant " if self.statement.kind == "constant" else ""
        return f"{kind}`{label(self.statement)}` {where}"


def links_of(slice_: Slice, units: Iterable[Unit]) -> list[Link]:
    """The links of some units, in the order of the units, each name once for each statement."""
    return [link for unit in units for link in _of_unit(slice_, unit)]


def node_id(statement: Statement) -> str:
    """The id of a statement in an explanation: cell number and line; more if it does not begin its line."""
    column = f".{statement.node.col_offset}" if statement.node.col_offset else ""
    return f"{statement.cell.number}:{statement.first}{column}"


def label(statement: Statement) -> str:
    """What a statement binds, as one text: its names in order, or where it stands if it binds none."""
    bound = names_bound(statement)
    return ", ".join(bound) if bound else place(statement)


def names_bound(statement: Statement) -> tuple[str, ...]:
    """The names that a statement binds, as they come in its text; `*` of a star import."""
    if is_star(statement.node):
        return ("*",)
    stored = [*_stored(statement.node)]
    return tuple(
        dict.fromkeys([*(n for n in stored if n in statement.names.may), *sorted(statement.names.may)])
    )


def mentions(node: ast.stmt) -> dict[str, tuple[int, str]]:
    """The first line that mentions each name in a statement, and whether it is called or used there."""
    called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    found: dict[str, tuple[int, str]] = {}
    names = (n for n in ast.walk(node) if isinstance(n, ast.Name))
    for name in sorted(names, key=lambda n: (isinstance(n.ctx, ast.Store), n.lineno, n.col_offset)):
        found.setdefault(name.id, (name.lineno, "called" if id(name) in called else "used"))
    return found


def _stored(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif isinstance(child, ast.alias):
            yield (child.asname or child.name).partition(".")[0]


def _of_unit(slice_: Slice, unit: Unit) -> Iterator[Link]:
    if unit.statement is not None:
        role = next((r for r, root in slice_.roots.items() if root is unit), None)
        yield from _of_statement(unit, unit.statement, set(unit.needs), role)
        return
    assert unit.role is not None
    bound: set[str] = set()
    for statement in slice_.layout.codes[unit.role].body:
        yield from _of_statement(unit, statement, set(unit.needs) - bound, unit.role)
        bound = (bound | statement.names.must) - statement.names.deletes


def _of_statement(unit: Unit, statement: Statement, wanted: set[str], role: Role | None) -> Iterator[Link]:
    lines = mentions(statement.node)
    read = statement.names.reads | statement.names.deferred | statement.names.hints
    for name in sorted(wanted & read):
        line, how = lines.get(name, (statement.first, "used"))
        yield Link(unit, statement, name, unit.needs[name], line, how, role)
