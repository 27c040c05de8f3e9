"""The pieces of code that a package's modules will hold, and what their names stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from nb2prod.domain import Cell, Diagnostic, Role, StateItem, Watched
from nb2prod.extract.captures import Point
from nb2prod.extract.program import Statement
from nb2prod.extract.provenance import Provenance
from nb2prod.extract.roles import Layout


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for. `statements` bind it; `key` names the state item."""

    kind: Literal["import", "definition", "constant", "state"]
    name: str
    statements: tuple[Statement, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """A definition is called at a point; before, making another at `made` calls it `times` in a row.

    `times` is None where that is not known. `at` is the position after the other is made.
    """

    point: Point
    made: Point | None = None
    times: int | None = 0
    at: int = 0


@dataclass(slots=True, eq=False)
class Unit:
    """A definition, a constant, or the inline body of a role (then `statement` is None)."""

    statement: Statement | None
    role: Role | None = None
    needs: dict[str, Target] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    moments: dict[str, tuple[Point, int]] = field(default_factory=dict)
    """The moment of which each name's value is needed, of a definition or constant."""
    uses: set[Use] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    """State that inline role code changes: each request works on a copy."""
    late: set[str] = field(default_factory=set)
    """Names read at the definition whose objects are changed afterwards."""

    def note(self, finding: Diagnostic) -> None:
        """Add a finding, once."""
        if finding not in self.findings:
            self.findings.append(finding)


@dataclass(slots=True)
class Slice:
    """All units of a notebook's serving code. `roots` are the roles' own; `embedded` may be in state."""

    layout: Layout
    provenance: Provenance
    roots: dict[Role, Unit] = field(default_factory=dict)
    units: dict[int, Unit] = field(default_factory=dict)
    state: dict[str, StateItem] = field(default_factory=dict)
    embedded: dict[str, Unit] = field(default_factory=dict)
    ambiguous: dict[str, Diagnostic] = field(default_factory=dict)
    """What is wrong with an embedded definition of which the name meant another one at another moment."""
    moment: Cell | None = None
    watched: dict[Watched, None] = field(default_factory=dict)

    def included(self, rehomed: Iterable[str] = ()) -> list[Unit]:
        """The units that the roles need, and those that state refers to by the names in `rehomed`."""
        todo = [*self.roots.values(), *(self.embedded[n] for n in rehomed if n in self.embedded)]
        found: list[Unit] = []
        while todo:
            unit = todo.pop(0)
            if unit not in found:
                found.append(unit)
                todo += self.next_units(unit)
        return found

    def next_units(self, unit: Unit) -> list[Unit]:
        """The units that a unit needs directly."""
        return [
            self.units[s.index]
            for target in unit.needs.values()
            if target.kind in ("definition", "constant")
            for s in target.statements
        ]

    def reached(self, *roots: Unit) -> list[Unit]:
        """Some units, and all that they need."""
        found: list[Unit] = []
        todo = [*roots]
        while todo:
            unit = todo.pop()
            if unit not in found:
                found.append(unit)
                todo += self.next_units(unit)
        return found
