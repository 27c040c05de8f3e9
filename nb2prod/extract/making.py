"""What making a definition calls, and when the functions involved read their globals.

`@logged` calls `logged` as the function is defined, `class B(A)` only keeps `A`: the globals of the one
are read then, those of the other when a method is called.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from nb2prod.extract import effects, names, usage
from nb2prod.extract.names import Names

_DRAWS_TEXT = (
    "choice choices gauss integers normal normalvariate permutation permuted rand randint randn random"
    " random_sample randrange sample shuffle standard_normal uniform"
)
_DRAWS = frozenset(_DRAWS_TEXT.split())
"""Functions and methods that draw random numbers."""

_OUTSIDE_TEXT = (
    "connect fromfile genfromtxt getenv imread input load loadtxt now open perf_counter read read_bytes"
    " read_csv read_excel read_feather read_hdf read_json read_parquet read_pickle read_sql read_sql_query"
    " read_table read_text safe_load time_ns today urlopen utcnow uuid1 uuid4"
)
_OUTSIDE = frozenset(_OUTSIDE_TEXT.split())
"""Functions and methods that ask what lies outside the notebook: files, the clock, other machines."""


def differs_next_time(function: str, *, given: bool) -> bool:
    """Whether a function (imports resolved) gives another value in another run, or trains.

    `given`: it is called on something that the caller has got from elsewhere.
    """
    root, _, method = function.rpartition(".")
    if method in _OUTSIDE or function == "time.time" or root in ("secrets", "requests"):
        return True
    draws = root in ("random", "numpy.random") or (given and "." in function)
    return (method in effects.FITS and "." in function) or (method in _DRAWS and draws)


def read_when(node: ast.stmt, found: Names, times: int | None) -> tuple[set[str], set[str]]:
    """What a definition reads if making another calls it `times` in a row: then, and when that is called.

    None: it is not known whether it is called. Names may be in both.
    """
    every = found.deferred
    function = _as_function(node)
    if times == 0:
        return set(), every
    if times is None or function is None:
        return every, every
    local = usage.body_of(function).local
    now, later = _read_inside(function, times)
    return (now - local) & every, (later - local) & every


def _as_function(node: ast.stmt | None) -> names.Function | None:
    function = node.value if isinstance(node, ast.Assign) else node
    return function if isinstance(function, names.Function) else None


def _read_inside(function: names.Function, times: int) -> tuple[set[str], set[str]]:
    """What a function reads when it, and then what it gives, is called, its own names too; and what later."""
    inside = usage.body_of(function).names
    now, later = set(inside.reads), set(inside.deferred)
    for inner in _functions_in(function) if times > 1 else ():
        local = usage.body_of(inner).local
        here, there = (found - local for found in _read_inside(inner, times - 1))
        later -= here - there
        now |= here
    return now, later


def _functions_in(node: ast.AST) -> Iterator[names.Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, names.Function):
            yield child
        elif not isinstance(child, ast.ClassDef):
            yield from _functions_in(child)


def calls_of(node: ast.stmt) -> dict[str, int | None]:
    """By name: how many times in a row making a definition calls it, 0 if it is only kept; None: unknown."""
    known = dict(_uses(node))
    read = Counter(n.id for part in evaluated(node) for n in ast.walk(part) if isinstance(n, ast.Name))
    return {name: known.get(name) if count == 1 else None for name, count in read.items()}


def keeps(node: ast.stmt, name: str, function: Callable[[str], ast.stmt | None]) -> bool:
    """Whether a definition keeps the object of a name itself, and no copy nor anything computed from it.

    `function` gives the notebook's functions by name.
    """
    read = (n for part in evaluated(node) for n in ast.walk(part))
    return _count(name, read) == _count(name, _kept(node, function))


def _count(name: str, found: Iterator[ast.AST]) -> int:
    return sum(isinstance(node, ast.Name) and node.id == name for node in found)


def _kept(node: ast.stmt, function: Callable[[str], ast.stmt | None]) -> Iterator[ast.AST]:
    """Expressions whose very values a definition keeps."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _defaults(node.args)
        case ast.ClassDef(body=body, bases=bases):
            yield from bases
            for statement in body:
                yield from _kept(statement, function)
        case ast.Assign(value=ast.Lambda(args=arguments)):
            yield from _defaults(arguments)
        case ast.Assign(value=ast.Subscript() as value):  # a type of types
            yield from ast.walk(value)
        case ast.Assign(value=ast.Call() as value):
            yield from _kept_by_call(value, 1, function)
        case ast.Assign(value=ast.Name() as value) | ast.AnnAssign(value=ast.Name() as value):
            yield value
    for decorator in getattr(node, "decorator_list", ()):
        called = isinstance(decorator, ast.Call)
        yield from _kept_by_call(decorator, 2, function) if called else [decorator]


def _kept_by_call(
    call: ast.Call, times: int, function: Callable[[str], ast.stmt | None]
) -> Iterator[ast.AST]:
    """The arguments that a partial keeps, or that a factory only hands to the functions that it makes."""
    name = names.dotted(call.func)
    given = [*call.args, *(k.value for k in call.keywords)]
    yield call.func
    if name.rpartition(".")[2] == "partial":
        yield from given
    elif (made := _as_function(function(name))) is not None and made.args.vararg is None:
        read = _read_inside(made, times)[0]
        slots = [*usage.body_of(made).parameters[: len(call.args)], *(k.arg for k in call.keywords)]
        if len(slots) == len(given):
            yield from (value for slot, value in zip(slots, given, strict=True) if slot not in read)


def _uses(node: ast.stmt) -> Iterator[tuple[str, int]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            for decorator in node.decorator_list:
                yield from _called(decorator, 1)
            for kept in node.bases if isinstance(node, ast.ClassDef) else _defaults(node.args):
                yield from _called(kept, 0)
        case ast.Assign(value=ast.Lambda(args=arguments)):
            for kept in _defaults(arguments):
                yield from _called(kept, 0)
        case ast.Assign(value=ast.Call(func=func) as call):
            yield from _called(call, 0)
            if names.dotted(func).rpartition(".")[2] == "partial":
                for kept in [*call.args, *(k.value for k in call.keywords)]:
                    yield from _called(kept, 0)


def _called(node: ast.expr, times: int) -> Iterator[tuple[str, int]]:
    while isinstance(node, ast.Call):
        node, times = node.func, times + 1
    if isinstance(node, ast.Name):
        yield node.id, times


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]


def decorators(node: ast.stmt) -> list[ast.expr]:
    """The decorators of a definition, those of a class's methods too."""
    inner = node.body if isinstance(node, ast.ClassDef) else []
    return [d for part in [node, *inner] for d in getattr(part, "decorator_list", ())]


def registers(node: ast.stmt, name: str) -> bool:
    """Whether a decorator of a definition is a method of what a name stands for: `@area.register(str)`."""
    called = (d.func if isinstance(d, ast.Call) else d for d in decorators(node))
    return any(isinstance(d, ast.Attribute) and names.root_name(d) == name for d in called)


def evaluated(node: ast.stmt) -> list[ast.AST]:
    """The parts of a definition that are evaluated as it is made: not what stands in functions."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*node.decorator_list, *_defaults(node.args)]
        case ast.ClassDef():
            inside = [part for statement in node.body for part in evaluated(statement)]
            return [*node.decorator_list, *node.bases, *(k.value for k in node.keywords), *inside]
        case ast.Assign(value=ast.Lambda(args=arguments)):
            return [*_defaults(arguments)]
        case ast.Assign(value=value):
            return [value]
    return [node]


def remembered(node: ast.AST) -> set[str]:
    """What the functions in a piece of code change of what they or their objects hold: caches, counters."""
    found = _attributes_changed(node)
    for function in (f for f in ast.walk(node) if isinstance(f, names.Function)):
        local = usage.body_of(function).local
        for inner in _functions_in(function):
            changed = usage.body_of(inner).names
            anew = {n for s in ast.walk(inner) if isinstance(s, ast.Nonlocal) for n in s.names}
            found |= local & (changed.mutates | changed.augments | anew)
    return found


def _attributes_changed(node: ast.AST) -> set[str]:
    """`known` of `self.known[x] = y` in the `__call__` of a class."""
    methods = [m for c in ast.walk(node) if isinstance(c, ast.ClassDef) for m in c.body]
    calls = [m for m in methods if isinstance(m, ast.FunctionDef) and m.name == "__call__"]
    changed = (part for m in calls for n in ast.walk(m) if (part := _changed_by(n)) is not None)
    return {n.attr for part in changed for n in ast.walk(part) if isinstance(n, ast.Attribute)}


def shows_name(node: ast.ClassDef) -> bool:
    """Whether objects of a class may show what it is called: by a decorator, or by what is above it."""
    plain = all(isinstance(base, ast.Name) and names.is_builtin(base.id) for base in node.bases)
    return bool(node.decorator_list) or not plain


def lists_subclasses(node: ast.stmt) -> bool:
    """Whether a class changes something whenever a subclass of it is defined, or a class that it makes."""
    methods = (m for m in getattr(node, "body", ()) if getattr(m, "name", "") in as_defined(node))
    changed = (_changed_by(n) for m in methods if isinstance(node, ast.ClassDef) for n in ast.walk(m))
    return any(isinstance(part, ast.Subscript | ast.Attribute | ast.Name) for part in changed)


def makes_class_below(node: ast.stmt, above: Collection[str]) -> bool:
    """Whether a statement makes a class below one of these, unseen as a definition: in a loop, by `type`."""
    return any(_is_below(inner, above) for inner in ast.walk(node) if inner is not node)


def _is_below(node: ast.AST, above: Collection[str]) -> bool:
    match node:
        case ast.ClassDef(bases=bases, keywords=keywords):
            given: list[ast.AST] = [*bases, *(k.value for k in keywords)]
        case ast.Call(func=ast.Name(id=name), args=[_, ast.Tuple(elts=bases), _]):
            given = [*bases, *([node.func] if name != "type" else [])]
        case _:
            return False
    return any(isinstance(part, ast.Name) and part.id in above for part in given)


def as_defined(node: ast.stmt) -> frozenset[str]:
    """Methods that run when a class is defined, not when serving code is called."""
    bases = getattr(node, "bases", ())
    makes = any(names.dotted(base).rpartition(".")[2] in _METACLASSES for base in bases)
    return _AS_MADE if makes else _AS_DEFINED


_AS_DEFINED = frozenset({"__init_subclass__", "__set_name__"})
_AS_MADE = _AS_DEFINED | {"__new__", "__init__", "__prepare__"}
_METACLASSES = frozenset({"type", "ABCMeta", "EnumMeta", "EnumType"})


def _changed_by(node: ast.AST) -> ast.expr | None:
    match node:
        case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
            return node
        case ast.Call(func=ast.Attribute(value=receiver)) if effects.receiver_changes(node):
            return receiver
    return None


def _inside(node: ast.AST, attribute: ast.Attribute) -> bool:
    """Whether an attribute is set in a function that is inside another one: when that is called."""
    inner = (n for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n is not node)
    return any(part is attribute for function in inner for part in ast.walk(function))


def rebound(node: ast.AST) -> Iterator[tuple[str, int]]:
    """What is bound anew, and in which line, whenever what a decorator gives is called."""
    functions = {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n is not node}
    for child in ast.walk(node):
        if isinstance(child, ast.Nonlocal):
            yield child.names[0], child.lineno
        elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            if isinstance(child.value, ast.Name) and child.value.id in functions and _inside(node, child):
                yield ast.unparse(child), child.lineno
        elif isinstance(child, ast.FunctionDef) and child.name == "__call__":
            attributes = (n for n in ast.walk(child) if isinstance(n, ast.Attribute))
            yield from ((ast.unparse(n), n.lineno) for n in attributes if isinstance(n.ctx, ast.Store))
