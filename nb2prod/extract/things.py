"""What names stand for while code is followed: things from outside, their parts, and things made there."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Value = frozenset["Thing"]
NOTHING: Value = frozenset()

ANYTHING = "anything"
"""The kind of what comes from a call that has not been followed: it may be all, and calling it may do all."""

SEVERAL = "several"
"""The kind of what stands for all that code makes, where it makes too much to tell apart."""

_MOST_MADE = 96
"""Four times what the longest function in tests/larger makes."""


@dataclass(eq=False, slots=True)
class Thing:
    """An object that an expression may give.

    `outer`: it comes from outside the code, by a global name or a parameter. `whole`: this stands for all
    parts of that one. Else it is made by the code, and `holds` is all that it may have as a part.
    """

    home: Flow
    name: str = ""
    outer: bool = False
    whole: Thing | None = None
    kinds: frozenset[str] = frozenset()
    """What made it, where that is known: a class of the notebook, a library's, or a builtin's name."""
    holds: set[Thing] = field(default_factory=set)
    items: list[Value] | None = None
    """Of a tuple written out: its parts in order."""
    functions: tuple[Summary, ...] = ()
    lazy: tuple[Summary, ...] = ()
    """Of an iterator: the functions that it calls whenever it is gone through."""
    attribute: str = ""
    """Of parts: those that lie under this attribute; all of them if it is empty."""
    fields: dict[str, set[Thing]] = field(default_factory=dict)
    """What has been put into it under an attribute."""
    many: bool = False
    """It stands for several, of which some may be parts of others."""
    _inner: dict[str, Thing] = field(default_factory=dict)

    @property
    def origin(self) -> Thing:
        """What it is, or is a part of."""
        return self.whole or self

    def parts(self, attribute: str = "") -> Iterator[Thing]:
        """What an item or an element of it may be, or an attribute of that name."""
        if self.outer:
            yield self if self.whole else self.inner(attribute)
        under = self.attribute or attribute
        fields = self.origin.fields
        yield from self.origin.holds
        for values in [fields.get(under, ())] if under else fields.values():
            yield from values

    def inner(self, attribute: str = "") -> Thing:
        """The one that stands for all its parts."""
        if attribute not in self._inner:
            made = Thing(self.home, self.name, outer=True, whole=self, attribute=attribute)
            self._inner[attribute] = made
        return self._inner[attribute]

    def keep(self, things: Iterable[Thing], attribute: str = "") -> None:
        """From now on it holds these, too."""
        under = self.attribute or attribute
        kept = self.origin.fields.setdefault(under, set()) if under else self.origin.holds
        before = len(kept)
        kept.update(thing for thing in things if self.many or thing is not self.origin)
        self.home.world.added += len(kept) - before

    def line_up(self, columns: list[Value]) -> None:
        """It is a tuple with these parts, or with those that it had, in order."""
        before = self.items if self.items and len(self.items) == len(columns) else [NOTHING] * len(columns)
        if not self.many:
            known, self.items = self.items, [one | other for one, other in zip(before, columns, strict=True)]
            self.home.world.added += known is not None and known != self.items

    def become(self, kinds: Iterable[str], functions: Iterable[Summary]) -> None:
        """From now on it may be of these kinds, and these functions, too."""
        before = self.kinds, self.functions
        self.kinds = self.kinds.union(kinds)
        self.functions = tuple(dict.fromkeys([*self.functions, *functions]))
        self.home.world.added += before != (self.kinds, self.functions)


@dataclass(eq=False, slots=True)
class Summary:
    """A function from outside: what a call changes and gives, in terms of its parameters."""

    home: Flow
    arguments: ast.arguments
    owner: str = ""
    """The top-level name that the function goes by, whose defaults all its calls share."""
    way: str = ""
    """Of a method: `classmethod`, `staticmethod` or `property`, if it is one."""
    parameters: dict[str, Value] = field(default_factory=dict)
    given: dict[str, Value] = field(default_factory=dict)
    """Of a function inside another: the values of its defaults."""
    origin: Summary | None = None
    """Of a function as its maker's caller sees it: the one that its maker knows."""
    changed: Value = NOTHING
    gives: Value = NOTHING

    def grow(self, changed: Value, gives: Value, given: Mapping[str, Value]) -> None:
        """A call changes and gives this, too, with these defaults."""
        before = self.changed, self.gives, self.given
        self.changed, self.gives = self.changed | changed, self.gives | gives
        self.given = before[2] | {name: before[2].get(name, NOTHING) | more for name, more in given.items()}
        self.home.world.added += before != (self.changed, self.gives, self.given)

    def stored(self) -> Iterator[tuple[Thing, str, Value]]:
        """Things from outside that hold more after a call, and under which attribute."""
        outside = [*self.parameters.values(), frozenset(self.home.outside.values())]
        for thing in frozenset[Thing]().union(*outside):
            for attribute, held in [("", thing.holds), *thing.fields.items()]:
                if held:
                    yield thing, attribute, frozenset(held)


class World(Protocol):
    """What is known of the notebook around the code that is followed."""

    exhausted: bool
    """Whether no more calls are followed."""
    coarse: set[ast.AST]
    """Code that makes too much to tell it apart."""
    added: int
    """Grows whenever more becomes known of something that code already followed may have seen."""

    def afford(self) -> bool:
        """Whether one more call can be followed; else it may do all that functions of the notebook can do."""

    def spend(self, things: int) -> bool:
        """Count things that were looked at: false once there are too many, and no more calls are followed."""

    def touched(self) -> Iterable[str]:
        """The global names that functions of the notebook use."""

    def resolved(self, function: str) -> str:
        """A dotted name with its first part as imported."""

    def kinds(self, name: str) -> frozenset[str]:
        """What makes the value of a global name, where all its bindings say so."""

    def functions(self, name: str) -> tuple[Summary, ...]:
        """The functions that a global name may stand for, or hold."""

    def defined(self, name: str) -> tuple[Summary, ...]:
        """The functions that the notebook defines under a name."""

    def is_class(self, name: str) -> bool:
        """Whether the notebook defines a class of that name."""

    def is_attribute(self, name: str) -> bool:
        """Whether objects of the notebook's classes keep something under a name."""

    def is_data(self, name: str) -> bool:
        """Whether the notebook keeps data under an attribute of that name."""

    def methods(self, name: str, kinds: frozenset[str], *, above: bool = False) -> Iterable[Summary]:
        """The methods of a name that an object of some kinds may have; of any class if nothing is known.

        `above`: that `super()` of such an object has.
        """

    def sharing(self, attribute: str, kinds: frozenset[str]) -> Iterable[str]:
        """Classes that keep a changeable value under an attribute, for all objects of theirs."""


@dataclass(eq=False, slots=True)
class Flow:
    """Code while it is followed. `changed` says what it changes, and by which of its statements first."""

    world: World
    parent: Flow | None = None
    names: dict[str, Value] = field(default_factory=dict)
    changed: dict[Thing, ast.stmt | None] = field(default_factory=dict)
    gives: set[Thing] = field(default_factory=set)
    outside: dict[str, Thing] = field(default_factory=dict)
    made: dict[object, Thing] = field(default_factory=dict)
    closures: dict[object, Summary] = field(default_factory=dict)
    inside: dict[ast.AST, Flow] = field(default_factory=dict)
    """The functions inside: the same ones each time that the code runs."""
    summary: Summary | None = None
    rounds: dict[ast.stmt, Mapping[str, Value]] = field(default_factory=dict)
    """Of loops: the names as they have been found at their beginning."""
    others: Thing | None = None
    repeats: bool = False
    """Whether what is followed runs again: a loop, or a function inside another."""
    anything: tuple[int, Value] = (-1, NOTHING)
    """What a call of which nothing is known may change, and how much was known of the code then."""
    askers: dict[str, dict[Flow, None]] = field(default_factory=dict)
    """By name: functions inside that have looked for it here."""
    later: dict[str, Value] = field(default_factory=dict)
    """What names around it have been bound to since it was defined: its calls see that."""
    is_defined: bool = False
    """Of a function inside: whether it has been come to."""
    since: int | None = None
    """How much was known of the code where the first function inside was come to."""
    coarse: bool = False
    """One thing stands for all that it makes."""
    count: int = 0
    """How much it makes, with the functions inside."""
    statement: ast.stmt | None = None
    parameters: dict[str, Value] = field(default_factory=dict)
    first: str = ""
    """The first parameter of the method: what `super()` stands for."""
    is_function: bool = False
    beginning: Mapping[str, Value] = field(default_factory=dict)
    """What names stand for where it begins."""
    elsewhere: Mapping[str, bool] = field(default_factory=dict)
    """Names declared `nonlocal` (true) or `global` (false)."""
    root: Flow = field(init=False)
    """The function or statement of the top level around it."""

    def __post_init__(self) -> None:
        self.root = self.parent.root if self.parent else self

    def begin(self) -> None:
        """Follow it from its beginning, again or for the first time."""
        self.names, self.since = dict(self.beginning), None
        for inner in self.inside.values() if not self.rounds else ():
            inner.is_defined = False

    def is_inside(self, home: Flow) -> bool:
        """Whether a flow is this one or around it."""
        around: Flow | None = self
        while around is not None and around is not home:
            around = around.parent
        return around is home

    def foreign(self) -> Thing:
        """What stands for all that other code has made and remembers."""
        if self.others is None:
            self.others = Thing(Flow(self.world), kinds=frozenset([SEVERAL]), many=True)
        return self.others

    @property
    def is_big(self) -> bool:
        """Whether it makes too much to tell it apart."""
        return self.count > _MOST_MADE

    def distinct(self, key: object, known: Container[object]) -> object:
        """A key to find a thing by that the code makes: one for all of them if they are too many."""
        root = self.root
        root.coarse |= self.world.exhausted
        root.count += key not in known
        return key if not root.coarse and (key in known or not root.is_big) else SEVERAL

    def look_up(self, name: str) -> Value:
        """What a name stands for."""
        flow, found = self, NOTHING
        while name not in flow.names:
            if flow.parent is None:
                return found | {flow.from_outside(name)}
            if not flow.elsewhere.get(name, True):
                return found | flow.at_top(name)
            found |= flow.later.get(name, NOTHING)
            flow.parent.askers.setdefault(name, {})[flow] = None
            flow = flow.parent
        return found | flow.names[name] if found else flow.names[name]

    def bind(self, name: str, given: Value) -> None:
        """Give a name to a value."""
        if name not in self.elsewhere:
            self.names[name] = given
            for inner in self.askers.get(name, ()):
                inner.see(name, given)
        elif self.elsewhere[name] and self.parent is not None:
            self.parent.bind(name, self.parent.look_up(name) | given)  # it may be called, or not

    def see(self, name: str, given: Value) -> None:
        """The code around it binds a name."""
        if self.is_defined and not given <= self.later.get(name, NOTHING):
            self.later[name] = self.later.get(name, NOTHING) | given
            self.world.added += 1

    def from_outside(self, name: str) -> Thing:
        """What a global name stands for."""
        root, known = self.root, self.world
        if name not in root.outside:
            made = Thing(root, name, outer=True, kinds=known.kinds(name), functions=known.functions(name))
            root.outside[name] = made
        return root.outside[name]

    def at_top(self, name: str) -> Value:
        """What a function of the top level sees under a global name when it is called from here."""
        root = self.root
        return frozenset([root.from_outside(name)]) if root.is_function else root.look_up(name)

    def make(
        self, key: object, holds: Iterable[Thing] = (), kind: str = "", functions: tuple[Summary, ...] = ()
    ) -> Value:
        """A thing that a place in the code makes: the same one, each time that it runs."""
        key = self.distinct(key, self.made)
        kinds = frozenset([kind] if kind else [])
        if key in self.made:
            self.made[key].keep(holds)
            self.made[key].become(kinds, functions)
        else:
            many = key is SEVERAL
            kinds |= frozenset([SEVERAL] if many else [])
            self.made[key] = Thing(self, kinds=kinds, holds=set(holds), functions=functions, many=many)
        return frozenset([self.made[key]])

    def change(self, things: Iterable[Thing]) -> None:
        """Take down that things are changed in place."""
        for thing in things:
            self.changed.setdefault(thing, self.statement)

    def forked(self) -> Mapping[str, Value]:
        """The names as they are, to come back to."""
        return dict(self.names)

    def join(self, others: Iterable[Mapping[str, Value]]) -> None:
        """Go on from any of several ways that the code may have taken."""
        first, *more = branches = list(others)
        self.names = dict(first)
        for name in dict.fromkeys(name for branch in more for name in _unlike(first, branch)):
            # what a way has not bound is what it was outside; in a function nothing
            gone = NOTHING if self.is_function else frozenset([self.from_outside(name)])
            self.names[name] = NOTHING.union(*(branch.get(name, gone) for branch in branches))


def _unlike(one: Mapping[str, Value], other: Mapping[str, Value]) -> list[str]:
    """Names that do not stand for the very same in both."""
    changed = [name for name, value in other.items() if one.get(name) is not value]
    return changed + [name for name in one if name not in other]


def parts(value: Iterable[Thing], attribute: str = "") -> Value:
    """What the parts of a value may be, or those under an attribute."""
    return frozenset(part for thing in value for part in thing.parts(attribute))


def reach(value: Iterable[Thing]) -> Value:
    """A value and all that it holds, however deep."""
    found: set[Thing] = set()
    looked: set[object] = set()
    todo = list(value)
    while todo:
        thing = todo.pop()
        if thing in found:
            continue
        found.add(thing)
        if thing.outer and thing.whole is None:
            todo.append(thing.inner())
        # parts of one thing share what it holds: looked at once
        origin = thing.origin
        if origin not in looked:
            looked.add(origin)
            todo += origin.holds - found
        for under in [thing.attribute] if thing.attribute else list(origin.fields):
            if (origin, under) not in looked:
                looked.add((origin, under))
                todo += origin.fields.get(under, set()) - found
    return frozenset(found)
