"""Which module of the package holds which unit."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from nb2prod.domain import ROLES, Role
from nb2prod.extract.clashes import apart
from nb2prod.extract.program import Statement
from nb2prod.extract.units import Slice, Target, Unit

HELPERS = "helpers"
"""The module of what two others share, and of all code that is no role's own."""


def bound_in(unit: Unit) -> set[str]:
    """The names that a unit binds in its module."""
    return unit.statement.names.may if unit.statement is not None else set()


def homes_of(slice_: Slice, units: list[Unit]) -> dict[Unit, str]:
    """Role cells' code in the role's module; what two modules share, and other cells' code, in helpers."""
    homes: dict[Unit, str] = {}
    for unit in units:
        role = next((r for r, root in slice_.roots.items() if root is unit), None)
        homes[unit] = role or _own_role(slice_, unit) or HELPERS
    for unit in units:
        if unit.statement is not None and _is_light(unit.statement):
            users = _users(unit, units, homes)
            homes[unit] = users.pop() if len(users) == 1 else HELPERS
    while moved := [u for u in units if homes[u] != HELPERS and _must_move(slice_, u, units, homes)]:
        for unit in moved:
            homes[unit] = HELPERS
    return homes


def _is_light(statement: Statement) -> bool:
    """A constant, or imports behind `try` or `if`: with its one user it is easier to read than in helpers."""
    inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    light = isinstance(statement.node, ast.Try | ast.If)
    return statement.kind == "constant" or (
        light and not any(isinstance(node, inside) for node in ast.walk(statement.node))
    )


def home_of(slice_: Slice, target: Target, homes: Mapping[Unit, str]) -> str:
    """The module that holds what a name stands for; none of ours if the name is imported."""
    if target.kind in ("import", "state"):
        return "state" if target.kind == "state" else ""
    return homes[slice_.units[target.statements[0].index]]


def _own_role(slice_: Slice, unit: Unit) -> Role | None:
    assert unit.statement is not None
    codes = slice_.layout.codes
    return next((r for r in slice_.roots if codes[r].owns(unit.statement)), None)


def _users(unit: Unit, units: list[Unit], homes: Mapping[Unit, str]) -> set[str]:
    return {
        homes[other]
        for other in units
        for target in other.needs.values()
        if other is not unit
        and unit.statement in target.statements
        and target.kind in ("definition", "constant")
    }


def _must_move(slice_: Slice, unit: Unit, units: list[Unit], homes: Mapping[Unit, str]) -> bool:
    if unit.statement is None:
        return False
    if _is_hidden(slice_, unit, units, homes):
        return True
    users = _users(unit, units, homes) - {homes[unit]}
    if slice_.roots.get(homes[unit]) is unit:  # type: ignore[call-overload]
        later = ROLES[ROLES.index(homes[unit]) + 1 :]
        return bool(users - set(later))
    return bool(users)


def _is_hidden(slice_: Slice, unit: Unit, units: list[Unit], homes: Mapping[Unit, str]) -> bool:
    """True if the role's function in the same module cannot read the unit: it needs it under another name.

    The function binds the name itself, or other units of the module mean something else by it.
    """
    home = homes[unit]
    root = slice_.roots.get(home)  # type: ignore[call-overload]
    if root is None or root.statement is not None:
        return False
    names = bound_in(unit) & root.needs.keys()
    meant = {name for name in names if unit.statement in root.needs[name].statements}
    others = [u for u in units if homes[u] == home and u is not root] if meant else []
    local = slice_.layout.codes[home].local  # type: ignore[index]
    return bool(names & local or meant & apart(root, sorted(others, key=position_of)))


def position_of(unit: Unit) -> int:
    """Where a unit stands in its module: in the notebook's order."""
    return unit.statement.index if unit.statement is not None else 0
