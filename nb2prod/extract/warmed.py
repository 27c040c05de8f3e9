"""Functions that remember their answers, and were asked before what they read was changed.

The notebook goes on with what they remember; the package begins with nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2prod.domain import Diagnostic
from nb2prod.extract import names
from nb2prod.extract.caches import caching, is_cached
from nb2prod.extract.defined import functions_in
from nb2prod.extract.findings import at, line_that_changes, place
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.units import Slice, Unit

_Known = dict[Statement, frozenset[object]]
"""What statements come to, as far as it has been asked for."""


def warmed(slice_: Slice, rehomed: Iterable[str] = ()) -> Iterator[Diagnostic]:
    """NB219 for each function of the package that may have answers left from before a change."""
    program, known = slice_.layout.program, _Known()
    for unit in slice_.included(rehomed):
        for name, function in _remembering(unit):
            asked = _asked(program, unit, name, function, known)
            if asked is not None and (found := _changed_since(slice_, unit, asked)):
                yield _finding(name, asked, *found, _clearing(program, unit, name, function))


def _clearing(program: Program, unit: Unit, name: str, function: names.Function) -> str | None:
    """The call that has a function forget its answers, if it has one."""
    decorator = caching(function)
    if decorator is None or unit.statement is None or name not in unit.statement.names.may:
        return None
    root, dot, _ = decorator.partition(".")
    if program.imported_root(root, unit.statement.index) is not None:
        return f"{name}.cache_clear()"
    return f"{name}.clear()" if dot else None  # `memory.cache` of a joblib.Memory


def _remembering(unit: Unit) -> Iterator[tuple[str, names.Function]]:
    """The functions and methods of a unit that keep their answers, by name."""
    node = unit.statement.node if unit.statement is not None else ast.Pass()
    for name, function in functions_in(node):
        if is_cached(function) or any(_keeps_items(unit, d) for d in getattr(function, "decorator_list", ())):
            yield name, function


def _keeps_items(unit: Unit, decorator: ast.expr) -> bool:
    """Whether a decorator of the notebook's own puts items into something: its answers, if it is let pass."""
    root = names.root_name(decorator.func if isinstance(decorator, ast.Call) else decorator)
    target = unit.needs.get(root or "")
    statements = target.statements if target is not None and target.kind == "definition" else ()
    nodes = (node for statement in statements for node in ast.walk(statement.node))
    return any(
        (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.Attribute) and node.attr == "setdefault")
        for node in nodes
    )


def _asked(
    program: Program, unit: Unit, name: str, function: names.Function, known: _Known
) -> Statement | None:
    """The first statement that comes to a function after its cache was last cleared."""
    assert unit.statement is not None
    first: Statement | None = None
    for statement in program.statements[unit.statement.index + 1 : _last(program, unit)]:
        if any(call.function in _clears(name) for call in statement.names.calls):
            first = None
        elif first is None and statement.kind == "value":
            if statement not in known:
                known[statement] = _come_to(program, statement)
            first = statement if known[statement] & {function, name} else None
    return first


def _clears(name: str) -> tuple[str, ...]:
    return f"{name}.cache_clear", f"{name}.cache.clear", f"{name}.clear"


def _come_to(program: Program, statement: Statement) -> frozenset[object]:
    """The functions that a statement calls, and the names of those that it may hand over, to `map` say."""
    called = set(program.changes.come_to(statement.names.calls))
    read = set(statement.names.reads)
    read |= {n.id for node in called for n in ast.walk(node) if isinstance(n, ast.Name)}
    todo = list(read)
    while todo:
        for binding in program.reaching(todo.pop(), statement.index).bindings:
            if binding.kind == "definition" and not isinstance(binding.node, ast.ClassDef):
                new = binding.names.deferred - read
                read |= new
                todo += new
    return frozenset({*called, *read})


def _last(program: Program, unit: Unit) -> int:
    """How many statements have run when serving code calls a unit for the last time."""
    return max((use.point.position(program) for use in unit.uses), default=0)


def _changed_since(slice_: Slice, unit: Unit, asked: Statement) -> tuple[str, Statement] | None:
    """The first change of what a unit reads, itself or through others, since it was asked."""
    todo, read = [unit], dict[Unit, None]()
    while todo:
        one = todo.pop()
        if one not in read:
            read[one] = None
            todo += slice_.next_units(one)
    program = slice_.layout.program
    wanted = {name for one in read for name, target in one.needs.items() if target.kind != "import"}
    low, high = asked.index, _last(program, unit)
    events = ((name, event) for name in wanted for event in program.events(name, low, high))
    return min(events, key=lambda found: (found[1].index, found[0]), default=None)


def _finding(name: str, asked: Statement, read: str, event: Statement, clearing: str | None) -> Diagnostic:
    hint = f"Move this line above the first call of `{name}`"
    return at(
        event,
        "NB219",
        f"`{read}` changes here, after {place(asked)} has called `{name}`, which remembers its answers and"
        f" reads `{read}`: the notebook may go on with old answers, the package has none",
        f"{hint}, or end the cell with `{clearing}`." if clearing else f"{hint}.",
        line=line_that_changes(event.node, read),
    )
