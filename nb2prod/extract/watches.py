"""What the clean run looks at between the roles, and what becomes of state after it was captured."""

from __future__ import annotations

from collections.abc import Iterator

from nb2prod.domain import Diagnostic, Watched
from nb2prod.extract.captures import Point
from nb2prod.extract.findings import at
from nb2prod.extract.roles import Layout
from nb2prod.extract.units import Slice


def passing(layout: Layout) -> Iterator[Watched]:
    """The cells between two roles, or the example and a role, that must not change what passes there."""
    program = layout.program
    given = {name: layout.example[-1] for name in layout.request if layout.example}
    roles = {cell.id for code in layout.codes.values() for cell in code.cells}
    others = [c for c in program.notebook.code if c.id not in roles and program.of_cell(c)]
    for stage in layout.stages:
        cells = layout.codes[stage.role].cells
        for name in stage.inputs if stage.style == "inline" else ():
            low, high = given[name].number, cells[0].number
            yield from (Watched("passing", name, c.id) for c in others if low < c.number < high)
        given |= dict.fromkeys(stage.outputs, cells[-1])


def reached(slice_: Slice) -> Iterator[Watched]:
    """The cells that know the request and must not put it into what becomes state, under another name."""
    layout, program = slice_.layout, slice_.layout.program
    roles = {cell.id for code in layout.codes.values() for cell in code.cells}
    knowing = {s.cell.id: s.cell for s in program.statements if s.index in layout.tainted}
    cells = [c for c in knowing.values() if c.id not in roles and c not in layout.example]
    for item in slice_.state.values():
        position = Point(item.when, program.notebook.cell(item.cell)).position(program)
        bindings = program.reaching(item.name, position).bindings
        for cell in cells:
            low, high = program.start(cell), program.end(cell)
            if bindings and bindings[0].index < low and high <= position:
                yield Watched("reached", item.name, cell.id)


def rebound_later(slice_: Slice) -> Iterator[Diagnostic]:
    """Notes on what the notebook binds anew, or changes, after serving code has read it."""
    program = slice_.layout.program
    own = {cell.id for code in slice_.layout.codes.values() for cell in code.cells}
    for name, point in _read(slice_):
        for event in program.events(name, point.position(program), len(program.statements)):
            if event.cell.id == point.cell.id or event.cell.id in own:
                continue  # the roles' own work on it
            yield at(
                event,
                "NB210",
                f"`{name}` changes here, after cell {point.cell.number}: the release keeps what it was"
                f" {point.when} cell {point.cell.number}",
                "If the later value is meant, move the role cells below this one.",
                "info",
            )
            break


def _read(slice_: Slice) -> Iterator[tuple[str, Point]]:
    """The names that serving code reads, but for imports, each at the last moment at which it does."""
    program = slice_.layout.program
    for item in slice_.state.values():
        if item.expected:
            yield item.name, Point(item.when, program.notebook.cell(item.cell))
    for unit in slice_.included():
        last = max((use.point for use in unit.uses), key=lambda p: p.position(program), default=None)
        if unit.statement is not None and last is not None:
            yield from ((name, last) for name in sorted(unit.statement.names.must))
