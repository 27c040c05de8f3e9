"""Why role cells make no pipeline, in words: each with its place and the edit that would satisfy it."""

from __future__ import annotations

from collections.abc import Iterable

from nb2prod.domain import Diagnostic, Role
from nb2prod.extract.findings import at, place
from nb2prod.extract.program import Statement
from nb2prod.extract.rolecode import Read, RoleCode


def no_request(
    code: RoleCode, request: Iterable[str], called: str | None, given: str, instead: str | None
) -> Diagnostic:
    """NB215: a role reads neither the request nor what another role gives.

    `called`: the name under which it ends in something to call, with what is `given`. `instead`: what it
    reads, from which the example is made.
    """
    known = ", ".join(f"`{name}`" for name in request) or "what the example binds"
    hint = "Tag the cell that answers the example, not the one that trains; it must read the example."
    if instead is not None:
        hint = f"Read `{given}` here in place of `{instead}`, of which the example is made."
    if called is not None:
        hint = f"End the cell with what `{called}` answers: `{called}({given})` on a line below."
    message = f"the {code.role} cell does not read the request ({known}) or an earlier role's result"
    return at(code.body[0] if called is None else code.body[-1], "NB215", message, hint)


def read_lazily(name: str, event: Statement, output: str, role: Role) -> Diagnostic:
    """NB214: what a role hands on reads a global when it is used, after that has been bound anew."""
    return at(
        event,
        "NB214",
        f"`{name}` changes here, after {role} has made `{output}`, which reads it only when it is used",
        f"Give the two values two names; of a generator, make a list in the {role} cell:"
        f" `{output} = list({output})`.",
    )


def beside_function(role: Role, function: Statement, beside: Statement) -> Diagnostic:
    """NB215: a cell that ends in a function does more than define it, and so is taken for inline code."""
    name = next(iter(function.names.must))
    return at(
        beside,
        "NB215",
        f"the {role} cell does more than define `{name}`, which makes it inline code that reads no request",
        f"Move this line to a cell above, so that the {role} cell only defines functions.",
    )


def bad_entry(entry: Statement, request: Iterable[str], missing: str | None) -> Diagnostic:
    """NB208: the parameter `missing` of a role function has no source; None: it has no parameter at all."""
    name = next(iter(entry.names.must))
    first = "its first parameter gets the request or the previous role's result"
    if missing is None:
        hint = f"Give it a parameter: {first}."
        return at(entry, "NB208", f"the role function `{name}` takes no argument", hint)
    known = ", ".join(f"`{n}`" for n in request) or "none yet"
    hint = f"Give `{missing}` a default, or one of the example's names ({known}); {first}."
    why = f"the role function `{name}` needs `{missing}`, which nothing supplies"
    return at(entry, "NB208", why, hint)


def bound_between(name: str, event: Statement, role: Role) -> Diagnostic:
    """NB204: a cell between two cells of a role changes what the second one reads."""
    how = "bound anew" if name in event.names.may else "changed"
    return at(
        event,
        "NB204",
        f"`{name}` is {how} here, between two cells of the {role} role, and the second one reads it",
        f"Tag this cell `{role}`, too, or move the line into one of the two.",
    )


def out_of_order(role: Role, late: Statement, first: Statement) -> Diagnostic:
    """NB216: code of a role stands below that of a later one."""
    return at(
        late,
        "NB216",
        f"this {role} code ran after that of a later role ({place(first)}): the package runs {role} first",
        f"Order the cells as they are to run: move this cell above cell {first.cell.number}.",
    )


def perhaps_unbound(read: Read, binding: Statement) -> Diagnostic:
    """NB233: a function reads what a role binds on some paths only."""
    return at(
        binding,
        "NB233",
        f"`{read.name}` is bound here on some paths only, and a function in {place(read.statement)} reads it",
        f"Bind `{read.name}` on every path: give it a value before the loop or condition.",
    )


def unread(code: RoleCode) -> Diagnostic:
    """NB236, a warning: a role has no part in the answer."""
    bound = dict.fromkeys(name for s in code.body for name in sorted(s.names.may))
    gives = f" ({', '.join(f'`{name}`' for name in bound)})" if bound else ""
    return at(
        code.entry or next(iter(code.body), code.cells[0]),
        "NB236",
        f"no later role reads what the {code.role} cell gives{gives}: the package leaves it out",
        "Let a later role read it, or remove the tag.",
        "warning",
    )


def changed_outside(name: str, event: Statement, role: Role) -> Diagnostic:
    """NB204: code outside the roles changes what passes between them."""
    message = f"`{name}` is changed here, outside the role cells, before the {role} cell reads it"
    return at(event, "NB204", message, f"Tag this cell `{role}`, or move the line into the {role} cell.")


def bound_before(name: str, event: Statement, role: Role) -> Diagnostic:
    """NB204: a cell binds the request anew before a role reads it."""
    message = f"`{name}` is bound anew here, between the example and the {role} cell"
    return at(event, "NB204", message, "Tag this cell `preprocess`, or move the line into a role cell.")
