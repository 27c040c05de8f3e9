"""Which statements below the example depend on the request: they would come out otherwise for another one."""

from __future__ import annotations

from collections.abc import Iterator

from nb2prod.domain import Cell
from nb2prod.extract.program import Program, Statement


def tainted(program: Program, example: tuple[Cell, ...]) -> Iterator[int]:
    """Indices of the statements that bind the example, and of those whose results depend on it.

    A name is *dirty* from a statement on that binds it, or changes it in place, with what is dirty.
    """
    ids = {cell.id for cell in example}
    dirty: set[str] = set()
    functions: dict[str, frozenset[str]] = {}
    for statement in program.statements:
        found = statement.names
        if statement.kind == "definition":
            functions |= dict.fromkeys(found.must, frozenset(found.deferred))
            dirty -= found.must
        elif statement.cell.id in ids and statement.kind in ("value", "constant"):
            dirty |= found.may
            yield statement.index
        elif dirty and not dirty.isdisjoint(_used(statement, functions)):
            dirty |= found.may | (found.mutates if found.mutates - dirty else set())
            yield statement.index
        else:
            dirty -= found.must


def _used(statement: Statement, functions: dict[str, frozenset[str]]) -> set[str]:
    """What a statement reads, with what the functions read that it may call."""
    used: set[str] = set()
    todo = statement.names.reads | statement.names.deferred | statement.names.augments
    while todo:
        used |= todo
        todo = {name for known in todo for name in functions.get(known, ())} - used
    return used
