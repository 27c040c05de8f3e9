"""The role cells as stages of a pipeline: what each takes from the request or an earlier stage, and gives.

Inline code takes what it reads and gives what later roles read, or its last expression. A function
takes its parameters: the first is the request or the previous answer, the others go by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from nb2prod.domain import ROLES, Cell, Diagnostic, Role, Stage
from nb2prod.extract import names, refusals
from nb2prod.extract.findings import at
from nb2prod.extract.names import Names
from nb2prod.extract.program import Program, Statement, is_display, shows_only

ANSWERS: dict[Role, str] = {"preprocess": "prepared", "model": "scores", "postprocess": "answer"}


@dataclass(frozen=True, slots=True)
class RoleCode:
    """The cells of one role. `body` is the inline code, empty in function style; `entry` the function."""

    role: Role
    cells: tuple[Cell, ...]
    body: tuple[Statement, ...]
    entry: Statement | None

    @property
    def style(self) -> Literal["inline", "function"]:
        """How the role is written."""
        return "function" if self.entry is not None else "inline"

    @property
    def bound(self) -> Names:
        """The names of the whole inline body."""
        return names.of(s.node for s in self.body)

    @property
    def local(self) -> set[str]:
        """The names that are local to the body once it is a function."""
        bound = self.bound
        return bound.may | bound.deletes

    def owns(self, statement: Statement) -> bool:
        """True if the statement stands in a cell of this role."""
        return any(cell.id == statement.cell.id for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Read:
    """A name that inline role code takes from outside itself, and the statement that reads it first.

    `perhaps`: a function in the body reads it, and the body binds it too, perhaps after the call.
    """

    name: str
    statement: Statement
    perhaps: bool = False


@dataclass(slots=True)
class _Draft:
    """A stage while later stages may still ask for more of its names."""

    code: RoleCode
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    result: Literal["expression", "names", "return"] = "names"
    keywords: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Layout:
    """The roles of a notebook, the stages they make and what was found wrong."""

    program: Program
    example: tuple[Cell, ...]
    codes: dict[Role, RoleCode]
    request: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    findings: list[Diagnostic] = field(default_factory=list)
    tainted: frozenset[int] = frozenset()
    """Indices of the statements whose results depend on the example."""


def layout_of(program: Program) -> Layout:
    """The stages of a notebook. Errors are in `findings`; `stages` is empty if there is any."""
    present = [r for r in ROLES if any("skip" not in c.tags for c in program.notebook.tagged(r))]
    codes = {role: _role_code(program, role, final=role == present[-1]) for role in present}
    layout = Layout(program, program.notebook.tagged("example"), codes)
    layout.tainted = frozenset(_tainted(layout))
    drafts: list[_Draft] = []
    for code in codes.values():
        draft = _inline(layout, code, drafts) if code.style == "inline" else _function(layout, code, drafts)
        drafts.append(draft)
    _settle_last(layout, drafts)
    if not any(f.severity == "error" for f in layout.findings):
        layout.stages = tuple(_stage(draft) for draft in _used(drafts))
    return layout


def live_reads(code: RoleCode) -> Iterator[Read]:
    """What inline code takes from outside, in reading order, each name once for each cell."""
    whole, before = code.local, Names()
    seen: set[tuple[str, str]] = set()
    for statement in code.body:
        found = statement.names
        wanted = dict.fromkeys(sorted(found.reads - before.must) + sorted(found.deferred - whole), False)
        later = found.deferred & whole - before.must
        wanted |= {name: True for name in sorted(later) if name not in wanted}
        for name, perhaps in wanted.items():
            if (name, statement.cell.id) not in seen:
                seen.add((name, statement.cell.id))
                yield Read(name, statement, perhaps)
        before.then(found)


# --- reading the cells ---------------------------------------------------------------------------


def _role_code(program: Program, role: Role, *, final: bool) -> RoleCode:
    cells = tuple(c for c in program.notebook.tagged(role) if "skip" not in c.tags)
    statements = [s for cell in cells for s in program.of_cell(cell)]
    entry = _entry(statements, role) if all(_is_declaration(s) for s in statements) else None
    body = () if entry else tuple(_without_display(program, list(_body(program, cells)), final))
    return RoleCode(role, cells, body, entry)


def _is_declaration(statement: Statement) -> bool:
    node = statement.node
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return (
        statement.kind in ("import", "definition", "constant", "magic") or text or isinstance(node, ast.Pass)
    )


def _entry(statements: list[Statement], role: Role) -> Statement | None:
    functions = [s for s in statements if isinstance(s.node, ast.FunctionDef | ast.AsyncFunctionDef)]
    named = [s for s in functions if role in s.names.must]
    return next(iter([*reversed(named), *reversed(functions)]), None)


def _body(program: Program, cells: tuple[Cell, ...]) -> Iterator[Statement]:
    for cell in cells:
        statements = program.of_cell(cell)
        if all(_is_declaration(s) for s in statements) and any(s.kind == "definition" for s in statements):
            continue  # a cell of helper functions beside the inline code: they go to the module's top
        yield from (s for s in statements if s.kind != "import")


def _without_display(program: Program, body: list[Statement], final: bool) -> list[Statement]:
    """The body less what only shows something; but the last role's last expression is its answer."""
    kept = [s for s in body if not is_display(s, program)]
    shown = [s for s in body if not shows_only(s, program)]
    if shown and (final or not kept) and shown[-1] not in kept:
        kept.append(shown[-1])
    return kept


def _tainted(layout: Layout) -> Iterator[int]:
    """Statements after the example whose result depends on it."""
    ids = {cell.id for cell in layout.example}
    dirty: set[str] = set()
    for statement in layout.program.statements:
        found = statement.names
        if statement.cell.id in ids and statement.kind in ("value", "constant"):
            dirty |= found.may
            yield statement.index
        elif statement.kind != "definition" and found.reads & dirty:
            dirty |= found.may | (found.mutates if found.mutates - dirty else set())
            yield statement.index
        else:
            dirty -= found.must


def _example_names(layout: Layout) -> list[str]:
    ids = {cell.id for cell in layout.example}
    ordered: dict[str, None] = {}
    for statement in layout.program.statements:
        if statement.cell.id in ids and statement.kind in ("value", "constant"):
            for name in sorted(statement.names.may):
                ordered.pop(name, None)
                ordered[name] = None
    return list(ordered)


# --- inline stages -------------------------------------------------------------------------------


def _inline(layout: Layout, code: RoleCode, earlier: list[_Draft]) -> _Draft:
    draft = _Draft(code)
    for read in live_reads(code):
        if read.name not in draft.inputs and _takes(layout, code, read, earlier):
            draft.inputs.append(read.name)
    if not draft.inputs and layout.example:
        layout.findings.append(_takes_nothing(layout, code))
    _check_await(layout, code)
    return draft


def _takes_nothing(layout: Layout, code: RoleCode) -> Diagnostic:
    """NB204 or NB216 if the role reads what was made from the request elsewhere, else NB215."""
    roles = {c.id for other in layout.codes.values() for c in other.cells}
    for read in live_reads(code):
        start = layout.program.start(read.statement.cell)
        for binding in layout.program.reaching(read.name, start).bindings:
            if binding.index in layout.tainted and not code.owns(binding):
                in_role = binding.cell.id in roles
                return refusals.from_request(read.name, binding, read.statement, in_role=in_role)
    where = code.body[0] if code.body else code.cells[0]
    return refusals.no_request(code.role, where, _example_names(layout))


def _takes(layout: Layout, code: RoleCode, read: Read, earlier: list[_Draft]) -> bool:
    """True if a name read is the request, or a result of an earlier role, which then gives it."""
    start = layout.program.start(read.statement.cell)
    reaching = layout.program.reaching(read.name, start)
    if not reaching.bindings or any(b.kind in ("import", "definition") for b in reaching.bindings):
        return False
    cells = {b.cell.id for b in reaching.bindings}
    if cells <= {c.id for c in layout.example}:
        _refuse_changes(layout, code, read, start)
        if read.name not in layout.request:
            layout.request = (*layout.request, read.name)
        return True
    for draft in earlier:
        if cells <= {c.id for c in draft.code.cells}:
            _refuse_changes(layout, code, read, start)
            if read.name not in draft.outputs:
                draft.outputs.append(read.name)
            return True
    return False


def _refuse_changes(layout: Layout, code: RoleCode, read: Read, start: int) -> None:
    """Code outside the roles must not change what passes between them."""
    roles = {c.id for other in layout.codes.values() for c in other.cells}
    bindings = layout.program.reaching(read.name, start).bindings
    ids = roles | {c.id for c in layout.example}
    for event in layout.program.events(read.name, bindings[0].index + 1, start):
        if event.cell.id not in ids:
            layout.findings.append(
                at(
                    event,
                    "NB204",
                    f"`{read.name}` is changed here, outside the role cells, before the {code.role} cell"
                    " reads it",
                    f"Tag this cell `{code.role}`, or move the line into the {code.role} cell.",
                )
            )


def _check_await(layout: Layout, code: RoleCode) -> None:
    for statement in code.body:
        if names.awaits(statement.node):
            layout.findings.append(_no_async(statement))


def _no_async(statement: Statement) -> Diagnostic:
    return at(
        statement,
        "NB211",
        "role code awaits; a role must be ordinary, synchronous code",
        "Call the synchronous form of the library, or let a helper run it in a thread of its own:"
        " `ThreadPoolExecutor(1).submit(asyncio.run, call).result()`.",
    )


# --- function stages -----------------------------------------------------------------------------


def _function(layout: Layout, code: RoleCode, earlier: list[_Draft]) -> _Draft:
    entry = code.entry
    assert entry is not None
    assert isinstance(entry.node, ast.FunctionDef | ast.AsyncFunctionDef)
    if isinstance(entry.node, ast.AsyncFunctionDef):
        layout.findings.append(_no_async(entry))
    draft = _Draft(code, outputs=[ANSWERS[code.role]], result="return")
    positional, keyword = _required(entry.node)
    if not positional and not keyword and entry.node.args.args:
        positional = [entry.node.args.args[0].arg]
    if not positional and not keyword and entry.node.args.vararg is None:
        layout.findings.append(refusals.bad_entry(entry, _example_names(layout), None))
        return draft
    for i, name in enumerate(positional):
        source = _supply(layout, name, earlier, first=i == 0)
        if source is None:
            layout.findings.append(refusals.bad_entry(entry, _example_names(layout), name))
            continue
        draft.inputs.append(source)
    for name in keyword:
        source = _supply(layout, name, earlier, first=False)
        if source is None:
            layout.findings.append(refusals.bad_entry(entry, _example_names(layout), name))
            continue
        draft.inputs.append(source)
        draft.keywords.append(name)
    return draft


def _required(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[list[str], list[str]]:
    arguments = [a.arg for a in [*node.args.posonlyargs, *node.args.args]]
    required = arguments[: len(arguments) - len(node.args.defaults)]
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return required, [a.arg for a, default in pairs if default is None]


def _supply(layout: Layout, name: str, earlier: list[_Draft], *, first: bool) -> str | None:
    """Where a parameter's value comes from: a name of the pipeline, or None."""
    for draft in reversed(earlier):
        if draft.code.style == "inline" and name in draft.code.bound.may:
            if name not in draft.outputs:
                draft.outputs.append(name)
            return name
    examples = _example_names(layout)
    if name in examples and (not first or not earlier):
        return _request(layout, name)
    if not first:
        return None
    if earlier:
        return _answer(layout, earlier[-1])
    return _request(layout, examples[-1]) if examples else "request"


def _request(layout: Layout, name: str) -> str:
    if name not in layout.request:
        layout.request = (*layout.request, name)
    return name


# --- what each stage gives -----------------------------------------------------------------------


def _answer(layout: Layout, draft: _Draft) -> str:
    """The one name for all that a stage gives: the last expression, or the last name bound."""
    if draft.outputs:
        return draft.outputs[0]
    last = draft.code.body[-1] if draft.code.body else None
    if last is not None and isinstance(last.node, ast.Expr):
        draft.result = "expression"
        draft.outputs.append(ANSWERS[draft.code.role])
    elif last is not None and (name := _last_bound(last.node)):
        draft.outputs.append(name)
    else:
        layout.findings.append(
            at(
                last or draft.code.cells[-1],
                "NB207",
                f"the {draft.code.role} cell has no result",
                "End the cell with the answer: an expression on its last line, or an assignment.",
            )
        )
        draft.outputs.append(ANSWERS[draft.code.role])
    return draft.outputs[0]


def _last_bound(node: ast.stmt) -> str | None:
    match node:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return names.root_name(target)
    return None


def _settle_last(layout: Layout, drafts: list[_Draft]) -> None:
    if drafts:
        last = drafts[-1]
        if last.code.style == "inline":
            last.outputs.clear()
            _answer(layout, last)


def _used(drafts: list[_Draft]) -> list[_Draft]:
    """The stages that the last one needs, in order. Code of the others stays, as helpers."""
    wanted = set(drafts[-1].inputs)
    kept = [drafts[-1]]
    for draft in reversed(drafts[:-1]):
        if wanted & set(draft.outputs):
            kept.append(draft)
            wanted |= set(draft.inputs)
    return kept[::-1]


def _stage(draft: _Draft) -> Stage:
    code = draft.code
    name = next(iter(code.entry.names.must)) if code.entry else ""
    return Stage(
        code.role,
        code.style,
        name,
        tuple(draft.inputs),
        tuple(draft.outputs),
        tuple(c.id for c in code.cells),
        draft.result,
        tuple(draft.keywords),
    )
