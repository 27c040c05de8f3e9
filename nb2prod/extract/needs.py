"""What each role needs from outside the package: modules that its code imports, and captured state."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2prod.domain import Imported, Needs, Role
from nb2prod.extract.program import Statement
from nb2prod.extract.units import Slice, Unit


def needs_of(slice_: Slice, rehomed: Iterable[str] = ()) -> dict[Role, Needs]:
    """By role: what its own code and all that it calls need.

    Functions of the notebook that sit inside state (`rehomed`) count for every role that reads state.
    """
    embedded = [slice_.embedded[name] for name in rehomed if name in slice_.embedded]
    return {role: _needs(slice_, root, embedded) for role, root in slice_.roots.items()}


def _needs(slice_: Slice, root: Unit, embedded: list[Unit]) -> Needs:
    units = _reached(slice_, [root])
    if _state(units):
        units = _reached(slice_, [root, *embedded])
    imports = {item.module: item for unit in units for item in _imports(slice_, unit)}
    return Needs(tuple(imports[module] for module in sorted(imports)), tuple(sorted(_state(units))))


def _reached(slice_: Slice, todo: list[Unit]) -> list[Unit]:
    found: list[Unit] = []
    while todo:
        unit = todo.pop(0)
        if unit not in found:
            found.append(unit)
            todo += slice_.next_units(unit)
    return found


def _state(units: list[Unit]) -> set[str]:
    return {target.key for unit in units for target in unit.needs.values() if target.kind == "state"}


def _imports(slice_: Slice, unit: Unit) -> Iterator[Imported]:
    """What the names of a unit stand for, and what its own code imports, perhaps behind a condition."""
    for name, target in unit.needs.items():
        if target.kind == "import":
            for statement in target.statements:
                yield from _modules(statement, name)
    for statement in _code(slice_, unit):
        yield from _modules(statement)


def _code(slice_: Slice, unit: Unit) -> tuple[Statement, ...]:
    if unit.statement is not None:
        return (unit.statement,)
    assert unit.role is not None
    return slice_.layout.codes[unit.role].body


def _modules(statement: Statement, name: str | None = None) -> Iterator[Imported]:
    """The modules that a statement imports: all of them, or those behind `name`."""
    for node in ast.walk(statement.node):
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.asname or alias.name.partition(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        else:
            continue
        for module, bound in names:
            if name in (None, bound):
                yield Imported(module, statement.cell.id, statement.cell.number, node.lineno)
