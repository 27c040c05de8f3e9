"""Refusals of what registers itself, or is changed, where the package would not do it: NB227 in words."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from nb2prod.domain import Diagnostic
from nb2prod.extract.findings import at, line_that_changes, place
from nb2prod.extract.program import Statement


def changed_definition(name: str, event: Statement, definition: Statement) -> Diagnostic:
    """NB227: a function or class is changed after its definition."""
    hint = f"Make the change part of the definition of `{name}`."
    match event.node:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=own), attr="register"), args=args)
        ) if own == name:
            kind = f"({ast.unparse(args[0])})" if len(args) == 2 else ""
            hint = f"Write `@{name}.register{kind}` above the definition of what is registered; for what the"
            hint += f" notebook does not define, test for it where you test for `{name}`."
    return at(
        event,
        "NB227",
        f"`{name}` is changed here, after its definition ({place(definition)})",
        hint,
        line=line_that_changes(event.node, name),
    )


def attached_by_call(event: Statement) -> Diagnostic:
    """NB227: what serving code reads as an attribute of a library's objects is registered by a call."""
    call = event.node.value  # type: ignore[attr-defined]
    maker = ast.unparse(call.func)
    what = ast.unparse(call.args[0]) if call.args else "the class"
    return at(
        event,
        "NB227",
        f"`{maker}` registers `{what}` by a call, which the package would not make",
        f"Write `@{maker}` above the definition of `{what}`, instead of this line.",
        line=call.lineno,
    )


def subclass_listed(name: str, event: Statement) -> Diagnostic:
    """NB227: a class keeps a list of its subclasses, and one is defined."""
    return at(
        event,
        "NB227",
        f"`{name}` is changed here, as it remembers its subclasses: the package has only those that are read"
        " by name",
        "Put the classes into a dict of their own, below the last one, and read that.",
    )


def subclass_made(name: str, event: Statement) -> Diagnostic:
    """NB227: a class keeps a list of its subclasses, and one is made otherwise than by a definition."""
    return at(
        event,
        "NB227",
        f"classes are made here that `{name}` remembers: the package has only those that a `class` of its own"
        " line defines",
        "Write each one out as a `class` at the top of a cell; or make objects of one class, and keep what"
        " differs in a dict.",
    )


def filled_with_others(name: str, filling: Sequence[Statement], *, own: bool = False) -> Diagnostic:
    """NB227: what definitions put themselves into is changed by other code, too, or filled too late.

    `own`: an object of a class of the notebook, of which it is harder to see what it holds.
    """
    known = ", ".join(f'"{bound}": {bound}' for s in filling for bound in sorted(s.names.may))
    instead = f", as `known = {{{known}}}`, and read that in place of `{name}`" if own else ""
    return at(
        filling[0],
        "NB227",
        f"`{name}` holds what is defined with this, and other code reads it before it is full, or may change"
        " it: the package cannot fill it as the notebook has",
        f"Drop this, and write out what `{name}` holds in one line, below the last definition{instead}.",
        line=line_that_changes(filling[0].node, name),
    )
