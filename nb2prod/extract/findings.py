"""Shorthand for diagnostics that point into a notebook."""

from __future__ import annotations

from nb2prod.domain import Cell, Diagnostic, Severity
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
