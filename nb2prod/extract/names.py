"""The noun for what a piece of Python does with names, and how code spells what it names."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its dotted name, and the names that its arguments stand for, by position or keyword."""

    function: str
    arguments: tuple[tuple[int | str, str], ...] = ()
    root: str | None = None
    """The name at the root of the function's expression: `model` of `model.steps[0].fit(X)`."""


@dataclass(slots=True)
class Names:
    """Names that a piece of code reads, binds (`must` on every path, `may` on some) and changes.

    `mutates`: in place, by method, item or attribute. `augments`: by `x += …`, which may be in place.
    `calls`: what it calls itself. `dynamic`: calls by which code reads names that no text shows.
    """

    reads: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    early: set[str] = field(default_factory=set)
    """Of `deferred`: what is not surely bound by the time when the function that reads it is made."""
    must: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    mutates: set[str] = field(default_factory=set)
    augments: set[str] = field(default_factory=set)
    writes_global: set[str] = field(default_factory=set)
    calls: dict[Call, None] = field(default_factory=dict)
    dynamic: dict[str, None] = field(default_factory=dict)
    hints: set[str] = field(default_factory=set)
    """Names that annotations speak of without reading them: texts, and all under `from __future__`."""

    def then(self, after: Names) -> None:
        """Append what runs after this."""
        self.reads |= after.reads - self.must
        self.deferred |= after.deferred
        self.early |= after.early - self.must
        self.may |= after.may
        self.deletes |= after.deletes
        self.mutates |= after.mutates
        self.augments |= after.augments
        self.must = (self.must - after.deletes) | after.must
        self.writes_global |= after.writes_global
        self.calls |= after.calls
        self.dynamic |= after.dynamic
        self.hints |= after.hints

    def either(self, branches: Sequence[Names]) -> None:
        """Append branches of which exactly one runs after this."""
        joined = Names()
        joined.must = set.intersection(*(b.must for b in branches)) if branches else set()
        for branch in branches:
            joined.reads |= branch.reads
            joined.deferred |= branch.deferred
            joined.early |= branch.early
            joined.may |= branch.may
            joined.deletes |= branch.deletes
            joined.mutates |= branch.mutates
            joined.augments |= branch.augments
            joined.writes_global |= branch.writes_global
            joined.calls |= branch.calls
            joined.dynamic |= branch.dynamic
            joined.hints |= branch.hints
        self.then(joined)

    def defer(self, free: Names) -> None:
        """Append a function that is only made: what it uses outside itself (`free`), it does when called."""
        self.deferred |= free.reads
        self.early |= free.reads - self.must
        self.writes_global |= free.writes_global
        self.mutates |= free.mutates
        self.dynamic |= free.dynamic
        self.hints |= free.hints

    def bind(self, names: Iterable[str]) -> None:
        """Append a binding that is sure to happen."""
        names = set(names)
        self.must |= names
        self.may |= names
        self.deletes -= names


def root_name(node: ast.expr) -> str | None:
    """The name at the root of `a.b[c].d`, or None."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def call_of(node: ast.expr) -> Call:
    """A call, or that of a decorator that is given without arguments."""
    return _as_call(node) if isinstance(node, ast.Call) else Call(dotted(node), (), root_name(node))


def _as_call(node: ast.Call) -> Call:
    given = [*enumerate(node.args), *((k.arg, k.value) for k in node.keywords)]
    roots = [(slot, root_name(value)) for slot, value in given if slot is not None]
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    arguments = () if starred else tuple((slot, root) for slot, root in roots if root is not None)
    return Call(dotted(node.func), arguments, root_name(node.func))


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; `.c` of a method of anything else; "" of other calls."""
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return ""
    inner = dotted(node.value)
    return f"{inner}.{node.attr}" if inner[:1] != "." else f".{node.attr}"


def is_builtin(name: str) -> bool:
    """Names that every module has."""
    return hasattr(builtins, name) or name in ("__name__", "__doc__")
