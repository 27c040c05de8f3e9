"""An Explanation as text: each cell in order, each statement in or out, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from textwrap import wrap

from nb2prod.domain import (
    Diagnostic,
    ExplainedBinding,
    ExplainedCell,
    ExplainedName,
    ExplainedNode,
    Explanation,
)
from nb2prod.shells.graph import MADE
from nb2prod.shells.render import MARKS, diagnostics

STANDINGS = {"in": "+", "perhaps": "?", "out": "-"}
SHOWN_WIDTH = 84
"""Longest line of code shown, in characters."""

WIDTH = 110
INDENT = " " * 9


def text(found: Explanation) -> Iterator[str]:
    """The explanation of a notebook, a cell or a name."""
    yield from _head(found)
    yield from diagnostics(d for d in found.diagnostics if d.cell is None)
    if not found.nodes and any(d.severity == "error" for d in found.diagnostics):
        yield from diagnostics(d for d in found.diagnostics if d.cell is not None)
    elif found.about is not None:
        yield from _name(found, found.about)
    else:
        for cell in found.cells:
            yield from _cell(found, cell)
        yield from _state(found)
        if found.what is None:
            yield ""
            yield f"All about one name, with the training behind it: nb2prod explain {found.file} NAME"


def _head(found: Explanation) -> Iterator[str]:
    lines = [node for node in found.nodes if node.kind not in MADE]
    kept = sum(node.standing == "in" for node in lines)
    if not found.ok:
        errors = sum(d.severity == "error" for d in found.diagnostics)
        after = (
            "What follows is what would be."
            if found.nodes
            else "Nothing else can be said before it is mended."
        )
        yield f"{found.file} is refused: {errors} error{'' if errors == 1 else 's'}. {after}"
    elif found.what is None:
        keys = ", ".join(_key(node) for node in _states(found)) or "none"
        yield f"{found.file}: {kept} of {len(lines)} statements are in; state: {keys}"


# --- cells ---------------------------------------------------------------------------------------


def _cell(found: Explanation, cell: ExplainedCell) -> Iterator[str]:
    nodes = [n for n in found.nodes if n.cell == cell.id and n.kind not in MADE]
    told = [d for d in found.diagnostics if d.cell == cell.id]
    if not nodes and not told and found.what is None:
        return
    yield ""
    tags = f", tagged {', '.join(cell.tags)}" if cell.tags else ""
    note = f" ({cell.note})" if cell.note and not nodes else ""
    yield f"cell {cell.number}{tags}{note}"
    yield from _told(d for d in told if d.line is None)
    lines = [(node, tuple(d for d in told if _covers(node, d.line))) for node in nodes]
    for _, group in groupby(lines, key=lambda pair: (pair[0].why, bool(pair[1]))):
        pairs = list(group)
        yield from (_code(node) for node, _ in pairs)
        yield from _wrapped(pairs[0][0].why)
        yield from _told(d for _, findings in pairs for d in findings)
    covered = {d for _, findings in lines for d in findings}
    yield from _told(d for d in told if d.line is not None and d not in covered)


def _covers(node: ExplainedNode, line: int | None) -> bool:
    return line is not None and (node.line or 0) <= line <= (node.last_line or 0)


def _told(findings: Iterable[Diagnostic]) -> Iterator[str]:
    for item in findings:
        line = f" line {item.line}" if item.line is not None else ""
        yield f"  {MARKS[item.severity]} {item.code}{line}: {item.message}"
        if item.hint:
            yield f"{INDENT}{item.hint}"


def _code(node: ExplainedNode) -> str:
    return f"  {STANDINGS[node.standing]} {node.line or '':>4}  {short(node.code)}"


def short(code: str) -> str:
    """The first line of some code, cut if it is long, and how many lines follow."""
    first, *rest = code.split("\n")
    shown = first if len(first) <= SHOWN_WIDTH else first[: SHOWN_WIDTH - 1] + "…"
    return f"{shown}  (+{len(rest)} line{'' if len(rest) == 1 else 's'})" if rest else shown


def _wrapped(why: str) -> Iterator[str]:
    yield from wrap(
        why,
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- state ---------------------------------------------------------------------------------------


def _states(found: Explanation) -> list[ExplainedNode]:
    return [n for n in found.nodes if n.kind == "state" and n.standing == "in"]


def _key(node: ExplainedNode) -> str:
    return node.id.removeprefix("state:")


def _state(found: Explanation) -> Iterator[str]:
    nodes = [n for n in found.nodes if n.kind == "state" and _concerns(found, n)]
    if nodes:
        yield ""
        yield "state: values of the clean run, loaded in production"
    for node in nodes:
        yield f"  {STANDINGS[node.standing]} {_key(node)}"
        yield f"{INDENT}computed in cell {node.number}, line {node.line}: {short(node.code)}"
        yield f"{INDENT}read by {_readers(found, node)}"
        yield from _wrapped(node.why)


def _concerns(found: Explanation, node: ExplainedNode) -> bool:
    """State that the shown cell, if it is one, makes or reads."""
    if found.what is None or found.about is not None:
        return True
    own = {n.id for n in found.nodes if n.cell in {c.id for c in found.cells}}
    return any(
        node.id in (e.source, e.target) and own & {e.source, e.target} - {node.id} for e in found.edges
    )


def _readers(found: Explanation, state: ExplainedNode) -> str:
    nodes = {node.id: node for node in found.nodes}
    readers = [(nodes[e.source], e.line) for e in found.edges if e.target == state.id and e.kind == "reads"]
    modules = [f" ({' and '.join(node.modules)})" if node.modules else "" for node, _ in readers]
    places = [f"cell {n.number}, line {at}{file}" for (n, at), file in zip(readers, modules, strict=True)]
    return " and ".join(places)


# --- one name ------------------------------------------------------------------------------------


def _name(found: Explanation, about: ExplainedName) -> Iterator[str]:
    kinds = ", ".join(dict.fromkeys(use.kind for use in about.uses))
    yield f"`{about.name}` in {found.file}: {kinds or about.note}"
    yield from diagnostics(d for d in found.diagnostics if d.cell is not None)
    for use in about.uses:
        yield ""
        yield f"  the {use.role} role: {use.kind}, cell {use.number}, line {use.line}"
        yield f"{INDENT}{' → '.join(use.chain)}"
        yield f"{INDENT}{use.why}"
    yield from _bindings(found, about.bindings)
    yield from _state(found)
    yield from _behind(found, about)


def _bindings(found: Explanation, bindings: tuple[ExplainedBinding, ...]) -> Iterator[str]:
    if bindings:
        yield ""
        yield "bound or changed in"
    nodes = {node.id: node for node in found.nodes}
    for item in bindings:
        mark = STANDINGS["in" if item.roles else "out"]
        yield f"  {mark} cell {item.number}, line {item.line}: {short(nodes[item.node].code)}"
        yield f"{INDENT}{item.why}"


def _behind(found: Explanation, about: ExplainedName) -> Iterator[str]:
    nodes = {node.id: node for node in found.nodes}
    behind = [nodes[node] for node in about.behind]
    if not behind:
        return
    yield ""
    yield "what that state was computed from, in order"
    for number, group in groupby(behind, key=lambda node: node.number):
        yield f"  cell {number}"
        yield from (_code(node) for node in group)
