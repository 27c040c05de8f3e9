"""What serving code needs of a notebook, as a graph: by a table made by hand, and by the engine.

The tables lie in `tests/larger/NAME.json`. They say of every role cell what it reads from outside, and
what each name stands for:

    request     a name of the example          result      an earlier role's; `of` names the role
    import, definition, constant, state        bound at `at`, as cell:line
    own         an earlier cell of the role

and the same for the helpers behind them, and for the functions and classes inside the state (`in_state`).
`not_in` are names of the notebook that serving code must not need. Conventions: a name in an annotation
counts, since the line moves as it stands; names read only to show something do not; a `result` is of the
role that last bound or changed it; a constant is a literal that nothing changes. A definition is a function
or class, and what `re.compile`, `logging.getLogger` and their like make of literals: it is made anew.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nb2prod.domain import Notebook, Stage
from nb2prod.errors import NotebookError
from nb2prod.extract import extract
from nb2prod.extract.program import Statement, program_of
from nb2prod.extract.roles import Layout, layout_of
from nb2prod.extract.slicer import slice_of
from nb2prod.extract.units import Slice, Unit
from nb2prod.notebook import read

FOLDER = Path(__file__).parent / "larger"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))

Row = tuple[str, str, str]
"""A name, what it is, and where: `cell:line`, or the role that a result is of."""


@dataclass(frozen=True)
class Graph:
    """The request's names, and the rows of each role and of each helper (by `name cell:line`)."""

    request: frozenset[str]
    roles: dict[str, frozenset[Row]]
    helpers: dict[str, frozenset[Row]]

    @property
    def rows(self) -> frozenset[Row]:
        """All rows together."""
        return frozenset().union(*self.roles.values(), *self.helpers.values())


@dataclass(frozen=True)
class Table:
    """A table made by hand. `live_ins` are its entries by cell number."""

    graph: Graph
    in_state: Mapping[str, str]
    not_in: frozenset[str]
    live_ins: Mapping[int, list[Mapping[str, str]]]

    @property
    def state(self) -> frozenset[str]:
        """The names of all fitted state."""
        return frozenset(name for name, kind, _ in self.graph.rows if kind == "state")


def path_of(name: str) -> Path:
    """The notebook."""
    return FOLDER / f"{name}.ipynb"


def is_exact(name: str) -> bool:
    """True if the engine accepts a notebook, and its graph is that of the table."""
    table, book = table_of(name), read(path_of(name))
    try:
        return captured_by(book) <= table.state and graph_of(book, table.in_state) == table.graph
    except NotebookError:
        return False


# --- by hand -------------------------------------------------------------------------------------


def table_of(name: str) -> Table:
    """The table of a notebook."""
    data: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    roles = {role: _rows(r for rows in cells.values() for r in rows) for role, cells in data["roles"].items()}
    helpers = {key: _rows(rows) for key, rows in data["helpers"].items()}
    live_ins = {int(n): rows for cells in data["roles"].values() for n, rows in cells.items()}
    graph = Graph(frozenset(data["request"]), roles, helpers)
    return Table(graph, data["in_state"], frozenset(data["not_in"]), live_ins)


def _rows(entries: Iterable[Mapping[str, str]]) -> frozenset[Row]:
    outside = [e for e in entries if e["is"] != "own"]
    return frozenset((e["name"], e["is"], e.get("at") or e.get("of", "")) for e in outside)


# --- by the engine -------------------------------------------------------------------------------


def captured_by(notebook: Notebook) -> set[str]:
    """The names of the state that the clean run is asked for in any case; NotebookError if refused."""
    return {item.name for item in extract(notebook).plan.state if item.expected}


def graph_of(notebook: Notebook, in_state: Iterable[str]) -> Graph:
    """The engine's graph; with the code behind the functions and classes that state holds."""
    layout = layout_of(program_of(notebook))
    slice_ = slice_of(layout)
    roots = list(slice_.roots.values())
    helpers = {
        f"{_bound(unit.statement)} {_place(unit.statement)}": _needs(unit)
        for unit in slice_.included(in_state)
        if unit.statement is not None and unit not in roots
        if unit.statement.kind == "definition" or unit.needs
    }
    roles = {role: _role_rows(slice_, role, unit) for role, unit in slice_.roots.items()}
    return Graph(frozenset(layout.request), roles, helpers)


def _role_rows(slice_: Slice, role: str, unit: Unit) -> frozenset[Row]:
    stage = next(s for s in slice_.layout.stages if s.role == role)
    return _needs(unit) | {_input(slice_.layout, stage, i) for i in range(len(stage.inputs))}


def _input(layout: Layout, stage: Stage, index: int) -> Row:
    """An input of a stage by its name in the notebook: that of a function is a parameter."""
    name, entry = stage.inputs[index], layout.codes[stage.role].entry
    if name in layout.request:
        return name, "request", ""
    earlier = layout.stages[: layout.stages.index(stage)]
    of = [s.role for s in earlier if name in s.outputs][-1]
    if entry is not None:
        assert isinstance(entry.node, ast.FunctionDef)
        name = [*entry.node.args.args, *entry.node.args.kwonlyargs][index].arg
    return name, "result", of


def _needs(unit: Unit) -> frozenset[Row]:
    return frozenset(
        (name, target.kind, ", ".join(map(_place, target.statements))) for name, target in unit.needs.items()
    )


def _bound(statement: Statement) -> str:
    return ", ".join(sorted(statement.names.must))


def _place(statement: Statement) -> str:
    return f"{statement.cell.number}:{statement.node.lineno}"
