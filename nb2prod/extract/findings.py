"""Shorthand for diagnostics that point into a notebook."""

from __future__ import annotations

import ast

from nb2prod.domain import Cell, Diagnostic, Severity
from nb2prod.extract import usage
from nb2prod.extract.program import Statement


def at(
    where: Statement | Cell | None,
    code: str,
    message: str,
    hint: str | None = None,
    severity: Severity = "error",
    line: int | None = None,
) -> Diagnostic:
    """A diagnostic at a statement, a cell or the notebook as a whole."""
    cell = where.cell if isinstance(where, Statement) else where
    if line is None and isinstance(where, Statement):
        line = where.node.lineno
    if cell is None:
        return Diagnostic(code, severity, message, hint=hint)
    return Diagnostic(code, severity, message, cell.id, cell.number, line, hint)


def place(statement: Statement) -> str:
    """`cell 7, line 3`, for use inside a message."""
    return f"cell {statement.cell.number}, line {statement.node.lineno}"


def line_that_changes(node: ast.stmt, name: str) -> int:
    """The first line inside a statement that binds a name or changes what it stands for; else its own."""
    inner = (n for n in ast.walk(node) if isinstance(n, ast.stmt))
    simple = (n for n in inner if not hasattr(n, "body") and not isinstance(n, ast.Match))
    found = ((n.lineno, usage.of(n)) for n in simple)
    return min((line for line, n in found if name in n.may | n.mutates | n.augments), default=node.lineno)
