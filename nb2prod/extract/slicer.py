"""From the role code back to everything it needs: imports, definitions, constants and fitted state.

Each piece of code that a module will hold is a Unit; its `needs` say what every free name stands
for at the moment when the code runs. Training code is never entered: a name bound by computation
becomes state, captured when the reader runs.
"""

from __future__ import annotations

import ast
import heapq
from collections.abc import Callable, Iterator

from nb2prod.domain import Diagnostic, StateItem, Watched
from nb2prod.extract import refusals, shared
from nb2prod.extract.captures import Captures, Point
from nb2prod.extract.effects import patch_of
from nb2prod.extract.findings import at
from nb2prod.extract.making import calls_of, keeps, lists_subclasses, read_when, registers, remembered
from nb2prod.extract.moment import moment_of
from nb2prod.extract.program import Statement, imported_as, is_builtin
from nb2prod.extract.registries import fills, registered
from nb2prod.extract.rolecode import Read, RoleCode, live_reads
from nb2prod.extract.roles import Layout
from nb2prod.extract.units import Slice, Target, Unit, Use
from nb2prod.extract.watches import passing, reached

_AT_ONCE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)
"""Statements that read what they read before they bind anything, but for `:=`."""


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
        nodes = (s.node for s in self.program.statements if s.kind == "definition")
        self.remembered = tuple(sorted({name for node in nodes for name in remembered(node)}))
        self._todo: list[tuple[Unit, Use, bool]] = []
        self._next, self._following = 0, False

    def run(self) -> Slice:
        staged = {stage.role for stage in self.layout.stages}
        codes = [code for role, code in self.layout.codes.items() if role in staged]
        self.slice.moment = moment_of(self.layout, codes)
        for code in codes:
            entry = code.entry
            root = self._inline(code) if entry is None else self._define(entry, Use(self._after_moment()))
            self.slice.roots[code.role] = root
            if code.entry is None:
                self._refuse_hidden_arguments(code, root)
        for code in codes:
            self._watch_copies(code)
        self._refuse_shared_changes(codes)
        self._find_embedded(list(self.slice.state.values()))
        self.slice.watched |= dict.fromkeys([*passing(self.layout), *reached(self.slice)])
        self._refuse_listed()
        return self.slice

    def _refuse_listed(self) -> None:
        """Subclasses that a base class remembers, but that are not in the package."""
        assert self.slice.moment is not None
        classes = self.program.statements[: self.program.end(self.slice.moment)]
        for unit in self.slice.units.values():
            base = unit.statement.node if unit.statement is not None else None
            if not isinstance(base, ast.ClassDef) or not lists_subclasses(base):
                continue
            for other in classes:
                bases = other.node.bases if isinstance(other.node, ast.ClassDef) else []
                if other.index not in self.slice.units and base.name in map(ast.unparse, bases):
                    unit.note(refusals.subclass_listed(base.name, other))

    def _after_moment(self) -> Point:
        assert self.slice.moment is not None
        return Point("after", self.slice.moment)

    def _at(self, point: Point) -> int:
        return point.position(self.program)

    # -- units

    def _inline(self, code: RoleCode) -> Unit:
        unit = Unit(None, code.role)
        inputs = self._inputs(code)
        for read in self._reads(code):
            point = Point("before", read.statement.cell)
            if read.name in inputs or self._is_own(code, read.name, point):
                continue
            position = self._at(point)
            if read.name in code.local and not self.program.reaching(read.name, position).bindings:
                unit.findings += self._bound_inside(code, read)
                continue
            nearer = self.program.reaching(read.name, read.statement.index).only
            if nearer is not None and nearer.kind_of(read.name) == "import":
                position = read.statement.index
            place = self._change(code, read.name)
            changes = place is not None and not self.program.is_immutable(read.name, position)
            rebinds = read.name in code.local or changes
            target = self._resolve(
                read.name, point, position, read.statement, unit, Use(point), rebinds=rebinds
            )
            if target is not None:
                unit.needs.setdefault(read.name, target)
                if read.name in code.local and target.kind == "import":
                    unit.findings.append(refusals.shadowing(read.name, read.statement))
                if target.kind == "state" and changes and place is not None:
                    unit.copies.add(read.name)
                    unit.findings.append(refusals.changed_state(read.name, place))
        unit.findings += self._imported_anew(code)
        for statement in code.body:
            unit.findings += refusals.global_writes(statement)
            unit.findings += refusals.unseen_names(statement)
            unit.findings += refusals.own_name(statement)
        unit.findings += refusals.training(
            code, self.program, inputs, {t.name for t in unit.needs.values() if t.kind == "state"}
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

    def _other_import(self, code: RoleCode, unit: Unit) -> Iterator[Diagnostic]:
        """A helper that means another import than the one that the role makes before it calls the helper."""
        imports = [s for c in code.cells for s in self.program.of_cell(c) if s.kind == "import"]
        for statement in imports:
            for name in sorted(statement.names.may & unit.needs.keys()):
                target = unit.needs[name]
                known = [imported_as(s.node, name) for s in target.statements]
                if target.kind == "import" and known != [imported_as(statement.node, name)]:
                    assert unit.statement is not None
                    yield refusals.hidden_argument(name, statement, unit.statement)

    def _imported_anew(self, code: RoleCode) -> Iterator[Diagnostic]:
        """Imports in the role's cells go to the top of the module: there a name has one meaning."""
        statements = [s for cell in code.cells for s in self.program.of_cell(cell)]
        for statement in statements:
            for name in sorted(statement.names.may) if statement.kind == "import" else ():
                meaning = imported_as(statement.node, name)
                others = [s for s in statements if s.index < statement.index and name in s.names.may]
                read = (s for s in statements if name in s.names.reads | s.names.deferred)
                first = next((s for s in read if s.index < statement.index), None)
                if first is not None:
                    before = self.program.reaching(name, first.index).bindings
                    others += before or ([first] if is_builtin(name) else [])
                if any(imported_as(other.node, name) != meaning for other in others):
                    yield refusals.imported_anew(name, statement, code.role)

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

    def _reads(self, code: RoleCode) -> Iterator[Read]:
        """What a role reads, and gives as it was: what it binds on some paths only, on the others."""
        yield from live_reads(code)
        outputs = next(s.outputs for s in self.layout.stages if s.role == code.role)
        for name in outputs:
            if name in code.bound.may - code.bound.must:
                yield Read(name, next(s for s in code.body if name in s.names.may))

    def _refuse_hidden_arguments(self, code: RoleCode, root: Unit) -> None:
        """A helper must not read a global that the role's code binds: in the package it is a local."""
        bound = code.local | root.copies | (set(self._inputs(code)) & code.changed.keys())
        for unit in self._reached(root):
            if unit.statement is None or unit.statement.kind != "definition":
                continue
            rebinds = unit.statement.names.writes_global  # which is refused itself
            root.findings += self._other_import(code, unit)
            held = unit.statement.names.reads & root.copies  # by a default, a closure, a class
            for name in sorted((unit.statement.names.deferred & bound - rebinds) | held):
                binder = next((s for s in code.body if name in s.names.may | s.names.deletes), None)
                binder = binder or code.changed[name]
                root.findings.append(refusals.hidden_argument(name, binder, unit.statement))
                late = at(unit.statement, "NB203", "")
                unit.findings = [f for f in unit.findings if (f.code, f.cell) != (late.code, late.cell)]

    def _watch_copies(self, code: RoleCode) -> None:
        """What one role changes must be no part of what it, or another role, knows by another name."""
        others = {item.name for item in self.slice.state.values()} | set(self._inputs(code))
        for name in sorted(self.slice.roots[code.role].copies):
            cell = next(r.statement.cell for r in self._reads(code) if r.name == name)
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
        reaching = self.program.reaching(name, self._at(point))
        own = [b for b in reaching.bindings if code.owns(b) and b.kind in ("value", "constant")]
        if not own or own != list(reaching.bindings):
            return False
        return all(b in code.body for b in own)

    def _define(self, statement: Statement, use: Use) -> Unit:
        unit = self.slice.units.get(statement.index)
        is_new = unit is None
        if unit is None:
            unit = self.slice.units[statement.index] = Unit(statement)
        if use in unit.uses:
            return unit
        unit.uses.add(use)
        calls = calls_of(statement.node)
        for name in sorted(statement.names.reads):
            self._need_at_definition(name, unit, statement, use.point, calls.get(name))
        self._todo.insert(self._next, (unit, use, is_new))
        self._next += 1
        if not self._following:
            self._follow_calls()
        return unit

    def _follow_calls(self) -> None:
        """What definitions read when they are called: one after the other, as calls may go deep."""
        self._following = True
        while self._todo:
            self._next = 0
            self._when_called(*self._todo.pop(0))
        self._following, self._next = False, 0

    def _when_called(self, unit: Unit, use: Use, is_new: bool) -> None:
        statement = unit.statement
        assert statement is not None
        now, later = read_when(statement.node, statement.names, use.times)
        if use.made is not None:
            for name in sorted(now):
                self._need(name, unit, use.made, self._at(use.made), Use(use.point, use.made, None))
        for name in sorted(later):
            if self._binds_itself(statement, name, use.point):
                continue
            self._need(name, unit, use.point, self._at(use.point), Use(use.point))
        if use.made is not None and use.times != 0:
            for finding in refusals.counts_calls(statement):
                unit.note(finding)
        if is_new:
            self._refuse_in(unit, statement, use.point)

    def _refuse_in(self, unit: Unit, statement: Statement, point: Point) -> None:
        for name in sorted(statement.names.hints - statement.names.reads - statement.names.deferred):
            self._hint_at(name, unit, statement)
        called = [s for t in unit.needs.values() if t.kind == "definition" for s in t.statements]
        unit.findings += shared.changed_when_called(self.program, statement, called, self._at(point))
        unit.findings += refusals.global_writes(statement)
        unit.findings += refusals.unseen_names(statement)
        unit.findings += refusals.made_anew(statement)
        unit.findings += refusals.changed_default(statement, self.program)
        unit.findings += refusals.own_name(statement)

    def _need(self, name: str, unit: Unit, moment: Point, position: int, use: Use) -> None:
        """A name of a definition, at its moment: whatever uses the definition must mean the same by it."""
        assert unit.statement is not None
        known = unit.moments.get(name)
        target = unit.needs.get(name)
        if known is None:
            unit.moments[name] = moment
            target = self._resolve(name, moment, position, unit.statement, unit, use)
            if target is not None:
                unit.needs[name] = target
            return
        self._refuse_two_moments(name, unit, known, moment)
        if target is not None and target.kind == "definition":
            self._define(target.statements[0], use)

    def _refuse_shared_changes(self, codes: list[RoleCode]) -> None:
        roots = self.slice.roots
        reached = [u.statement for root in roots.values() for u in self._reached(root) if u.statement]
        copies = {role: root.copies for role, root in roots.items()}
        for role, finding in shared.changed_by_roles(self.layout, codes, copies, reached):
            roots[role].findings.append(finding)

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
            after = Point("after", last)
            target = self._resolve(name, after, position, statement, unit, Use(after))
            if target is not None:
                unit.needs[name] = target

    def _need_at_definition(
        self, name: str, unit: Unit, statement: Statement, point: Point, times: int | None
    ) -> None:
        """What a definition reads as it runs: it keeps the object, whatever becomes of the name."""
        where, position = Point("after", statement.cell), statement.index
        changed, rebound = self._later(name, statement.index + 1, self._at(point))
        own = self.program.reaching(name, statement.index).only
        if own is not None and own.kind_of(name) == "import":
            changed = None  # a library is what it is: `np.random.shuffle(x)` does not change `np`
        if changed is not None and statement.kind == "definition":
            if rebound is not None or not keeps(statement.node, name, self._function(statement)):
                unit.note(refusals.changed_after(name, changed, statement, anew=rebound is not None))
                return
            where, position = point, self._at(point)
            unit.late.add(name)
        self._need(name, unit, where, position, Use(point, where, times))

    def _function(self, reader: Statement) -> Callable[[str], ast.stmt | None]:
        """The functions of the notebook by name, as a statement sees them."""

        def found(name: str) -> ast.stmt | None:
            only = self.program.reaching(name, reader.index).only
            return only.node if only is not None and only.kind == "definition" else None

        return found

    def _later(self, name: str, low: int, high: int) -> tuple[Statement | None, Statement | None]:
        """The first statement that changes the object of a name, and the first that binds the name anew."""
        changed: Statement | None = None
        for event in self.program.events(name, low, high):
            if name in event.names.may | event.names.deletes:
                return changed, event
            changed = changed or event
        return changed, None

    def _refuse_two_moments(self, name: str, unit: Unit, one: Point, other: Point) -> None:
        """A helper that two roles call at two moments must read the same values at both."""
        statement = unit.statement
        assert statement is not None
        low, high = sorted([self._at(one), self._at(other)])
        if low == high or statement.kind == "constant" or fills(self.program, statement, name, low):
            return
        for event in self.program.events(name, low, high):
            touches = name in event.names.may or name in event.names.mutates
            if touches and not self._again(name, event, low):
                unit.note(refusals.two_moments(name, event, statement))
        target = unit.needs.get(name)
        if target is not None and target.kind == "state" and target.key in self.slice.state:
            again = self.captures.again(target.key, other)
            if again != target.key:
                unit.note(refusals.two_moments(name, statement, statement))

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
        use: Use,
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
            return self._definition(name, point, reaching.only, reaching.bindings, reader, unit, use)
        if kinds == {"constant"} and reaching.only is not None and not rebinds:
            low, high = sorted([position, self._at(point)])
            seen = not any(self.program.events(name, low, high))
            if seen and (key := self.captures.literal(name, point, reaching.only)):
                return Target("state", name, (reaching.only,), key)
            self._define(reaching.only, Use(point))
            return Target("constant", name, (reaching.only,))
        filling = () if rebinds else registered(self.program, name, reaching.only)
        if reaching.only is not None and filling and self._is_filled(filling):
            return self._registry(name, reaching.only, filling, use)
        return self._state(name, point, position, reaching.bindings, reader, unit)

    def _is_filled(self, filling: tuple[Statement, ...]) -> bool:
        """Whether a registry is full before any role reads it, and with nothing of the request."""
        codes = [self.layout.codes[stage.role] for stage in self.layout.stages]
        first = [self.program.start(code.body[0].cell) for code in codes if code.body]
        before = min([*first, self._at(self._after_moment())])
        return all(s.index < before and s.index not in self.layout.tainted for s in filling)

    def _registry(self, name: str, binding: Statement, filling: tuple[Statement, ...], use: Use) -> Target:
        """A dict or list, and the definitions that fill it."""
        unit = self._define(binding, Use(use.point))
        for statement, later in zip(filling, [*filling[1:], None], strict=True):
            until = use.point if later is None else Point("before", later.cell)
            self._watch(name, statement, until)
            self._define(statement, Use(use.point))
            unit.needs |= {bound: Target("definition", bound, (statement,)) for bound in statement.names.must}
        return Target("constant", name, (binding,))

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
        use: Use,
    ) -> Target | None:
        if only is None:
            unit.findings.append(refusals.two_definitions(name, bindings, reader))
            return None
        until = self._while_bound(name, point, use.point)
        for event in self.program.events(name, only.index + 1, self._at(until)):
            is_call = event.kind != "definition" or registers(event.node, name)
            if name in event.names.mutates and is_call:
                unit.note(refusals.changed_definition(name, event, only))
        unit_of_it = self._define(only, use)
        if not unit_of_it.late:
            self._watch(name, only, until)
        return Target("definition", name, (only,))

    def _watch(self, name: str, definition: Statement, until: Point, *, embedded: bool = False) -> None:
        """Have the clean run see whether a definition is still the same by then."""
        cell, line = definition.cell, definition.node.lineno
        where = (until.cell.id, until.when, cell.id, cell.number, line)
        self.slice.watched.setdefault(Watched("definition", name, *where, self.remembered, embedded))

    def _while_bound(self, name: str, point: Point, later: Point) -> Point:
        """The later moment, if the name still stands for the same then."""
        low, high = self._at(point), self._at(later)
        anew = any(name in e.names.may | e.names.deletes for e in self.program.events(name, low, high))
        return point if anew else later

    def _state(
        self,
        name: str,
        point: Point,
        position: int,
        bindings: tuple[Statement, ...],
        reader: Statement,
        unit: Unit,
    ) -> Target | None:
        if (leak := self._leak(name, bindings, position, reader)) is not None:
            unit.findings.append(leak)
            return None
        if position != self._at(point):
            for event in self.program.events(name, position, self._at(point)):
                unit.findings.append(refusals.changed_in_cell(name, event, reader))
        key = self.captures.value(name, point, bindings)
        self.captures.read_by(key, reader.cell.number, _line_of(name, reader))
        return Target("state", name, bindings, key)

    def _leak(
        self, name: str, bindings: tuple[Statement, ...], position: int, reader: Statement
    ) -> Diagnostic | None:
        """How the request gets into a value that is to be state, where no role hands it on."""
        own = next((code for code in self.layout.codes.values() if code.owns(reader)), None)
        events = self.program.events(name, bindings[0].index + 1, position)
        for leak in (*bindings, *(e for e in events if e not in bindings)):
            if leak.index not in self.layout.tainted or (leak not in bindings and own and own.owns(leak)):
                continue
            role = next((code for code in self.layout.codes.values() if code.owns(leak)), None)
            if role is not None and leak not in bindings and role.entry is None and name not in role.changed:
                continue
            in_role = role is not None
            if reader.kind == "definition" and leak.cell in self.layout.example:
                return refusals.reads_request(name, reader)
            if in_role and reader.kind == "definition":
                return refusals.hidden_argument(name, leak, reader)
            return refusals.from_request(name, leak, reader, in_role=in_role, bound=leak in bindings)
        return None

    # -- functions inside state

    def _find_embedded(self, items: list[StateItem]) -> None:
        """Functions and classes of the notebook that a captured value may refer to."""
        required = set(self.slice.state)
        for item in items:
            cell = self.program.notebook.cell(item.cell)
            point = Point(item.when, cell)
            for name, statement in self._behind(item.name, self._at(point)):
                if statement.index not in self.slice.units:
                    self._define(statement, Use(point))
                until = self._while_bound(name, Point("after", statement.cell), point)
                self._watch(name, statement, until, embedded=True)
                self.slice.embedded.setdefault(name, self.slice.units[statement.index])
        self.captures.make_optional(required)

    def _behind(self, name: str, position: int) -> Iterator[tuple[str, Statement]]:
        """All definitions that the computation of a value reads, directly or not."""
        bound, seen = set[tuple[str, int]](), set[int]()
        # the last position first: what touched a value by then includes all before
        todo = [(-position, name)]
        while todo:
            before, wanted = heapq.heappop(todo)
            behind = self.program.reaching(wanted, -before).bindings
            if not behind or (wanted, behind[0].index) in bound:
                continue
            bound.add((wanted, behind[0].index))
            for statement in self.program.events(wanted, behind[0].index, -before):
                if statement.kind == "definition":
                    own = sorted(statement.names.may)
                    yield from ((n, statement) for n in ([wanted] if wanted in own else own))
                if statement.kind != "import" and statement.index not in seen:
                    seen.add(statement.index)
                    for used in statement.names.reads | statement.names.deferred:
                        heapq.heappush(todo, (-statement.index, used))


def _line_of(name: str, reader: Statement) -> int:
    """The line of a statement that reads a name."""
    lines = [n.lineno for n in ast.walk(reader.node) if isinstance(n, ast.Name) and n.id == name]
    return min(lines, default=reader.node.lineno)
