"""Globals that functions read which a role has in its state, or from an earlier role: there no text shows it.

What serving calls by name is looked at where the name is resolved. In the package a function reads the global
of its own module; in the notebook it reads what a role has bound, or a cell between two roles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nb2prod.domain import Diagnostic
from nb2prod.extract import refusals
from nb2prod.extract.captures import Point
from nb2prod.extract.program import Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.shared import FollowedRoles
from nb2prod.extract.things import ANYTHING, Value, reach
from nb2prod.extract.units import Slice, Unit


def bound_by(slice_: Slice, code: RoleCode) -> frozenset[str]:
    """The globals that a role's code binds, or changes a copy of."""
    root = slice_.roots[code.role]
    inputs = next(stage.inputs for stage in slice_.layout.stages if stage.role == code.role)
    return code.local | root.copies | (set(inputs) & code.changed.keys())


def refused(slice_: Slice, code: RoleCode, name: str, reader: Statement) -> Diagnostic:
    """NB212 for a name that a role binds and a function reads."""
    binder = next((s for s in code.body if name in s.names.may | s.names.deletes), None)
    return refusals.hidden_argument(name, binder or code.changed[name], reader)


def in_state(slice_: Slice, rehomed: Collection[str]) -> Iterator[Diagnostic]:
    """NB212, NB214 for functions and classes that the clean run has found in state."""
    yield from _ambiguous(slice_, rehomed)
    for code in (slice_.layout.codes[role] for role in slice_.roots):
        for unit in slice_.reached(*_embedded(slice_, slice_.roots[code.role], frozenset(rehomed))):
            assert unit.statement is not None
            if unit.statement.kind == "definition":
                yield from _of_unit(slice_, code, unit, unit.statement)


def _ambiguous(slice_: Slice, rehomed: Collection[str]) -> Iterator[Diagnostic]:
    """NB214 for a name in state that means another definition in other state, or later in the package."""
    included = [u.statement for u in slice_.included(rehomed) if u.statement is not None]
    for name in sorted(slice_.embedded.keys() & rehomed):
        meant = slice_.embedded[name].statement
        last = max((s for s in included if name in s.names.may), key=lambda s: s.index, default=None)
        if name in slice_.ambiguous:
            yield slice_.ambiguous[name]
        elif meant is not None and last is not None and last is not meant:
            yield refusals.two_meanings(name, meant, last)


def _embedded(slice_: Slice, root: Unit, rehomed: frozenset[str]) -> Iterator[Unit]:
    """The definitions in the state that a role reads."""
    program = slice_.layout.program
    keys = {t.key for unit in slice_.reached(root) for t in unit.needs.values() if t.kind == "state"}
    for item in (slice_.state[key] for key in sorted(keys)):
        position = Point(item.when, program.notebook.cell(item.cell)).position(program)
        behind = slice_.provenance.statements(item.name, position)
        known = {name for s in behind if s.kind == "definition" for name in s.names.may}
        yield from (slice_.embedded[name] for name in sorted(known & rehomed & slice_.embedded.keys()))


def _of_unit(slice_: Slice, code: RoleCode, unit: Unit, reader: Statement) -> Iterator[Diagnostic]:
    bound = bound_by(slice_, code)
    for name in sorted(reader.names.deferred - reader.names.writes_global):
        if name in bound:
            yield refused(slice_, code, name, reader)
        elif name in unit.moments:
            low, high = sorted([unit.moments[name][1], _runs(slice_, code)])
            yield from _changed(slice_, name, reader, low, high)


def _runs(slice_: Slice, code: RoleCode) -> int:
    """The position at which a role's code runs."""
    assert slice_.moment is not None
    program = slice_.layout.program
    return program.start(code.body[0].cell) if code.body else program.end(slice_.moment)


def _changed(slice_: Slice, name: str, reader: Statement, low: int, high: int) -> Iterator[Diagnostic]:
    """NB214 if what a function reads is another value at one of two positions."""
    for event in slice_.layout.program.events(name, low, high):
        if event is not reader:
            yield refusals.two_moments(name, event, reader)
            return


def handed_on(slice_: Slice, codes: list[RoleCode], followed: FollowedRoles) -> Iterator[Diagnostic]:
    """NB212, NB214 for functions and generators that one role makes or takes, and gives to a later one."""
    program = slice_.layout.program
    for i, code in enumerate(codes):
        earlier = codes[:i]
        if not _holds_functions(followed.handed.get(code.role, frozenset())):
            continue
        for giver in earlier:
            for reader in _readers(slice_, giver):
                for name in sorted(reader.names.deferred - reader.names.writes_global):
                    if name in bound_by(slice_, code):
                        yield refused(slice_, code, name, reader)
                    elif giver.body:
                        end = program.end(giver.body[-1].cell)
                        yield from _changed(slice_, name, reader, end, _runs(slice_, code))


def _readers(slice_: Slice, code: RoleCode) -> Iterator[Statement]:
    """The definitions that a role reaches: they may make functions. For its own code see `lazily.py`."""
    for unit in slice_.reached(slice_.roots[code.role]):
        if unit.statement is not None and unit.statement.kind == "definition":
            yield unit.statement


def _holds_functions(given: Value) -> bool:
    return any(t.functions or t.origin.kinds & {ANYTHING, "iter"} for t in reach(given))
