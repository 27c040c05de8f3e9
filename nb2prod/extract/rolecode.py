"""The code of one role as its cells have it: inline statements, or functions of which one is the entry."""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from nb2prod.domain import Cell, Role
from nb2prod.extract.calls import Changes
from nb2prod.extract.display import is_display, plots, shows_only
from nb2prod.extract.entries import entry_of, is_declaration
from nb2prod.extract.names import Names
from nb2prod.extract.program import Program, Statement

_CAPTURE = "[get_ipython().run_cell_magic('capture',"
"""How the reader writes what `%%capture out` binds."""


@dataclass(frozen=True)
class RoleCode:
    """The cells of one role. `body` is the inline code, empty in function style; `entry` the function."""

    role: Role
    cells: tuple[Cell, ...]
    body: tuple[Statement, ...]
    entry: Statement | None
    changes: Changes

    @property
    def style(self) -> Literal["inline", "function"]:
        """How the role is written."""
        return "function" if self.entry is not None else "inline"

    @functools.cached_property
    def bound(self) -> Names:
        """The names of the whole inline body."""
        bound = Names()
        for statement in self.body:
            bound.then(statement.names)
        return bound

    @functools.cached_property
    def changed(self) -> Mapping[str, Statement]:
        """The outside names whose objects the body changes in place, and where it does so first."""
        places = {statement.node: statement for statement in self.body}
        found = self.changes.by(s.node for s in self.body)
        return {name: places[node] for name, node in found.items() if name in self.bound.reads}

    @functools.cached_property
    def local(self) -> frozenset[str]:
        """The names that are local to the body once it is a function."""
        return frozenset(self.bound.may | self.bound.deletes)

    @property
    def awaits(self) -> bool:
        """True if its function has to be asynchronous."""
        if self.entry is not None:
            return isinstance(self.entry.node, ast.AsyncFunctionDef)
        return any(_awaits(statement.node) for statement in self.body)

    def owns(self, statement: Statement) -> bool:
        """True if the statement stands in a cell of this role."""
        return any(cell.id == statement.cell.id for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Read:
    """A name that inline role code takes from outside itself, and the statement that reads it first.

    `perhaps`: a function in the body reads it, and the body binds it too, perhaps after the call.
    """

    name: str
    statement: Statement
    perhaps: bool = False


def live_reads(code: RoleCode) -> Iterator[Read]:
    """What inline code takes from outside, in reading order, each name once for each cell."""
    whole, before = code.local, Names()
    seen: set[tuple[str, str]] = set()
    for i, statement in enumerate(code.body):
        found = statement.names
        wanted = dict.fromkeys(sorted(found.reads - before.must) + sorted(found.deferred - whole), False)
        later = (found.early & whole) - before.must - _bound_uncalled(code.body[i:])
        wanted |= {name: True for name in sorted(later) if name not in wanted}
        for name, perhaps in wanted.items():
            if (name, statement.cell.id) not in seen:
                seen.add((name, statement.cell.id))
                yield Read(name, statement, perhaps)
        before.then(found)


def _bound_uncalled(body: tuple[Statement, ...]) -> set[str]:
    """What is bound before anything can call the function that is made first."""
    bound: set[str] = set()
    for statement in itertools.takewhile(_calls_nothing, body):
        bound |= statement.names.must
    return bound


def _calls_nothing(statement: Statement) -> bool:
    """Whether a statement only makes a function, or uses nothing by any name."""
    match statement.node:
        case ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]):
            return not statement.names.reads
        case ast.Assign(targets=[ast.Name()], value=ast.Lambda()):
            return not statement.names.reads
    found = statement.names
    return not (found.reads or found.deferred or found.dynamic)


def role_code(program: Program, role: Role, *, final: bool) -> RoleCode:
    """The code of a role. `final`: no role follows, so that what its last line shows is the answer."""
    cells = tuple(c for c in program.notebook.tagged(role) if "skip" not in c.tags)
    statements = [s for cell in cells for s in program.of_cell(cell)]
    rest = [s for s in statements if not is_declaration(s)]
    entry = entry_of(program, statements, role) if all(shows_only(s, program) for s in rest) else None
    body = () if entry else tuple(_without_display(program, list(_body(program, cells)), final))
    return RoleCode(role, cells, body, entry, program.changes)


def _awaits(node: ast.AST) -> bool:
    """True if running a statement awaits; functions defined in it may."""
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(part, ast.comprehension) and part.is_async:
            return True
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(part)
    return False


def _body(program: Program, cells: tuple[Cell, ...]) -> Iterator[Statement]:
    for cell in cells:
        statements = program.of_cell(cell)
        if all(is_declaration(s) for s in statements) and any(s.kind == "definition" for s in statements):
            continue  # a cell of helper functions beside the inline code: they go to the module's top
        yield from (s for s in statements if s.kind != "import" and not _captures_unread(s, program))


def _captures_unread(statement: Statement, program: Program) -> bool:
    """`%%capture out` where no code that may serve reads `out`: its body does the same without it."""
    if statement.kind != "magic" or not ast.unparse(statement.node).startswith(_CAPTURE):
        return False
    others = (s for s in program.statements if s is not statement)
    read = (s.names.deferred | (s.names.reads if s.cell.tags else set()) for s in others)
    return not any(statement.names.may & names for names in read)


def _drawn(program: Program, body: list[Statement]) -> list[Statement]:
    """Statements that make figures and axes, and that draw on them; none if anything else reads those."""
    made = [s for s in body if plots(s, program)]
    names = {name for s in made for name in s.names.must}
    for statement in body:
        if statement in made or not statement.names.reads & names:
            continue
        if not isinstance(statement.node, ast.Expr) or statement.names.may:
            return []
        made.append(statement)
    return made


def _without_display(program: Program, body: list[Statement], final: bool) -> list[Statement]:
    """The body less what only shows something; but the last role's last expression is its answer."""
    drawn = _drawn(program, body)
    saved = any(call.function.endswith(".savefig") for s in body for call in s.names.calls)
    kept = [s for s in body if saved or not (is_display(s, program) or s in drawn)]
    shown = [s for s in body if not (shows_only(s, program) or s in drawn)]
    if shown and (final or not kept) and shown[-1] not in kept:
        kept.append(shown[-1])
    return kept
