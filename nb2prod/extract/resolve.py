"""What a name of serving code stands for at a moment of the clean run, and what that needs in turn.

A name bound by computation is state, captured when its reader runs: what computed it is not looked at. A
definition is followed, through what it reads as it is made and what it reads when it is called.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Literal

from nb2prod.domain import Watched
from nb2prod.extract import refusals, registering, shared
from nb2prod.extract.captures import Captures, Point
from nb2prod.extract.effects import patch_of
from nb2prod.extract.imports import enablers, imported_as
from nb2prod.extract.leaks import leak_into
from nb2prod.extract.making import calls_of, keeps, read_when, registers, remembered
from nb2prod.extract.names import is_builtin
from nb2prod.extract.program import Statement
from nb2prod.extract.registries import (
    attached,
    attached_by_call,
    decorated_by,
    enrolled,
    fills,
    registered,
    subclasses,
)
from nb2prod.extract.units import Slice, Target, Unit, Use


class Resolver:
    """Fills a slice with the units that names stand for."""

    def __init__(self, slice_: Slice, captures: Captures) -> None:
        self._slice = slice_
        self._layout = slice_.layout
        self._program = slice_.layout.program
        self._captures = captures
        nodes = (s.node for s in self._program.statements if s.kind == "definition")
        self._remembered = tuple(sorted({name for node in nodes for name in remembered(node)}))
        self._todo: list[tuple[Unit, Use, bool]] = []
        self._next, self._following = 0, False

    def resolve(
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
        """What a name stands for at a position; None for builtins and after a refusal. A constant that the
        reader binds anew (`rebinds`) comes as state, which can be given to it.
        """
        reaching = self._program.reaching(name, position)
        kinds = {b.kind_of(name) for b in reaching.bindings}
        if not reaching.bindings:
            return self._unbound(name, point, position, reader, unit)
        if kinds == {"import"}:
            for event in self._program.events(name, 0, position):
                if patched := patch_of(event.node, name):
                    unit.findings.append(refusals.patched(patched, event))
            found = self._imports(name, position, reaching.bindings)
            for other, above in enablers(self._program.statements[:position], found):
                unit.needs.setdefault(other, Target("import", other, (above,)))
            return Target("import", name, found)
        if "definition" in kinds:
            return self._definition(name, point, reaching.only, reaching.bindings, reader, unit, use)
        if kinds == {"constant"} and reaching.only is not None and not rebinds:
            low, high = sorted([position, self._at(point)])
            seen = not any(self._program.events(name, low, high))
            if seen and (key := self._captures.literal(name, point, reaching.only)):
                return Target("state", name, (reaching.only,), key)
            self.define(reaching.only, Use(point))
            self._watch_constant(name, reaching.only, point)
            return Target("constant", name, (reaching.only,))
        filling = () if rebinds else registered(self._program, name, reaching.only)
        if reaching.only is not None and filling and self._is_filled(filling):
            return self._registry(name, reaching.only, filling, use)
        if decorated := decorated_by(self._program, name, reaching.only, self._at(point)):
            own = unit.statement if unit.statement in decorated else None
            if own is None or not own.names.must & self._program.changes.outside(own.node):
                unit.note(registering.filled_with_others(name, decorated, own=True))
            return None  # or that a call of the definition changes is refused itself
        return self._state(name, point, position, reaching.bindings, reader, unit)

    def _unbound(
        self, name: str, point: Point, position: int, reader: Statement, unit: Unit
    ) -> Target | None:
        """What a name is that nothing above has bound."""
        if is_builtin(name):
            return None
        own = self._program.bound_after(name, position)
        if own is not None and own.cell is point.cell and own.kind_of(name) == "import":
            return Target("import", name, (own,))  # a helper that a role cell calls below its imports
        if star := refusals.unknown_star(self._program, position, name):
            unit.findings.append(refusals.from_star(name, star, reader))
            return Target("import", name, (star,))
        unit.findings.append(refusals.unbound(self._program, name, position, reader))
        return None

    def _is_filled(self, filling: tuple[Statement, ...]) -> bool:
        """Whether a registry is full before any role reads it, and with nothing of the request."""
        codes = [self._layout.codes[stage.role] for stage in self._layout.stages]
        first = [self._program.start(code.body[0].cell) for code in codes if code.body]
        assert self._slice.moment is not None
        before = min([*first, self._at(Point("after", self._slice.moment))])
        return all(s.index < before and s.index not in self._layout.tainted for s in filling)

    def _registry(self, name: str, binding: Statement, filling: tuple[Statement, ...], use: Use) -> Target:
        """A dict or list, and the definitions that fill it."""
        unit = self.define(binding, Use(use.point))
        for statement, later in zip(filling, [*filling[1:], None], strict=True):
            until = use.point if later is None else Point("before", later.cell)
            self._watch(name, statement, until)
            self.define(statement, Use(use.point))
            unit.needs |= {bound: Target("definition", bound, (statement,)) for bound in statement.names.must}
        return Target("constant", name, (binding,))

    def attach(self, unit: Unit, nodes: Iterable[ast.stmt], use: Use) -> None:
        """Have what a library knows of the notebook, where code reads it as an attribute."""
        nodes = list(nodes)
        for statement in attached_by_call(self._program, nodes, self._at(use.point)):
            unit.note(registering.attached_by_call(statement))
        for statement in attached(self._program, nodes, self._at(use.point)):
            if statement is unit.statement or not self._is_filled((statement,)):
                continue
            self.define(statement, Use(use.point))
            for name in statement.names.must:
                until = self._while_bound(name, Point("after", statement.cell), use.point)
                self._watch(name, statement, until)
                unit.needs.setdefault(name, Target("definition", name, (statement,)))

    def _imports(self, name: str, position: int, bindings: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """`import a.b` and `import a.c` both bind `a`: all of them count."""
        found = [s for s in self._program.statements[:position] if s.kind == "import" and name in s.names.may]
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
        for event in self._program.events(name, only.index + 1, self._at(until)):
            is_call = event.kind != "definition" or registers(event.node, name)
            if name in event.names.mutates and is_call and event not in self._below(only):
                unit.note(registering.changed_definition(name, event, only))
        unit_of_it = self.define(only, use)
        if not unit_of_it.late:
            self._watch_from(name, only, until)
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
        if (leak := leak_into(self._layout, name, bindings, position, reader)) is not None:
            unit.findings.append(leak)
            return None
        if position != self._at(point):
            for event in self._program.events(name, position, self._at(point)):
                unit.findings.append(refusals.changed_in_cell(name, event, reader))
        key = self._captures.value(name, point, bindings)
        self._captures.read_by(key, reader.cell.number, _line_of(name, reader))
        return Target("state", name, bindings, key)

    def _watch(self, name: str, definition: Statement, until: Point, *, embedded: bool = False) -> None:
        """Have the clean run see whether a definition is still the same by then."""
        where = _place(definition, until)
        self._slice.watched.setdefault(Watched("definition", name, *where, self._remembered, embedded))

    def _watch_constant(self, name: str, binding: Statement, point: Point) -> None:
        """Have the proof see whether a constant is in the package what it was in the notebook."""
        until = self._while_bound(name, Point("after", binding.cell), point)
        if self._program.reaching(name, self._at(until)).only is binding:  # not bound anew in its own cell
            self._slice.watched.setdefault(Watched("constant", name, *_place(binding, until)))

    def _watch_from(self, name: str, definition: Statement, until: Point, *, embedded: bool = False) -> None:
        """Watch a definition, and a class that each class below it changes from one to the next."""
        steps = [definition, *self._below(definition)]
        for statement, later in zip(steps, [*steps[1:], None], strict=True):
            before = until if later is None else Point("before", later.cell)
            self._watch(name, statement, before, embedded=embedded)

    def _below(self, statement: Statement) -> tuple[Statement, ...]:
        """The definitions that go with one that changes as they are made: subclasses, `@register`."""
        assert self._slice.moment is not None
        end = self._program.end(self._slice.moment)
        below = (subclasses(self._program, statement, end), enrolled(self._program, statement, end))
        found = {s.index: s for each in below if self._is_filled(each) for s in each}
        return tuple(found[index] for index in sorted(found))

    def _while_bound(self, name: str, point: Point, later: Point) -> Point:
        """The later moment, if the name still stands for the same then."""
        low, high = self._at(point), self._at(later)
        anew = any(name in e.names.may | e.names.deletes for e in self._program.events(name, low, high))
        return point if anew else later

    def embed(self, name: str, statement: Statement, point: Point) -> None:
        """Have a definition that a value captured at a moment may refer to."""
        if statement.index not in self._slice.units:
            self.define(statement, Use(point))
        until = self._while_bound(name, Point("after", statement.cell), point)
        self._watch_from(name, statement, until, embedded=True)
        first = self._slice.embedded.setdefault(name, self._slice.units[statement.index]).statement
        if first is not None and first is not statement:
            self._slice.ambiguous.setdefault(name, refusals.two_meanings(name, first, statement))
        for below in self._below(statement):
            for known in below.names.must:
                self._slice.embedded.setdefault(known, self._slice.units[below.index])

    def _at(self, point: Point) -> int:
        return point.position(self._program)

    # -- definitions

    def define(self, statement: Statement, use: Use) -> Unit:
        unit = self._slice.units.get(statement.index)
        is_new = unit is None
        if unit is None:
            unit = self._slice.units[statement.index] = Unit(statement)
        if use in unit.uses:
            return unit
        unit.uses.add(use)
        self.attach(unit, [statement.node], use)
        for below in self._below(statement):
            # several may be called `_`, which the code itself may read as something else
            unit.needs |= {
                f"{name} {below.index}": Target("definition", name, (below,)) for name in below.names.must
            }
            self.define(below, Use(use.point))
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
                filled = fills(self._program, statement, name, use.at)
                position = self._at(use.made) if filled else use.at
                self._need(name, unit, use.made, position, Use(use.point, use.made, None, use.at))
        for name in sorted(later):
            if self._binds_itself(statement, name, use.point):
                continue
            self._need(name, unit, use.point, self._at(use.point), Use(use.point))
        if use.made is not None and use.times != 0:
            for finding in refusals.counts_calls(statement):
                unit.note(finding)
        if is_new:
            self._refuse_in(unit, statement, use.point)

    def _need(self, name: str, unit: Unit, moment: Point, position: int, use: Use) -> None:
        """A name of a definition, at its moment: whatever uses the definition must mean the same by it."""
        assert unit.statement is not None
        known = unit.moments.get(name)
        target = unit.needs.get(name)
        if known is None:
            unit.moments[name] = moment, position
            target = self.resolve(name, moment, position, unit.statement, unit, use)
            if target is not None:
                unit.needs[name] = target
            return
        self._refuse_two_moments(name, unit, known, (moment, position))
        if target is not None and target.kind == "definition":
            self.define(target.statements[0], use)

    def _need_at_definition(
        self, name: str, unit: Unit, statement: Statement, point: Point, times: int | None
    ) -> None:
        """What a definition reads as it runs: it keeps the object, whatever becomes of the name."""
        where, position = Point("after", statement.cell), statement.index
        changed, rebound = self._later(name, statement.index + 1, self._at(point))
        own = self._program.reaching(name, statement.index).only
        if own is not None and own.kind_of(name) == "import":
            changed = None  # a library is what it is: `np.random.shuffle(x)` does not change `np`
        if changed is not None and fills(self._program, statement, name, position):
            changed = None  # `@known.add("a")`: the next definition is put into it too
        if changed is not None and own is not None and {changed, statement} <= {*self._below(own)}:
            changed = None  # `@area.register`: so is it here
        if changed is not None and statement.kind == "definition":
            if rebound is not None or not keeps(statement.node, name, self._function(statement)):
                unit.note(refusals.changed_after(name, changed, statement, anew=rebound is not None))
                return
            where, position = point, self._at(point)
            unit.late.add(name)
        made = min(position + 1, self._at(where))
        self._need(name, unit, where, position, Use(point, where, times, made))

    def _later(self, name: str, low: int, high: int) -> tuple[Statement | None, Statement | None]:
        """The first statement that changes the object of a name, and the first that binds the name anew."""
        changed: Statement | None = None
        for event in self._program.events(name, low, high):
            if name in event.names.may | event.names.deletes:
                return changed, event
            changed = changed or event
        return changed, None

    def _function(self, reader: Statement) -> Callable[[str], ast.stmt | None]:
        """The functions of the notebook by name, as a statement sees them."""

        def found(name: str) -> ast.stmt | None:
            only = self._program.reaching(name, reader.index).only
            return only.node if only is not None and only.kind == "definition" else None

        return found

    def _binds_itself(self, statement: Statement, name: str, point: Point) -> bool:
        """Whether a block of definitions is all that may bind a name that one of them reads."""
        reaching = self._program.reaching(name, point.position(self._program))
        return reaching.bindings == (statement,) and not reaching.certain

    def _hint_at(self, name: str, unit: Unit, statement: Statement) -> None:
        """What an annotation speaks of: nice to have, where it is an import or a definition."""
        last = self._program.notebook.code[-1]
        position = self._program.end(last)
        only = self._program.reaching(name, position).only
        if only is not None and only is not statement and only.kind_of(name) in ("import", "definition"):
            after = Point("after", last)
            target = self.resolve(name, after, position, statement, unit, Use(after))
            if target is not None:
                unit.needs[name] = target

    def _refuse_in(self, unit: Unit, statement: Statement, point: Point) -> None:
        for name in sorted(statement.names.hints - statement.names.reads - statement.names.deferred):
            self._hint_at(name, unit, statement)
        called = [s for t in unit.needs.values() if t.kind == "definition" for s in t.statements]
        unit.findings += shared.changed_when_called(self._program, statement, called, self._at(point))
        unit.findings += refusals.global_writes(statement)
        unit.findings += refusals.unseen_names(statement)
        unit.findings += refusals.made_anew(statement)
        unit.findings += refusals.changed_default(statement, self._program)
        unit.findings += refusals.own_name(statement)

    def _refuse_two_moments(
        self, name: str, unit: Unit, one: tuple[Point, int], other: tuple[Point, int]
    ) -> None:
        """What a definition reads at two moments (made and called, or by two roles) must be the same."""
        statement = unit.statement
        assert statement is not None
        low, high = sorted([one[1], other[1]])
        if low == high or statement.kind == "constant" or fills(self._program, statement, name, low):
            return
        for event in self._program.events(name, low, high):
            touches = name in event.names.may or (name in event.names.mutates and event is not statement)
            if touches and not self._again(name, event, low):
                unit.note(refusals.two_moments(name, event, statement))
        target = unit.needs.get(name)
        if target is not None and target.kind == "state" and target.key in self._slice.state:
            again = self._captures.again(target.key, other[0])
            if again != target.key:
                unit.note(refusals.two_moments(name, statement, statement))

    def _again(self, name: str, event: Statement, position: int) -> bool:
        """Whether a statement imports once more what a name stands for already."""
        before = [imported_as(s.node, name) for s in self._program.reaching(name, position).bindings]
        return imported_as(event.node, name) is not None and before == [imported_as(event.node, name)]


def _place(binding: Statement, until: Point) -> tuple[str, Literal["before", "after"], str, int, int]:
    cell = binding.cell
    return until.cell.id, until.when, cell.id, cell.number, binding.node.lineno


def _line_of(name: str, reader: Statement) -> int:
    """The line of a statement that reads a name."""
    lines = [n.lineno for n in ast.walk(reader.node) if isinstance(n, ast.Name) and n.id == name]
    return min(lines, default=reader.node.lineno)
