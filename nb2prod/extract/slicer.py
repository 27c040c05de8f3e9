"""From the role code back to everything it needs: imports, definitions, constants and fitted state.

Each piece of code that a module will hold is a Unit; its `needs` say what every free name stands
for at the moment when the code runs. Training code is never entered: a name bound by computation
becomes state, captured when the reader runs.
"""

from __future__ import annotations

import ast
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from nb2prod.domain import Cell, Diagnostic, Role, StateItem, Watched
from nb2prod.extract import refusals
from nb2prod.extract.captures import Captures, Point
from nb2prod.extract.effects import patch_of
from nb2prod.extract.findings import at
from nb2prod.extract.moment import moment_of
from nb2prod.extract.program import Statement, imported_as, is_builtin
from nb2prod.extract.rolecode import Read, RoleCode, live_reads
from nb2prod.extract.roles import Layout

_AT_ONCE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)
"""Statements that read what they read before they bind anything, but for `:=`."""


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
    copies: set[str] = field(default_factory=set)
    """State that inline role code changes: each request works on a copy."""
    late: set[str] = field(default_factory=set)
    """Names read at the definition whose objects are changed afterwards."""


@dataclass(slots=True)
class Slice:
    """All units of a notebook's serving code. `roots` are the roles' own; `embedded` may be in state."""

    layout: Layout
    roots: dict[Role, Unit] = field(default_factory=dict)
    units: dict[int, Unit] = field(default_factory=dict)
    state: dict[str, StateItem] = field(default_factory=dict)
    embedded: dict[str, Unit] = field(default_factory=dict)
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


def slice_of(layout: Layout, kept: frozenset[str] | None = None) -> Slice:
    """The slice for a layout without errors. `kept`: the keys of the state that the clean run has kept."""
    return _Slicer(layout, kept).run()


class _Slicer:
    """Works through the units that are needed, one moment of the clean run at a time."""

    def __init__(self, layout: Layout, kept: frozenset[str] | None) -> None:
        self.layout = layout
        self.program = layout.program
        self.captures = Captures(layout.program, kept)
        self.slice = Slice(layout, state=self.captures.items)

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
                self._watch_copies(code, root)
        self._find_embedded(list(self.slice.state.values()))
        self.slice.watched |= dict.fromkeys(passing(self.layout))
        return self.slice

    def _after_moment(self) -> Point:
        assert self.slice.moment is not None
        return Point("after", self.slice.moment)

    # -- units

    def _inline(self, code: RoleCode) -> Unit:
        unit = Unit(None, code.role)
        inputs = self._inputs(code)
        for read in [*live_reads(code), *self._handed_on(code)]:
            point = Point("before", read.statement.cell)
            if read.name in inputs or self._is_own(code, read.name, point):
                continue
            position = point.position(self.program)
            if read.name in code.local and not self.program.reaching(read.name, position).bindings:
                unit.findings += self._bound_inside(code, read)
                continue
            nearer = self.program.reaching(read.name, read.statement.index).only
            if nearer is not None and nearer.kind_of(read.name) == "import":
                position = read.statement.index
            changes = read.name in code.changed and not self._is_immutable(read.name, position)
            rebinds = read.name in code.local or changes
            target = self._resolve(read.name, point, position, read.statement, unit, rebinds=rebinds)
            if target is not None:
                unit.needs.setdefault(read.name, target)
                if read.name in code.local and target.kind == "import":
                    unit.findings.append(refusals.shadowing(read.name, read.statement))
                if target.kind == "state" and changes:
                    unit.copies.add(read.name)
                    unit.findings.append(refusals.changed_state(read.name, code.changed[read.name]))
        for statement in code.body:
            unit.findings += refusals.global_writes(statement)
            unit.findings += refusals.unseen_names(statement)
            unit.findings += refusals.own_name(statement)
        unit.findings += refusals.training(
            code, inputs, {t.name for t in unit.needs.values() if t.kind == "state"}
        )
        return unit

    def _bound_inside(self, code: RoleCode, read: Read) -> Iterator[Diagnostic]:
        """What is wrong with a name that the role itself binds, and nothing before it: mostly nothing."""
        before = self.program.reaching(read.name, read.statement.index)
        if any(b.kind_of(read.name) == "import" for b in before.bindings):
            yield refusals.shadowing(read.name, read.statement)
        elif (
            not before.bindings
            and read.name in read.statement.names.reads
            and isinstance(read.statement.node, _AT_ONCE)
        ):
            position = self.program.start(read.statement.cell)
            yield refusals.unbound(self.program, read.name, position, read.statement)

    def _handed_on(self, code: RoleCode) -> Iterator[Read]:
        """Names that a role gives and binds on some paths only: on others it gives what was there before."""
        outputs = next(s.outputs for s in self.layout.stages if s.role == code.role)
        for name in outputs:
            if name in code.bound.may - code.bound.must:
                yield Read(name, next(s for s in code.body if name in s.names.may))

    def _is_immutable(self, name: str, position: int) -> bool:
        """Whether a name stands for a literal that nothing can change."""
        only = self.program.reaching(name, position).only
        return only is not None and only.kind == "constant" and not set("[{") & set(only.texts[name])

    def _refuse_hidden_arguments(self, code: RoleCode, root: Unit) -> None:
        """A helper must not read a global that the role's code binds: in the package it is a local."""
        bound = code.local | root.copies
        for unit in self._reached(root):
            if unit.statement is None or unit.statement.kind != "definition":
                continue
            for name in sorted(unit.statement.names.deferred & bound):
                binder = next((s for s in code.body if name in s.names.may | s.names.deletes), None)
                binder = binder or code.changed[name]
                root.findings.append(refusals.hidden_argument(name, binder, unit.statement))
                late = at(unit.statement, "NB203", "")
                unit.findings = [f for f in unit.findings if (f.code, f.cell) != (late.code, late.cell)]

    def _watch_copies(self, code: RoleCode, root: Unit) -> None:
        others = {t.name for t in root.needs.values() if t.kind == "state"} | set(self._inputs(code))
        for name in sorted(root.copies):
            cell = next(r.statement.cell for r in live_reads(code) if r.name == name)
            known = tuple(sorted(others - {name}))
            self.slice.watched[Watched("alone", name, cell.id, others=known)] = None

    def _inputs(self, code: RoleCode) -> tuple[str, ...]:
        return next(stage.inputs for stage in self.layout.stages if stage.role == code.role)

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
            self._need_at_definition(name, unit, statement, point)
        for name in sorted(statement.names.hints - statement.names.reads - statement.names.deferred):
            self._hint_at(name, unit, statement)
        for name in sorted(statement.names.deferred - statement.names.reads):
            if self._binds_itself(statement, name, point):
                continue
            target = self._resolve(name, point, point.position(self.program), statement, unit)
            if target is not None:
                unit.needs[name] = target
                rebinds = name in statement.names.writes_global
                if target.kind == "state" and name in statement.names.mutates and not rebinds:
                    unit.findings.append(refusals.helper_changes_state(name, statement))
        unit.findings += refusals.global_writes(statement)
        unit.findings += refusals.unseen_names(statement)
        unit.findings += refusals.changed_default(statement)
        unit.findings += refusals.own_name(statement)
        return unit

    def _binds_itself(self, statement: Statement, name: str, point: Point) -> bool:
        """Whether a block of definitions is all that may bind a name that one of them reads."""
        reaching = self.program.reaching(name, point.position(self.program))
        return reaching.bindings == (statement,) and not reaching.certain

    def _hint_at(self, name: str, unit: Unit, statement: Statement) -> None:
        """What an annotation speaks of: nice to have, where it is an import or a definition."""
        last = self.program.notebook.code[-1]
        position = self.program.end(last)
        only = self.program.reaching(name, position).only
        if only is not None and only is not statement and only.kind_of(name) in ("import", "definition"):
            target = self._resolve(name, Point("after", last), position, statement, unit)
            if target is not None:
                unit.needs[name] = target

    def _need_at_definition(self, name: str, unit: Unit, statement: Statement, point: Point) -> None:
        """What a definition reads as it runs: it keeps the object, whatever becomes of the name."""
        where, position = Point("after", statement.cell), statement.index
        changed, rebound = self._later(name, statement.index + 1, point.position(self.program))
        if changed is not None and statement.kind == "definition":
            if rebound is not None:
                unit.findings.append(refusals.changed_after(name, changed, statement))
                return
            where, position = point, point.position(self.program)
            unit.late.add(name)
        target = self._resolve(name, where, position, statement, unit)
        if target is not None:
            unit.needs[name] = target

    def _later(self, name: str, low: int, high: int) -> tuple[Statement | None, Statement | None]:
        """The first statement that changes the object of a name, and the first that binds the name anew."""
        changed: Statement | None = None
        for event in self.program.events(name, low, high):
            if name in event.names.may | event.names.deletes:
                return changed, event
            changed = changed or event
        return changed, None

    def _refuse_two_moments(self, unit: Unit, point: Point) -> None:
        """A helper that two roles call at two moments must read the same values at both."""
        statement = unit.statement
        assert statement is not None
        if unit.point is None or statement.kind == "constant":
            return
        low, high = sorted([unit.point.position(self.program), point.position(self.program)])
        if low == high:
            return
        for name in sorted(statement.names.deferred | unit.late):
            for event in self.program.events(name, low, high):
                if (name in event.names.may or name in event.names.mutates) and not self._again(
                    name, event, low
                ):
                    unit.findings.append(refusals.two_moments(name, event, statement))
            target = unit.needs.get(name)
            if target is not None and target.kind == "state" and target.key in self.slice.state:
                other = self.captures.again(target.key, point)
                if other != target.key:
                    unit.findings.append(refusals.two_moments(name, statement, statement))

    def _again(self, name: str, event: Statement, position: int) -> bool:
        """Whether a statement imports once more what a name stands for already."""
        before = [imported_as(s.node, name) for s in self.program.reaching(name, position).bindings]
        return imported_as(event.node, name) is not None and before == [imported_as(event.node, name)]

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
        kinds = {b.kind_of(name) for b in reaching.bindings}
        if not reaching.bindings:
            if is_builtin(name):
                return None
            own = self.program.bound_after(name, position)
            if own is not None and own.cell is point.cell and own.kind_of(name) == "import":
                return Target("import", name, (own,))  # a helper that a role cell calls below its imports
            if star := refusals.unknown_star(self.program, position, name):
                unit.findings.append(refusals.from_star(name, star, reader))
                return Target("import", name, (star,))
            unit.findings.append(refusals.unbound(self.program, name, position, reader))
            return None
        if kinds == {"import"}:
            for event in self.program.events(name, 0, position):
                if patched := patch_of(event.node, name):
                    unit.findings.append(refusals.patched(patched, event))
            return Target("import", name, self._imports(name, position, reaching.bindings))
        if "definition" in kinds:
            return self._definition(name, point, reaching.only, reaching.bindings, reader, unit)
        if kinds == {"constant"} and reaching.only is not None and not rebinds:
            low, high = sorted([position, point.position(self.program)])
            seen = not any(self.program.events(name, low, high))
            if seen and (key := self.captures.literal(name, point, reaching.only)):
                return Target("state", name, (reaching.only,), key)
            self._define(reaching.only, point)
            return Target("constant", name, (reaching.only,))
        return self._state(name, point, position, reaching.bindings, reader, unit)

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
        unit_of_it = self._define(only, point)
        place_ = (only.cell.id, only.cell.number, only.node.lineno)
        if not unit_of_it.late:
            self.slice.watched.setdefault(Watched("definition", name, point.cell.id, point.when, *place_))
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
                if in_role and reader.kind == "definition":
                    unit.findings.append(refusals.hidden_argument(name, binding, reader))
                    return None
                unit.findings.append(refusals.from_request(name, binding, reader, in_role=in_role))
                return None
        if position != point.position(self.program):
            for event in self.program.events(name, position, point.position(self.program)):
                unit.findings.append(refusals.changed_in_cell(name, event, reader))
        key = self.captures.value(name, point, bindings)
        self.captures.read_by(key, reader.cell.number, _line_of(name, reader))
        return Target("state", name, bindings, key)

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
        self.captures.make_optional(required)

    def _behind(self, name: str, position: int) -> Iterator[tuple[str, Statement]]:
        """All definitions that the computation of a value reads, directly or not."""
        bound, seen = set[tuple[str, int]](), set[int]()
        todo = [
            (-position, name)
        ]  # the last position first: what touched a value by then includes all before
        while todo:
            before, wanted = heapq.heappop(todo)
            behind = self.program.reaching(wanted, -before).bindings
            if not behind or (wanted, behind[0].index) in bound:
                continue
            bound.add((wanted, behind[0].index))
            for statement in self.program.events(wanted, behind[0].index, -before):
                if statement.kind == "definition":
                    yield wanted, statement
                if statement.kind != "import" and statement.index not in seen:
                    seen.add(statement.index)
                    for used in statement.names.reads | statement.names.deferred:
                        heapq.heappush(todo, (-statement.index, used))


def passing(layout: Layout) -> Iterator[Watched]:
    """The cells between two roles, or the example and a role, that must not change what passes there."""
    program = layout.program
    given = {name: layout.example[-1] for name in layout.request if layout.example}
    roles = {cell.id for code in layout.codes.values() for cell in code.cells}
    others = [c for c in program.notebook.code if c.id not in roles and program.of_cell(c)]
    for stage in layout.stages:
        cells = layout.codes[stage.role].cells
        for name in stage.inputs if stage.style == "inline" else ():
            low, high = given[name].number, cells[0].number
            yield from (Watched("passing", name, c.id) for c in others if low < c.number < high)
        given |= dict.fromkeys(stage.outputs, cells[-1])


def _line_of(name: str, reader: Statement) -> int:
    """The line of a statement that reads a name."""
    lines = [n.lineno for n in ast.walk(reader.node) if isinstance(n, ast.Name) and n.id == name]
    return min(lines, default=reader.node.lineno)


def rebound_later(slice_: Slice) -> Iterator[Diagnostic]:
    """Warnings for state that the notebook binds anew after it was captured."""
    program = slice_.layout.program
    for item in slice_.state.values():
        if not item.expected:
            continue
        point = Point(item.when, program.notebook.cell(item.cell))
        for event in program.events(item.name, point.position(program), len(program.statements)):
            if event.cell.id == item.cell:
                continue  # the role's own work on it
            yield at(
                event,
                "NB210",
                f"`{item.name}` changes here, after cell {point.cell.number}: the release keeps the value"
                f" that it had {item.when} cell {point.cell.number}",
                "If the later value is meant, move the role cells below this one.",
                "info",
            )
            break
