"""The notebook's own lines, moved: indented, turned into a return, with where each came from."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nb2prod.domain import Cell
from nb2prod.extract.program import Statement, parse

INDENT = "    "


@dataclass(frozen=True, slots=True)
class Line:
    """A line of generated code; `cell_line` is None where no notebook line stands behind it."""

    text: str
    cell: str = ""
    number: int = 0
    cell_line: int | None = None


BLANK = Line("")


def plain(*texts: str) -> list[Line]:
    """Lines of our own."""
    return [Line(text) for text in texts]


# --- statements ----------------------------------------------------------------------------------


def verbatim(statement: Statement) -> list[Line]:
    """A statement's own lines; without its neighbours where it shares a line with others."""
    lines = [
        _line(statement.cell, text, number)
        for number, text in enumerate(_lines(statement.cell), 1)
        if statement.first <= number <= _end(statement)
    ]
    begins, ends = _shares(statement)
    node = statement.node
    if ends:
        lines[-1] = replace(lines[-1], text=_bytes(lines[-1].text, 0, node.end_col_offset))
    if begins:
        lines[0] = replace(lines[0], text=_bytes(lines[0].text, node.col_offset, None))
    return lines


def as_return(statement: Statement) -> list[Line]:
    """An expression statement as `return …`, its lines kept."""
    assert isinstance(statement.node, ast.Expr)
    lines = verbatim(statement)
    begins, ends = _shares(statement)
    if not ends:
        # a semicolon after it only kept the notebook from showing the value
        end = statement.node.end_col_offset or 0
        end -= statement.node.col_offset if begins and len(lines) == 1 else 0
        last = lines[-1].text
        tail = _bytes(last, end, None).lstrip().removeprefix(";").strip()
        lines[-1] = replace(lines[-1], text=_bytes(last, 0, end) + (f"  {tail}" if tail else ""))
    return [replace(lines[0], text=f"return {lines[0].text}"), *lines[1:]]


def _shares(statement: Statement) -> tuple[bool, bool]:
    """Whether other statements stand on its first and on its last line (`a = 1; b = 2`)."""
    lines, node = _lines(statement.cell), statement.node
    before = _bytes(lines[node.lineno - 1], 0, node.col_offset).strip()
    after = _bytes(lines[statement.last - 1], node.end_col_offset or 0, None).strip()
    return before != "", after.startswith(";") and after.lstrip("; ")[:1] not in ("", "#")


def _end(statement: Statement) -> int:
    """The statement's last line, with the comments at the end of its block, which are indented."""
    last = statement.last
    if hasattr(statement.node, "body"):
        for number, text in enumerate(_lines(statement.cell)[last:], last + 1):
            if text.strip() and not (text[0].isspace() and _is_comment(text)):
                break
            last = number if text.strip() else last
    return last


# --- comments ------------------------------------------------------------------------------------


def comments_above(statement: Statement) -> list[Line]:
    """The comment lines right above a statement."""
    lines = _lines(statement.cell)
    # the end of a text over several lines may look like a comment
    body = parse(statement.cell.code).body
    code = {line for node in body for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    first = statement.first
    while first > 1 and lines[first - 2].startswith("#") and first - 1 not in code:
        first -= 1
    return [_line(statement.cell, lines[i - 1], i) for i in range(first, statement.first)]


def between(
    cell: Cell, statements: Sequence[Statement], kept: Collection[Statement]
) -> Iterator[tuple[Statement | None, list[Line]]]:
    """The comments and blank lines above each kept statement of a cell; at last, with None, those at its end.

    Comments above an import stay where they were. A comment that stands right above another statement
    that is not kept speaks of that one; what stands above an unused definition speaks of it, too.
    """
    found: list[Line] = []
    line = 0
    for statement in statements:
        here = list(_comments(cell, line, statement.first - 1))
        line = max(line, _end(statement))
        if statement in kept:
            yield statement, found + here
            found = []
        elif statement.kind == "import":
            found += here
        elif statement.kind != "definition":
            blanks = [i for i, found_line in enumerate(here, 1) if found_line == BLANK]
            found += here[: blanks[-1]] if blanks else []
    yield None, found + list(_comments(cell, line, len(_lines(cell))))


def squeezed(lines: Iterable[Line], *, most: int, leading: bool = True) -> list[Line]:
    """Lines with at most so many blank ones in a row, and none at the beginning unless `leading`."""
    kept: list[Line] = []
    blanks = 0 if leading else most
    for line in lines:
        blanks = blanks + 1 if line == BLANK else 0
        if blanks <= most:
            kept.append(line)
    return kept


def stripped(lines: Iterable[Line]) -> list[Line]:
    """Lines without blank ones at their end."""
    kept = list(lines)
    while kept and kept[-1] == BLANK:
        kept.pop()
    return kept


def _comments(cell: Cell, start: int, stop: int) -> Iterator[Line]:
    """The comment and blank lines among the lines in (start, stop] of a cell."""
    for number, text in enumerate(_lines(cell)[start:stop], start + 1):
        if not text.strip():
            yield BLANK
        elif _is_comment(text):
            yield _line(cell, text, number)


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith("#")


# --- into a function -----------------------------------------------------------------------------


def indented(lines: Iterable[Line], cells: Iterable[Cell]) -> list[Line]:
    """Lines moved into a function body; the inside of texts over several lines stays where it is."""
    inside = {(cell.id, number) for cell in cells for number in string_lines(cell.code)}
    return [
        replace(line, text=f"{INDENT}{line.text}")
        if line.text and (line.cell, line.cell_line) not in inside
        else line
        for line in lines
    ]


@functools.lru_cache(maxsize=256)
def string_lines(code: str) -> frozenset[int]:
    """Lines of a cell that begin inside a string literal."""
    found: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            found |= set(range(token.start[0] + 1, token.end[0] + 1))
        elif kind.endswith("STRING_START"):  # from Python 3.12 on, what is inside an f-string are tokens, too
            opened.append(token.start[0])
        elif kind.endswith("STRING_END"):
            found |= set(range(opened.pop() + 1, token.end[0] + 1))
    return frozenset(found)


def is_definition(node: ast.stmt) -> bool:
    """True of a function or a class, which wants blank lines around it."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def ends_in_definition(node: ast.stmt) -> bool:
    """True if the last thing in a statement is a function or a class."""
    if is_definition(node):
        return True
    for block in ("finalbody", "orelse", "handlers", "cases", "body"):
        inner = getattr(node, block, None)
        if isinstance(inner, list) and inner:
            return ends_in_definition(inner[-1])
    return False


def _lines(cell: Cell) -> list[str]:
    return cell.code.split("\n")


def _bytes(text: str, start: int, stop: int | None) -> str:
    """A part of a line by the columns of its syntax tree, which count bytes."""
    return text.encode()[start:stop].decode()


def _line(cell: Cell, text: str, number: int) -> Line:
    return Line(text, cell.id, cell.number, number)
