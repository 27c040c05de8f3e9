"""Why each line, import, helper, constant and piece of state of a notebook is in the package or out of it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from nb2prod.domain import (
    Bundle,
    Cell,
    Diagnostic,
    ExplainedCell,
    ExplainedEdge,
    ExplainedNode,
    Explanation,
    NodeKind,
    Notebook,
    Role,
    Stage,
    StateItem,
)
from nb2prod.errors import NotebookError, UsageError
from nb2prod.extract import usage
from nb2prod.extract.about import about_name
from nb2prod.extract.extract import extract
from nb2prod.extract.lineage import Lineage
from nb2prod.extract.links import Link, label, names_bound, node_id
from nb2prod.extract.program import NOT_PYTHON, Statement, parse
from nb2prod.extract.reasons import Reasons
from nb2prod.extract.view import View, view_of

UNREADABLE = frozenset({"NB120", "NB121"})
"""Where a cell does not parse, nothing but that can be said."""

KINDS: dict[str, NodeKind] = {
    "import": "import",
    "definition": "helper",
    "constant": "constant",
    "magic": "magic",
    "value": "line",
}


def explain(notebook: Notebook, what: str | None = None) -> Explanation:
    """Why each part of a notebook is in the package or out; `what` limits it to a name or a cell.

    A cell is given by its number or its id. A notebook that is refused is explained as far as it goes.
    Raises UsageError if the notebook has no such name or cell.
    """
    bundle, findings = _extracted(notebook)
    cells = tuple(_cell(cell) for cell in notebook.cells)
    base = Explanation(
        notebook.name,
        notebook.path.name,
        notebook.digest,
        bundle is not None,
        cells,
        diagnostics=findings,
        what=what,
    )
    if any(f.code in UNREADABLE for f in findings):
        return base
    view = view_of(notebook, bundle, findings)
    whole = replace(base, nodes=tuple(_nodes(view)), edges=tuple(_edges(view)))
    if what is None:
        return whole
    known = _identifiers(notebook)
    cell = None if what in known else _cell_meant(notebook, what)
    if cell is not None:
        return _of_cell(whole, cell)
    if what not in known:
        raise _unknown(what, known)
    return _of_name(whole, view, what)


def _extracted(notebook: Notebook) -> tuple[Bundle | None, tuple[Diagnostic, ...]]:
    """The bundle, None if the notebook is refused, and all findings in the order of the cells."""
    bundle = None
    try:
        bundle = extract(notebook)
        found = bundle.diagnostics
    except NotebookError as error:
        found = error.diagnostics
    return bundle, tuple(sorted(found, key=lambda f: (f.number or 0, f.line or 0)))


# --- nodes ---------------------------------------------------------------------------------------


def _cell(cell: Cell) -> ExplainedCell:
    note = ""
    if cell.kind != "code":
        note = f"{cell.kind}: no code"
    elif cell.magic is not None:
        note = f"ruled by `%%{cell.magic}`: no Python of this notebook"
    elif "skip" in cell.tags:
        note = "tagged `skip`: not run when the release is made"
    elif not cell.source.strip():
        note = "empty"
    return ExplainedCell(cell.number, cell.id, cell.kind, cell.tags, note)


def _nodes(view: View) -> Iterator[ExplainedNode]:
    reasons = Reasons(view)
    statements = iter([*view.program.statements, None])
    statement = next(statements)
    for cell in view.program.notebook.code:
        if "skip" in cell.tags:
            yield from _skipped(cell)
        while statement is not None and statement.cell.id == cell.id:
            yield _statement(statement, reasons)
            statement = next(statements)
    yield from (_role(view, role) for role in view.slice.roots)
    if request := view.layout.request:
        cells = " and ".join(f"cell {c.number}" for c in view.layout.example)
        why = f"what a request brings, as the example ({cells}) binds it"
        yield ExplainedNode("request", "request", "in", "request", why, request)
    yield from (_state(view, item) for item in view.state.values())


def _statement(statement: Statement, reasons: Reasons) -> ExplainedNode:
    why = reasons.why(statement)
    cell = statement.cell
    return ExplainedNode(
        node_id(statement),
        KINDS[statement.kind],
        why.standing,
        why.reason,
        why.text,
        names_bound(statement),
        why.modules,
        cell.id,
        cell.number,
        statement.first,
        statement.last,
        _code(statement),
    )


def _code(statement: Statement) -> str:
    """The statement's own lines; of a line that it shares, its part."""
    lines = statement.cell.source.split("\n")[statement.first - 1 : statement.last]
    rest = lines[-1].encode()[statement.node.end_col_offset or 0 :].strip()
    shares = statement.node.col_offset > 0 or (rest.startswith(b";") and rest.lstrip(b"; ")[:1] not in b"#")
    part = ast.get_source_segment(statement.cell.code, statement.node) if shares else None
    return part or "\n".join(lines)


def _skipped(cell: Cell) -> Iterator[ExplainedNode]:
    """The statements of a skipped cell, or the cell as one if it is no Python."""
    why = "out: the cell is tagged `skip`"
    try:
        body = parse(cell.code).body
    except NOT_PYTHON:
        whole = (cell.id, cell.number, 1, cell.source.count("\n") + 1, cell.source)
        told = f"{why} (it is no Python)"
        yield ExplainedNode(f"{cell.number}:1", "line", "out", "skipped", told, (), (), *whole)
        return
    for node in body:
        statement = Statement(-1, cell, node, "value", usage.of(node))
        where = (cell.id, cell.number, statement.first, statement.last, _code(statement))
        kind = _kind_of_skipped(node)
        yield ExplainedNode(
            node_id(statement), kind, "out", "skipped", why, names_bound(statement), (), *where
        )


def _kind_of_skipped(node: ast.stmt) -> NodeKind:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return "import"
    defines = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return "helper" if defines else "line"


def _role(view: View, role: Role) -> ExplainedNode:
    stage = view.stage(role)
    cells = view.layout.codes[role].cells
    numbers = " and ".join(str(c.number) for c in cells)
    why = f"the {role} role, cell{'s' if len(cells) > 1 else ''} {numbers}"
    sound = view.bundle is not None
    return ExplainedNode(
        f"role:{role}",
        "role",
        "in",
        "role",
        f"{why}: {_passes(view, stage)}" if sound else why,
        (stage.function,) if stage.function else (),
        (f"{role}.py",) if sound else (),
        cells[0].id,
        cells[0].number,
    )


def _passes(view: View, stage: Stage) -> str:
    """What a stage takes and gives, in words."""
    stages = list(view.layout.stages)
    place = [s.role for s in stages].index(stage.role)
    takes = []
    for name in stage.inputs:
        giver = next((s for s in stages[:place] if name in s.outputs), None)
        if giver is None:
            takes.append(f"the request `{name}`")
        else:
            given = f"`{name}`" if giver.result == "names" else "the result"
            takes.append(f"{given} of the {giver.role} role")
    gives = " and ".join(f"`{name}`" for name in stage.outputs) if stage.result == "names" else "its result"
    if place == len(stages) - 1:
        gives = "the answer"
    return f"takes {' and '.join(takes)}, gives {gives}"


def _state(view: View, item: StateItem) -> ExplainedNode:
    optional = view.optional(item.key)
    behind = view.lineages[item.key]
    moment = f"captured just {item.when} cell {view.program.notebook.cell(item.cell).number} of the clean run"
    why = f"{moment}, {_moment(view, item)}; {_not_recomputed(behind)}"
    if optional:
        why = f"perhaps state, if captured state refers to code that reads it; {moment}"
    binding = next((s for s in behind.direct if _binds(s, item)), behind.direct[0])
    return ExplainedNode(
        f"state:{item.key}",
        "state",
        "perhaps" if optional else "in",
        "state",
        why,
        (item.name,),
        ("state.py",) if view.bundle is not None and not optional else (),
        item.bound_cell,
        item.bound_number,
        binding.first,
        binding.last,
        _code(binding),
    )


def _binds(statement: Statement, item: StateItem) -> bool:
    return (statement.cell.id, statement.node.lineno) == (item.bound_cell, item.bound_line)


def _moment(view: View, item: StateItem) -> str:
    if view.slice.moment is not None and (item.when, item.cell) == ("after", view.slice.moment.id):
        return "when all that the role functions read is bound and fitted"
    if item.when == "after":
        reader = next(k for k in view.links if k.target.key == item.key)
        return f"where `{label(reader.statement)}` is defined with it"
    codes = view.layout.codes.values()
    role = next((c.role for c in codes if item.cell in {cell.id for cell in c.cells}), None)
    return f"where the {role} role reads it" if role else "where it is read"


def _not_recomputed(behind: Lineage) -> str:
    count = sum(s.kind in ("value", "constant") for s in behind.statements.values())
    lines = "a line of training and its" if count == 1 else f"{count} lines of training and their"
    return f"not recomputed: that would take {lines} data into production"


# --- edges ---------------------------------------------------------------------------------------


def _edges(view: View) -> Iterator[ExplainedEdge]:
    found: dict[ExplainedEdge, None] = {}
    for role, root in view.slice.roots.items():
        own = [root.statement] if root.statement is not None else view.layout.codes[role].body
        for statement in own:
            bound = ", ".join(names_bound(statement))
            found[ExplainedEdge(f"role:{role}", node_id(statement), bound, "holds")] = None
    found |= dict.fromkeys(_taken(view))
    for link in view.links:
        found |= dict.fromkeys(_read(link))
    for key, behind in view.lineages.items():
        state = f"state:{key}"
        name = view.state[key].name
        found |= dict.fromkeys(ExplainedEdge(state, node_id(s), name, "made by") for s in behind.direct)
        for reader, name, source in behind.steps:
            if reader != source:
                ends = (view.program.statements[reader], view.program.statements[source])
                found[ExplainedEdge(node_id(ends[0]), node_id(ends[1]), name, "behind")] = None
    yield from found


def _taken(view: View) -> Iterator[ExplainedEdge]:
    """What passes between the stages."""
    givers: dict[str, str] = dict.fromkeys(view.layout.request, "request")
    for stage in view.layout.stages:
        for name in stage.inputs:
            if name in givers:
                yield ExplainedEdge(f"role:{stage.role}", givers[name], name, "takes")
        givers |= dict.fromkeys(stage.outputs, f"role:{stage.role}")


def _read(link: Link) -> Iterator[ExplainedEdge]:
    source = node_id(link.statement)
    if link.target.kind == "state":
        yield ExplainedEdge(source, f"state:{link.target.key}", link.name, "reads", link.line)
        return
    for statement in link.target.statements:
        if statement is not link.statement:
            yield ExplainedEdge(source, node_id(statement), link.name, "reads", link.line)


# --- a part of it --------------------------------------------------------------------------------


def _cell_meant(notebook: Notebook, what: str) -> Cell | None:
    """The cell with a number or an id; UsageError if the number is beyond the last."""
    for cell in notebook.cells:
        if what in (str(cell.number), cell.id):
            return cell
    if what.lstrip("-").isdigit():
        count = len(notebook.cells)
        raise UsageError(
            f"{notebook.path.name} has no cell {what}: it has {count} cells",
            hint=f"Cells are counted from 1 to {count}, markdown included.",
        )
    return None


def _unknown(what: str, known: Iterable[str]) -> UsageError:
    close = difflib.get_close_matches(what, sorted(known), n=3, cutoff=0.6)
    meant = " or ".join(f"`{name}`" for name in close)
    hint = f"Did you mean {meant}?" if close else "Give a name as the code writes it, or a cell's number."
    return UsageError(f"nothing in the notebook is called `{what}`", hint=hint)


def _identifiers(notebook: Notebook) -> set[str]:
    """Every name that stands in the code of a notebook."""
    found: set[str] = set()
    for cell in notebook.code:
        try:
            body = parse(cell.code).body
            found |= usage.of(body).may
        except NOT_PYTHON:
            continue  # only a skipped cell may be no Python
        nodes = [node for statement in body for node in ast.walk(statement)]
        for node in nodes:
            match node:
                case ast.Name(id=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.alias(name=name, asname=asname):
                    found.add((asname or name).partition(".")[0])
    return found - {"*", "get_ipython"}


def _of_cell(whole: Explanation, cell: Cell) -> Explanation:
    own = {n.id for n in whole.nodes if n.cell == cell.id}
    near = {e.target for e in whole.edges if e.source in own}
    near |= {e.source for e in whole.edges if e.target in own}
    return replace(
        _limited(whole, own | near),
        cells=tuple(c for c in whole.cells if c.id == cell.id),
        diagnostics=tuple(d for d in whole.diagnostics if d.cell in (None, cell.id)),
    )


def _of_name(whole: Explanation, view: View, name: str) -> Explanation:
    about = about_name(view, name, whole)
    wanted = {b.node for b in about.bindings} | set(about.behind)
    wanted |= {node for use in about.uses for node in (*use.path, *use.bindings)}
    wanted |= {n.id for n in whole.nodes if n.kind == "state" and name in n.names}
    wanted |= {e.source for e in whole.edges if e.name == name and e.kind in ("reads", "takes")}
    wanted |= {e.target for e in whole.edges if e.name == name and e.kind in ("reads", "takes")}
    wanted |= {e.source for e in whole.edges if e.kind == "holds" and e.target in wanted}
    told = tuple(d for d in whole.diagnostics if d.cell is None or f"`{name}`" in d.message)
    cells = {n.cell for n in whole.nodes if n.id in wanted} | {d.cell for d in told}
    shown = tuple(c for c in whole.cells if c.id in cells)
    return replace(_limited(whole, wanted), cells=shown, diagnostics=told, about=about)


def _limited(whole: Explanation, ids: set[str]) -> Explanation:
    return replace(
        whole,
        nodes=tuple(n for n in whole.nodes if n.id in ids),
        edges=tuple(e for e in whole.edges if e.source in ids and e.target in ids),
    )
