"""A notebook as one program: its top-level statements in document order, and which binding reaches where.

Cells tagged `skip` are no part of it; what they bind is remembered only to explain what is missing.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

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
    constants: set[str] = set()
    for cell in notebook.code:
        for node in parse(cell.code).body:
            found = names.of(node)
            if "skip" in cell.tags:
                skipped.update(dict.fromkeys(found.may, cell))
                continue
            kind = _kind(node, cell, constants)
            constants -= found.may
            if kind == "constant":
                constants |= found.must
            statements.append(Statement(len(statements), cell, node, kind, found))
    return Program(notebook, _without_changed(statements), skipped)


def parse(code: str) -> ast.Module:
    """A cell's code, with await allowed at its top level as in a kernel."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    module = compile(code, "<cell>", "exec", flags)
    assert isinstance(module, ast.Module)
    return module


def _without_changed(statements: list[Statement]) -> tuple[Statement, ...]:
    """Constants that anything changes in place are no constants, nor is what is made from them."""
    changed = {name for s in statements for name in s.names.mutates | s.names.augments}
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


def _kind(node: ast.stmt, cell: Cell, constants: set[str]) -> Kind:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return "import"
    if _is_definition(node):
        return "definition"
    if is_magic(node):
        return "magic"
    if "parameters" not in cell.tags and "example" not in cell.tags and _is_constant(node, constants):
        return "constant"
    return "value"


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


def _is_constant(node: ast.stmt, constants: set[str]) -> bool:
    if not isinstance(node, ast.Assign) or not all(isinstance(t, ast.Name) for t in node.targets):
        return False
    return len(ast.unparse(node.value)) <= MAX_CONSTANT and _is_literal(node.value, constants)


def _is_literal(node: ast.expr, constants: set[str]) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in constants
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return all(_is_literal(element, constants) for element in elements)
        case ast.Starred(value=value) | ast.UnaryOp(operand=value):
            return _is_literal(value, constants)
        case ast.Dict(keys=keys, values=values):
            return all(k is None or _is_literal(k, constants) for k in keys) and all(
                _is_literal(value, constants) for value in values
            )
        case ast.BinOp(left=left, right=right):
            return _is_literal(left, constants) and _is_literal(right, constants)
    return False


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
