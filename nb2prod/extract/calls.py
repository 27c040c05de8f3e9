"""What the calls of a notebook change in place: its own functions, read through, and those of libraries."""

from __future__ import annotations

import ast
import builtins
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from nb2prod.extract import effects, flows, making, names, usage
from nb2prod.extract.defined import Definitions, functions_in
from nb2prod.extract.names import Call, Names
from nb2prod.extract.things import ANYTHING, Flow, Summary, Thing, Value, reach

_FIRST_NAME = re.compile(r"\w+")

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


class Changes:
    """Answers what code of a notebook changes in place, given all its definitions and imports."""

    def __init__(
        self, known: Iterable[tuple[ast.stmt, Names]], looked_up: frozenset[str] = frozenset()
    ) -> None:
        self._known = Definitions(known)
        self.looked_up = looked_up
        self._summaries: dict[ast.AST, Summary] = {}
        self._behind: dict[str, tuple[Summary, ...]] = {}
        self._kinds: dict[str, frozenset[str]] = {}
        self._flows: dict[ast.stmt, Flow] = {}
        self._having: dict[tuple[str, frozenset[str], bool], list[names.Function]] = {}
        self._calls = self._looked_at = 0
        self._most_calls = _LEAST_CALLS + _CALLS_EACH * len(self._known.nodes)
        self._settled = self.exhausted = False
        self.coarse: set[ast.AST] = set()
        self.added = 0
        self._touched = sorted(self._known.used_in_functions())
        self._order = list(self._known.callees_first())
        self._settle()

    def of(self, node: ast.stmt) -> set[str]:
        """Names whose objects a statement of the top level changes when it runs."""
        return set(_outside(self._flows[node].changed))

    def by(self, nodes: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
        """Outside names whose objects a body changes, and where it does so first."""
        return flows.changed_outside(self.followed(nodes))

    def followed(self, nodes: Iterable[ast.stmt]) -> Flow:
        """A body, followed: what its names stand for at its end."""
        return flows.top(self, nodes)

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
            for function in self._known.functions.get(name, ()) if name not in seen else ():
                found |= function.binds
                todo += function.calls
            seen.add(name)
        return found

    def come_to(self, calls: Iterable[Call]) -> Iterator[names.Function]:
        """The functions of the notebook that calls come to: by name, constructors and methods, too."""
        todo, seen = list(calls), set[ast.AST]()
        while todo:
            name = todo.pop().function
            last = name.rpartition(".")[2]
            inits = self._known.methods.get("__init__", ()) if name in self._known.classes else ()
            nodes = [f.node for f in self._known.functions.get(name, ())]
            nodes += [node for owner, node in inits if owner == name]
            nodes += [node for _, node in self._known.methods.get(last, ()) if "." in name]
            for node in nodes:
                if node not in seen:
                    seen.add(node)
                    yield node
                    todo += _calls_when_called(node)

    def outside(self, node: ast.stmt) -> set[str]:
        """Globals that the functions defined by a statement change when they are called."""
        called = (f for name, f in functions_in(node) if name not in making.as_defined(node))
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
                own = self._known.functions.get(name)
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
        yield call, call.root not in self._known.modules
        todo, seen = [call], set[str]()
        while todo:
            name = todo.pop().function
            for function in self._known.functions.get(name, ()) if name not in seen else ():
                found = [*function.calls, *(function.gives if name == call.function and times > 1 else ())]
                inside = usage.body_of(function.node)
                own = {*inside.local, *self._known.modules} - set(inside.parameters)
                yield from ((inner, inner.root not in own) for inner in found)
                todo += found
            seen.add(name)

    # -- what is known of the notebook, for code that is followed

    def afford(self) -> bool:
        """Whether one more call can be followed; else it may do all that functions of the notebook can do.

        The answer is the same for all code once the functions have been followed.
        """
        self._calls += not self._settled
        self.exhausted |= self._calls >= self._most_calls
        return not self.exhausted

    def spend(self, things: int) -> bool:
        """Count things that were looked at: false once there are too many, and no more calls are followed."""
        self._looked_at += 0 if self._settled else things
        self.exhausted |= self._looked_at >= _MOST_LOOKED_AT
        return not self.exhausted

    def touched(self) -> Iterable[str]:
        """The global names that functions of the notebook use."""
        return self._touched

    def resolved(self, function: str) -> str:
        """A dotted name with its first part as imported: `np.copyto` is `numpy.copyto`."""
        root = _FIRST_NAME.match(function)
        return f"{self._known.modules.get(root[0], root[0])}{function[root.end() :]}" if root else function

    def is_of_library(self, function: str) -> bool:
        """Whether a dotted name is Python's or imported, or part of what is: `np.log1p`."""
        root = function.partition(".")[0]
        return root in self._known.modules or names.is_builtin(root)

    def kinds(self, name: str) -> frozenset[str]:
        """What makes the value of a global name, where all its bindings say so."""
        if name in self._known.modules:
            return frozenset({"module"})
        if name not in self._kinds and hasattr(builtins, name):
            return frozenset({"function"})
        unsure = frozenset([ANYTHING] if self.exhausted else [])
        known = self._kinds.get(name, frozenset())
        if known and name in self.looked_up:
            known = known - effects.FILLED_BY_READING | {"dict"}
        return known | self._known.literals.get(name, frozenset()) | unsure

    def defined(self, name: str) -> tuple[Summary, ...]:
        """The functions that the notebook defines under a name."""
        known = (self._summaries.get(f.node) for f in self._known.functions.get(name, ()))
        return tuple(s for s in known if s is not None)

    def functions(self, name: str) -> tuple[Summary, ...]:
        """The functions that a global name may stand for, or hold."""
        behind = () if self.exhausted else self._behind.get(name, ())
        return tuple(dict.fromkeys([*self.defined(name), *behind]))

    def is_class(self, name: str) -> bool:
        """Whether the notebook defines a class of that name."""
        return name in self._known.classes

    def is_attribute(self, name: str) -> bool:
        """Whether objects of the notebook's classes keep something under a name."""
        return name in self._known.attributes

    def is_data(self, name: str) -> bool:
        """Whether the notebook keeps data under an attribute of that name."""
        return name in self._known.data

    def methods(self, name: str, kinds: frozenset[str], *, above: bool = False) -> Iterator[Summary]:
        """The methods of a name that an object of some kinds may have; of any class if nothing is known."""
        key = name, kinds, above
        if key not in self._having:
            owners = {o for kind in kinds for o in self._known.owners(name, kind, above=above)}
            known = self._known.methods.get(name, ())
            unsure = self._is_unsure(kinds)
            self._having[key] = [node for owner, node in known if unsure or owner in owners]
        return (self._summaries[node] for node in self._having[key] if node in self._summaries)

    def sharing(self, attribute: str, kinds: frozenset[str]) -> Iterator[str]:
        """Classes that keep a changeable value under an attribute, for all objects of theirs."""
        unsure = self._is_unsure(kinds)
        for name in self._known.sharing.get(attribute, ()):
            if unsure or any(name in self._known.related(kind) for kind in kinds):
                yield name

    def _is_unsure(self, kinds: frozenset[str]) -> bool:
        """Whether an object of some kinds may be of any class."""
        return not kinds or any(k not in self._known.classes and k not in effects.PLAIN for k in kinds)

    # -- following the notebook

    def _settle(self) -> None:
        """Through functions that call functions, until nothing is added."""
        before: object = None
        for _ in range(_ROUNDS):
            self._follow()
            now = self._signature()
            if now == before or self.exhausted:
                break
            before = now
        else:
            self.exhausted = True
        if self.exhausted:
            self._follow()  # what was followed before is not all that calls may do
        self._settled = True

    def _follow(self) -> None:
        for function, owner, of in self._order:
            self._summaries[function] = flows.function(self, function, owner=owner, of=of)
        values: dict[str, list[Value]] = defaultdict(list)
        for node in self._known.nodes:
            self._flows[node] = flows.top(self, [node])
            for name, value in self._flows[node].names.items():
                values[name].append(value)
                more = self._functions_of(name, [value])
                self._behind[name] = tuple(dict.fromkeys([*self._behind.get(name, ()), *more]))
        behind = {name: self._functions_of(name, found) for name, found in values.items()}
        self._behind = {name: _told_apart(found) for name, found in behind.items()}
        self._kinds = {name: _kinds_of(found) for name, found in values.items()}

    def _functions_of(self, name: str, values: list[Value]) -> tuple[Summary, ...]:
        """What a name may stand for, or hold, besides what is defined under it."""
        defined = self.defined(name)
        return () if self.exhausted else tuple(f for f in _functions_behind(values) if f not in defined)

    def _signature(self) -> object:
        summaries = [_sign(s) for s in self._summaries.values()]
        return summaries, self._kinds, {n: {_sign(s) for s in found} for n, found in self._behind.items()}

    def _summary(self, node: names.Function) -> Summary:
        return self._summaries.get(node) or flows.function(self, node)


_ROUNDS = 12
_LEAST_CALLS, _CALLS_EACH = 1_500, 20
"""How many calls are followed, at least and for each statement of the top level."""
_MOST_LOOKED_AT = 150_000
"""How many things are looked at inside others; grown notebooks come to some thousands."""


@functools.lru_cache(maxsize=4096)
def _calls_when_called(node: names.Function) -> tuple[Call, ...]:
    return tuple(usage.body_of(node).names.calls)


def _outside(changed: Iterable[Thing]) -> Iterator[str]:
    return (thing.name for thing in changed if thing.outer and thing.name)


def _functions_behind(values: list[Value]) -> tuple[Summary, ...]:
    things = (thing for value in values for thing in reach(value))
    return tuple(dict.fromkeys(f for thing in things for f in thing.functions))


def _told_apart(functions: Iterable[Summary]) -> tuple[Summary, ...]:
    """Of functions that are the same but for the round in which they have been found, the last."""
    return tuple({(function.arguments, _sign(function)): function for function in functions}.values())


def _kinds_of(values: list[Value]) -> frozenset[str]:
    things = [thing for value in values for thing in value]
    if not all(values) or not all(t.kinds and not t.whole for t in things):
        return frozenset()
    return frozenset[str]().union(*(t.kinds for t in things))


def _sign(summary: Summary) -> object:
    """What a summary says, to compare it with another round's."""
    labels = {thing: name for name, value in summary.parameters.items() for thing in value}

    @functools.cache
    def sign(thing: Thing) -> object:
        whole = thing.whole is not None
        return labels.get(thing.origin, thing.name), thing.outer, whole, thing.attribute, thing.kinds

    stored = [(thing, attribute, part) for thing, attribute, held in summary.stored() for part in held]
    given = [(name, part) for name, value in summary.given.items() for part in value]
    inside = reach([*summary.gives, *(part for *_, part in stored), *(part for _, part in given)])
    held = {
        (sign(thing), attribute, sign(part))
        for thing in inside
        for attribute, parts in [("", thing.holds), *thing.fields.items()]
        for part in parts
    }
    return (
        frozenset(map(sign, summary.changed)),
        frozenset(map(sign, summary.gives)),
        frozenset((name, sign(part)) for name, part in given),
        frozenset((sign(thing), attribute, sign(part)) for thing, attribute, part in stored),
        frozenset(held),
    )


def settle(nodes: Iterable[tuple[ast.stmt, Names]], looked_up: frozenset[str] = frozenset()) -> Changes:
    """Add to the names of each top-level statement what its calls change.

    `looked_up`: the defaultdicts that reading does not change.
    """
    pairs = list(nodes)
    changes = Changes(pairs, looked_up)
    for node, found in pairs:
        for call in found.calls:
            found.may |= changes.bound_by(call)
        found.mutates |= changes.of(node) - (found.augments - found.mutates) | changes.outside(node)
    return changes


def _calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that evaluating an expression or statement makes: not those in functions."""
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _calls_in(child)
