"""What the slicer refuses, in words: each with its place and the edit that would satisfy it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nb2prod.domain import Diagnostic
from nb2prod.extract import ipython
from nb2prod.extract.findings import at, place
from nb2prod.extract.program import Program, Statement, star_imports


def from_request(name: str, binding: Statement, reader: Statement, *, in_role: bool) -> Diagnostic:
    """NB204, NB216: a name depends on the request, and no role before the reader gives it."""
    if in_role:
        return at(
            reader,
            "NB216",
            f"`{name}` is the result of a later or function-style role ({place(binding)})",
            "Order the cells preprocess, model, postprocess, and let each read the one before it.",
        )
    return at(
        binding,
        "NB204",
        f"`{name}` is computed from the example here, outside the role cells, and read in {place(reader)}",
        "Tag this cell with the role it belongs to, or move the line into the role cell.",
    )


def unbound(program: Program, name: str, position: int, reader: Statement) -> Diagnostic:
    """NB201 to NB206, NB123, NB126: why nothing binds a name by then."""
    if ipython.is_own(name):
        return ipython.only_there(name, reader)
    deleted = program.reaching(name, position).deleted
    if deleted is not None:
        why = f"`{name}` is read here, but {place(deleted)} deletes it"
        return at(reader, "NB206", why, "Delete it after the role cells, or not at all.")
    if name in program.skipped:
        cell = program.skipped[name]
        why = f"`{name}` is read here, but only cell {cell.number} binds it, which is tagged `skip`"
        return at(reader, "NB202", why, f"Remove the tag `skip` from cell {cell.number}.")
    if later := program.bound_after(name, position):
        why = f"`{name}` is read here, but bound only later, in {place(later)}"
        return at(reader, "NB203", why, f"Move cell {later.cell.number} up, before this one.")
    for star in star_imports(program.statements[:position]):
        why = f"`{name}` may come from `import *` in {place(star)}: nb2prod cannot tell"
        module = getattr(star.node, "module", "module")
        return at(reader, "NB205", why, f"Import it by name: `from {module} import {name}`.")
    if where := ipython.perhaps_bound(program, name, position):
        return ipython.elsewhere(name, where, reader)
    hint = f"Bind `{name}` in an earlier cell, or correct the name."
    return at(reader, "NB201", f"`{name}` is read here, but nothing binds it", hint)


def global_writes(statement: Statement) -> Iterator[Diagnostic]:
    """NB209: serving code rebinds globals."""
    for name in sorted(statement.names.writes_global):
        yield at(
            statement,
            "NB209",
            f"serving code rebinds the notebook's `{name}` (`global {name}`)",
            "Return the value instead: replicas share nothing, and requests come in any order.",
        )


def hidden_argument(name: str, binder: Statement, helper: Statement) -> Diagnostic:
    """NB212: a helper reads a global that the role's code binds: in the package it is a local."""
    return at(
        binder,
        "NB212",
        f"`{name}` is bound here and read by a function of the notebook ({place(helper)})",
        f"Pass `{name}` to the function as an argument, or give it another name here.",
    )


def two_definitions(name: str, bindings: Iterable[Statement], reader: Statement) -> Diagnostic:
    """NB213: which definition counts depends on what ran."""
    others = " and ".join(place(b) for b in bindings)
    return at(
        reader,
        "NB213",
        f"`{name}` may be what {others} defines: it depends on what ran",
        f"Define `{name}` once, without a condition.",
    )


def two_moments(name: str, event: Statement, helper: Statement) -> Diagnostic:
    """NB214: a helper's global changes between two roles that use it."""
    return at(
        event,
        "NB214",
        f"`{name}` changes here, between two role cells that call a function reading it ({place(helper)})",
        "Give the two values two names, or pass the value as an argument.",
    )


def shadowing(name: str, kind: str, reader: Statement) -> Diagnostic:
    """NB217: role code takes the name of a function or module for a value."""
    return at(
        reader,
        "NB217",
        f"`{name}` is a {'module' if kind == 'import' else 'function'} here,"
        " and the role code binds the same name anew",
        f"Give the new value another name than `{name}`.",
    )


def changed_state(name: str, where: Statement) -> Diagnostic:
    """NB218: serving code changes state in place."""
    return at(
        where,
        "NB218",
        f"serving code changes `{name}` in place: the next request would get another answer",
        f"Work on a copy: `{name} = {name}.copy()` first, or fit it before the role cells.",
    )


def changed_in_cell(name: str, event: Statement, definition: Statement) -> Diagnostic:
    """NB219: a value used in a definition changes later in the same cell."""
    return at(
        event,
        "NB219",
        f"`{name}` changes later in the cell that defines a function from it ({place(definition)})",
        "Put the change into a cell of its own, after the definition.",
    )


def changed_definition(name: str, event: Statement, definition: Statement) -> Diagnostic:
    """NB227: a function or class is changed after its definition."""
    return at(
        event,
        "NB227",
        f"`{name}` is changed here, after its definition ({place(definition)})",
        f"Make the change part of the definition of `{name}`.",
    )
