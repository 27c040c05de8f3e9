"""Which state serving code compares with other objects: in the notebook, two pieces may be one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Literal

from nb2prod.extract.names import is_builtin, root_name
from nb2prod.extract.units import Slice, Unit

How = Literal["", "in", "eq", "is"]
_ORDER: tuple[How, ...] = ("", "in", "eq", "is")


def compared(slice_: Slice) -> dict[str, How]:
    """By the key of state, how it is compared: as what `in` looks through, by `==`, or by `is`.

    Two names that are compared by `is`, or asked for their `id`, may stand for anything: then all state is.
    """
    found: dict[str, How] = {}
    for unit in [*slice_.roots.values(), *slice_.units.values()]:
        for name, how in (pair for node in nodes_of(slice_, unit) for pair in _comparisons(node, unit)):
            target = unit.needs.get(name)
            keys = list(slice_.state) if how == "is" else [target.key] if target is not None else []
            found |= {key: max(how, found.get(key, ""), key=_ORDER.index) for key in keys}
    return found


def nodes_of(slice_: Slice, unit: Unit) -> list[ast.stmt]:
    """The code of a unit as the notebook has it."""
    if unit.statement is not None:
        return [unit.statement.node]
    return [s.node for s in slice_.layout.codes[unit.role].body] if unit.role is not None else []


def _comparisons(node: ast.stmt, unit: Unit) -> Iterator[tuple[str, How]]:
    if "id" not in unit.needs and _asks_for_id(node):
        yield "", "is"
    for part in ast.walk(node):
        if isinstance(part, ast.Compare):
            for left, op, right in zip(
                [part.left, *part.comparators], part.ops, part.comparators, strict=False
            ):
                yield from _named(left, op, right, unit)


def _asks_for_id(node: ast.stmt) -> bool:
    """Whether code reads Python's `id`, to call it or to hand it over."""
    bound = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    found = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == "id"]
    return bool(found) and "id" not in bound and all(isinstance(n.ctx, ast.Load) for n in found)


def _named(left: ast.expr, op: ast.cmpop, right: ast.expr, unit: Unit) -> Iterator[tuple[str, How]]:
    if any(isinstance(side, ast.Constant | ast.JoinedStr) for side in (left, right)):
        return
    if isinstance(op, ast.Is | ast.IsNot):
        if _may_be_state(left, unit) and _may_be_state(right, unit):
            yield "", "is"
    elif isinstance(op, ast.Eq | ast.NotEq):
        yield from ((name, "eq") for name in _names([left, right]))
    elif isinstance(op, ast.In | ast.NotIn):
        yield from ((name, "eq") for name in _names([left]))
        yield from ((name, "in") for name in _names([right]))


def _names(nodes: Iterable[ast.expr]) -> list[str]:
    return sorted({part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)})


def _may_be_state(node: ast.expr, unit: Unit) -> bool:
    """Whether a side of `is` may be an object that state holds: not `type(x)`, `float`, `np.nan`, a class."""
    if isinstance(node, ast.Call):
        return not (isinstance(node.func, ast.Name) and node.func.id == "type")
    name = root_name(node)
    target = unit.needs.get(name or "")
    if target is None:
        return name is None or not is_builtin(name)
    return target.kind in ("state", "constant")
