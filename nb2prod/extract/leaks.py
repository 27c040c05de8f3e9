"""How the request gets into a value that is to be state, where no role hands it on."""

from __future__ import annotations

from nb2prod.domain import Diagnostic
from nb2prod.extract import refusals
from nb2prod.extract.program import Statement
from nb2prod.extract.roles import Layout


def leak_into(
    layout: Layout, name: str, bindings: tuple[Statement, ...], position: int, reader: Statement
) -> Diagnostic | None:
    """NB204, NB212 or NB216 if the value that some statements bind knows the request at a position."""
    own = next((code for code in layout.codes.values() if code.owns(reader)), None)
    events = layout.program.events(name, bindings[0].index + 1, position)
    for leak in (*bindings, *(e for e in events if e not in bindings)):
        if leak.index not in layout.tainted or (leak not in bindings and own and own.owns(leak)):
            continue
        role = next((code for code in layout.codes.values() if code.owns(leak)), None)
        if role is not None and leak not in bindings and role.entry is None and name not in role.changed:
            continue
        if reader.kind == "definition" and leak.cell in layout.example:
            return refusals.reads_request(name, reader)
        if role is not None and reader.kind == "definition":
            return refusals.hidden_argument(name, leak, reader)
        return refusals.from_request(name, leak, reader, in_role=role is not None, bound=leak in bindings)
    return None
