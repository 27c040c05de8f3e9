"""Which statements only show something: serving does without them."""

from __future__ import annotations

import ast
import re

from nb2prod.extract import names
from nb2prod.extract.program import Program, Statement

_DISPLAY_CALLS = frozenset({"print", "display"})
_DISPLAY_METHODS = frozenset({"head", "tail", "describe", "info", "sample", "value_counts"})
_DISPLAY_ATTRIBUTES = frozenset({"shape", "dtypes"})
_INSTALLS = re.compile(r"system\('(python3? -m )?(pip3?|conda|mamba|uv) ")
_PLOT_ROOTS = frozenset({"matplotlib", "seaborn", "plotly", "bokeh", "altair"})


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
