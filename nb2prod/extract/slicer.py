"""From the role code back to everything it needs: imports, definitions, constants and fitted state.

Each piece of code that a module will hold is a Unit; its `needs` say what every free name stands
for at the moment when the code runs. Training code is never entered: a name bound by computation
becomes state, captured when the reader runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from nb2prod.domain import Cell, ConstantItem, Diagnostic, Role, StateItem
from nb2prod.extract import refusals
from nb2prod.extract.findings import at
from nb2prod.extract.moment import moment_of
from nb2prod.extract.program import Program, Statement, is_builtin
from nb2prod.extract.roles import Layout, RoleCode, live_reads


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the clean run: just before or just after a cell."""

    when: Literal["before", "after"]
    cell: Cell

    def position(self, program: Program) -> int:
        """How many statements have run by then."""
        return program.start(self.cell) if self.when == "before" else program.end(self.cell)


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for. `statements` bind it; `key` names the state item."""

    kind: Literal["import", "definition", "constant", "state"]
    name: str
    statements: tuple[Statement, ...] = ()
    key: str = ""


@dataclass(slots=True, eq=False)
class Unit:
    """A definition, a constant, or the inline body of a role (then `statement` is None)."""

    statement: Statement | None
    role: Role | None = None
    needs: dict[str, Target] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    point: Point | None = None


@dataclass(slots=True)
class Slice:
    """All units of a notebook's serving code. `roots` are the roles' own; `embedded` may be in state."""

    layout: Layout
    roots: dict[Role, Unit] = field(default_factory=dict)
    units: dict[int, Unit] = field(default_factory=dict)
    state: dict[str, StateItem] = field(default_factory=dict)
    embedded: dict[str, Unit] = field(default_factory=dict)
    moment: Cell | None = None
    constants: dict[ConstantItem, None] = field(default_factory=dict)

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


def slice_of(layout: Layout) -> Slice:
    """The slice for a layout without errors."""
    return _Slicer(layout).run()


class _Slicer:
    """Works through the units that are needed, one moment of the clean run at a time."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.program = layout.program
        self.slice = Slice(layout)
        self._bindings: dict[str, tuple[tuple[Statement, ...], int]] = {}

    def run(self) -> Slice:
        staged = {stage.role for stage in self.layout.stages}
        codes = [code for role, code in self.layout.codes.items() if role in staged]
        self.slice.moment = moment_of(self.layout, codes)
        for code in codes:
            root = (
                self._inline(code) if code.entry is None else self._define(code.entry, self._after_moment())
            )
            self.slice.roots[code.role] = root
            if code.entry is None:
                self._refuse_hidden_arguments(code, root)
        self._find_embedded(list(self.slice.state.values()))
        return self.slice

    def _after_moment(self) -> Point:
        assert self.slice.moment is not None
        return Point("after", self.slice.moment)

    # -- units

    def _inline(self, code: RoleCode) -> Unit:
        unit = Unit(None, code.role)
        inputs = next(s.inputs for s in self.layout.stages if s.role == code.role)
        for read in live_reads(code):
            point = Point("before", read.statement.cell)
            if read.name in inputs or self._is_own(code, read.name, point):
                continue
            position = point.position(self.program)
            if read.perhaps and not self.program.reaching(read.name, position).bindings:
                continue
            nearer = self.program.reaching(read.name, read.statement.index).only
            if nearer is not None and nearer.kind == "import":
                position = read.statement.index
            rebinds = read.name in code.local
            target = self._resolve(read.name, point, position, read.statement, unit, rebinds=rebinds)
            if target is not None:
                unit.needs.setdefault(read.name, target)
                if rebinds and target.kind in ("import", "definition"):
                    unit.findings.append(refusals.shadowing(read.name, target.kind, read.statement))
                if target.kind == "state" and read.name in code.bound.mutates:
                    where = next(s for s in code.body if read.name in s.names.mutates)
                    unit.findings.append(refusals.changed_state(read.name, where))
        for statement in code.body:
            unit.findings += refusals.global_writes(statement)
        return unit

    def _refuse_hidden_arguments(self, code: RoleCode, root: Unit) -> None:
        """A helper must not read a global that the role's code binds: in the package it is a local."""
        bound = code.local
        for unit in self._reached(root):
            if unit.statement is None or unit.statement.kind != "definition":
                continue
            for name in sorted(unit.statement.names.deferred & bound):
                binder = next(s for s in code.body if name in s.names.may | s.names.deletes)
                root.findings.append(refusals.hidden_argument(name, binder, unit.statement))

    def _reached(self, root: Unit) -> list[Unit]:
        found: list[Unit] = []
        todo = [root]
        while todo:
            unit = todo.pop()
            if unit not in found:
                found.append(unit)
                todo += self.slice.next_units(unit)
        return found

    def _is_own(self, code: RoleCode, name: str, point: Point) -> bool:
        """True if an earlier cell of the same role bound the name, and nothing else has since."""
        reaching = self.program.reaching(name, point.position(self.program))
        own = [b for b in reaching.bindings if code.owns(b) and b.kind in ("value", "constant")]
        if not own or own != list(reaching.bindings):
            return False
        return all(b in code.body for b in own)

    def _define(self, statement: Statement, point: Point) -> Unit:
        unit = self.slice.units.get(statement.index)
        if unit is not None:
            self._refuse_two_moments(unit, point)
            return unit
        unit = self.slice.units[statement.index] = Unit(statement, point=point)
        for name in sorted(statement.names.reads):
            after = Point("after", statement.cell)
            target = self._resolve(name, after, statement.index, statement, unit)
            if target is not None:
                unit.needs[name] = target
        for name in sorted(statement.names.deferred - statement.names.reads):
            target = self._resolve(name, point, point.position(self.program), statement, unit)
            if target is not None:
                unit.needs[name] = target
                changed = statement.names.mutates - statement.names.writes_global
                if target.kind == "state" and name in changed:
                    unit.findings.append(refusals.changed_state(name, statement))
        unit.findings += refusals.global_writes(statement)
        return unit

    def _refuse_two_moments(self, unit: Unit, point: Point) -> None:
        assert unit.statement is not None
        if unit.point is None or unit.statement.kind == "constant":
            return
        low, high = sorted([unit.point.position(self.program), point.position(self.program)])
        for name in sorted(unit.statement.names.deferred):
            for event in self.program.events(name, low, high):
                if event.kind in ("value", "definition") and name in event.names.may:
                    unit.findings.append(refusals.two_moments(name, event, unit.statement))

    # -- names

    def _resolve(
        self,
        name: str,
        point: Point,
        position: int,
        reader: Statement,
        unit: Unit,
        *,
        rebinds: bool = False,
    ) -> Target | None:
        """What a name stands for at a position; None for builtins and after a refusal.

        A constant that the reader binds anew (`rebinds`) comes as state, which can be given to it.
        """
        reaching = self.program.reaching(name, position)
        kinds = {b.kind for b in reaching.bindings}
        if not reaching.bindings:
            if not is_builtin(name):
                unit.findings.append(refusals.unbound(self.program, name, position, reader))
            return None
        if kinds == {"import"}:
            return Target("import", name, self._imports(name, position, reaching.bindings))
        if "definition" in kinds:
            return self._definition(name, point, reaching.only, reaching.bindings, reader, unit)
        if kinds == {"constant"} and reaching.only is not None and not rebinds:
            self._define(reaching.only, point)
            self._expect(name, reaching.only, point)
            return Target("constant", name, (reaching.only,))
        return self._state(name, point, position, reaching.bindings, reader, unit)

    def _expect(self, name: str, binding: Statement, point: Point) -> None:
        place_ = (binding.cell.id, binding.cell.number, binding.node.lineno)
        item = ConstantItem(name, binding.text, point.cell.id, point.when, *place_)
        self.slice.constants.setdefault(item)

    def _imports(self, name: str, position: int, bindings: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """`import a.b` and `import a.c` both bind `a`: all of them count."""
        found = [s for s in self.program.statements[:position] if s.kind == "import" and name in s.names.may]
        dotted = [s for s in found if any("." in a.name and not a.asname for a in s.node.names)]  # type: ignore[attr-defined]
        return tuple(dict.fromkeys([*dotted, *bindings[-1:]])) if len(dotted) > 1 else bindings[-1:]

    def _definition(
        self,
        name: str,
        point: Point,
        only: Statement | None,
        bindings: tuple[Statement, ...],
        reader: Statement,
        unit: Unit,
    ) -> Target | None:
        if only is None:
            unit.findings.append(refusals.two_definitions(name, bindings, reader))
            return None
        for event in self.program.events(name, only.index + 1, point.position(self.program)):
            if name in event.names.mutates and event.kind != "definition":
                unit.findings.append(refusals.changed_definition(name, event, only))
        self._define(only, point)
        return Target("definition", name, (only,))

    def _state(
        self,
        name: str,
        point: Point,
        position: int,
        bindings: tuple[Statement, ...],
        reader: Statement,
        unit: Unit,
    ) -> Target | None:
        role_cells = {c.id for code in self.layout.codes.values() for c in code.cells}
        for binding in bindings:
            if binding.index in self.layout.tainted:
                in_role = binding.cell.id in role_cells
                unit.findings.append(refusals.from_request(name, binding, reader, in_role=in_role))
                return None
        last = bindings[-1]
        if position != point.position(self.program):
            for event in self.program.events(name, position, point.position(self.program)):
                unit.findings.append(refusals.changed_in_cell(name, event, reader))
        key = self._key(name, point, bindings)
        if key not in self.slice.state:
            self.slice.state[key] = StateItem(
                key, name, point.cell.id, point.when, last.cell.id, last.cell.number, last.node.lineno
            )
        return Target("state", name, bindings, key)

    def _key(self, name: str, point: Point, bindings: tuple[Statement, ...]) -> str:
        """A key for a value of `name`; the same if nothing can have changed since another capture."""
        position, number = point.position(self.program), 1
        while True:
            key = name if number == 1 else f"{name}_{number}"
            if key not in self._bindings:
                self._bindings[key] = (bindings, position)
                return key
            known, captured = self._bindings[key]
            low, high = sorted([captured, position])
            if known == bindings and not any(self.program.events(name, low, high)):
                return key
            number += 1

    # -- functions inside state

    def _find_embedded(self, items: list[StateItem]) -> None:
        """Functions and classes of the notebook that a captured value may refer to."""
        required = set(self.slice.state)
        for item in items:
            cell = self.program.notebook.cell(item.cell)
            point = Point(item.when, cell)
            for name, statement in self._behind(item.name, point.position(self.program)):
                if statement.index not in self.slice.units:
                    self._define(statement, point)
                self.slice.embedded.setdefault(name, self.slice.units[statement.index])
        for key in set(self.slice.state) - required:
            self.slice.state[key] = replace(self.slice.state[key], optional=True)

    def _behind(self, name: str, position: int) -> Iterator[tuple[str, Statement]]:
        """All definitions that the computation of a value reads, directly or not."""
        seen: set[int] = set()
        todo = [(name, position)]
        while todo:
            wanted, before = todo.pop()
            behind = list(self.program.reaching(wanted, before).bindings)
            first = behind[0].index if behind else before
            behind += [s for s in self.program.events(wanted, first, before) if s not in behind]
            for statement in behind:
                if statement.index in seen:
                    continue
                seen.add(statement.index)
                if statement.kind == "definition":
                    yield wanted, statement
                if statement.kind != "import":
                    used = statement.names.reads | statement.names.deferred
                    todo += [(n, statement.index) for n in sorted(used)]


def rebound_later(slice_: Slice) -> Iterator[Diagnostic]:
    """Warnings for state that the notebook binds anew after it was captured."""
    program = slice_.layout.program
    for item in slice_.state.values():
        if item.optional:
            continue
        point = Point(item.when, program.notebook.cell(item.cell))
        for event in program.events(item.name, point.position(program), len(program.statements)):
            yield at(
                event,
                "NB210",
                f"`{item.name}` changes here, after cell {point.cell.number}: the release keeps the value"
                f" that it had {item.when} cell {point.cell.number}",
                "If the later value is meant, move the role cells below this one.",
                "info",
            )
            break
