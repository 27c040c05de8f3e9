"""The notebook's own lines, moved: indented, turned into a return, with where each came from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nb2prod.extract.program import Statement, parse


@dataclass(frozen=True, slots=True)
class Line:
    """A line of generated code; `cell_line` is None where no notebook line stands behind it."""

    text: str
    cell: str = ""
    number: int = 0
    cell_line: int | None = None


def plain(*texts: str) -> list[Line]:
    """Lines of our own."""
    return [Line(text) for text in texts]


def verbatim(statement: Statement, *, comments: bool = True) -> list[Line]:
    """A statement's own lines, with the comment lines just above it; alone if others share its lines."""
    if _shares_line(statement):
        unparsed = ast.unparse(statement.node).split("\n")
        return [_line(statement, text, statement.node.lineno) for text in unparsed]
    lines = statement.cell.code.split("\n")
    first = _first_comment(statement, lines) if comments else statement.first
    return [_line(statement, lines[i - 1], i) for i in range(first, statement.last + 1)]


def _first_comment(statement: Statement, lines: list[str]) -> int:
    """The line at which the comment right above a statement begins, else the statement's first."""
    # the end of a text over several lines may look like a comment
    body = parse(statement.cell.code).body
    code = {line for node in body for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    first = statement.first
    while first > 1 and lines[first - 2].startswith("#") and first - 1 not in code:
        first -= 1
    return first


def gap(above: Statement | None, statement: Statement, *, first: bool) -> list[Line]:
    """Comments, and one blank line if there is any, between a statement and the one above it in its cell."""
    start = above.last if above is not None else 0
    lines = statement.cell.code.split("\n")[start : statement.first - 1]
    kept = [_line(statement, text.strip(), start + i) for i, text in enumerate(lines, 1) if _is_comment(text)]
    return ([Line("")] if not first and any(not t.strip() for t in lines) else []) + kept


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith("#")


def as_return(statement: Statement) -> list[Line]:
    """An expression statement as `return …`, its lines kept."""
    assert isinstance(statement.node, ast.Expr)
    if _shares_line(statement):
        text = f"return {ast.unparse(statement.node.value)}"
        return [_line(statement, text, statement.node.lineno)]
    lines = verbatim(statement, comments=False)
    # a semicolon after it only kept the notebook from showing the value
    last, end = lines[-1].text.encode(), statement.node.end_col_offset or 0
    tail = last[end:].decode().lstrip().removeprefix(";").strip()
    kept = last[:end].decode() + (f"  {tail}" if tail else "")
    lines[-1] = replace(lines[-1], text=kept)
    return [replace(lines[0], text=f"return {lines[0].text}"), *lines[1:]]


def indented(lines: Iterable[Line], statements: Iterable[Statement]) -> list[Line]:
    """Lines moved into a function body; the inside of multi-line strings stays where it is."""
    inside = {(s.cell.id, n) for s in statements for n in string_lines(s.node)}
    return [
        replace(line, text=f"    {line.text}")
        if line.text and (line.cell, line.cell_line) not in inside
        else line
        for line in lines
    ]


def string_lines(node: ast.AST) -> Iterator[int]:
    """Lines that begin inside a string literal."""
    for child in ast.walk(node):
        text = isinstance(child, ast.Constant) and isinstance(child.value, str | bytes)
        if text or isinstance(child, ast.JoinedStr):
            yield from range(child.lineno + 1, (child.end_lineno or child.lineno) + 1)  # type: ignore[attr-defined]


def _shares_line(statement: Statement) -> bool:
    """True if another statement of the cell stands on one of its lines (`a = 1; b = 2`)."""
    lines = statement.cell.code.split("\n")
    first, last = lines[statement.first - 1], lines[statement.last - 1]
    node = statement.node
    if first[: node.col_offset].strip() and not getattr(node, "decorator_list", []):
        return True
    rest = last.encode()[node.end_col_offset or 0 :].decode().strip()
    return rest.startswith(";") and rest.lstrip("; ") not in ("",) and not rest.lstrip("; ").startswith("#")


def _line(statement: Statement, text: str, number: int) -> Line:
    return Line(text, statement.cell.id, statement.cell.number, number)
