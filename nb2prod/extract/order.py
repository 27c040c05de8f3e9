"""Whether the notebook's cells last ran in the order in which they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2prod.domain import Cell, Diagnostic, Notebook
from nb2prod.extract import usage
from nb2prod.extract.findings import at
from nb2prod.extract.names import Names
from nb2prod.extract.program import NOT_PYTHON, parse


def last_run(notebook: Notebook) -> Iterator[Diagnostic]:
    """NB136 for the first two cells that last ran the other way round.

    A warning, if the lower one binds or reads what the upper one binds: then what the notebook shows may not
    be what a run from top to bottom gives. Else a note.
    """
    ran = [c for c in notebook.code if c.execution_count is not None and "skip" not in c.tags]
    pair = _first_pair(ran)
    if pair is None:
        return
    telling = _telling(ran)
    upper, lower, name = telling or (*pair, None)
    reason = f", and both use `{name}`" if name else ""
    yield at(
        upper,
        "NB136",
        f"this cell last ran after cell {lower.number}, which stands below it (In [{upper.execution_count}]"
        f" and In [{lower.execution_count}]){reason}",
        "A clean run goes from top to bottom. Restart the kernel, run all cells, see if the results stay.",
        "warning" if name else "info",
    )


def _first_pair(ran: list[Cell]) -> tuple[Cell, Cell] | None:
    latest: Cell | None = None
    for cell in ran:
        if latest is not None and _count(cell) < _count(latest):
            return latest, cell
        latest = cell
    return None


def _telling(ran: list[Cell]) -> tuple[Cell, Cell, str] | None:
    """The first such pair between which a value passes, and its name."""
    writers: dict[str, Cell] = {}
    readers: dict[str, Cell] = {}
    for cell in ran:
        found = _names(cell)
        writes = found.may | found.mutates | found.augments | found.deletes
        reads = found.reads | found.deferred
        for name in sorted(reads | writes):
            bound = writers.get(name) if name in reads else None
            read = readers.get(name) if name in writes else None
            for upper in (bound, read):
                if upper is not None and _count(upper) > _count(cell):
                    return upper, cell, name
        _remember(writers, writes, cell)
        _remember(readers, reads, cell)
    return None


def _remember(cells: dict[str, Cell], found: Iterable[str], cell: Cell) -> None:
    for name in found:
        if name not in cells or _count(cells[name]) < _count(cell):
            cells[name] = cell


def _names(cell: Cell) -> Names:
    try:
        return usage.of(s for s in parse(cell.code).body if not isinstance(s, ast.Import | ast.ImportFrom))
    except NOT_PYTHON:
        return Names()  # a finding of its own


def _count(cell: Cell) -> int:
    assert cell.execution_count is not None
    return cell.execution_count
