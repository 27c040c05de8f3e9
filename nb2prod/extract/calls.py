"""What the calls of a notebook change in place: its own functions, read through, and those of libraries."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nb2prod.extract import effects, making, names
from nb2prod.extract.names import Call, Names

_FACTORIES = frozenset(
    [
        "collections.namedtuple",
        "dataclasses.make_dataclass",
        "enum.Enum",
        "enum.IntEnum",
        "functools.partial",
        "logging.getLogger",
        "operator.attrgetter",
        "operator.itemgetter",
        "re.compile",
        "typing.NamedTuple",
        "typing.NewType",
        "typing.TypeVar",
        "typing.TypedDict",
    ]
)
"""Functions that make what code is written with, from what their arguments say."""


@dataclass(slots=True, eq=False)
class Function:
    """A function of the notebook: which of its parameters and of its globals a call changes.

    `makes_function`: it returns a function that it has made itself.
    """

    parameters: tuple[str, ...]
    local: frozenset[str]
    mutates: set[str]
    calls: tuple[Call, ...]
    makes_function: bool = False
    gives: tuple[Call, ...] = ()
    """What the functions that a call makes call in turn."""
    binds: set[str] = field(default_factory=set)
    """Names that a call binds outside, by `global`."""

    @property
    def outside(self) -> set[str]:
        """Globals that a call changes."""
        return self.mutates - self.local

    @property
    def changes_itself(self) -> bool:
        """As a method: whether it changes its `self`."""
        return bool(self.parameters) and self.parameters[0] in self.mutates


class Changes:
    """Answers what a call changes, given all definitions and imports of a notebook."""

    def __init__(self, nodes: Iterable[ast.stmt]) -> None:
        self._functions: dict[str, list[Function]] = defaultdict(list)
        self._methods: dict[str, list[Function]] = defaultdict(list)
        self._modules: dict[str, str] = {}
        for node in nodes:
            self._add(node)
        self._settle()

    def of(self, call: Call) -> Iterator[str]:
        """Names whose objects a call changes."""
        own = self._functions.get(call.function)
        if own is not None:
            for function in own:
                yield from _changed(function, call)
            return
        yield from self._by_method(call)
        yield from self._by_library(call)

    def bound_by(self, call: Call) -> set[str]:
        """Names that a call binds by `global`, in the function called or in those that it calls."""
        found: set[str] = set()
        todo, seen = [call], set[str]()
        while todo:
            name = todo.pop().function
            for function in self._functions.get(name, ()) if name not in seen else ():
                found |= function.binds
                todo += function.calls
            seen.add(name)
        return found

    def outside(self, node: ast.stmt) -> set[str]:
        """Globals that the functions defined by a statement change when they are called."""
        return {name for function in map(_function, _functions_in(node)) for name in self._again(function)}

    def makes_definition(self, node: ast.stmt) -> bool:
        """Whether an assignment makes a function or class, or what code means by one, by calling a factory.

        `Point = namedtuple("Point", "x y")`, `half = partial(divide, 2)`, `WORD = re.compile(...)`, and
        `scale = make_scaler(3)` where that returns a function of its own.
        """
        match node:
            case ast.Assign(targets=[ast.Name()], value=ast.Call(func=func)):
                name = names.dotted(func)
                own = self._functions.get(name)
                made = all(f.makes_function for f in own) if own else self._resolved(name) in _FACTORIES
                return made and self.differs_next_time(node) is not node.value
        return False

    def differs_next_time(self, node: ast.stmt) -> ast.expr | None:
        """What would train, read a file or draw random numbers if a definition were made again."""
        decorators = {id(d): d for d in making.decorators(node)}
        inner = [c for part in making.evaluated(node) for c in _calls_in(part) if id(c) not in decorators]
        made = [(d, 2 if isinstance(d, ast.Call) else 1) for d in decorators.values()]
        for expression, times in [*made, *((c, 1) for c in inner)]:
            call = names.call_of(expression)
            for found, given in self._in_making(call, times):
                if making.differs_next_time(self._resolved(found.function), given=given):
                    return expression
        return None

    def _in_making(self, call: Call, times: int) -> Iterator[tuple[Call, bool]]:
        """A call that makes a definition and those that it comes to: is each of what its caller was given?"""
        yield call, call.root not in self._modules
        todo, seen = [call], set[str]()
        while todo:
            name = todo.pop().function
            for function in self._functions.get(name, ()) if name not in seen else ():
                found = [*function.calls, *(function.gives if name == call.function and times > 1 else ())]
                own = {*function.local, *self._modules} - set(function.parameters)
                yield from ((inner, inner.root not in own) for inner in found)
                todo += found
            seen.add(name)

    def _again(self, function: Function) -> set[str]:
        for call in function.calls:
            function.mutates |= set(self.of(call))
        return function.outside

    def _by_method(self, call: Call) -> Iterator[str]:
        if call.root is None or "." not in call.function:
            return
        method = call.function.rpartition(".")[2]
        changing = (
            f for f in self._methods.get(method, ()) if f.parameters[:1] and f.parameters[0] in f.mutates
        )
        if any(changing):
            yield call.root

    def _by_library(self, call: Call) -> Iterator[str]:
        arguments = dict(call.arguments)
        if 0 in arguments and effects.changes_first(self._resolved(call.function)):
            yield arguments[0]
        yield from (
            name for slot, name in call.arguments if isinstance(slot, str) and effects.changes_keyword(slot)
        )

    def _resolved(self, function: str) -> str:
        """A dotted name with its first part as imported: `np.copyto` is `numpy.copyto`."""
        root, dot, rest = function.partition(".")
        return f"{self._modules.get(root, root)}{dot}{rest}"

    # -- reading the notebook

    def _add(self, node: ast.stmt) -> None:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    self._modules[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=module, names=aliases) if module:
                self._modules |= {a.asname or a.name: f"{module}.{a.name}" for a in aliases}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._functions[name].append(_function(node))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                self._functions[name].append(_function(value))
            case ast.ClassDef(body=body):
                for method in body:
                    if (
                        isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
                        and method.name != "__init__"
                    ):
                        self._methods[method.name].append(_function(method))
            case ast.If() | ast.Try() | ast.With():
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.stmt):
                        self._add(child)

    def _settle(self) -> None:
        """Through functions that call functions, until nothing is added."""
        everything = [
            f for group in (self._functions, self._methods) for found in group.values() for f in found
        ]
        growing = True
        while growing:
            growing = False
            for function in everything:
                more = {name for call in function.calls for name in self.of(call)} - function.mutates
                function.mutates |= more
                growing = growing or bool(more)


def settle(nodes: Iterable[tuple[ast.stmt, Names]]) -> Changes:
    """Add to the names of each top-level statement what its calls change."""
    pairs = list(nodes)
    changes = Changes(node for node, _ in pairs)
    for node, found in pairs:
        for call in found.calls:
            found.may |= changes.bound_by(call)
        found.mutates |= {name for call in found.calls for name in changes.of(call)} | changes.outside(node)
    return changes


def _function(node: names.Function) -> Function:
    inside = names.body_of(node)
    body = [] if isinstance(node, ast.Lambda) else [(child, names.of(child)) for child in node.body]
    return Function(
        inside.parameters,
        inside.local,
        # what a function has copied under the same name first, it does not change
        set(effects.changed_outside(body)) if body else set(inside.names.mutates),
        tuple(inside.names.calls),
        _makes_function(node),
        tuple(call for inner in _functions_in_body(node) for call in names.body_of(inner).names.calls),
        set(inside.names.may & inside.declared),
    )


def _functions_in_body(node: names.Function) -> Iterator[names.Function]:
    for child in [node.body] if isinstance(node, ast.Lambda) else node.body:
        yield from _functions_in(child)


def _calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that evaluating an expression or statement makes: not those in functions."""
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _calls_in(child)


def _makes_function(node: names.Function) -> bool:
    if isinstance(node, ast.Lambda):
        return isinstance(node.body, ast.Lambda)
    inside = [s for s in _own(node) if isinstance(s, ast.FunctionDef | ast.ClassDef)]
    made = {s.name for s in inside} - {s.name for s in inside if _remembers(s, node)}
    given = [s.value for s in _own(node) if isinstance(s, ast.Return)]
    return bool(given) and all(
        isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in made) for value in given
    )


def _remembers(inner: ast.FunctionDef | ast.ClassDef, outer: names.Function) -> bool:
    """Whether a function changes what the function around it holds: it is another one after each call."""
    held = names.body_of(outer).local & names.of(inner).mutates
    return bool(held) or any(isinstance(child, ast.Nonlocal) for child in ast.walk(inner))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, less what stands in functions inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own(child)


def _functions_in(node: ast.AST) -> Iterator[names.Function]:
    """The functions that a statement defines, methods included; not those inside other functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _functions_in(child)


def _changed(function: Function, call: Call) -> Iterator[str]:
    for slot, name in call.arguments:
        inside = slot if isinstance(slot, str) else _at(function.parameters, slot)
        if inside in function.mutates:
            yield name
    yield from function.outside


def _at(parameters: tuple[str, ...], position: int) -> str | None:
    return parameters[position] if position < len(parameters) else None
