"""What roles hand on that reads globals only when it is used: generators, `map`, functions.

In the notebook it sees them as they are by then, in the package as the role that made it had them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from nb2prod.domain import Diagnostic
from nb2prod.extract import names, unfit, usage
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.things import Summary, reach


def rebound_before_use(
    program: Program, stages: Sequence[tuple[RoleCode, Sequence[str]]]
) -> Iterator[Diagnostic]:
    """NB214 for what inline code hands on, if a name that it reads when used is bound anew by then."""
    for i, (code, outputs) in enumerate(stages[:-1]):
        if code.body:
            yield from _rebound(program, code, outputs, [later for later, _ in stages[i + 1 :]])


def _rebound(
    program: Program, code: RoleCode, outputs: Sequence[str], later: Iterable[RoleCode]
) -> Iterator[Diagnostic]:
    last = max(other.body[-1].index if other.body else program.end(other.cells[-1]) for other in later)
    flow = code.changes.followed(s.node for s in code.body)
    makers = {f: key for key, made in flow.made.items() for f in made.functions if _is_function(key)}
    keys = {thing: key for key, thing in flow.made.items()}
    for output in outputs:
        start = code.body[-1].index + 1
        reached = reach(flow.names.get(output, ()))
        lazy = [keys.get(thing) for thing in reached if "iter" in thing.kinds]
        lazy += [makers.get(f, f) for thing in reached for f in (*thing.functions, *thing.lazy)]
        read = {name for key in lazy for name in _read_by(key)}
        for name in sorted(_with_definitions(program, read, start)):
            event = next(_bindings(program, code, name, start, last), None)
            if event is not None:
                yield unfit.read_lazily(name, event, output, code.role)


def _bindings(program: Program, code: RoleCode, name: str, low: int, high: int) -> Iterator[Statement]:
    events = program.events(name, low, high)
    return (e for e in events if name in e.names.may and e.kind != "import" and not code.owns(e))


def _is_function(key: object) -> bool:
    return isinstance(key, tuple) and key[1:] == ("function",)


def _read_by(key: object) -> set[str]:
    """The names outside itself that something made reads when it is used."""
    match key:
        case ast.GeneratorExp(elt=elt, generators=[first, *others]):
            at_once = ast.comprehension(first.target, ast.List([], ast.Load()), first.ifs, first.is_async)
            found = usage.of_expression(ast.GeneratorExp(elt, [at_once, *others]))
            return found.reads | found.deferred
        case (ast.Lambda() as node, _):
            return usage.of_expression(node).deferred
        case (ast.FunctionDef() | ast.AsyncFunctionDef() as node, _):
            return usage.of(node).deferred
        case Summary(owner=owner) | (_, Summary(owner=owner), _) if owner:
            return {owner}
    return set()


def _with_definitions(program: Program, read: set[str], position: int) -> set[str]:
    """Names, and what the definitions among them read when they are called."""
    todo, found = list(read), set(read)
    while todo:
        only = program.reaching(todo.pop(), position).only
        if only is not None and only.kind == "definition":
            todo += only.names.deferred - found
            found |= only.names.deferred
    return {name for name in found if not names.is_builtin(name)}
