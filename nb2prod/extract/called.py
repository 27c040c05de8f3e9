"""What calls give and change: of functions and methods of the notebook, of Python and of libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nb2prod.extract import effects, names
from nb2prod.extract.applied import Given, apply, apply_somehow, unfollowed
from nb2prod.extract.things import ANYTHING, NOTHING, Flow, Summary, Thing, Value, parts, reach

_CALLED = ("__call__", "forward")
"""What a call of an object calls; torch's modules call `forward`."""

_FOREIGN = frozenset({"function", "module"})
"""Kinds of which the parts are no objects of the notebook's classes either."""


def kinds_of(thing: Thing) -> frozenset[str]:
    """What made a thing, where that is known."""
    return thing.kinds if thing.whole is None else thing.whole.kinds & _FOREIGN


def classes_of(flow: Flow, base: Value) -> Value:
    """The classes of the notebook that objects are known to be of."""
    kinds = {kind for thing in base for kind in kinds_of(thing) if flow.world.is_class(kind)}
    return frozenset(flow.from_outside(kind) for kind in kinds)


def send(
    flow: Flow,
    node: ast.AST,
    base: Value,
    methods: Iterable[str],
    given: Given | None = None,
    ways: tuple[str, ...] = ("",),
) -> Value:
    """Call methods of the notebook's classes that objects may have; what they give."""
    found: Value = NOTHING
    for method in methods:
        having: dict[Summary, set[Thing]] = {}
        for thing in base:
            for summary in flow.world.methods(method, kinds_of(thing)):
                if summary.way in ways:
                    having.setdefault(summary, set()).add(thing)
        if having and flow.world.exhausted:
            return unfollowed(flow, (given or Given()).after(base))
        for summary, things in having.items():
            found |= apply(flow, summary, (given or Given()).after(frozenset(things)), (node, method))
    return found


def call(flow: Flow, node: ast.Call, func: ast.expr, on: Value, given: Given) -> Value:
    """What a call may give. `on`: the function; for `x.f(…)` the value of `x`."""
    result = _by_library(flow, node, func, given)
    called, others = on, NOTHING
    if isinstance(func, ast.Attribute):
        result |= _method(flow, node, func, on, given)
        called, others = parts(on, func.attr) if flow.world.is_attribute(func.attr) else NOTHING, on
    for thing in called:
        result |= _called(flow, node, thing, given)
    for thing in given.all():
        for function in thing.functions:
            # whoever is given a function may call it, with whatever else it is given
            beside = (given.all() - {thing}) | others
            gives = apply_somehow(flow, function, beside, node)
            if flow.world.resolved(names.dotted(func)) in effects.FILLED_BY_READING:
                result |= flow.make((node, "copy"), gives)  # it holds what its factory makes
            else:
                result |= flow.make((node, "callback"), gives)
    looking = flow.world.resolved(names.dotted(func)) in effects.ONLY_LOOKING
    if not looking and any(ANYTHING in thing.origin.kinds for thing in given.all()):
        result |= unfollowed(flow, given)
    flow.change(thing for name, v in given.keywords.items() if effects.changes_keyword(name) for thing in v)
    if effects.overwrites(node):
        flow.change(given.all())
    own = isinstance(func, ast.Attribute) and methods_of(flow, func.attr, on)
    if not own and not any(t.functions or flow.world.is_class(t.name) for t in called):
        _taken(flow, node, names.dotted(func), given)
    return result


def _taken(flow: Flow, node: ast.Call, function: str, given: Given) -> None:
    """What Python and libraries do with what they are given: take its elements, draw, ask for its length."""
    if flow.world.resolved(function) in effects.ONLY_LOOKING:
        return
    moved = effects.USED_UP | effects.MOVED_BY_CALLS
    flow.change(thing for thing in given.all() if kinds_of(thing) & moved)
    for thing in given.all():
        send(flow, node, frozenset([thing]), effects.ASKED_BY.get(function, ()))
    if function.rpartition(".")[2] in effects.LOOKING_UP and "." in function:
        read_item(flow, node, given.all())


def read_item(flow: Flow, node: ast.AST, base: Value) -> Value:
    """What the notebook's classes give for an item of something; a defaultdict is filled."""
    flow.change(thing for thing in base if kinds_of(thing) & effects.FILLED_BY_READING)
    return send(flow, node, base, ["__getitem__", "__missing__"])


def _called(flow: Flow, node: ast.Call, thing: Thing, given: Given) -> Value:
    if thing.whole is None and thing.outer and flow.world.is_class(thing.name):
        return construct(flow, node, thing.name, given)
    found = unfollowed(flow, given) if ANYTHING in thing.origin.kinds else NOTHING
    if thing.kinds & effects.RECORDS:
        found = flow.make((node, "record"), given.all())
    for function in thing.functions:
        if "functools.partial" in thing.kinds:
            found |= apply_somehow(flow, function, given.all() | parts([thing]), (node, function))
        else:
            found |= apply(flow, function, given, (node, function))
        if thing.outer and any(not c.outer for c in function.changed):
            flow.change([thing])  # it remembers something of its own
    for function in thing.whole.functions if thing.whole else ():
        found |= apply_somehow(flow, function, given.all(), (node, function))
    if not thing.functions:
        found |= send(flow, node, frozenset([thing]), _CALLED, given)
    return found


def construct(flow: Flow, node: ast.AST, name: str, given: Given) -> Value:
    """An object of a class of the notebook: it holds what `__init__` puts into it, else all that is given."""
    made = flow.make((node, name), (), name)
    ways = [*flow.world.methods("__init__", frozenset([name]))]
    send(flow, node, made, ["__init__", "__post_init__"], given)
    if not ways:
        for thing in made:
            thing.keep(given.all())
            for attribute, held in given.keywords.items():
                thing.keep(held, attribute)
    return made


def _method(flow: Flow, node: ast.Call, func: ast.Attribute, base: Value, given: Given) -> Value:
    method, result = func.attr, NOTHING
    unbound = is_unbound(flow, func) and bool(given.positional or given.starred)
    called = ast.copy_location(ast.Call(func, node.args[unbound:], node.keywords), node)
    if unbound:  # `list.append(seen, x)` is `seen.append(x)`
        flow.change(base if effects.receiver_changes(called) else ())
        base, given = given.parted()
    if effects.receiver_changes(called) and (unbound or not _is_own(flow, method, base)):
        flow.change(base)
        if method not in effects.FITS:
            for thing in base:
                thing.keep(given.all() | parts(given.all()))
    flow.change(thing for thing in base if kinds_of(thing) & effects.MOVED_BY_CALLS)
    known = NOTHING.union(*[_view(flow, node, method, thing) for thing in base])
    if method in effects.GIVING_PARTS:
        known |= given.all()
    if method in effects.GIVING_ITSELF:
        known |= base
    if method in effects.CHANGING_ARGUMENTS:
        flow.change(given.positional[0] if given.positional else given.all())
    for name in effects.alike(method) if not unbound else ():
        for summary in methods_of(flow, name, base, above=is_super(func.value)):
            result |= _one_method(flow, node, summary, base, given, func.value)
            for function in dict.fromkeys(f for thing in base | parts(base) for f in thing.functions):
                result |= apply_somehow(flow, function, given.all(), (node, "kept"))
    return result | known


def is_unbound(flow: Flow, func: ast.Attribute) -> bool:
    """Whether a method is named through a class of Python or of a library: it is called with the object."""
    name = names.dotted(func.value)
    if name in effects.TYPES:
        return True
    root = flow.look_up(name.partition(".")[0]) if name else NOTHING
    imported = bool(root) and all("module" in thing.kinds for thing in root)
    return imported and effects.is_type(flow.world.resolved(name), func.attr)


def changes_given(flow: Flow, node: ast.AST, method: str) -> Value:
    """`list.append` or `methodcaller("append", 1)` taken as a value: it changes what it is called with."""
    if method not in effects.MUTATORS:
        return NOTHING
    known = flow.closures.get((node, "given"))
    if known is None:
        home = Flow(flow.world)
        first = frozenset([Thing(home, outer=True)])
        known = Summary(home, _FIRST_CHANGED, parameters={"first": first}, changed=first)
        flow.closures[node, "given"] = known
    return flow.make((node, "given"), (), "method", (known,))


_FIRST_CHANGED = ast.arguments([], [ast.arg("first")], ast.arg("others"), [], [], ast.arg("named"), [])


def _is_own(flow: Flow, method: str, base: Value) -> bool:
    """Whether a method is sure to be the notebook's: what it changes is read there."""
    kinds = [kinds_of(thing) for thing in base]
    known = all(kind and all(map(flow.world.is_class, kind)) for kind in kinds)
    return bool(kinds) and known and bool(methods_of(flow, method, base))


def methods_of(flow: Flow, name: str, base: Value, *, above: bool = False) -> list[Summary]:
    """The methods of the notebook that a call on some objects may mean; `above`: on their `super()`."""
    if not base:
        return list(flow.world.methods(name, frozenset()))
    kinds = [kinds_of(thing) for thing in base]
    classes = [
        frozenset([t.name]) if t.outer and not t.whole and flow.world.is_class(t.name) else k
        for t, k in zip(base, kinds, strict=True)
    ]
    return list(dict.fromkeys(s for k in classes for s in flow.world.methods(name, k, above=above)))


def is_super(node: ast.expr) -> bool:
    """`super()`, with or without arguments."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _one_method(
    flow: Flow, node: ast.Call, summary: Summary, base: Value, given: Given, receiver: ast.expr
) -> Value:
    unbound = isinstance(receiver, ast.Name) and flow.world.is_class(receiver.id)
    key = (node, summary)
    if summary.way == "classmethod":
        return apply(flow, summary, given.after(NOTHING), key)
    if summary.way == "staticmethod" or unbound:
        return apply(flow, summary, given, key)
    return apply(flow, summary, given.after(base), key) if summary.way == "" else NOTHING


def _view(flow: Flow, node: ast.Call, method: str, thing: Thing) -> Value:
    """What a method of the usual libraries gives of the object that it is called on."""
    one, shares = frozenset([thing]), effects.shares(node)
    if shares or (method in effects.VIEWS and shares is None):
        return frozenset([thing.inner()]) if thing.outer and not thing.whole else one
    if method in effects.GIVING_PARTS:
        return parts(one)
    if method == "items":
        return _rows(flow, node, [parts(one), parts(one)])
    if method == "values":
        return flow.make((node, "values"), parts(one))
    if method == "copy" and kinds_of(thing) & effects.SHALLOW:
        return flow.make((node, "copy"), parts(one))
    return NOTHING


def _rows(flow: Flow, node: ast.AST, columns: list[Value]) -> Value:
    """Tuples of which each has a part of every column."""
    row = flow.make((node, "row"), NOTHING.union(*columns))
    for thing in row:
        thing.items = None if thing.many else columns
    return flow.make((node, "rows"), row, "iter")


def _zipped(flow: Flow, node: ast.Call, name: str, given: Given) -> Value:
    columns = [parts(one) for one in given.positional]
    if name == "enumerate":
        return _rows(flow, node, [NOTHING, *columns[:1]])
    if name in ("zip", "itertools.zip_longest") and not given.starred:
        return _rows(flow, node, columns)
    everything = parts(given.all())
    return flow.make((node, "rows"), flow.make((node, "row"), everything), "iter")


def _by_library(flow: Flow, node: ast.Call, func: ast.expr, given: Given) -> Value:
    """What functions of Python and the usual libraries change and give."""
    dotted = names.dotted(func)
    root = dotted.partition(".")[0]
    if not dotted or root in flow.names or flow.world.functions(root) or flow.world.is_class(root):
        return NOTHING
    name = flow.world.resolved(dotted)
    first = given.positional[0] if given.positional else given.starred
    everything = given.all()
    if effects.changes_first(name):
        flow.change(first)
        for thing in first:
            thing.keep(everything - first)
    flow.change(thing for one in given.positional[effects.written_from(name) :] for thing in one)
    shares = effects.shares(node)
    if shares and effects.writes_without_copy(name):
        flow.change(first)
    if (shares and first) or (name in effects.SAME and shares is None):
        return everything
    # without a key it is numbers and texts that have an order
    if name in effects.PARTS or (name in ("max", "min") and "key" in given.keywords):
        return parts(everything) | (everything - first - given.keywords.get("key", NOTHING))
    if name in effects.ZIPPED:
        return _zipped(flow, node, name, given)
    if name in effects.SHALLOW_COPIES:
        made = flow.make((node, "copy"), parts(everything), name)
        for thing in made if name in effects.USED_UP else ():
            thing.lazy = tuple({f: None for one in everything for f in one.functions})
        return made
    if name == "type":
        return classes_of(flow, first)
    if name == "functools.partial":
        functions = tuple(f for thing in first for f in thing.functions)
        return flow.make((node, "partial"), everything, name, functions)
    if name == "operator.methodcaller" and isinstance(node.args[0], ast.Constant):
        return changes_given(flow, node, str(node.args[0].value))
    if name in effects.KINDS:
        return flow.make((node, "new"), (), name)
    foreign = name != dotted and all(t.kinds and t.kinds <= effects.PLAIN for t in reach(everything))
    return flow.make((node, "new"), (), "library") if foreign else NOTHING
