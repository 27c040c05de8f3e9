"""A notebook as one program: its top-level statements in document order, and which binding reaches where.

Cells tagged `skip` are no part of it; what they bind is remembered only to explain what is missing.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2prod.domain import Cell, Notebook
from nb2prod.extract import names
from nb2prod.extract.names import Names

MAX_CONSTANT = 2_000
"""Longest source text (characters) of a literal that becomes a module constant."""

Kind = Literal["import", "definition", "constant", "value", "magic"]

_DISPLAY_CALLS = frozenset({"print", "display"})
_DISPLAY_METHODS = frozenset({"head", "tail", "describe", "info", "sample", "value_counts"})
_DISPLAY_ATTRIBUTES = frozenset({"shape", "dtypes"})
_PLOT_ROOTS = frozenset({"matplotlib", "seaborn", "plotly", "bokeh", "altair"})


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A top-level statement: its place, its text lines in the cell (from 1) and its names."""

    index: int
    cell: Cell
    node: ast.stmt
    kind: Kind
    names: Names
    text: str = ""
    """The value of a constant, as a literal."""

    @property
    def first(self) -> int:
        """First line in the cell, decorators included."""
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(d.lineno for d in decorators)])

    @property
    def last(self) -> int:
        """Last line in the cell."""
        return self.node.end_lineno or self.node.lineno


@dataclass(frozen=True, slots=True)
class Reaching:
    """The bindings of a name that may reach a place. `certain`: one of them surely does."""

    bindings: tuple[Statement, ...] = ()
    certain: bool = False
    deleted: Statement | None = None

    @property
    def only(self) -> Statement | None:
        """The one binding that reaches, if it is one and it is certain."""
        return self.bindings[0] if len(self.bindings) == 1 and self.certain else None


@dataclass(frozen=True, slots=True)
class Program:
    """All statements of a notebook that run, in document order."""

    notebook: Notebook
    statements: tuple[Statement, ...]
    skipped: dict[str, Cell] = field(default_factory=dict)

    def of_cell(self, cell: Cell) -> tuple[Statement, ...]:
        """The statements of one cell."""
        return tuple(s for s in self.statements if s.cell.id == cell.id)

    def start(self, cell: Cell) -> int:
        """Position just before a cell: the number of statements in cells before it."""
        return sum(1 for s in self.statements if s.cell.number < cell.number)

    def end(self, cell: Cell) -> int:
        """Position just after a cell."""
        return sum(1 for s in self.statements if s.cell.number <= cell.number)

    def reaching(self, name: str, before: int) -> Reaching:
        """The bindings of a name that may reach the position `before`."""
        found: list[Statement] = []
        for statement in reversed(self.statements[:before]):
            if name in statement.names.deletes:
                return Reaching(tuple(reversed(found)), False, statement)
            if name in statement.names.may:
                found.append(statement)
            if name in statement.names.must:
                return Reaching(tuple(reversed(found)), True)
        return Reaching(tuple(reversed(found)), False)

    def bound_after(self, name: str, position: int) -> Statement | None:
        """The first statement from a position on that may bind a name."""
        return next((s for s in self.statements[position:] if name in s.names.may), None)

    def events(self, name: str, low: int, high: int) -> Iterator[Statement]:
        """Statements in [low, high) that may bind, delete or change what a name stands for."""
        for statement in self.statements[low:high]:
            touched = statement.names
            changed = touched.mutates | touched.augments
            if name in touched.may or name in touched.deletes or name in changed:
                yield statement

    def imported_root(self, name: str, before: int) -> str | None:
        """The top-level module behind an imported name, or None."""
        binding = self.reaching(name, before).only
        return import_root(binding.node, name) if binding and binding.kind == "import" else None


def program_of(notebook: Notebook) -> Program:
    """The program of a notebook whose cells all parse; raises SyntaxError otherwise."""
    statements: list[Statement] = []
    skipped: dict[str, Cell] = {}
    constants: dict[str, Any] = {}
    for cell in notebook.code:
        if "skip" in cell.tags:
            skipped.update(dict.fromkeys(_bound_in_skipped(cell), cell))
            continue
        for node in parse(cell.code).body:
            found = names.of(node)
            kind = _kind(node)
            text = ""
            if kind == "value" and not {"parameters", "example"} & set(cell.tags):
                value = _constant(node, constants)
                kind, text = ("value", "") if value is _NONE else ("constant", repr(value))
            for name in found.may:
                constants.pop(name, None)
            if kind == "constant":
                constants |= dict.fromkeys(found.must, value)
            statements.append(Statement(len(statements), cell, node, kind, found, text))
    return Program(notebook, _without_changed(statements), skipped)


def _bound_in_skipped(cell: Cell) -> set[str]:
    """The names that a skipped cell would bind; none if it is no Python."""
    try:
        return names.of(parse(cell.code).body).may
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def parse(code: str) -> ast.Module:
    """A cell's code, with await allowed at its top level as in a kernel."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    module = compile(code, "<cell>", "exec", flags)
    assert isinstance(module, ast.Module)
    return module


def _without_changed(statements: list[Statement]) -> tuple[Statement, ...]:
    """Constants that anything changes in place are no constants, nor is what is made from them."""
    touched = (s.names.mutates | s.names.augments | s.names.writes_global for s in statements)
    changed = set[str]().union(*touched)
    while True:
        spoilt = {
            i
            for i, s in enumerate(statements)
            if s.kind == "constant" and (s.names.must & changed or s.names.reads & changed)
        }
        if not spoilt:
            return tuple(statements)
        for i in spoilt:
            s = statements[i]
            changed |= s.names.must
            statements[i] = Statement(s.index, s.cell, s.node, "value", s.names)


def _kind(node: ast.stmt) -> Kind:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return "import"
    if _is_definition(node):
        return "definition"
    return "magic" if is_magic(node) else "value"


def _is_definition(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(targets=[ast.Name()], value=ast.Lambda()):
            return True
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            return _all_define([*body, *(s for h in handlers for s in h.body), *orelse, *final])
        case ast.If(body=body, orelse=orelse):
            return _all_define([*body, *orelse])
    return False


def _all_define(statements: list[ast.stmt]) -> bool:
    allowed = (ast.Import, ast.ImportFrom, ast.Pass)
    kinds = [isinstance(s, allowed) or _is_definition(s) or _is_flag(s) for s in statements]
    return all(kinds) and any(not _is_flag(s) and not isinstance(s, ast.Pass) for s in statements)


def _is_flag(node: ast.stmt) -> bool:
    """`name = None` or True or False, as people write beside an import that may fail."""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def _constant(node: ast.stmt, constants: Mapping[str, Any]) -> Any:
    """The value of an assignment of literals and constants, or _NONE."""
    if not isinstance(node, ast.Assign) or not all(isinstance(t, ast.Name) for t in node.targets):
        return _NONE
    try:
        value = _literal(node.value, constants)
        text = repr(value)
        small = len(ast.unparse(node.value)) <= MAX_CONSTANT and len(text) <= MAX_CONSTANT
        return value if small and repr(ast.literal_eval(text)) == text else _NONE
    except (_NotLiteral, ArithmeticError, TypeError, ValueError):
        return _NONE


_NONE = object()

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


def is_magic(node: ast.stmt) -> bool:
    """A statement that is nothing but an IPython magic or a shell line."""
    if not isinstance(node, ast.Expr | ast.Assign):
        return False
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "get_ipython"
        for call in ast.walk(node.value)
    )


def is_display(statement: Statement, program: Program) -> bool:
    """A statement that only shows something: print, display, plots, `df.head()`, a bare name."""
    if statement.kind == "magic":
        call = ast.unparse(statement.node)
        return ".run_line_magic(" in call and not isinstance(statement.node, ast.Assign)
    if not isinstance(statement.node, ast.Expr):
        return False
    value = statement.node.value
    if isinstance(value, ast.Constant | ast.Name):
        return True
    if isinstance(value, ast.Attribute):
        return value.attr in _DISPLAY_ATTRIBUTES
    if not isinstance(value, ast.Call):
        return False
    if isinstance(value.func, ast.Name):
        return value.func.id in _DISPLAY_CALLS
    root = names.root_name(_receiver(value))
    plots = root is not None and program.imported_root(root, statement.index) in _PLOT_ROOTS
    return plots or (isinstance(value.func, ast.Attribute) and value.func.attr in _DISPLAY_METHODS)


def shows_only(statement: Statement, program: Program) -> bool:
    """Display that is no answer either: a bare name or attribute at the end of a cell is its result."""
    if not is_display(statement, program):
        return False
    if not isinstance(statement.node, ast.Expr):
        return True
    value = statement.node.value
    if isinstance(value, ast.Name | ast.Attribute | ast.Constant):
        return False
    method = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)
    if not method or statement.kind == "magic":
        return True
    root = names.root_name(value.func)  # type: ignore[attr-defined]
    return root is not None and program.imported_root(root, statement.index) is not None


def _receiver(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node


def import_root(node: ast.stmt, name: str) -> str | None:
    """The top-level module that an import statement binds `name` from."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] or None
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                return alias.name.partition(".")[0]
    return None


def star_imports(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The statements `from module import *`."""
    for statement in statements:
        if isinstance(statement.node, ast.ImportFrom) and any(a.name == "*" for a in statement.node.names):
            yield statement


def is_builtin(name: str) -> bool:
    """Names that every module has."""
    return hasattr(builtins, name) or name in ("__name__", "__doc__")
