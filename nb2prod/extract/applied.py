"""A call of a function whose body has been followed: what it changes and gives where it is called."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from nb2prod.extract.things import ANYTHING, NOTHING, SEVERAL, Flow, Summary, Thing, Value, parts, reach


@dataclass(slots=True)
class Given:
    """The arguments of a call. `starred` may come at any position after the others, `double` by any name."""

    positional: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    starred: Value = NOTHING
    double: Value = NOTHING

    def all(self) -> Value:
        """All that the call is given."""
        return NOTHING.union(*self.positional, *self.keywords.values(), self.starred, self.double)

    def after(self, first: Value) -> Given:
        """The same with one argument before it: the object that a method is called on."""
        return replace(self, positional=[first, *self.positional])

    def parted(self) -> tuple[Value, Given]:
        """The first argument, and the others."""
        first = self.positional[0] if self.positional else self.starred
        return first, replace(self, positional=self.positional[1:])


def apply(flow: Flow, summary: Summary, given: Given, key: object) -> Value:
    """What a call gives; what it changes is taken down."""
    if flow.world.afford():
        with suppress(_TooMuch):
            return _applied(flow, summary, given, key)
    return unfollowed(flow, given)


def _applied(flow: Flow, summary: Summary, given: Given, key: object) -> Value:
    bound = _bound(flow, summary, given, key)
    seen = _Seen(flow, summary, {}, key)
    for name, outside in summary.parameters.items():
        seen.known |= {thing: bound.get(name, NOTHING) for thing in outside if thing.home is summary.home}
    flow.change(seen.all(summary.changed))
    seen = _Seen(flow, summary, seen.known | _shared(flow, summary, bound), key)
    for thing, attribute, held in summary.stored():
        for into in seen.of(thing):
            into.keep(seen.all(held), attribute)
    return seen.all(summary.gives)


def unfollowed(flow: Flow, given: Given) -> Value:
    """A call of which nothing is known: it may change, give and store all that it is given or can find."""
    known = NOTHING.union(given.all(), *(flow.at_top(name) for name in flow.world.touched()))
    rest = flow.made.setdefault(ANYTHING, Thing(flow, kinds=frozenset([ANYTHING]), many=True))
    added, found = flow.anything
    if added != flow.world.added or not known <= found:
        found = reach(known | {rest})
        rest.keep(found)
        for thing in found:
            thing.keep([rest])
        flow.anything = flow.world.added, found
    flow.change(found)
    return found


def apply_somehow(flow: Flow, summary: Summary, others: Value, key: object) -> Value:
    """A call that something else makes, with what it has."""
    if flow.world.exhausted:
        return unfollowed(flow, Given(starred=others))
    others = frozenset(thing for thing in others if summary not in thing.functions)
    anything = parts(others) | others
    return apply(flow, summary, Given(starred=anything, double=anything), key)


def condense(summary: Summary) -> None:
    """Let one thing stand for all that a function makes and gives, and one for all that these hold.

    Callers need no more, and their number must not grow with each call of a call.
    """
    direct = [thing for thing in summary.gives if _is_made(summary, thing)]
    stored = list(summary.stored())
    inside = reach(direct) | reach(thing for _, _, held in stored for thing in held)
    below = [thing for thing in inside if _is_made(summary, thing)]
    deep = Thing(summary.home, many=True)
    _join(summary, deep, below, deep)
    if direct:
        result = Thing(summary.home)
        _join(summary, result, direct, deep)
        lengths = {len(thing.items) if thing.items is not None else None for thing in direct}
        if len(lengths) == 1 and None not in lengths:
            columns = zip(*(thing.items or [] for thing in direct), strict=True)
            result.items = [_outer(summary, NOTHING.union(*column), deep) for column in columns]
        summary.gives = (summary.gives - frozenset(direct)) | {result}
    for thing, attribute, held in stored:
        kept = _outer(summary, held, deep)
        if attribute:
            thing.fields[attribute] = set(kept)
        else:
            thing.holds = set(kept)


def _is_made(summary: Summary, thing: Thing) -> bool:
    """Whether a thing is neither argument nor global; what functions inside were given is new to a caller."""
    return not thing.outer or thing.home is not summary.home


def _outer(summary: Summary, held: Iterable[Thing], deep: Thing) -> Value:
    return frozenset(deep if _is_made(summary, thing) else thing for thing in held)


def _join(summary: Summary, into: Thing, things: Iterable[Thing], deep: Thing) -> None:
    for thing in things:
        into.become(thing.kinds, thing.functions)
        into.keep(_outer(summary, thing.holds, deep))
        for attribute, held in thing.fields.items():
            into.keep(_outer(summary, held, deep), attribute)


class _TooMuch(Exception):
    """More is looked at than can be."""


@dataclass(slots=True)
class _Seen:
    """Things of a function as its caller sees them."""

    flow: Flow
    summary: Summary
    known: dict[Thing, Value]
    key: object

    def all(self, things: Iterable[Thing]) -> Value:
        return NOTHING.union(*(self.of(thing) for thing in [*things]))  # they may grow meanwhile

    def of(self, thing: Thing) -> Value:
        if thing not in self.known:
            own = thing.home is self.summary.home
            self.known[thing] = self._look(thing) if own else self._look_around(thing)
        return self.known[thing]

    def _look_around(self, thing: Thing) -> Value:
        """What does not belong to the function, but to one around it, or to other code."""
        if self.flow.is_inside(thing.home):
            return frozenset([thing])
        if thing.whole is not None:
            return self._within(thing.whole, thing.attribute)
        return self.flow.at_top(thing.name) if thing.name else frozenset([self.flow.root.foreign()])

    def _look(self, thing: Thing) -> Value:
        if thing.whole is not None:
            return self._within(thing.whole, thing.attribute)
        if thing.outer:
            return self.flow.at_top(thing.name) if thing.name else NOTHING
        # one thing for all that a call gives, one for all that these hold: so that their number is bounded
        direct = thing in self.summary.gives
        made = self.flow.make((self.key, self.summary, direct))
        self.known[thing] = made
        (own,) = made
        own.many |= thing.many
        own.keep(self.all(thing.holds))
        for attribute, held in thing.fields.items():
            own.keep(self.all(held), attribute)
        own.become(thing.kinds, (self._function(function) for function in thing.functions))
        if thing.items is not None and direct:
            own.line_up([self.all(item) for item in thing.items])
        return made

    def _within(self, whole: Thing, attribute: str) -> Value:
        """All that a part of something may be."""
        found = reach(parts(self.of(whole), attribute))
        if not self.flow.world.spend(len(found)):
            raise _TooMuch
        return found

    def _function(self, inner: Summary) -> Summary:
        """A function that the call makes, as the caller sees it; the same one each time."""
        changed, gives = self.all(inner.changed), self.all(inner.gives)
        given = {name: self.all(value) for name, value in inner.given.items()}
        if (changed, gives, given) == (inner.changed, inner.gives, inner.given):
            return inner
        origin = inner.origin or inner
        closures, fresh = (
            self.flow.closures,
            replace(inner, origin=origin, changed=NOTHING, gives=NOTHING, given={}),
        )
        key = (self.key, origin)
        key = key if self.flow.distinct(key, closures) == key else (SEVERAL, origin)
        known = closures.setdefault(key, fresh)
        known.grow(changed, gives, given)
        return known


def _bound(flow: Flow, summary: Summary, given: Given, key: object) -> dict[str, Value]:
    arguments = summary.arguments
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    bound = dict(zip(names, given.positional, strict=False))
    bound |= {name: given.starred for name in names[len(given.positional) :] if given.starred}
    more = [*given.positional[len(names) :], given.starred]
    named = {*names, *(a.arg for a in arguments.kwonlyargs)}
    bound |= {name: value for name, value in given.keywords.items() if name in named}
    spare = [value for name, value in given.keywords.items() if name not in named]
    if given.double:
        bound |= {name: bound.get(name, NOTHING) | given.double for name in named}
    if arguments.vararg:
        bound[arguments.vararg.arg] = flow.make((key, summary, "*"), NOTHING.union(*more))
    if arguments.kwarg:
        bound[arguments.kwarg.arg] = flow.make((key, summary, "**"), NOTHING.union(*spare, given.double))
    return summary.given | bound


def _shared(flow: Flow, summary: Summary, bound: dict[str, Value]) -> dict[Thing, Value]:
    """Defaults that may be given on; a function that changes them itself is refused for it."""
    left = {name for name, node in defaults(summary.arguments) if name not in bound and may_change(node)}
    if not summary.owner or not left:
        return {}
    own = frozenset([flow.from_outside(summary.owner).inner()])
    return {thing: own for name in left for thing in summary.parameters.get(name, ())}


def defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    """The parameters that have a default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    for argument, default in zip(reversed(positional), reversed(arguments.defaults), strict=False):
        yield argument.arg, default
    for argument, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if given is not None:
            yield argument.arg, given


def may_change(node: ast.expr) -> bool:
    """Whether an expression may give something that can be changed in place."""
    match node:
        case ast.Constant() | ast.JoinedStr() | ast.Lambda() | ast.Compare():
            return False
        case ast.Tuple(elts=elements):
            return any(map(may_change, elements))
        case ast.UnaryOp(operand=operand):
            return may_change(operand)
        case ast.BinOp(left=left, right=right):
            return may_change(left) and may_change(right)
    return True
