"""What serving code changes that all requests share: state without a copy, classes, functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from nb2prod.domain import Diagnostic, Role, Stage
from nb2prod.extract import flows, making, names, refusals
from nb2prod.extract.applied import Given, apply
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.roles import Layout
from nb2prod.extract.rounds import settle
from nb2prod.extract.things import NOTHING, Flow, Value
from nb2prod.extract.values import value

_SHARED = {"value", "constant", "definition"}


def changed_when_called(
    program: Program, statement: Statement, called: Iterable[Statement], position: int
) -> Iterator[Diagnostic]:
    """NB228 for a function; `called` are those that it calls, which are refused themselves."""
    told: set[str] = set()
    for other in called:
        if not _comes_back(program, other, statement, position):
            told |= program.changes.outside(other.node) & (other.names.deferred | other.names.must)
        if any(making.rebound(other.node)):  # and so may be what it decorates
            told |= statement.names.must
    told -= names.of(statement.node).mutates
    changed = program.changes.outside(statement.node) - statement.names.writes_global - told
    for name in sorted(changed):
        kinds = _kinds(program, name, position)
        if "definition" in kinds:
            yield refusals.definition_changes(name, statement)
        elif kinds & _SHARED:
            yield refusals.helper_changes_state(name, statement)


def _comes_back(program: Program, start: Statement, statement: Statement, position: int) -> bool:
    """Whether one function calls another, directly or not."""
    todo, seen = [start], set[int]()
    while todo:
        one = todo.pop()
        if one is statement:
            return True
        if one.index not in seen:
            seen.add(one.index)
            bindings = (b for name in one.names.deferred for b in program.reaching(name, position).bindings)
            todo += [binding for binding in bindings if binding.kind == "definition"]
    return False


def changed_by_roles(
    layout: Layout,
    codes: Iterable[RoleCode],
    copies: Mapping[Role, set[str]],
    reached: Iterable[Statement],
) -> Iterator[tuple[Role, Diagnostic]]:
    """NB228 for role code: of what a role has from a helper or from another role it makes no copy."""
    program = layout.program
    told = {name for s in reached for name in program.changes.outside(s.node)} | set(layout.request)
    flow, codes = Flow(program.changes), list(codes)
    stages = {stage.role: stage for stage in layout.stages}
    places = {
        statement.node: (code, statement)
        for code in codes
        for statement in [*code.body, *([code.entry] if code.entry else [])]
    }

    def follow() -> None:
        for code in codes:
            flow.names |= {name: flow.make((code.role, name)) for name in copies[code.role]}
            _follow(flow, code, stages[code.role])

    settle(flow, follow)
    for name, node in flows.changed_outside(flow).items():
        code, where = places[node]
        if name in told or name in code.local or program.is_immutable(name, where.index):
            continue
        if _kinds(program, name, where.index) & _SHARED:
            yield code.role, refusals.role_changes_shared(name, where)


def _follow(flow: Flow, code: RoleCode, stage: Stage) -> None:
    """One role, with what those before it have given."""
    given: Value = NOTHING
    for statement in code.body:
        flow.statement = statement.node
        if isinstance(statement.node, ast.Expr):
            given = value(flow, statement.node.value)
        else:
            flows.run(flow, [statement.node])
    if code.entry is not None:
        flow.statement = code.entry.node
        inputs = [flow.look_up(name) for name in stage.inputs if name not in stage.keywords]
        named = {name: flow.look_up(name) for name in stage.keywords}
        for function in code.changes.defined(stage.function):
            given |= apply(flow, function, Given(inputs, named), (code.role, function))
    if stage.result != "names" and stage.outputs:
        flow.names[stage.outputs[0]] = given


def _kinds(program: Program, name: str, position: int) -> set[str]:
    return {binding.kind_of(name) for binding in program.reaching(name, position).bindings}
