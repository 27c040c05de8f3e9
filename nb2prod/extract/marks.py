"""What a package remembers of its notebook for later comparisons: digests of cells, never their source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2prod.domain import Behind, Cell, CellMark, Notebook, StateItem, digest
from nb2prod.extract.program import NOT_PYTHON, Program, parse
from nb2prod.extract.units import Slice

SHORT = 16
"""Hex digits of a digest of code."""

LINE = 6
"""Hex digits of a digest of a line: enough to tell the lines of a notebook apart."""


def cell_marks(notebook: Notebook) -> Iterator[CellMark]:
    """A mark for each code cell."""
    for cell in notebook.code:
        lines = tuple(digest(line.strip())[:LINE] for line in cell.source.split("\n") if line.strip())
        source, code = digest(cell.source)[:SHORT], digest(_code(cell))[:SHORT]
        yield CellMark(cell.id, cell.number, cell.tags, source, code, lines)


def _code(cell: Cell) -> str:
    """The cell's code without comments and layout; its source if it is not Python."""
    try:
        tree = parse(cell.code)
    except NOT_PYTHON:
        return cell.source
    return ast.unparse(tree) if tree.body else cell.source


def behind(slice_: Slice, items: Iterable[StateItem]) -> dict[str, tuple[Behind, ...]]:
    """By key of a piece of state: the cells that its value was computed from."""
    program, cells = slice_.layout.program, slice_.provenance.cells
    return {item.key: cells(item.name, _position(program, item)) for item in items}


def _position(program: Program, item: StateItem) -> int:
    cell = program.notebook.cell(item.cell)
    return program.start(cell) if item.when == "before" else program.end(cell)
