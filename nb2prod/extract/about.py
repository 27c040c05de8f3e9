"""All about one name: every binding, which one each role means and how it comes to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nb2prod.domain import ExplainedBinding, ExplainedName, ExplainedUse, Explanation, Role
from nb2prod.extract.findings import place
from nb2prod.extract.links import Link, label, mentions, node_id
from nb2prod.extract.names import is_builtin
from nb2prod.extract.program import Statement
from nb2prod.extract.reasons import superseded
from nb2prod.extract.units import Target, Unit
from nb2prod.extract.view import View

UseKind = Literal["import", "helper", "constant", "state", "request", "result", "local"]

KINDS: dict[str, UseKind] = {
    "import": "import",
    "definition": "helper",
    "constant": "constant",
    "state": "state",
}


def about_name(view: View, name: str, whole: Explanation) -> ExplainedName:
    """What a notebook knows of a name that its code mentions."""
    uses = tuple(use for role in view.slice.roots for use in _uses(view, role, name))
    bindings = tuple(_bindings(view, name, uses, whole))
    behind: dict[int, Statement] = {}
    for key, item in view.state.items():
        if item.name == name:
            behind |= view.lineages[key].statements
    lines = tuple(node_id(behind[i]) for i in sorted(behind))
    return ExplainedName(name, uses, bindings, lines, _note(view, name, uses, bindings))


# --- how the roles come by it --------------------------------------------------------------------


def _uses(view: View, role: Role, name: str) -> Iterator[ExplainedUse]:
    yield from _taken(view, role, name)
    kinds = set()
    for way in _ways(view, role):
        for link in view.links:
            if link.unit is way.unit and link.name == name and (kind := KINDS[link.target.kind]) not in kinds:
                kinds.add(kind)
                yield _use(view, role, link, way)
    yield from _own(view, role, name)


@dataclass(frozen=True, slots=True)
class _Way:
    """A unit that a role needs, and the way to it, in words and as nodes."""

    unit: Unit
    chain: tuple[str, ...]
    path: tuple[str, ...]


def _ways(view: View, role: Role) -> Iterator[_Way]:
    """The units that a role needs, nearest first."""
    root = view.slice.roots[role]
    entry = (node_id(root.statement),) if root.statement is not None else ()
    todo = [_Way(root, _head(view, role), (f"role:{role}", *entry))]
    seen = {root}
    while todo:
        way = todo.pop(0)
        yield way
        for after in view.slice.next_units(way.unit):
            if after not in seen and after.statement is not None:
                seen.add(after)
                statement = after.statement
                todo.append(_Way(after, (*way.chain, _step(statement)), (*way.path, node_id(statement))))


def _head(view: View, role: Role) -> tuple[str, ...]:
    """The role's module and the function that a request calls in it, if that is known."""
    function = view.stage(role).function
    return (f"{role}.py", function) if function else (f"{role}.py",)


def _step(statement: Statement) -> str:
    return f"{'constant' if statement.kind == 'constant' else 'helper'} {label(statement)}"


def _use(view: View, role: Role, link: Link, way: _Way) -> ExplainedUse:
    target = link.target
    kind = KINDS[target.kind]
    end = f"state {target.key}" if kind == "state" else f"{kind} {link.name}"
    reader = (node_id(link.statement),) if way.unit.statement is None else ()
    return ExplainedUse(
        role,
        kind,
        (*way.chain, end),
        (*way.path, *reader),
        tuple(node_id(s) for s in target.statements),
        link.statement.cell.number,
        link.line,
        _meaning(view, target),
    )


def _meaning(view: View, target: Target) -> str:
    """What a name stands for, in words."""
    if target.kind == "state":
        item = view.slice.state[target.key]
        made = " or ".join(place(s) for s in target.statements)
        number = view.program.notebook.cell(item.cell).number
        return f"computed in {made}; captured just {item.when} cell {number}"
    where = " and ".join(place(s) for s in target.statements)
    told = {"import": "imported in", "constant": "a literal, from", "definition": "defined in"}
    return f"{told[target.kind]} {where}"


def _taken(view: View, role: Role, name: str) -> Iterator[ExplainedUse]:
    """The name as what the role is given: the request, or an earlier role's result."""
    if name not in view.stage(role).inputs:
        return
    kind: UseKind = "result"
    giver = next((s for s in view.layout.stages if s.role != role and name in s.outputs), None)
    if giver is not None:
        why = f"the {giver.role} role gives it"
        made = [s for s in view.layout.codes[giver.role].body if name in s.names.may]
    elif name in view.layout.request:
        kind, why = "request", "what a request brings"
        cells = {cell.id for cell in view.layout.example}
        made = [s for s in view.program.statements if s.cell.id in cells and name in s.names.may]
    else:
        return
    chain, path = (*_head(view, role), f"{kind} {name}"), (f"role:{role}",)
    ids = tuple(node_id(s) for s in made)
    yield ExplainedUse(role, kind, chain, path, ids, *_first_mention(view, role, name), why)


def _first_mention(view: View, role: Role, name: str) -> tuple[int, int]:
    code = view.layout.codes[role]
    for statement in code.body if code.entry is None else [code.entry]:
        if name in (found := mentions(statement.node)):
            return statement.cell.number, found[name][0]
    entry = code.entry
    return (entry.cell.number, entry.first) if entry is not None else (code.cells[0].number, 1)


def _own(view: View, role: Role, name: str) -> Iterator[ExplainedUse]:
    """The name as one that the role's inline code binds itself, or as its function."""
    code, stage = view.layout.codes[role], view.stage(role)
    own = [s for s in ([code.entry] if code.entry is not None else code.body) if name in s.names.may]
    if not own:
        return
    kind: UseKind = "local"
    why, chain = f"bound by the {role} role itself", (*_head(view, role), f"local {name}")
    if code.entry is not None:
        kind, why, chain = "helper", "the role's function itself", _head(view, role)
    elif name in stage.outputs and stage.result == "names":
        why += ", which gives it on"
    ids = tuple(node_id(s) for s in own)
    path = (f"role:{role}",)
    yield ExplainedUse(role, kind, chain, path, ids, own[0].cell.number, own[0].first, why)


# --- where it is bound ---------------------------------------------------------------------------


def _bindings(
    view: View, name: str, uses: tuple[ExplainedUse, ...], whole: Explanation
) -> Iterator[ExplainedBinding]:
    by_node = {node_id(s): s for s in view.program.statements}
    meant = [by_node[node] for use in uses for node in use.bindings]
    for node in whole.nodes:
        statement = by_node.get(node.id)
        if statement is None:
            if node.reason == "skipped" and name in node.names:
                yield ExplainedBinding(node.id, node.number or 0, node.line or 0, (), "not meant: never run")
        elif _touches(statement, name):
            roles = tuple(dict.fromkeys(use.role for use in uses if node.id in use.bindings))
            why = _why(view, name, statement, roles, uses, meant)
            yield ExplainedBinding(node.id, statement.cell.number, statement.first, roles, why)


def _touches(statement: Statement, name: str) -> bool:
    found = statement.names
    return name in found.may | found.deletes or (
        name in found.mutates | found.augments and statement.kind != "definition"
    )


def _why(
    view: View,
    name: str,
    statement: Statement,
    roles: tuple[Role, ...],
    uses: tuple[ExplainedUse, ...],
    meant: list[Statement],
) -> str:
    found = statement.names
    if roles:
        kinds = {use.kind for use in uses if node_id(statement) in use.bindings}
        return f"meant by {' and '.join(f'the {role} role' for role in roles)} ({', '.join(sorted(kinds))})"
    if name in found.deletes:
        return "deletes it"
    for key, behind in view.lineages.items():
        if statement in behind.direct and view.state[key].name == name:
            return f"changes it before `{key}` is captured"
    code = view.bodies.get(statement.index)
    if name not in found.may:
        own = f"changes it in the {code.role} role" if code is not None else None
        return own or "changes another value of that name"
    if statement.cell.id in {c.id for c in view.layout.example}:
        return "the example's: in production the request takes its place"
    if code is not None:
        return f"local to the {code.role} role"
    if not meant:
        return "not meant: no role needs the name"
    return f"not meant: {superseded(statement.index, meant)[1]}"


def _note(
    view: View, name: str, uses: tuple[ExplainedUse, ...], bindings: tuple[ExplainedBinding, ...]
) -> str:
    if uses:
        return ""
    readers = [s for s in view.program.statements if name in s.names.reads | s.names.deferred]
    if bindings:
        used = f"; what stays behind reads it, first in {place(readers[0])}" if readers else ""
        return f"no role needs it{used}"
    if not readers:
        inside = next((s for s in view.program.statements if name in _inner_names(s.node)), None)
        where = f" `{label(inside)}` ({place(inside)})" if inside is not None else ""
        return f"only a name inside{where or ' a skipped cell'}: it is gone when that has run"
    if is_builtin(name):
        return "a builtin of Python"
    return f"nothing binds it; {place(readers[0])} reads it"


def _inner_names(node: ast.stmt) -> set[str]:
    """Every name that a statement mentions, those of its functions' insides too."""
    found: set[str] = set()
    for child in ast.walk(node):
        match child:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
    return found
