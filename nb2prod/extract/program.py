"""A notebook as one program: its top-level statements in document order, and which binding reaches where.

Cells tagged `skip` are no part of it; what they bind is remembered only to explain what is missing.
"""

from __future__ import annotations

import ast
import bisect
import copy
import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2prod.domain import Cell, Notebook
from nb2prod.extract import calls, literals, names, usage
from nb2prod.extract.imports import import_root, is_star, only_imports
from nb2prod.extract.lookups import unchanged_by_reading
from nb2prod.extract.names import Names

NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `parse` raises of code that is no Python, or is nested too deeply: skipped cells may be."""

Kind = Literal["import", "definition", "constant", "value", "magic"]


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
        return "import" if self.kind == "value" and only_imports(self.node, name) else self.kind


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
            found = usage.of(_with_texts_for_annotations(node) if lazy else node)
            if is_star(node):
                found.bind(notebook.stars.get(node.module or "", ()))  # type: ignore[attr-defined]
            nodes.append((cell, node, found))
    looked_up = unchanged_by_reading((cell, node) for cell, node, _ in nodes)
    changes = calls.settle([(node, found) for _, node, found in nodes], looked_up)
    return Program(notebook, _without_changed(list(_statements(nodes, changes))), changes, skipped, lazy)


def _is_future(node: ast.stmt) -> bool:
    """True of `from __future__ import annotations`, which holds for all cells below."""
    from_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return from_future and any(alias.name == "annotations" for alias in node.names)  # type: ignore[attr-defined]


def _with_texts_for_annotations(node: ast.stmt) -> ast.stmt:
    """The statement as `from __future__ import annotations` has it: annotations are texts."""
    changed: ast.stmt = _Lazy().visit(copy.deepcopy(node))
    return changed


class _Lazy(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        for part in ("annotation", "returns"):
            if isinstance(inner := getattr(node, part, None), ast.expr):
                setattr(node, part, ast.copy_location(ast.Constant(ast.unparse(inner)), inner))
        return super().generic_visit(node)


def _statements(nodes: Iterable[tuple[Cell, ast.stmt, Names]], changes: calls.Changes) -> Iterator[Statement]:
    constants: dict[str, Any] = {}
    for index, (cell, node, found) in enumerate(nodes):
        kind, values = _kind(node, changes), dict[str, Any]()
        if kind == "value" and changes.makes_definition(node) and not found.mutates | found.writes_global:
            kind = "definition"
        if kind == "value" and not {"parameters", "example"} & set(cell.tags):
            values = literals.constants(node, constants)
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
        return usage.of(parse(cell.code).body).may
    except NOT_PYTHON:
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


def _kind(node: ast.stmt, changes: calls.Changes) -> Kind:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return "import"
    if _is_definition(node, changes):
        return "definition"
    return "magic" if is_magic(node) else "value"


def _is_definition(node: ast.stmt, changes: calls.Changes) -> bool:
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
            return _all_define([*body, *(s for h in handlers for s in h.body), *orelse, *final], changes)
        case ast.If(body=body, orelse=orelse):
            return _all_define([*body, *orelse], changes)
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


def _all_define(statements: list[ast.stmt], changes: calls.Changes) -> bool:
    allowed = (ast.Import, ast.ImportFrom, ast.Pass)
    flags = [s for s in statements if _is_flag(s, changes)]
    others = [s for s in statements if s not in flags]
    kinds = [isinstance(s, allowed) or _is_definition(s, changes) for s in others]
    return all(kinds) and any(not isinstance(s, ast.Pass) for s in others)


def _is_flag(node: ast.stmt, changes: calls.Changes) -> bool:
    """`name = None` or True or False, or `name = np.log1p`, as people write beside what depends on a test."""
    if not isinstance(node, ast.Assign) or not all(isinstance(target, ast.Name) for target in node.targets):
        return False
    return isinstance(node.value, ast.Constant) or changes.is_of_library(names.dotted(node.value))


def is_magic(node: ast.stmt) -> bool:
    """A statement that is nothing but an IPython magic or a shell line."""
    if not isinstance(node, ast.Expr | ast.Assign):
        return False
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "get_ipython"
        for call in ast.walk(node.value)
    )
