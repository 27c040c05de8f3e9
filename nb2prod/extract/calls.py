"""What the calls of a notebook change in place: its own functions, read through, and those of libraries."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nb2prod.extract import effects, flows, making, names
from nb2prod.extract.applied import may_change
from nb2prod.extract.names import Call, Names
from nb2prod.extract.things import Flow, Summary, Thing, Value, reach

_FIRST_NAME = re.compile(r"\w+")

_AS_DEFINED = frozenset({"__init_subclass__", "__set_name__"})
"""Methods that run when a class is defined, not when serving code is called."""

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
    """A function of the notebook. `makes_function`: it returns a function that it has made itself."""

    node: names.Function
    calls: tuple[Call, ...]
    makes_function: bool = False
    gives: tuple[Call, ...] = ()
    """What the functions that a call makes call in turn."""
    binds: set[str] = field(default_factory=set)
    """Names that a call binds outside, by `global`."""


@dataclass(slots=True, eq=False)
class _Class:
    """A class of the notebook: its methods, its bases, and what its objects share and can change."""

    node: ast.ClassDef
    bases: frozenset[str]
    shared: frozenset[str]
    own: frozenset[str]
    """Names under which its objects keep something."""


class Changes:
    """Answers what code of a notebook changes in place, given all its definitions and imports."""

    def __init__(self, nodes: Iterable[ast.stmt]) -> None:
        self._nodes = list(nodes)
        self._functions: dict[str, list[Function]] = defaultdict(list)
        self._classes: dict[str, list[_Class]] = defaultdict(list)
        self._modules: dict[str, str] = {}
        self._summaries: dict[ast.AST, Summary] = {}
        self._methods: dict[str, list[tuple[str, Summary]]] = {}
        self._behind: dict[str, tuple[Summary, ...]] = {}
        self._kinds: dict[str, frozenset[str]] = {}
        self._flows: dict[ast.stmt, Flow] = {}
        self._calls = 0
        self._literal = _literals(self._nodes)
        for node in self._nodes:
            self._add(node)
        self._settle()

    def of(self, node: ast.stmt) -> set[str]:
        """Names whose objects a statement of the top level changes when it runs."""
        return set(_outside(self._flows[node].changed))

    def by(self, nodes: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
        """Outside names whose objects a body changes, and where it does so first."""
        return flows.changed_outside(flows.top(self, nodes))

    def parameters(self, node: names.Function) -> set[str]:
        """The parameters of a function whose objects a call of it changes."""
        summary = self._summary(node)
        changed = {thing.origin for thing in summary.changed}
        return {name for name, own in summary.parameters.items() if own & changed}

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
        called = (f for name, f in functions_in(node) if name not in _AS_DEFINED)
        return {n for f in called for n in _outside(self._summary(f).changed)} | self._remembering(node)

    def _remembering(self, node: ast.stmt) -> set[str]:
        """The name of a function whose decorator has made it one that keeps something from call to call."""
        name = node.name if isinstance(node, ast.FunctionDef) and node.decorator_list else ""
        kept = (thing for summary in self._behind.get(name, ()) for thing in summary.changed)
        return {name} if any(not thing.outer for thing in kept) else set()

    def makes_definition(self, node: ast.stmt) -> bool:
        """Whether an assignment makes a function or class, or what code means by one, by calling a factory.

        `Point = namedtuple("Point", "x y")`, `half = partial(divide, 2)`, `WORD = re.compile(...)`, and
        `scale = make_scaler(3)` where that returns a function of its own.
        """
        match node:
            case ast.Assign(targets=[ast.Name()], value=ast.Call(func=func)):
                name = names.dotted(func)
                own = self._functions.get(name)
                made = all(f.makes_function for f in own) if own else self.resolved(name) in _FACTORIES
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
                if making.differs_next_time(self.resolved(found.function), given=given):
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
                inside = names.body_of(function.node)
                own = {*inside.local, *self._modules} - set(inside.parameters)
                yield from ((inner, inner.root not in own) for inner in found)
                todo += found
            seen.add(name)

    # -- what is known of the notebook, for code that is followed

    def afford(self) -> bool:
        """Whether one more call can be followed; else it is taken to change all that it is given."""
        self._calls += 1
        return self._calls < _MOST_CALLS

    def resolved(self, function: str) -> str:
        """A dotted name with its first part as imported: `np.copyto` is `numpy.copyto`."""
        root = _FIRST_NAME.match(function)
        return f"{self._modules.get(root[0], root[0])}{function[root.end() :]}" if root else function

    def kinds(self, name: str) -> frozenset[str]:
        """What makes the value of a global name, where all its bindings say so."""
        if name in self._modules:
            return frozenset({"module"})
        if name not in self._kinds and hasattr(builtins, name):
            return frozenset({"function"})
        return self._kinds.get(name, frozenset()) | self._literal.get(name, frozenset())

    def defined(self, name: str) -> tuple[Summary, ...]:
        """The functions that the notebook defines under a name."""
        known = (self._summaries.get(f.node) for f in self._functions.get(name, ()))
        return tuple(s for s in known if s is not None)

    def functions(self, name: str) -> tuple[Summary, ...]:
        """The functions that a global name may stand for, or hold."""
        return tuple(dict.fromkeys([*self.defined(name), *self._behind.get(name, ())]))

    def is_class(self, name: str) -> bool:
        """Whether the notebook defines a class of that name."""
        return name in self._classes

    def is_attribute(self, name: str) -> bool:
        """Whether objects of the notebook's classes keep something under a name."""
        return any(name in c.own for known in self._classes.values() for c in known)

    def methods(self, name: str, kinds: frozenset[str]) -> Iterator[Summary]:
        """The methods of a name that an object of some kinds may have; of any class if nothing is known."""
        for owner, summary in self._methods.get(name, ()):
            if self._may_be(kinds, owner):
                yield summary

    def sharing(self, attribute: str, kinds: frozenset[str]) -> Iterator[str]:
        """Classes that keep a changeable value under an attribute, for all objects of theirs."""
        for name, known in self._classes.items():
            if any(attribute in c.shared for c in known) and self._may_be(kinds, name):
                yield name

    def _may_be(self, kinds: frozenset[str], owner: str) -> bool:
        """Whether an object of some kinds may have what a class defines."""
        if not kinds or any(k not in self._classes and k not in effects.PLAIN for k in kinds):
            return True
        return any(owner in self._line(k) or k in self._line(owner) for k in kinds)

    def _line(self, name: str) -> set[str]:
        """A class and those that it comes from."""
        found: set[str] = set()
        todo = [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += [base for c in self._classes.get(one, ()) for base in c.bases]
        return found

    # -- reading the notebook

    def _add(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._functions[name].append(_function(node))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                self._functions[name].append(_function(value))
            case ast.ClassDef(name=name):
                self._classes[name].append(_class(node))
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.stmt):
                        self._add(child)
        for child in ast.walk(node):
            self._import(child)

    def _import(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    self._modules[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=module, names=aliases) if module:
                self._modules |= {a.asname or a.name: f"{module}.{a.name}" for a in aliases}

    def _settle(self) -> None:
        """Through functions that call functions, until nothing is added."""
        before: object = None
        for _ in range(_ROUNDS):
            self._follow()
            now = self._signature()
            if now == before:
                return
            before = now

    def _follow(self) -> None:
        made: dict[ast.AST, Summary] = {}
        methods: dict[str, list[tuple[str, Summary]]] = defaultdict(list)
        for name, functions in self._functions.items():
            made |= {f.node: flows.function(self, f.node, owner=name) for f in functions}
        for owner, classes in self._classes.items():
            for name, node in (pair for c in classes for pair in _methods(c.node)):
                made[node] = flows.function(self, node, owner=owner, of=owner)
                methods[name].append((owner, made[node]))
        self._summaries, self._methods = made, methods
        self._flows = {node: flows.top(self, [node]) for node in self._nodes}
        values: dict[str, list[Value]] = defaultdict(list)
        for flow in self._flows.values():
            for name, value in flow.names.items():
                values[name].append(value)
        self._behind = {
            name: tuple(f for f in _functions_behind(found) if f not in self.defined(name))
            for name, found in values.items()
        }
        self._kinds = {name: _kinds_of(found) for name, found in values.items()}

    def _signature(self) -> object:
        summaries = [_sign(s) for s in self._summaries.values()]
        return summaries, self._kinds, {n: [_sign(s) for s in found] for n, found in self._behind.items()}

    def _summary(self, node: names.Function) -> Summary:
        return self._summaries.get(node) or flows.function(self, node)


_ROUNDS = 12
_MOST_CALLS = 12_000
"""Five times what the notebook with the most calls in tests/larger takes."""


def _outside(changed: Iterable[Thing]) -> Iterator[str]:
    return (thing.name for thing in changed if thing.outer and thing.name)


def _functions_behind(values: list[Value]) -> tuple[Summary, ...]:
    things = (thing for value in values for thing in reach(value))
    return tuple(dict.fromkeys(f for thing in things for f in thing.functions))


def _kinds_of(values: list[Value]) -> frozenset[str]:
    things = [thing for value in values for thing in value]
    if not all(values) or not all(t.kinds and not t.whole for t in things):
        return frozenset()
    return frozenset[str]().union(*(t.kinds for t in things))


def _literals(nodes: Iterable[ast.stmt]) -> dict[str, frozenset[str]]:
    """Names that stand for what is written out, never to be changed: of which no part is an array."""
    found: dict[str, frozenset[str]] = {}
    others: set[str] = set()
    for node in nodes:
        own = names.of(node)
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in found:
                if kinds := _literal_kinds(value):
                    found[name] = kinds
                    continue
        others |= own.may | own.mutates | own.augments
    return {name: kinds for name, kinds in found.items() if name not in others}


def _literal_kinds(value: ast.expr) -> frozenset[str]:
    try:
        known = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return frozenset()
    inside = list(known.values()) if isinstance(known, dict) else known
    if not isinstance(inside, list | tuple | set) or not inside:
        return frozenset()
    scalars = not any(isinstance(one, list | dict | set | tuple) for one in inside)
    return frozenset({"literal", "scalars"} if scalars else {"literal"})


def _sign(summary: Summary) -> object:
    """What a summary says, to compare it with another round's."""
    labels = {thing: name for name, value in summary.parameters.items() for thing in value}

    def sign(value: Iterable[Thing]) -> frozenset[object]:
        return frozenset(
            (labels.get(t.origin, t.name), t.outer, t.whole is not None, t.attribute, t.kinds) for t in value
        )

    stored = {
        (labels.get(t, t.name), attribute, sign(reach(held))) for t, attribute, held in summary.stored()
    }
    return sign(summary.changed), sign(summary.gives), sign(reach(summary.gives)), frozenset(stored)


def _methods(node: ast.ClassDef) -> Iterator[tuple[str, names.Function]]:
    for child in node.body:
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, child
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                yield name, value


def _class(node: ast.ClassDef) -> _Class:
    own = {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store)
        if isinstance(child.value, ast.Name) and child.value.id == "self"
    }
    shared, kept = set(), frozenset(own)
    own |= {c.target.id for c in node.body if isinstance(c, ast.AnnAssign) and isinstance(c.target, ast.Name)}
    for child in node.body:
        match child:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if may_change(value):
                shared.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value and may_change(value):
                if names.dotted(getattr(value, "func", value)).rpartition(".")[2] != "field":
                    shared.add(name)
    bases = frozenset(names.dotted(base).rpartition(".")[2] for base in node.bases)
    return _Class(node, bases, frozenset(shared - kept), frozenset(own | shared))


def settle(nodes: Iterable[tuple[ast.stmt, Names]]) -> Changes:
    """Add to the names of each top-level statement what its calls change."""
    pairs = list(nodes)
    changes = Changes(node for node, _ in pairs)
    for node, found in pairs:
        for call in found.calls:
            found.may |= changes.bound_by(call)
        found.mutates |= changes.of(node) - (found.augments - found.mutates) | changes.outside(node)
    return changes


def _function(node: names.Function) -> Function:
    inside = names.body_of(node)
    binds = set(inside.names.may & inside.declared)
    gives = tuple(call for inner in _functions_in_body(node) for call in names.body_of(inner).names.calls)
    return Function(node, tuple(inside.names.calls), _makes_function(node), gives, binds)


def _functions_in_body(node: names.Function) -> Iterator[names.Function]:
    for child in [node.body] if isinstance(node, ast.Lambda) else node.body:
        yield from (inner for _, inner in functions_in(child))


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


def functions_in(node: ast.AST, name: str = "lambda") -> Iterator[tuple[str, names.Function]]:
    """The functions that a statement defines, methods included; not those inside other functions."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, node
        case ast.Lambda():
            yield name, node
        case _:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            inner = target.id if isinstance(target, ast.Name) else name
            for child in ast.iter_child_nodes(node):
                yield from functions_in(child, inner)
