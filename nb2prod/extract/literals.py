"""The values of literals, and of what is made of literals and of names that stand for them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_CONSTANT = 2_000
"""Longest source text (characters) of a literal that becomes a module constant."""


def constants(node: ast.stmt, known: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an assignment of literals and constants by name; empty if it is none."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return {}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    pairs = [pair for target in targets for pair in _pairs(target, node.value)]
    bound = {target.id for target, _ in pairs if isinstance(target, ast.Name)}
    own = any(isinstance(n, ast.Name) and n.id in bound for n in ast.walk(node.value))
    if own or len(bound) < len(pairs):
        return {}  # `k = k + 1`: a module can hold only one `k`
    try:
        values = {target.id: _small(value, known) for target, value in pairs if isinstance(target, ast.Name)}
    except (_NotLiteral, ArithmeticError, TypeError, ValueError):
        return {}
    return values


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """`LOW, HIGH = 1, 6` as two assignments."""
    both = isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)
    if not both or len(target.elts) != len(value.elts):  # type: ignore[attr-defined]
        return [(target, value)]
    return list(zip(target.elts, value.elts, strict=True))  # type: ignore[attr-defined]


def _small(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """The value of a literal that is short enough to be written out, and reads back as the same."""
    value = _literal(node, known)
    text = repr(value)
    if len(text) > MAX_CONSTANT or len(ast.unparse(node)) > MAX_CONSTANT:
        raise _NotLiteral
    if repr(ast.literal_eval(text)) != text:
        raise _NotLiteral
    return value


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
}


_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


class _NotLiteral(Exception):
    """An expression is no literal, nor made of literals."""


def _literal(node: ast.expr, known: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Tuple(elts=elements):
            return tuple(_elements(elements, known))
        case ast.List(elts=elements):
            return list(_elements(elements, known))
        case ast.Set(elts=elements) if len(elements) == 1:
            return set(_elements(elements, known))
        case ast.Dict(keys=keys, values=values):
            return _dict(keys, values, known)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_literal(operand, known))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_literal(left, known), op, _literal(right, known))
    raise _NotLiteral


def _elements(nodes: list[ast.expr], known: Mapping[str, Any]) -> Iterator[Any]:
    for node in nodes:
        if isinstance(node, ast.Starred):
            yield from _literal(node.value, known)
        else:
            yield _literal(node, known)


def _dict(keys: list[ast.expr | None], values: list[ast.expr], known: Mapping[str, Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if key is None:
            found |= _literal(value, known)
        else:
            found[_literal(key, known)] = _literal(value, known)
    return found


def _combined(left: Any, op: ast.operator, right: Any) -> Any:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not numbers and not isinstance(op, ast.Add | ast.BitOr):
        raise _NotLiteral  # a short text can stand for a huge value: "x" * 10**9
    return _OPERATORS[type(op)](left, right)
