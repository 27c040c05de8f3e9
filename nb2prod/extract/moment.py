"""When, in the clean run, role functions are called: a function sees its globals as they are at the call."""

from __future__ import annotations

from nb2prod.domain import Cell
from nb2prod.extract.names import is_builtin
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.roles import Layout


def moment_of(layout: Layout, codes: list[RoleCode]) -> Cell:
    """The cell after which role functions are called: when all that they read is bound and fitted.

    That is the last of the role and example cells; later if a name that they read is bound, or the
    value that it has by then is changed in place (fitted), only after that.
    """
    program = layout.program
    cells = [c for code in codes for c in code.cells] + list(layout.example)
    moment = max(cells, key=lambda cell: cell.number)
    entries = [code.entry for code in codes if code.entry is not None]
    while later := _next_event(program, entries, moment):
        moment = later
    return moment


def _next_event(program: Program, entries: list[Statement], moment: Cell) -> Cell | None:
    position = program.end(moment)
    for name in _called_names(program, entries, position):
        bound = program.reaching(name, position).bindings
        for event in program.events(name, position, len(program.statements)):
            if not bound and name in event.names.may:
                return event.cell
            if bound and name in event.names.may:
                break
            if bound and name in event.names.mutates and event.kind == "value":
                return event.cell
    return None


def _called_names(program: Program, entries: list[Statement], position: int) -> list[str]:
    """Names that calling the entries reads, through the functions that they call."""
    found: dict[str, None] = {}
    todo = list(entries)
    seen: set[int] = set()
    while todo:
        statement = todo.pop()
        if statement.index in seen:
            continue
        seen.add(statement.index)
        for name in sorted(statement.names.reads):  # a base class, a factory
            kept = program.reaching(name, statement.index).bindings
            todo += [b for b in kept if b.kind == "definition"]
        for name in sorted(statement.names.deferred):
            bindings = program.reaching(name, position).bindings
            todo += [b for b in bindings if b.kind == "definition"]
            if not is_builtin(name) or bindings:
                found.setdefault(name)
    return list(found)
