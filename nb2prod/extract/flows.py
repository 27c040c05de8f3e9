"""Statements followed one after the other: which objects from outside they change, and which they give."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from nb2prod.extract import names
from nb2prod.extract.applied import Given, apply, condense, unfollowed
from nb2prod.extract.caches import is_cached
from nb2prod.extract.called import kinds_of, send
from nb2prod.extract.rounds import repeat, settle
from nb2prod.extract.things import NOTHING, Flow, Summary, Value, World, parts
from nb2prod.extract.values import assign, default_values, enter, iterated, leave, put, value


def run(flow: Flow, statements: Iterable[ast.stmt]) -> Flow:
    """Follow statements; at the top of a flow each is the one that its changes are of."""
    for statement in statements:
        _statement(flow, statement)
    return flow


def top(world: World, statements: Iterable[ast.stmt]) -> Flow:
    """Statements of the notebook's top level, followed from the names that stand for themselves."""
    nodes = list(statements)
    flow = Flow(world, coarse=bool(nodes) and nodes[0] in world.coarse)
    settle(flow, lambda: _at_top(flow, nodes))
    if flow.is_big and not flow.coarse:
        world.coarse.add(nodes[0])
        return top(world, nodes)
    return flow


def _at_top(flow: Flow, nodes: Iterable[ast.stmt]) -> None:
    for statement in nodes:
        flow.statement = statement
        _statement(flow, statement)


def changed_outside(flow: Flow) -> dict[str, ast.stmt]:
    """The global names whose objects a flow has changed, and by which statement first."""
    found: dict[str, ast.stmt] = {}
    for thing, node in flow.changed.items():
        if thing.outer and thing.name and node is not None:
            found.setdefault(thing.name, node)
    return found


def function(
    world: World, node: names.Function, parent: Flow | None = None, *, owner: str = "", of: str = ""
) -> Summary:
    """What a call of a function changes and gives. `of`: the class whose method it is."""
    inner = enter(world, parent, node)
    inner.coarse = node in world.coarse
    inner.statement = parent.statement if parent else None
    way = _way(node) if of else ""
    if parent is None:
        settle(inner, lambda: _body(inner, node, way, of))
    else:
        _body(inner, node, way, of)
    if parent is None and inner.is_big and not inner.coarse:
        world.coarse.add(node)
        return function(world, node, owner=owner, of=of)
    made = leave(inner, node)
    made.owner, made.way = owner, way
    if parent is None:
        condense(made)
    if owner and is_cached(node):
        made.gives = frozenset([inner.from_outside(owner).inner()])
    return made


def _body(inner: Flow, node: names.Function, way: str, of: str) -> None:
    if of:
        _own(inner, node, way, of)
    if inner.world.exhausted and any(isinstance(child, ast.Call) for child in ast.walk(node)):
        inner.gives |= unfollowed(inner, Given([*inner.parameters.values()]))
    elif isinstance(node, ast.Lambda):
        inner.gives |= value(inner, node.body)
    else:
        run(inner, node.body)


def _own(inner: Flow, node: names.Function, way: str, of: str) -> None:
    """The first parameter of a method is an object of its class, or the class."""
    first = [*node.args.posonlyargs, *node.args.args][:1]
    if way == "staticmethod" or not first:
        return
    inner.first = first[0].arg
    if way == "classmethod":
        inner.names[inner.first] = frozenset([inner.from_outside(of)])
        inner.parameters.pop(inner.first, None)
        return
    for thing in inner.names[inner.first]:
        thing.kinds = frozenset([of])


def _way(node: names.Function) -> str:
    known = {"classmethod", "staticmethod", "property", "cached_property"}
    if isinstance(node, ast.Lambda):
        return ""
    if node.name in ("__new__", "__init_subclass__", "__class_getitem__"):
        return "classmethod"
    for decorator in node.decorator_list:
        name = names.dotted(decorator)
        if name.endswith((".setter", ".deleter")):
            return "setter"
        if name.rpartition(".")[2] in known:
            return name.rpartition(".")[2].removeprefix("cached_")
    return ""


def _statement(flow: Flow, node: ast.stmt) -> None:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            _definition(flow, node)
        case ast.ClassDef():
            _class(flow, node)
        case ast.Import() | ast.ImportFrom():
            bound = [(alias.asname or alias.name.partition(".")[0]) for alias in node.names]
            for name in bound:
                flow.bind(name, frozenset([flow.from_outside(name)]))
        case ast.Assign(targets=targets, value=given):
            found = value(flow, given)
            for target in targets:
                assign(flow, target, found)
        case ast.AnnAssign(target=target, value=given):
            if given is not None:
                assign(flow, target, value(flow, given))
        case ast.AugAssign():
            _augmented(flow, node)
        case ast.Delete(targets=targets):
            for target in targets:
                _delete(flow, target)
        case ast.Return(value=given):
            flow.gives |= value(flow, given)
        case ast.If(test=test, body=body, orelse=orelse):
            value(flow, test)
            _either(flow, [body, orelse])
        case ast.While() | ast.For() | ast.AsyncFor():
            _loop(flow, node)
        case ast.With() | ast.AsyncWith():
            _with(flow, node)
        case ast.Try() | ast.TryStar():
            _try(flow, node)
        case ast.Match():
            _match(flow, node)
        case _:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    value(flow, child)


def _definition(flow: Flow, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    given = default_values(flow, node.args)
    functions = flow.world.defined(node.name) if flow.parent is None and not flow.is_function else ()
    if not functions:
        functions = (function(flow.world, node, flow),)
        functions[0].grow(NOTHING, NOTHING, given)
    made = flow.make((node, "function"), (), "function", functions)
    _decorate(flow, node, made)


def _decorate(flow: Flow, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, made: Value) -> None:
    flow.bind(node.name, made)
    for decorator in reversed(node.decorator_list):
        by = value(flow, decorator)
        wrapped = frozenset(
            found
            for thing in by
            for summary in thing.functions
            for found in _decorated(flow, decorator, summary, made)
        )
        objects = frozenset(thing for thing in by if any(map(flow.world.is_class, kinds_of(thing))))
        made |= wrapped | send(flow, decorator, objects, ("__call__",), Given([made]))
        flow.bind(node.name, made)


def _decorated(flow: Flow, decorator: ast.expr, summary: Summary, given: Value) -> Value:
    return apply(flow, summary, Given([given]), (decorator, "decorates"))


def _class(flow: Flow, node: ast.ClassDef) -> None:
    for expression in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
        value(flow, expression)
    before = flow.forked()
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            _statement(flow, child)
        elif flow.is_function or flow.parent is not None:
            function(flow.world, child, flow, of=node.name)
    flow.names = dict(before)
    made = frozenset([flow.from_outside(node.name)])
    for base in node.bases:
        for summary in flow.world.methods("__init_subclass__", frozenset([names.dotted(base)])):
            apply(flow, summary, Given([made]), (node, "subclass"))
    _decorate(flow, node, made)


def _augmented(flow: Flow, node: ast.AugAssign) -> None:
    given = value(flow, node.value)
    target = node.target
    number = isinstance(node.value, ast.Constant) and not isinstance(node.value.value, str)
    fixed = {"scalars", "literal"} if number else {"scalars"}
    before = frozenset(t for t in value(flow, target) if not (t.whole and t.origin.kinds & fixed))
    flow.change(before)
    for thing in before if isinstance(node.op, ast.Add | ast.BitOr) else ():
        thing.keep(parts(given))
    if isinstance(target, ast.Attribute | ast.Subscript):
        method, name = (
            ("__setattr__", target.attr) if isinstance(target, ast.Attribute) else ("__setitem__", "")
        )
        put(flow, target, value(flow, target.value), NOTHING, method, name)


def _delete(flow: Flow, target: ast.expr) -> None:
    match target:
        case ast.Name(id=name):
            flow.bind(name, NOTHING)
        case ast.Tuple(elts=several) | ast.List(elts=several):
            for one in several:
                _delete(flow, one)
        case ast.Attribute(value=base) | ast.Subscript(value=base):
            found = value(flow, base)
            flow.change(found)
            send(flow, target, found, ["__delitem__", "__delattr__"])


def _either(flow: Flow, branches: Sequence[Iterable[ast.stmt]]) -> None:
    before, after = flow.forked(), []
    for branch in branches:
        flow.names = dict(before)
        run(flow, branch)
        after.append(flow.forked())
    flow.join(after)


def _loop(flow: Flow, node: ast.While | ast.For | ast.AsyncFor) -> None:
    if node in flow.rounds:
        flow.join([flow.forked(), flow.rounds[node]])
    if flow.repeats:
        _round(flow, node)  # it comes round with what is around it
    else:
        repeat(flow, lambda: _round(flow, node))
    flow.rounds[node] = flow.forked()
    run(flow, node.orelse)


def _round(flow: Flow, node: ast.While | ast.For | ast.AsyncFor) -> None:
    before = flow.forked()
    if isinstance(node, ast.While):
        value(flow, node.test)
    else:
        assign(flow, node.target, iterated(flow, node, value(flow, node.iter)))
    run(flow, node.body)
    flow.join([before, flow.forked()])
    flow.world.added += flow.names != before  # what a round leaves behind is there in the next


def _with(flow: Flow, node: ast.With | ast.AsyncWith) -> None:
    for item in node.items:
        manager = value(flow, item.context_expr)
        given = send(flow, item, manager, ["__enter__", "__aenter__"]) | manager
        given |= parts(thing for thing in manager if "iter" in thing.kinds)  # of `contextmanager`
        if item.optional_vars is not None:
            assign(flow, item.optional_vars, given)
    run(flow, node.body)
    for item in node.items:
        send(flow, item, value(flow, item.context_expr), ["__exit__", "__aexit__"])


def _try(flow: Flow, node: ast.Try | ast.TryStar) -> None:
    before = flow.forked()
    run(flow, node.body)
    midway = flow.forked()
    run(flow, node.orelse)
    ways = [flow.forked()]
    for handler in node.handlers:
        flow.join([before, midway])
        if handler.name:
            flow.bind(handler.name, NOTHING)
        run(flow, handler.body)
        ways.append(flow.forked())
    flow.join(ways)
    run(flow, node.finalbody)


def _match(flow: Flow, node: ast.Match) -> None:
    subject = value(flow, node.subject)
    before, ways = flow.forked(), [flow.forked()]
    for case in node.cases:
        flow.names = dict(before)
        for pattern in ast.walk(case.pattern):
            name = getattr(pattern, "rest", None) or getattr(pattern, "name", None)
            if isinstance(name, str):
                flow.bind(name, subject | parts(subject))
        value(flow, case.guard)
        run(flow, case.body)
        ways.append(flow.forked())
    flow.join(ways)
