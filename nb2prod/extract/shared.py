"""What serving code changes that all requests share: state without a copy, classes, functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nb2prod.domain import Diagnostic, Role, Stage
from nb2prod.extract import effects, flows, making, names, registering, usage
from nb2prod.extract.caches import caches_of
from nb2prod.extract.findings import at, line_that_changes
from nb2prod.extract.lookups import makes_the_same
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.registries import decorated_by, fills, registered
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
            outside = program.changes.outside(other.node) & (other.names.deferred | other.names.must)
            told |= {name for name in outside if not fills(program, other, name, position)}
        if any(making.rebound(other.node)):  # and so may be what it decorates
            told |= statement.names.must
    told -= usage.of(statement.node).mutates
    changed = program.changes.outside(statement.node) - statement.names.writes_global - told
    for name in sorted(changed):
        kinds = _kinds(program, name, position)
        if "definition" in kinds:
            yield _definition_changes(name, statement)
        elif fills(program, statement, name, position):
            if not registered(program, name, program.reaching(name, position).only):
                yield registering.filled_with_others(name, [statement])
        elif kinds & _SHARED:
            yield _helper_changes_state(program, name, statement)


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


@dataclass(frozen=True, slots=True)
class FollowedRoles:
    """The roles, followed one after the other, and what each is handed by those before it."""

    flow: Flow
    places: Mapping[ast.stmt, tuple[RoleCode, Statement]]
    handed: Mapping[Role, Value]


def follow_roles(layout: Layout, codes: Iterable[RoleCode], copies: Mapping[Role, set[str]]) -> FollowedRoles:
    """Follow the code of the roles as one program."""
    flow, codes, handed = Flow(layout.program.changes), list(codes), dict[Role, Value]()
    stages = {stage.role: stage for stage in layout.stages}
    places = {
        statement.node: (code, statement)
        for code in codes
        for statement in [*code.body, *([code.entry] if code.entry else [])]
    }
    calls = {code.role: _call(stages[code.role]) for code in codes if code.entry is not None}

    def follow() -> None:
        for code in codes:
            inputs = stages[code.role].inputs
            handed[code.role] = NOTHING.union(*(flow.names.get(name, NOTHING) for name in inputs))
            flow.names |= {name: flow.make((code.role, name)) for name in copies[code.role]}
            _follow(flow, code, stages[code.role], calls.get(code.role))

    settle(flow, follow)
    return FollowedRoles(flow, places, handed)


def changed_by_roles(
    layout: Layout, followed: FollowedRoles, reached: Iterable[Statement]
) -> Iterator[tuple[Role, Diagnostic]]:
    """NB228 for role code: of what a role has from a helper or from another role it makes no copy."""
    program = layout.program
    told = {name for s in reached for name in program.changes.outside(s.node)} | set(layout.request)
    for name, node in flows.changed_outside(followed.flow).items():
        code, where = followed.places[node]
        if name in told or name in code.local or program.is_immutable(name, where.index):
            continue
        refused = decorated_by(program, name, program.reaching(name, where.index).only, where.index)
        if _kinds(program, name, where.index) & _SHARED and not refused:
            yield code.role, _role_changes_shared(name, where)


def _follow(flow: Flow, code: RoleCode, stage: Stage, entry: ast.Call | None) -> None:
    """One role, with what those before it have given. `entry`: the call of its function, always the same."""
    given: Value = NOTHING
    for statement in code.body:
        flow.statement = statement.node
        if isinstance(statement.node, ast.Expr):
            given = value(flow, statement.node.value)
        else:
            flows.run(flow, [statement.node])
    if code.entry is not None:
        flow.statement = code.entry.node
        given = value(flow, entry)
    if stage.result != "names" and stage.outputs:
        flow.names[stage.outputs[0]] = given


def _call(stage: Stage) -> ast.Call:
    """A role function as the pipeline calls it."""
    read: dict[str, ast.expr] = {name: ast.Name(name, ast.Load()) for name in stage.inputs}
    positional = [read[name] for name in stage.inputs if name not in stage.keywords]
    keywords = [ast.keyword(name, read[name]) for name in stage.keywords]
    return ast.Call(ast.Name(stage.function, ast.Load()), positional, keywords)


def _kinds(program: Program, name: str, position: int) -> set[str]:
    return {binding.kind_of(name) for binding in program.reaching(name, position).bindings}


# --- in words ------------------------------------------------------------------------------------


def _helper_changes_state(program: Program, name: str, where: Statement) -> Diagnostic:
    """NB228: a function that serving calls changes state in place."""
    message = (
        f"this function changes the notebook's `{name}` in place: the next request would get another answer"
    )
    hint = f"Pass `{name}` to the function as an argument and work on a copy, or return the new value."
    line = line_that_changes(where.node, name)
    read = _filled_by_reading(program, where.node, name) if line == where.node.lineno else None
    if read is not None:
        text, line = ast.unparse(read), read.lineno
        message = (
            f"`{name}` is a defaultdict: `{text}` puts a new item into it for each key that it lacks, and"
        )
        message += " the next request would get another answer"
        bound = [s.node for s in program.statements if name in s.names.may]
        plain = f"dict({name})"
        if not all(map(makes_the_same, bound)):
            plain = f"{{key: dict(inner) for key, inner in {name}.items()}}"
        hint = (
            f"Write `{name} = {plain}` in a cell above the roles, and `.get(key, default)` where a key may be"
        )
        hint += " missing."
    if isinstance(where.node, ast.FunctionDef) and _is_memo(where.node, name):
        message = f"this function keeps its answers in the notebook's `{name}`, which requests would change"
        hint = f"Drop `{name}`, and write `@functools.lru_cache(maxsize=None)` above `def {where.node.name}`."
    return at(where, "NB228", message, hint, line=line)


def _filled_by_reading(program: Program, node: ast.stmt, name: str) -> ast.Subscript | None:
    """Where a defaultdict is read, which puts in what it lacks."""
    if not program.changes.kinds(name) & effects.FILLED_BY_READING:
        return None
    read = (n for n in ast.walk(node) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load))
    return next((n for n in read if isinstance(n.value, ast.Name) and n.value.id == name), None)


def _is_memo(node: ast.FunctionDef, name: str) -> bool:
    """Whether a function looks up in a dict what it has put there itself."""
    inside = [n for part in node.body for n in ast.walk(part)]
    stores = (n.value for n in inside if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store))
    stored = any(isinstance(value, ast.Name) and value.id == name for value in stores)
    uses = [n for n in inside if isinstance(n, ast.Name) and n.id == name]
    makes = any(isinstance(n, names.Function) for n in inside)
    return stored and len(uses) > 1 and not makes and name in caches_of(node)


def _definition_changes(name: str, where: Statement) -> Diagnostic:
    """NB228: a class or function is another one after it has been called."""
    return at(
        where,
        "NB228",
        f"a call changes `{name}` itself, which all requests share: the next would get another answer",
        "Keep what changes in an object of the request, or pass it as an argument and work on a copy.",
        line=line_that_changes(where.node, name),
    )


def _role_changes_shared(name: str, where: Statement) -> Diagnostic:
    """NB228: role code changes what all requests share, and a copy cannot be made for each."""
    return at(
        where,
        "NB228",
        f"the role code changes `{name}`, which all requests share: the next would get another answer",
        f"Keep the new value under a name of the role's own, or work on a copy of what `{name}` holds.",
    )
