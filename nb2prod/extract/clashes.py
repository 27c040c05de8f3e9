"""One name, two meanings in one module: helpers that read a name at two moments of the notebook.

The function of an inline role can take its own meaning under another name; helpers are the notebook's
own lines, so for them a clash is refused.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from nb2prod.domain import Diagnostic
from nb2prod.extract import refusals
from nb2prod.extract.program import imports_of
from nb2prod.extract.units import Target, Unit

Meaning = tuple[str, object]


def clashes(units: Iterable[Unit]) -> Iterator[Diagnostic]:
    """NB214 for each name that the units of one module mean two things by."""
    for name, users in _meanings(units).items():
        if len(users) > 1:
            one, other = list(users.values())[:2]
            yield refusals.two_meanings(name, one, other)


def replaced(units: Iterable[Unit], users: Iterable[Unit]) -> Iterator[Diagnostic]:
    """NB214 for each function that other modules import from one, where another has its name by then."""
    last = {n: u for u in units if u.statement is not None for n in sorted(u.statement.names.may)}
    for user in users:
        for name, target in user.needs.items():
            known = last.get(name)
            if target.kind != "definition" or known is None or known.statement is None:
                continue
            if known.statement.kind == "definition" and known.statement not in target.statements:
                (meant, *_) = target.statements
                yield refusals.two_meanings(name, Unit(meant), known)


def apart(body: Unit, units: Iterable[Unit]) -> frozenset[str]:
    """Names by which the other units of a role's module mean something else than its function does."""
    meanings = _meanings(units)
    return frozenset(
        name
        for name, target in body.needs.items()
        if name in meanings and set(meanings[name]) != {_meaning(target)}
    )


def _meanings(units: Iterable[Unit]) -> Mapping[str, dict[Meaning, Unit]]:
    """By name: what units mean by it. What runs with the module sees the binding above it, as it should."""
    found: dict[str, dict[Meaning, Unit]] = defaultdict(dict)
    last: dict[str, Unit] = {}
    for unit in units:
        if unit.statement is None:
            continue
        for name, target in unit.needs.items():
            if target.kind in ("import", "state") or name in unit.statement.names.deferred:
                found[name].setdefault(_meaning(target), unit)
        for name in sorted(unit.statement.names.may):
            last[name] = unit
    for name, unit in last.items():
        assert unit.statement is not None
        found[name].setdefault(("own", (unit.statement.index,)), unit)
    return found


def _meaning(target: Target) -> Meaning:
    if target.kind == "state":
        return "state", target.key
    if target.kind == "import":
        return "import", tuple(
            ast.dump(node) for s in target.statements for node in imports_of(s.node, target.name)
        )
    return "own", tuple(s.index for s in target.statements)
