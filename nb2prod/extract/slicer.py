"""From the role code back to everything it needs: imports, definitions, constants and fitted state.

Each piece of code that a module will hold is a Unit; its `needs` say what every free name stands
for at the moment when the code runs. Training code is never entered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nb2prod.domain import Diagnostic, StateItem, Watched
from nb2prod.extract import hidden, refusals, registering, shared
from nb2prod.extract.captures import Captures, Point
from nb2prod.extract.clashes import imported_anew, other_import
from nb2prod.extract.making import lists_subclasses, makes_class_below
from nb2prod.extract.moment import moment_of
from nb2prod.extract.program import Statement
from nb2prod.extract.provenance import Provenance
from nb2prod.extract.registries import subclasses
from nb2prod.extract.resolve import Resolver
from nb2prod.extract.rolecode import Read, RoleCode, live_reads
from nb2prod.extract.roles import Layout
from nb2prod.extract.sooner import called_sooner
from nb2prod.extract.units import Slice, Unit, Use
from nb2prod.extract.watches import passing, reached

_AT_ONCE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)
"""Statements that read what they read before they bind anything, but for `:=`."""


def slice_of(layout: Layout, kept: frozenset[str] | None = None) -> Slice:
    """The slice for a layout without errors. `kept`: the keys of the state that the clean run has kept."""
    return _Slicer(layout, kept).run()


class _Slicer:
    """Starts at the roles, and looks at what they reach."""

    def __init__(self, layout: Layout, kept: frozenset[str] | None) -> None:
        self.layout = layout
        self.program = layout.program
        self._captures = Captures(layout.program, kept)
        self.slice = Slice(layout, Provenance(layout.program), state=self._captures.items)
        self._names = Resolver(self.slice, self._captures)

    def run(self) -> Slice:
        staged = {stage.role for stage in self.layout.stages}
        codes = [code for role, code in self.layout.codes.items() if role in staged]
        self.slice.moment = moment_of(self.layout, codes)
        for code in codes:
            if code.entry is not None:
                self.slice.roots[code.role] = self._names.define(code.entry, Use(self._after_moment()))
                continue
            self.slice.roots[code.role] = self._inline(code)
            self._refuse_hidden_arguments(code, self.slice.roots[code.role])
        for code in codes:
            self._watch_copies(code)
        self._refuse_shared_changes(codes)
        self._find_embedded(list(self.slice.state.values()))
        self.slice.watched |= dict.fromkeys([*passing(self.layout), *reached(self.slice)])
        self._refuse_listed()
        return self.slice

    def _after_moment(self) -> Point:
        assert self.slice.moment is not None
        return Point("after", self.slice.moment)

    def _inline(self, code: RoleCode) -> Unit:
        unit = Unit(None, code.role)
        inputs = self._inputs(code)
        for read in self._reads(code):
            point = Point("before", read.statement.cell)
            if read.name in inputs or self._is_own(code, read.name, point):
                continue
            position = self._at(point)
            if read.name in code.local and not self.program.reaching(read.name, position).bindings:
                unit.findings += self._bound_inside(read)
                continue
            nearer = self.program.reaching(read.name, read.statement.index).only
            if nearer is not None and nearer.kind_of(read.name) == "import":
                position = read.statement.index
            place = self._change(code, read.name)
            changes = place is not None and not self.program.is_immutable(read.name, position)
            rebinds = read.name in code.local or changes
            target = self._names.resolve(
                read.name, point, position, read.statement, unit, Use(point), rebinds=rebinds
            )
            if target is not None:
                unit.needs.setdefault(read.name, target)
                if read.name in code.local and target.kind == "import":
                    unit.findings.append(refusals.shadowing(read.name, read.statement))
                if target.kind == "state" and changes and place is not None:
                    unit.copies.add(read.name)
                    unit.findings.append(refusals.changed_state(read.name, place))
        unit.findings += imported_anew(self.program, code)
        if code.body:
            self._names.attach(unit, [s.node for s in code.body], Use(Point("before", code.body[0].cell)))
        for statement in code.body:
            unit.findings += refusals.global_writes(statement)
            unit.findings += refusals.unseen_names(statement)
            unit.findings += refusals.own_name(statement)
            unit.findings += refusals.local_name(statement)
            unit.findings += refusals.read_past_class(statement, {*code.local, *inputs, *unit.copies})
        unit.findings += refusals.training(
            code, self.program, inputs, {t.name for t in unit.needs.values() if t.kind == "state"}
        )
        return unit

    def _inputs(self, code: RoleCode) -> tuple[str, ...]:
        return next(stage.inputs for stage in self.layout.stages if stage.role == code.role)

    def _reads(self, code: RoleCode) -> Iterator[Read]:
        """What a role reads, and gives as it was: what it binds on some paths only, on the others."""
        yield from live_reads(code)
        outputs = next(s.outputs for s in self.layout.stages if s.role == code.role)
        for name in outputs:
            if name in code.bound.may - code.bound.must:
                yield Read(name, next(s for s in code.body if name in s.names.may))

    def _is_own(self, code: RoleCode, name: str, point: Point) -> bool:
        """True if an earlier cell of the same role bound the name, and nothing else has since."""
        reaching = self.program.reaching(name, self._at(point))
        own = [b for b in reaching.bindings if code.owns(b) and b.kind in ("value", "constant")]
        if not own or own != list(reaching.bindings):
            return False
        return all(b in code.body for b in own)

    def _bound_inside(self, read: Read) -> Iterator[Diagnostic]:
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

    def _change(self, code: RoleCode, name: str) -> Statement | None:
        """Where a role changes the object of a name, or a later role does so to which it hands that on."""
        stages = {stage.role: stage for stage in self.layout.stages}
        codes = [c for role, c in self.layout.codes.items() if role in stages]
        while name not in code.changed and name in stages[code.role].outputs:
            later = codes[codes.index(code) + 1 :]
            taking = next((c for c in later if name in stages[c.role].inputs), None)
            if taking is None:
                return None
            code = taking
        return code.changed.get(name)

    def _watch_copies(self, code: RoleCode) -> None:
        """What one role changes must be no part of what it, or another role, knows by another name."""
        others = {item.name for item in self.slice.state.values()} | set(self._inputs(code))
        for name in sorted(self.slice.roots[code.role].copies):
            cell = next(r.statement.cell for r in self._reads(code) if r.name == name)
            known = tuple(sorted(others - {name}))
            self.slice.watched[Watched("alone", name, cell.id, others=known)] = None

    def _refuse_hidden_arguments(self, code: RoleCode, root: Unit) -> None:
        """A helper must not read a global that the role's code binds: in the package it is a local."""
        bound = hidden.bound_by(self.slice, code)
        for unit in self.slice.reached(root):
            if unit.statement is None or unit.statement.kind != "definition":
                continue
            rebinds = unit.statement.names.writes_global  # which is refused itself
            root.findings += other_import(self.program, code, unit)
            held = unit.statement.names.reads & root.copies  # by a default, a closure, a class
            for name in sorted((unit.statement.names.deferred & bound - rebinds) | held):
                if self._is_read_sooner(code, root, name, unit):
                    continue
                root.findings.append(hidden.refused(self.slice, code, name, unit.statement))
                late = ("NB203", unit.statement.cell.id)
                unit.findings = [f for f in unit.findings if (f.code, f.cell) != late]

    def _is_read_sooner(self, code: RoleCode, root: Unit, name: str, unit: Unit) -> bool:
        """Whether a role calls what reads a name only before it binds that name, and does no more to it."""
        if name in root.copies or name in code.changed or name not in code.local:
            return False
        through = [u for u in self.slice.reached(root) if unit in self.slice.reached(u)]
        nodes = [u.statement.node for u in through if u.statement is not None]
        return called_sooner(code, name, nodes)

    def _refuse_shared_changes(self, codes: list[RoleCode]) -> None:
        roots = self.slice.roots
        reached = [u.statement for u in self.slice.reached(*roots.values()) if u.statement]
        copies = {role: root.copies for role, root in roots.items()}
        followed = shared.follow_roles(self.layout, codes, copies)
        for role, finding in shared.changed_by_roles(self.layout, followed, reached):
            roots[role].findings.append(finding)
        for finding in hidden.handed_on(self.slice, codes, followed):
            roots[codes[-1].role].note(finding)

    def _refuse_listed(self) -> None:
        """Classes that change another one as they are defined, such as its subclasses, and are not taken."""
        assert self.slice.moment is not None
        end = self.program.end(self.slice.moment)
        for unit in self.slice.units.values():
            known = unit.statement if unit.statement and unit.statement.kind == "definition" else None
            for name in sorted(known.names.must) if known else ():
                assert known is not None
                for other in self.program.events(name, known.index + 1, end):
                    if other.index in self.slice.units or not _defines_class(other):
                        continue
                    if name in self.program.changes.of(other.node):
                        unit.note(registering.subclass_listed(name, other))
            if known is not None and lists_subclasses(known.node):
                for other in self._made_below(known, end):
                    unit.note(registering.subclass_made(min(known.names.must), other))

    def _made_below(self, known: Statement, end: int) -> Iterator[Statement]:
        """Statements that make classes below one that remembers them, and are no definitions of these."""
        below = subclasses(self.program, known, end)
        above = known.names.must.union(*(s.names.must for s in below))
        later = self.program.statements[known.index + 1 : end]
        run = {name for s in later if s.kind == "value" for name in s.names.reads}
        for other in later:
            if other.index in self.slice.units or known.names.must & self.program.changes.of(other.node):
                continue
            runs = other.kind == "value" or _defines_class(other) or other.names.must & run
            if runs and makes_class_below(other.node, above):
                yield other

    def _find_embedded(self, items: list[StateItem]) -> None:
        """Functions and classes of the notebook that a captured value may refer to."""
        required = set(self.slice.state)
        for item in items:
            point = Point(item.when, self.program.notebook.cell(item.cell))
            behind = self.slice.provenance.statements(item.name, self._at(point))
            for statement, wanted in reversed([*behind.items()]):
                own = statement.names.may
                for name in sorted(wanted & own or own) if statement.kind == "definition" else ():
                    if (meant := self._defined_by(name, statement, point)) is not None:
                        self._names.embed(name, meant, point)
        self._captures.make_optional(required)

    def _defined_by(self, name: str, statement: Statement, point: Point) -> Statement | None:
        """What defines a name by then, if not that statement: what is of the older one is refused."""
        reaching = self.program.reaching(name, self._at(point))
        only = reaching.only
        if statement in reaching.bindings or only is None:
            return statement if statement in reaching.bindings else None
        return only if only.kind_of(name) == "definition" else None

    def _at(self, point: Point) -> int:
        return point.position(self.program)


def _defines_class(statement: Statement) -> bool:
    """A class, or a block of definitions."""
    return statement.kind == "definition" and isinstance(statement.node, ast.ClassDef | ast.If | ast.Try)
