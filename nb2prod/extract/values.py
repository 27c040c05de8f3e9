"""What an expression gives and changes, as far as its text tells: the objects behind its names."""

from __future__ import annotations

import ast

from nb2prod.extract import effects, names
from nb2prod.extract.applied import Given, defaults
from nb2prod.extract.bound import bound_method
from nb2prod.extract.caches import caches_of
from nb2prod.extract.called import call, classes_of, is_super, kinds_of, read_item, send
from nb2prod.extract.defined import scope
from nb2prod.extract.rounds import repeat
from nb2prod.extract.things import NOTHING, Flow, Summary, Thing, Value, World, parts

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.MatMult: "matmul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.In: "contains",
    ast.NotIn: "contains",
}


def value(flow: Flow, node: ast.expr | None) -> Value:
    """What an expression may give."""
    match node:
        case None | ast.Constant():
            return NOTHING
        case ast.Name(id=name):
            return flow.look_up(name)
        case ast.Attribute():
            return _attribute(flow, node)
        case ast.Subscript():
            return _item(flow, node)
        case ast.Call():
            return _call(flow, node)
        case ast.Tuple() | ast.List() | ast.Set() | ast.Dict():
            return _display(flow, node)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return _comprehension(flow, node)
        case ast.BoolOp(values=several):
            return NOTHING.union(*[value(flow, one) for one in several])
        case ast.IfExp(test=test, body=one, orelse=other):
            value(flow, test)
            return value(flow, one) | value(flow, other)
        case ast.NamedExpr(target=target, value=inner):
            return assign(flow, target, value(flow, inner))
        case ast.Starred(value=inner):
            return parts(value(flow, inner))
        case ast.Await(value=inner):
            return value(flow, inner)
        case ast.Lambda():
            return _lambda(flow, node)
        case ast.BinOp(left=left, op=op, right=right):
            return _operated(flow, node, value(flow, left), op, value(flow, right))
        case ast.Compare():
            return _compared(flow, node)
        case ast.Yield(value=inner):
            flow.gives |= flow.make((node, "yield"), value(flow, inner), "iter")
            return NOTHING
        case ast.YieldFrom(value=inner):
            flow.gives |= flow.make((node, "yield"), parts(value(flow, inner)), "iter")
            return NOTHING
    return _others(flow, node)


def _others(flow: Flow, node: ast.AST) -> Value:
    """f-strings, `not x`, slices: what they give is new, and holds nothing."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            inner = value(flow, child)
            if isinstance(node, ast.FormattedValue):
                send(flow, node, inner, ["__format__", "__str__", "__repr__"])
    return NOTHING


def _attribute(flow: Flow, node: ast.Attribute) -> Value:
    base = value(flow, node.value)
    if node.attr == "__class__":
        return classes_of(flow, base)
    if node.attr == "__dict__":
        return base
    given = send(flow, node, base, [node.attr], ways=("property",))
    if not flow.world.is_attribute(node.attr):
        given |= send(flow, node, base, ["__getattr__", "__getattribute__"])
    bound = bound_method(flow, node, base)
    inner = parts(base, node.attr) | (base if node.attr in effects.VIEW_ATTRIBUTES else NOTHING)
    return inner | given | bound | _shared(flow, node.attr, base)


def _shared(flow: Flow, attribute: str, base: Value) -> Value:
    """What an attribute gives if not the object, but its class has it."""
    found = {name for thing in base for name in flow.world.sharing(attribute, kinds_of(thing))}
    return frozenset(flow.from_outside(name).inner(attribute) for name in found)


def _item(flow: Flow, node: ast.Subscript) -> Value:
    value(flow, node.slice)
    base = value(flow, node.value)
    if isinstance(node.slice, ast.List) or _is_whole(node.slice) or _is_mask(node.slice, node.value):
        return flow.make(node, parts(base))  # new, as the idiom for a copy is
    given = read_item(flow, node, base)
    if isinstance(node.slice, ast.Slice):
        return frozenset(t.inner() if t.outer and not t.whole else t for t in base) | given
    at = node.slice.value if isinstance(node.slice, ast.Constant) else None
    return _parts_at(base, at if isinstance(at, int) else None) | given


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Slice) and node.lower is node.upper is node.step is None


def _is_mask(index: ast.expr, of: ast.expr) -> bool:
    """Whether an index tells elements of the same array or frame apart: `x[x > 0]` is new."""
    match index:
        case ast.Compare(left=left):
            return _stems_from(left, of)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in effects.MASKS:
            return _stems_from(inner, of)
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            return _is_mask(inner, of)
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            return _is_mask(left, of) or _is_mask(right, of)
    return False


def _stems_from(node: ast.expr, of: ast.expr) -> bool:
    """Whether an expression is a column, attribute or method's result of another one, or that itself.

    Not one of an element of a list: `pair[pair[0].score < pair[1].score]` is one of the two.
    """
    while ast.dump(node) != ast.dump(of):
        match node:
            case ast.Subscript(slice=ast.Constant(value=int()) | ast.UnaryOp()):
                return False
            case (
                ast.Attribute(value=inner)
                | ast.Subscript(value=inner)
                | ast.Call(func=ast.Attribute(value=inner))
            ):
                node = inner
            case _:
                return False
    return True


def _parts_at(base: Value, position: int | None) -> Value:
    """The parts at a position, where tuples have been written out."""
    found: Value = NOTHING
    for thing in base:
        known = thing.items if position is not None else None
        inside = known is not None and -len(known) <= position < len(known)  # type: ignore[operator]
        found |= known[position] if inside else frozenset(thing.parts())  # type: ignore[index]
    return found


def _display(flow: Flow, node: ast.Tuple | ast.List | ast.Set | ast.Dict) -> Value:
    if isinstance(node, ast.Dict):
        for key in node.keys:
            value(flow, key)
        pairs = zip(node.keys, node.values, strict=True)
        values = [value(flow, v) if k is not None else parts(value(flow, v)) for k, v in pairs]
    else:
        values = [value(flow, element) for element in node.elts]
    made = flow.make(node, NOTHING.union(*values), type(node).__name__.lower())
    if isinstance(node, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in node.elts):
        for thing in made:
            thing.line_up(values)
    return made


def _comprehension(flow: Flow, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Value:
    before, held = flow.forked(), set[Thing]()
    if flow.repeats:
        held |= _gathered(flow, node)
    else:
        repeat(flow, lambda: held.update(_gathered(flow, node)))
    targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
    for name in targets:
        if name in before:
            flow.names[name] = before[name]
        else:
            flow.names.pop(name, None)
    return flow.make(node, held, "iter" if isinstance(node, ast.GeneratorExp) else "list")


def _gathered(flow: Flow, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Value:
    """What one round of a comprehension gives."""
    for generator in node.generators:
        assign(flow, generator.target, iterated(flow, generator, value(flow, generator.iter)))
        for condition in generator.ifs:
            value(flow, condition)
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    held = NOTHING
    for result in results:
        held |= value(flow, result)
    return held


def iterated(flow: Flow, node: ast.AST, base: Value) -> Value:
    """What the elements of something may be."""
    flow.change(thing for thing in base if kinds_of(thing) & effects.USED_UP)
    given = send(flow, node, base, ["__iter__", "__next__", "__getitem__"])
    return parts(base) | given | parts(given)


def _lambda(flow: Flow, node: ast.Lambda) -> Value:
    given = default_values(flow, node.args)
    inner = enter(flow.world, flow, node)
    inner.statement = flow.statement
    inner.gives |= value(inner, node.body)
    made = leave(inner, node)
    made.grow(NOTHING, NOTHING, given)
    return flow.make((node, "function"), (), "function", (made,))


def default_values(flow: Flow, arguments: ast.arguments) -> dict[str, Value]:
    """What the parameters of a function stand for that a call gives nothing for."""
    return {name: value(flow, node) for name, node in defaults(arguments)}


def enter(world: World, parent: Flow | None, node: names.Function) -> Flow:
    """A function from inside, at its beginning."""
    if parent is not None:
        parent.root.since = world.added if parent.root.since is None else parent.root.since
    if parent is not None and node in parent.inside:
        inner = parent.inside[node]
        inner.begin()
        inner.is_defined = True
        return inner
    inner = Flow(world, parent, is_function=True, repeats=parent is not None, is_defined=True)
    arguments = node.args
    given = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    for argument in given:
        if argument is not None:
            inner.names[argument.arg] = frozenset([Thing(inner, outer=True)])
    inner.parameters = dict(inner.names)
    inner.elsewhere, local = scope(node)
    inner.beginning = {**dict.fromkeys(local, NOTHING), **inner.parameters}
    inner.begin()
    if parent is not None:
        parent.inside[node] = inner
    return inner


def leave(inner: Flow, node: names.Function) -> Summary:
    """The function that has been followed; what it changes around it, it changes for all that is known."""
    changed = frozenset(thing for thing in inner.changed if thing.outer or thing.home is not inner)
    if inner.parent is not None:
        if any(not thing.outer for thing in changed):
            caches = NOTHING.union(*[inner.parent.look_up(name) for name in caches_of(node)])
            changed -= frozenset(thing for thing in caches if not thing.outer)
        inner.parent.change(thing for thing in changed if thing.home is not inner)
    if inner.summary is None:
        inner.summary = Summary(inner, node.args, parameters=inner.parameters)
    inner.summary.grow(changed, frozenset(inner.gives), {})
    return inner.summary


def _operated(flow: Flow, node: ast.BinOp, left: Value, op: ast.operator, right: Value) -> Value:
    operator = _OPERATORS[type(op)]
    given = send(flow, node, left, [f"__{operator}__"], Given([right]))
    given |= send(flow, node, right, [f"__r{operator}__"], Given([left]))
    # lists that are joined, and dicts: the result has the parts of both
    joined = isinstance(op, ast.Add | ast.BitOr) and not _is_number(node.left) and not _is_number(node.right)
    return flow.make(node, parts(left) | parts(right) if joined else ()) | given


def _is_number(node: ast.expr) -> bool:
    """Of a sum: whether a part is a number, a text or an array, so that the other is no list."""
    match node:
        case ast.Constant() | ast.UnaryOp() | ast.JoinedStr():
            return True
        case ast.BinOp(left=left, op=op, right=right):
            return not isinstance(op, ast.Add | ast.BitOr) or _is_number(left) or _is_number(right)
    return False


def _compared(flow: Flow, node: ast.Compare) -> Value:
    sides = [value(flow, side) for side in (node.left, *node.comparators)]
    for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
        method = _COMPARISONS.get(type(op))
        if method == "contains":
            left, right = right, left
        if method == "contains":
            flow.change(thing for thing in left if kinds_of(thing) & effects.USED_UP)
        if method is not None:
            send(flow, node, left, [f"__{method}__"], Given([right]))
    return NOTHING


# --- binding -------------------------------------------------------------------------------------


def assign(flow: Flow, target: ast.expr, given: Value, node: ast.expr | None = None) -> Value:
    """Bind a target to a value, or put the value into an object; `node` is the expression that gives it."""
    match target:
        case ast.Name(id=name):
            flow.bind(name, given)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            _unpack(flow, targets, given)
        case ast.Starred(value=inner):
            assign(flow, inner, flow.make((target, "*"), given))
        case ast.Attribute(value=base, attr=name):
            put(flow, target, value(flow, base), given, "__setattr__", name)
        case ast.Subscript(value=base, slice=index):
            value(flow, index)
            put(flow, target, value(flow, base), given, "__setitem__")
    return given


def _unpack(flow: Flow, targets: list[ast.expr], given: Value) -> None:
    flow.change(thing for thing in given if kinds_of(thing) & effects.USED_UP)
    starred = any(isinstance(target, ast.Starred) for target in targets)
    for position, target in enumerate(targets):
        assign(flow, target, _parts_at(given, None if starred else position))


def put(flow: Flow, node: ast.AST, base: Value, given: Value, method: str, name: str = "") -> None:
    """Take down that a value is put into an object."""
    flow.change(base)
    for thing in base:
        thing.keep(given, name)
    send(flow, node, base, [method], Given([NOTHING, given]))
    if name:
        send(flow, node, base, [name], Given([given]), ways=("setter",))


# --- calls ---------------------------------------------------------------------------------------


def _call(flow: Flow, node: ast.Call) -> Value:
    func = node.func
    match func:
        case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value=str(method))]):
            func = ast.Attribute(of, method, ast.Load())
    given = _given(flow, node)
    on = _receiver(flow, func.value) if isinstance(func, ast.Attribute) else value(flow, func)
    return call(flow, node, func, on, given)


def _given(flow: Flow, node: ast.Call) -> Given:
    given = Given()
    for argument in node.args:
        if not isinstance(argument, ast.Starred):
            if given.starred:
                given.starred |= value(flow, argument)
            else:
                given.positional.append(value(flow, argument))
            continue
        inner = value(flow, argument.value)
        known = [thing.items for thing in inner]
        if len(known) == 1 and known[0] is not None and not given.starred:
            given.positional += known[0]
        else:
            given.starred |= parts(inner)
    for keyword in node.keywords:
        if keyword.arg is None:
            given.double |= parts(value(flow, keyword.value))
        else:
            given.keywords[keyword.arg] = value(flow, keyword.value)
    return given


def _receiver(flow: Flow, node: ast.expr) -> Value:
    if is_super(node):
        around: Flow | None = flow
        while around is not None and not around.first:
            around = around.parent
        return around.look_up(around.first) if around else NOTHING
    return value(flow, node)
