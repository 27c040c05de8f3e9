"""A notebook as one program: its top-level statements in document order, and which binding reaches where.

Cells tagged `skip` are no part of it; what they bind is remembered only to explain what is missing.
"""

from __future__ import annotations

import ast
import bisect
import builtins
import functools
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2prod.domain import Cell, Notebook
from nb2prod.extract import calls, names
from nb2prod.extract.names import Names

MAX_CONSTANT = 2_000
"""Longest source text (characters) of a literal that becomes a module constant."""

Kind = Literal["import", "definition", "constant", "value", "magic"]

_DISPLAY_CALLS = frozenset({"print", "display"})
_DISPLAY_METHODS = frozenset({"head", "tail", "describe", "info", "sample", "value_counts"})
_DISPLAY_ATTRIBUTES = frozenset({"shape", "dtypes"})
_INSTALLS = re.compile(r"system\('(python3? -m )?(pip3?|conda|mamba|uv) ")
_PLOT_ROOTS = frozenset({"matplotlib", "seaborn", "plotly", "bokeh", "altair"})


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A top-level statement: its place, its text lines in the cell (from 1) and its names."""

    index: int
    cell: Cell
    node: ast.stmt
    kind: Kind
    names: Names
    texts: Mapping[str, str] = field(default_factory=dict)
    """By name: the values of constants, as literals."""
    differs: int | None = None
    """The line of what would train, or give another value, if this definition were made again."""

    @property
    def first(self) -> int:
        """First line in the cell, decorators included."""
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(d.lineno for d in decorators)])

    @property
    def last(self) -> int:
        """Last line in the cell."""
        return self.node.end_lineno or self.node.lineno

    def kind_of(self, name: str) -> Kind:
        """What binds a name here: `with quiet(): import keras` imports it, as a plain import does."""
        inner = imports_of(self.node, name)
        only = inner and self.kind == "value" and len({ast.dump(node) for node in inner}) == 1
        return "import" if only and not _binds_otherwise(self.node, name) else self.kind


def imports_of(node: ast.stmt, name: str) -> list[ast.Import | ast.ImportFrom]:
    """The import statements in a statement that bind a name at the top level."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        bound = {(alias.asname or alias.name.partition(".")[0]) for alias in node.names}
        return [node] if name in bound or "*" in bound else []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    return [found for child in _statements_in(node) for found in imports_of(child, name)]


def _statements_in(node: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def _binds_otherwise(node: ast.stmt, name: str) -> bool:
    """Whether a statement binds a name by anything but an import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return False
    inner = list(_statements_in(node))
    if not inner or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return name in names.of(node).may
    stores = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return any(n.id == name for n in stores) or any(_binds_otherwise(child, name) for child in inner)


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


@dataclass(frozen=True)
class Program:
    """All statements of a notebook that run, in document order."""

    notebook: Notebook
    statements: tuple[Statement, ...]
    changes: calls.Changes
    skipped: dict[str, Cell] = field(default_factory=dict)
    lazy_annotations: bool = False

    @functools.cached_property
    def _cells(self) -> Mapping[int, tuple[int, int]]:
        """By cell number: how many statements come before it, and with it."""
        spans: dict[int, tuple[int, int]] = {}
        position = 0
        counts = Counter(s.cell.number for s in self.statements)
        for cell in self.notebook.cells:
            spans[cell.number] = (position, position + counts[cell.number])
            position += counts[cell.number]
        return spans

    @functools.cached_property
    def _bound(self) -> Mapping[str, list[int]]:
        """By name: the statements that may bind or delete it."""
        return _by_name(self.statements, lambda n: n.may | n.deletes)

    @functools.cached_property
    def _touched(self) -> Mapping[str, list[int]]:
        """By name: the statements that may bind, delete or change what it stands for."""
        return _by_name(self.statements, lambda n: n.may | n.deletes | n.mutates | n.augments)

    @functools.cached_property
    def methods(self) -> frozenset[str]:
        """Names of the methods of the notebook's own classes."""
        bodies = (s.node.body for s in self.statements if isinstance(s.node, ast.ClassDef))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        return frozenset(inner.name for body in bodies for inner in body if isinstance(inner, functions))

    def of_cell(self, cell: Cell) -> tuple[Statement, ...]:
        """The statements of one cell."""
        start, end = self._cells[cell.number]
        return self.statements[start:end]

    def start(self, cell: Cell) -> int:
        """Position just before a cell: the number of statements in cells before it."""
        return self._cells[cell.number][0]

    def end(self, cell: Cell) -> int:
        """Position just after a cell."""
        return self._cells[cell.number][1]

    def reaching(self, name: str, before: int) -> Reaching:
        """The bindings of a name that may reach the position `before`."""
        found: list[Statement] = []
        binders = self._bound.get(name, [])
        for i in reversed(binders[: bisect.bisect_left(binders, before)]):
            statement = self.statements[i]
            if name in statement.names.deletes:
                return Reaching(tuple(reversed(found)), False, statement)
            found.append(statement)
            if name in statement.names.must:
                return Reaching(tuple(reversed(found)), True)
        return Reaching(tuple(reversed(found)), False)

    def bound_after(self, name: str, position: int) -> Statement | None:
        """The first statement from a position on that may bind a name."""
        later = (self.statements[i] for i in self._bound.get(name, []) if i >= position)
        return next((s for s in later if name in s.names.may), None)

    def events(self, name: str, low: int, high: int) -> Iterator[Statement]:
        """Statements in [low, high) that may bind, delete or change what a name stands for."""
        touching = self._touched.get(name, [])
        for i in touching[bisect.bisect_left(touching, low) : bisect.bisect_left(touching, high)]:
            yield self.statements[i]

    def is_immutable(self, name: str, position: int) -> bool:
        """Whether a name stands for a literal that nothing can change."""
        only = self.reaching(name, position).only
        return only is not None and only.kind == "constant" and not set("[{") & set(only.texts[name])

    def holds_value(self, name: str, position: int) -> bool:
        """Whether a name stands for what the notebook has computed or written out."""
        kinds = {binding.kind_of(name) for binding in self.reaching(name, position).bindings}
        return bool(kinds & {"value", "constant"})

    def imported_root(self, name: str, before: int) -> str | None:
        """The top-level module behind an imported name, or None."""
        binding = self.reaching(name, before).only
        return import_root(binding.node, name) if binding and binding.kind == "import" else None


def _by_name(
    statements: Sequence[Statement], names_of: Callable[[Names], set[str]]
) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for statement in statements:
        for name in names_of(statement.names):
            found[name].append(statement.index)
    return found


@functools.lru_cache(maxsize=2)
def program_of(notebook: Notebook) -> Program:
    """The program of a notebook whose cells all parse; raises SyntaxError otherwise. Not to be changed.

    It is kept, as check, draft and final extraction all begin with it.
    """
    skipped: dict[str, Cell] = {}
    nodes: list[tuple[Cell, ast.stmt, Names]] = []
    lazy = False
    for cell in notebook.code:
        if "skip" in cell.tags:
            skipped.update(dict.fromkeys(_bound_in_skipped(cell), cell))
            continue
        for node in parse(cell.code).body:
            lazy = lazy or _is_future(node)
            found = names.of(names.with_texts_for_annotations(node) if lazy else node)
            if is_star(node):
                found.bind(notebook.stars.get(node.module or "", ()))  # type: ignore[attr-defined]
            nodes.append((cell, node, found))
    changes = calls.settle([(node, found) for _, node, found in nodes])
    return Program(notebook, _without_changed(list(_statements(nodes, changes))), changes, skipped, lazy)


def _is_future(node: ast.stmt) -> bool:
    """True of `from __future__ import annotations`, which holds for all cells below."""
    from_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return from_future and any(alias.name == "annotations" for alias in node.names)  # type: ignore[attr-defined]


def _statements(nodes: Iterable[tuple[Cell, ast.stmt, Names]], changes: calls.Changes) -> Iterator[Statement]:
    constants: dict[str, Any] = {}
    for index, (cell, node, found) in enumerate(nodes):
        kind, values = _kind(node), dict[str, Any]()
        if kind == "value" and changes.makes_definition(node) and not found.mutates | found.writes_global:
            kind = "definition"
        if kind == "value" and not {"parameters", "example"} & set(cell.tags):
            values = _constants(node, constants)
            kind = "constant" if values else "value"
        for name in found.may:
            constants.pop(name, None)
        constants |= values
        again = changes.differs_next_time(node) if kind == "definition" else None
        texts = {name: repr(v) for name, v in values.items()}
        yield Statement(index, cell, node, kind, found, texts, again.lineno if again is not None else None)


def _bound_in_skipped(cell: Cell) -> set[str]:
    """The names that a skipped cell would bind; none if it is no Python."""
    try:
        return names.of(parse(cell.code).body).may
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


@functools.lru_cache(maxsize=2048)
def parse(code: str) -> ast.Module:
    """A cell's code, with await allowed at its top level as in a kernel. Not to be changed: it is kept."""
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
        case ast.Assign(targets=[ast.Name()], value=ast.Subscript(value=ast.Name(id=name))) if (
            name in _GENERIC
        ):
            return True
        case ast.Assign(targets=[ast.Name()], value=ast.Dict() | ast.List() | ast.Tuple() as value):
            return _holds_lambda(value)
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            return _all_define([*body, *(s for h in handlers for s in h.body), *orelse, *final])
        case ast.If(body=body, orelse=orelse):
            return _all_define([*body, *orelse])
    return False


def _holds_lambda(node: ast.expr) -> bool:
    """`{"add": lambda a, b: a + b, "limit": 3}`: lambdas beside names and literals, and nothing computed."""
    todo, found = [node], False
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Dict):
            todo += [p for p in (*part.keys, *part.values) if p is not None]
        elif isinstance(part, ast.List | ast.Tuple):
            todo += part.elts
        elif not isinstance(part, ast.Constant | ast.Name | ast.Attribute | ast.Lambda):
            return False
        found = found or isinstance(part, ast.Lambda)
    return found


_GENERIC = frozenset(
    {"Annotated", "Callable", "Dict", "List", "Literal", "Mapping", "Optional", "Sequence", "Tuple", "Union"}
    | {"dict", "frozenset", "list", "set", "tuple", "type"}
)
"""Names that make a type of other types: `Rows = list[dict]`."""


def _all_define(statements: list[ast.stmt]) -> bool:
    allowed = (ast.Import, ast.ImportFrom, ast.Pass)
    kinds = [isinstance(s, allowed) or _is_definition(s) or _is_flag(s) for s in statements]
    return all(kinds) and any(not _is_flag(s) and not isinstance(s, ast.Pass) for s in statements)


def _is_flag(node: ast.stmt) -> bool:
    """`name = None` or True or False, as people write beside an import that may fail."""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def _constants(node: ast.stmt, known: Mapping[str, Any]) -> dict[str, Any]:
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
        harmless = ".run_line_magic(" in call or _INSTALLS.search(call) is not None
        return harmless and not isinstance(statement.node, ast.Assign)
    if not isinstance(statement.node, ast.Expr) or _does_more(statement):
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
    shows = isinstance(value.func, ast.Attribute) and value.func.attr in _DISPLAY_METHODS
    return plots or (shows and value.func.attr not in program.methods)  # type: ignore[attr-defined]


def _does_more(statement: Statement) -> bool:
    """Whether an expression binds a name, or changes anything but what it is called on."""
    assert isinstance(statement.node, ast.Expr)
    root = names.root_name(_receiver(statement.node.value))
    return bool(statement.names.may or statement.names.mutates - {root})


def plots(statement: Statement, program: Program) -> bool:
    """`fig, ax = plt.subplots()`: binds what only plots are drawn on."""
    node = statement.node
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    root = names.root_name(_receiver(node.value))
    return root is not None and program.imported_root(root, statement.index) in _PLOT_ROOTS


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


def imported_as(node: ast.stmt, name: str) -> str | None:
    """What an import statement binds a name to, dots and all; None of other statements."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        start = f"{'.' * node.level}{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            if (alias.asname or (alias.name if start else alias.name.partition(".")[0])) == name:
                return start + (alias.name if start or alias.asname else name)
    return None


def is_star(node: ast.stmt) -> bool:
    """True of `from module import *`."""
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def star_imports(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The statements `from module import *`."""
    return (statement for statement in statements if is_star(statement.node))


def is_builtin(name: str) -> bool:
    """Names that every module has."""
    return hasattr(builtins, name) or name in ("__name__", "__doc__")
