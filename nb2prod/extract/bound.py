"""Methods that code takes from objects and classes, to call them later or to hand them on."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace

from nb2prod.extract import effects
from nb2prod.extract.called import changes_given, is_unbound, kinds_of, methods_of
from nb2prod.extract.things import NOTHING, Flow, Summary, Thing, Value

_ANY = ast.arguments([], [], ast.arg("given"), [], [], ast.arg("named"), [])


def bound_method(flow: Flow, node: ast.Attribute, base: Value) -> Value:
    """`push = seen.append`: a function that changes what it is taken from."""
    own = [summary for summary in methods_of(flow, node.attr, base) if not summary.way]
    if base and own:
        methods = tuple(_with_first(flow, node, summary, base) for summary in own)
        return flow.make((node, "bound"), (), "method", methods)
    if is_unbound(flow, node):
        return changes_given(flow, node, node.attr)
    changeable = frozenset(thing for thing in base if _may_have_method(flow, node.attr, thing))
    if changeable and node.attr in effects.MUTATORS:
        summary = flow.closures.setdefault((node, "bound"), Summary(Flow(flow.world), _ANY))
        summary.grow(changeable, NOTHING, {})
        return flow.make((node, "bound"), changeable, "method", (summary,))
    return NOTHING


def _may_have_method(flow: Flow, name: str, thing: Thing) -> bool:
    """Whether an attribute may be a library's method: `cfg.fill` may be what the notebook keeps."""
    known = {kind for kind in kinds_of(thing) if not flow.world.is_class(kind)}
    return not (known <= effects.HOLDING_DATA if known else flow.world.is_data(name))


def _with_first(flow: Flow, node: ast.Attribute, summary: Summary, base: Value) -> Summary:
    """A method with the object that it belongs to."""
    arguments = copy.copy(summary.arguments)
    first = [*arguments.posonlyargs, *arguments.args][:1]
    arguments.posonlyargs, arguments.args = [], [*arguments.posonlyargs, *arguments.args][1:]
    bound = flow.closures.setdefault((node, summary), replace(summary, arguments=arguments, given={}))
    bound.grow(NOTHING, NOTHING, {a.arg: base for a in first})
    return bound
