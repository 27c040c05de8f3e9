"""What a value was computed from: the statements that bind it and change it, and all that those read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nb2prod.extract.program import Program, Statement


@dataclass(slots=True)
class Lineage:
    """All statements behind one value: `direct` bind or change it; `steps`: (reader, name, what it read)."""

    direct: tuple[Statement, ...] = ()
    statements: dict[int, Statement] = field(default_factory=dict)
    steps: dict[tuple[int, str, int], None] = field(default_factory=dict)


def lineage(program: Program, name: str, position: int) -> Lineage:
    """The lineage of the value that `name` has at a position of the program."""
    direct = touching(program, name, position)
    found = lineage_of(program, direct, position)
    found.direct = direct
    return found


def lineage_of(program: Program, statements: Iterable[Statement], seen_at: int | None = None) -> Lineage:
    """Some statements and all that they were computed from; functions among them are called at `seen_at`."""
    found = Lineage()
    todo = [(s, s.index if seen_at is None else seen_at) for s in statements]
    while todo:
        statement, at = todo.pop()
        if statement.index in found.statements:
            continue
        found.statements[statement.index] = statement
        if statement.kind != "import":
            todo += _sources(program, statement, at, found)
    return found


def touching(program: Program, name: str, position: int) -> tuple[Statement, ...]:
    """The statements that bind the value of `name` at a position, or change it before that."""
    bindings = program.reaching(name, position).bindings
    first = bindings[0].index if bindings else position
    changes = program.events(name, first, position)
    found = {s.index: s for s in (*bindings, *changes) if name not in s.names.deletes}
    return tuple(found[i] for i in sorted(found))


def _sources(
    program: Program, statement: Statement, seen_at: int, found: Lineage
) -> list[tuple[Statement, int]]:
    """What a statement read; a function reads its globals when it is called: where it was seen."""
    sources = []
    for names, at in (
        (statement.names.reads, statement.index),
        (statement.names.deferred, seen_at if statement.kind == "definition" else statement.index),
    ):
        for name in sorted(names):
            for source in touching(program, name, at):
                found.steps[statement.index, name, source.index] = None
                sources.append((source, at))
    return sources
