"""Dicts and lists that definitions fill as they are made: by `@register`, or by a base class.

A package that holds the definitions fills them anew, as it is imported.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator

from nb2prod.extract import names, usage
from nb2prod.extract.making import decorators, evaluated, lists_subclasses, read_when, registers
from nb2prod.extract.program import Program, Statement

_EMPTY = frozenset({"dict", "list", "collections.OrderedDict", "collections.deque"})

_ACCESSOR = re.compile(r"register_\w+_(accessor|namespace)")


def registered(program: Program, name: str, binding: Statement | None) -> tuple[Statement, ...]:
    """The definitions that fill what a statement binds, in order; () if other code may change that."""
    if binding is None or not _starts_empty(binding.node, program) or "parameters" in binding.cell.tags:
        return ()
    events = list(program.events(name, binding.index + 1, len(program.statements)))
    filling = tuple(e for e in events if any(_fillers(program, e, name)))
    bound = [other for e in filling for other in sorted(e.names.may)]
    if not filling or name in bound or len(bound) != len(set(bound)):
        return ()
    between = program.statements[binding.index + 1 : filling[-1].index]
    seen = [s for s in between if s.kind == "value" and name in s.names.reads]
    others = [e for e in events if e not in filling and not _only_defines(e)]
    return filling if not seen and not others else ()


def decorated_by(program: Program, name: str, binding: Statement | None, end: int) -> list[Statement]:
    """The definitions that an object of a class of the notebook has decorated, and may hold."""
    value = binding.node.value if binding is not None and isinstance(binding.node, ast.Assign) else None
    called = (names.dotted(n.func) for n in ast.walk(value) if isinstance(n, ast.Call)) if value else ()
    made = [s for function in called for s in program.reaching(function, end).bindings]
    if binding is None or not any(isinstance(s.node, ast.ClassDef) for s in made):
        return []
    events = (e for e in program.events(name, binding.index + 1, end) if e.kind == "definition")
    return [e for e in events if any(_decorates(d, name) for d in decorators(e.node))]


def _decorates(decorator: ast.expr, name: str) -> bool:
    """`@known`, `@known.add` and `@known.add("a")`."""
    return names.root_name(getattr(decorator, "func", decorator)) == name


def attached(program: Program, nodes: Iterable[ast.stmt], end: int) -> Iterator[Statement]:
    """The definitions that code reaches as attributes of a library's objects, by which they are registered.

    `@register_dataframe_accessor("dates")` makes a class the `dates` of every DataFrame.
    """
    known = {name: s for s in program.statements[:end] for name in _attaches(program, s)}
    read = (
        {n.attr for node in nodes for n in ast.walk(node) if isinstance(n, ast.Attribute)} if known else set()
    )
    yield from (known[name] for name in sorted(read & known.keys()))


def attached_by_call(program: Program, nodes: Iterable[ast.stmt], end: int) -> Iterator[Statement]:
    """The statements that do so by a call: `register_series_accessor("money")(Money)`."""
    known = {name: s for s in program.statements[:end] if (name := _attaches_by_call(program, s))}
    read = (
        {n.attr for node in nodes for n in ast.walk(node) if isinstance(n, ast.Attribute)} if known else set()
    )
    yield from (known[name] for name in sorted(read & known.keys()))


def _attaches_by_call(program: Program, statement: Statement) -> str:
    match statement.node:
        case ast.Expr(value=ast.Call(func=made)) | ast.Assign(value=ast.Call(func=made)):
            return _accessor(program, statement, made)
    return ""


def _attaches(program: Program, statement: Statement) -> Iterator[str]:
    for decorator in getattr(statement.node, "decorator_list", ()):
        if name := _accessor(program, statement, decorator):
            yield name


def _accessor(program: Program, statement: Statement, node: ast.expr) -> str:
    """The name under which `register_series_accessor("money")` puts something."""
    match node:
        case ast.Call(args=[given, *_]):
            if _ACCESSOR.fullmatch(_made_by(program, node).rpartition(".")[2]):
                return _as_text(program, statement, given)
    return ""


def _as_text(program: Program, statement: Statement, node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            only = program.reaching(name, statement.index).only
            known = ast.literal_eval(only.texts[name]) if only and name in only.texts else ""
            return known if isinstance(known, str) else ""
    return ""


def fills(program: Program, statement: Statement, name: str, position: int) -> bool:
    """Whether a function or class puts into `name` what is defined with it: a decorator, a base."""
    binding = program.reaching(name, position).only
    if binding is None or binding.kind == "definition":
        return False
    events = program.events(name, binding.index + 1, len(program.statements))
    return any(statement in _fillers(program, event, name) for event in events)


def subclasses(program: Program, base: Statement, end: int) -> tuple[Statement, ...]:
    """The classes below a class that changes something whenever one is defined; () of other classes."""
    later = program.statements[base.index + 1 : end] if lists_subclasses(base.node) else ()
    found = [s for s in later if base in _bases(program, s)]
    different = {name for s in found for name in s.names.must}
    return tuple(found) if len(different) == len(found) else ()


def enrolled(program: Program, definition: Statement, end: int) -> tuple[Statement, ...]:
    """The definitions that register themselves with a function or class: `@area.register`."""
    names_ = definition.names.must if definition.kind == "definition" else set()
    found = {
        event.index: event
        for name in names_
        for event in program.events(name, definition.index + 1, end)
        if isinstance(event.node, ast.FunctionDef | ast.ClassDef) and registers(event.node, name)
        if program.reaching(name, event.index).only is definition
    }
    return tuple(found[index] for index in sorted(found))


def _fillers(program: Program, event: Statement, name: str) -> Iterator[Statement]:
    """The decorators and bases that change `name` as a definition is made, and not when that is called."""
    if event.kind != "definition":
        return
    yield from (base for base in _bases(program, event) if name in _read_by_subclassing(base.node))
    for decorator in decorators(event.node):
        if _decorates(decorator, name):
            yield event
        times = 2 if isinstance(decorator, ast.Call) else 1
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        only = program.reaching(names.dotted(function), event.index).only
        if only is not None and name in _read_when_made(only.node, times):
            yield only


@functools.lru_cache(maxsize=4096)
def _read_when_made(node: ast.stmt, times: int) -> frozenset[str]:
    """What a decorator reads as it makes a definition, and what that does not read when it is called."""
    now, later = read_when(node, usage.of(node), times)
    return frozenset(now - later if isinstance(node, ast.FunctionDef) else ())


def _only_defines(event: Statement) -> bool:
    """Whether nothing is called as a definition is made."""
    inside = list(ast.walk(event.node))
    runs = any(getattr(n, "decorator_list", ()) or getattr(n, "bases", ()) for n in inside)
    parts = (part for top in evaluated(event.node) for part in ast.walk(top))
    return event.kind == "definition" and not runs and not any(isinstance(p, ast.Call) for p in parts)


def _bases(program: Program, event: Statement) -> Iterator[Statement]:
    """The classes of the notebook that a class has above it, the one that makes it among them."""
    above = event.node if isinstance(event.node, ast.ClassDef) else None
    made = [k.value for k in above.keywords if k.arg == "metaclass"] if above else []
    for base in [*above.bases, *made] if above else ():
        only = program.reaching(names.dotted(base), event.index).only
        if only is not None:
            yield from (only, *_bases(program, only))


@functools.lru_cache(maxsize=4096)
def _read_by_subclassing(node: ast.stmt) -> frozenset[str]:
    """What a class reads as a subclass is defined, and in no other method."""
    methods = [m for m in getattr(node, "body", ()) if isinstance(m, ast.FunctionDef)]
    read = {m: usage.of(m).deferred for m in methods}
    now = [m for m in methods if m.name == "__init_subclass__"]
    later = {name for m in methods if m not in now for name in read[m]}
    return frozenset({name for m in now for name in read[m]} - later)


def _starts_empty(node: ast.stmt, program: Program) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=value):
            return _is_empty(program, value) or _is_own_object(program, value)
    return False


def _is_empty(program: Program, value: ast.expr | None) -> bool:
    """A new container, with what is written out in it or nothing."""
    if isinstance(value, ast.Call):
        return not (value.args or value.keywords) and _made_by(program, value) in _EMPTY
    return isinstance(value, ast.Dict | ast.List) and not list(usage.of_expression(value).reads)


def _is_own_object(program: Program, value: ast.expr | None) -> bool:
    """An object of a class of the notebook that starts with constants and empty containers alone."""
    if not isinstance(value, ast.Call) or value.args or value.keywords:
        return False
    made = [s.node for s in program.statements if names.dotted(value.func) in s.names.may]
    if len(made) != 1 or not isinstance(made[0], ast.ClassDef) or made[0].bases or made[0].decorator_list:
        return False
    methods = {s.name: s for s in made[0].body if isinstance(s, ast.FunctionDef)}
    first = methods["__init__"].body if "__init__" in methods else []
    held = [s.value for s in first if isinstance(s, ast.Assign | ast.AnnAssign)]
    plain = all(isinstance(v, ast.Constant) or _is_empty(program, v) for v in held)
    others = len(methods) + (ast.get_docstring(made[0]) is not None)
    return plain and len(held) == len(first) and others == len(made[0].body) and "__new__" not in methods


def _made_by(program: Program, call: ast.Call) -> str:
    return program.changes.resolved(names.dotted(call.func))
