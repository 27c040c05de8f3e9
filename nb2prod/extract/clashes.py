"""One name, two meanings in one module: of what is read, imported by others, or imported anew.

The function of an inline role can take its own meaning under another name; helpers are the notebook's
own lines, so for them a clash is refused.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from nb2prod.domain import Diagnostic
from nb2prod.extract import refusals
from nb2prod.extract.imports import imported_as, imports_of
from nb2prod.extract.names import is_builtin
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.units import Target, Unit

Meaning = tuple[str, object]


def clashes(units: Iterable[Unit], imported: Iterable[Target]) -> Iterator[Diagnostic]:
    """NB214 for each name by which the units of a module, or others that import it, mean two things."""
    for name, users in _meanings(units, imported).items():
        if len(users) > 1:
            one, other, *_ = sorted(users.values(), key=lambda s: s.index)
            yield refusals.two_meanings(name, one, other)


def apart(body: Unit, units: Iterable[Unit]) -> frozenset[str]:
    """Names by which the other units of a role's module mean something else than its function does."""
    meanings = _meanings(units)
    return frozenset(
        name
        for name, target in body.needs.items()
        if name in meanings and set(meanings[name]) != {_meaning(target)}
    )


def other_import(program: Program, code: RoleCode, unit: Unit) -> Iterator[Diagnostic]:
    """A helper that means another import than the one that the role makes before it calls the helper."""
    imports = [s for c in code.cells for s in program.of_cell(c) if s.kind == "import"]
    for statement in imports:
        for name in sorted(statement.names.may & unit.needs.keys()):
            target = unit.needs[name]
            known = [imported_as(s.node, name) for s in target.statements]
            if target.kind == "import" and known != [imported_as(statement.node, name)]:
                assert unit.statement is not None
                yield refusals.hidden_argument(name, statement, unit.statement)


def imported_anew(program: Program, code: RoleCode) -> Iterator[Diagnostic]:
    """Imports in the role's cells go to the top of the module: there a name has one meaning."""
    statements = [s for cell in code.cells for s in program.of_cell(cell)]
    for statement in statements:
        for name in sorted(statement.names.may) if statement.kind == "import" else ():
            meaning = imported_as(statement.node, name)
            others = [s for s in statements if s.index < statement.index and name in s.names.may]
            read = (s for s in statements if name in s.names.reads | s.names.deferred)
            first = next((s for s in read if s.index < statement.index), None)
            if first is not None:
                before = program.reaching(name, first.index).bindings
                others += before or ([first] if is_builtin(name) else [])
            if any(imported_as(other.node, name) != meaning for other in others):
                yield refusals.imported_anew(name, statement, code.role)


def _meanings(
    units: Iterable[Unit], imported: Iterable[Target] = ()
) -> Mapping[str, dict[Meaning, Statement]]:
    """By name: what is meant by it, and where.

    What runs with the module sees the binding above it, as it should; calls and other modules see the last.
    """
    found: dict[str, dict[Meaning, Statement]] = defaultdict(dict)
    last: dict[str, Statement] = {}
    for statement, needs in ((unit.statement, unit.needs) for unit in units):
        if statement is None:
            continue
        for name, target in needs.items():
            if target.kind in ("import", "state") or name in statement.names.deferred:
                found[name].setdefault(_meaning(target), statement)
        last |= dict.fromkeys(sorted(statement.names.may), statement)
    for target in imported:
        found[target.name].setdefault(_meaning(target), target.statements[0])
    for name, statement in last.items():
        found[name].setdefault(("own", (statement.index,)), statement)
    return found


def _meaning(target: Target) -> Meaning:
    if target.kind == "state":
        return "state", target.key
    if target.kind == "import":
        return "import", tuple(
            ast.dump(node) for s in target.statements for node in imports_of(s.node, target.name)
        )
    return "own", tuple(s.index for s in target.statements)
