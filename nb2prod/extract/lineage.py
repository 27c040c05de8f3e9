"""What a value was computed from: the statements that bind it and change it, and all that those read."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from nb2prod.extract import usage
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.provenance import seeds


@dataclass(slots=True)
class Lineage:
    """All statements behind one value: `direct` bind or change it; `steps`: (reader, name, what it read)."""

    direct: tuple[Statement, ...] = ()
    statements: dict[int, Statement] = field(default_factory=dict)
    steps: dict[tuple[int, str, int], None] = field(default_factory=dict)


class Lineages:
    """Answers for one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._seeding = [s for s in program.statements if s.kind != "definition" and seeds(s)]

    def of_value(self, name: str, bindings: Iterable[Statement], position: int) -> Lineage:
        """The lineage of the value that some statements have bound to a name, as it is at a position."""
        direct = self._touching(name, tuple(bindings), position)
        found = self.of(direct, position)
        last = max(found.statements, default=0)
        seeding = self.of(s for s in self._seeding if s.index < last)
        found.statements |= seeding.statements
        found.steps |= seeding.steps
        found.direct = direct
        return found

    def of(self, statements: Iterable[Statement], seen_at: int | None = None) -> Lineage:
        """Some statements and what they were computed from; functions among them are called at `seen_at`."""
        found = Lineage()
        todo = [(s, s.index if seen_at is None else seen_at) for s in statements]
        while todo:
            statement, at = todo.pop()
            if statement.index in found.statements:
                continue
            found.statements[statement.index] = statement
            if statement.kind != "import":
                todo += self._sources(statement, at, found)
        return found

    def _touching(self, name: str, bindings: tuple[Statement, ...], position: int) -> tuple[Statement, ...]:
        """The statements that bind a value to a name, and those that change it before a position.

        A function that changes the value does so where it is called: its definition is no change.
        """
        first = bindings[0].index if bindings else position
        events = self.program.events(name, first, position)
        found = {s.index: s for s in (*bindings, *(s for s in events if not _only_if_called(s, name)))}
        return tuple(found[i] for i in sorted(found) if name not in found[i].names.deletes)

    def _sources(self, statement: Statement, seen_at: int, found: Lineage) -> list[tuple[Statement, int]]:
        """What a statement read; a function reads its globals when it is called: where it was seen."""
        sources = []
        called = seen_at if statement.kind == "definition" else statement.index
        for read, at in ((statement.names.reads, statement.index), (statement.names.deferred, called)):
            for name in sorted(read):
                for source in self._touching(name, self.program.reaching(name, at).bindings, at):
                    found.steps[statement.index, name, source.index] = None
                    sources.append((source, at))
        return sources


def _only_if_called(statement: Statement, name: str) -> bool:
    """Whether a definition touches a name in a body alone: not in a class body, a default or a decorator."""
    if statement.kind != "definition" or name in statement.names.may or statement.names.calls:
        return False
    body = statement.node.body if isinstance(statement.node, ast.ClassDef) else []
    runs = (s for s in body if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef))
    return not any(name in usage.of(s).mutates for s in runs)
