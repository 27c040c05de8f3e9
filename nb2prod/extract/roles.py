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
from nb2prod.extract import refusals, unfit
from nb2prod.extract.effects import FITS
from nb2prod.extract.entries import arguments_of, is_async, is_declaration, to_call, with_methods
from nb2prod.extract.ipython import is_own
from nb2prod.extract.lazily import rebound_before_use
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.results import ANSWERS, result_of
from nb2prod.extract.rolecode import Read, RoleCode, live_reads, role_code
from nb2prod.extract.taint import tainted


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
    program = with_methods(program)
    present = [r for r in ROLES if _has_code(program, r)]
    codes = {role: role_code(program, role, final=role == present[-1]) for role in present}
    layout = Layout(program, program.notebook.tagged("example"), codes)
    layout.tainted = frozenset(tainted(program, layout.example))
    drafts: list[_Draft] = []
    for code in codes.values():
        draft = _inline(layout, code, drafts) if code.style == "inline" else _function(layout, code, drafts)
        drafts.append(draft)
    _settle_last(layout, drafts)
    if not any(f.severity == "error" for f in layout.findings):
        kept = _used(drafts)
        layout.findings += rebound_before_use(program, [(d.code, d.outputs) for d in kept])
        layout.findings += _out_of_order(kept)
        layout.findings += [
            unfit.unread(d.code) for d in drafts if d not in kept and not _is_called(d, drafts)
        ]
        layout.stages = tuple(_stage(program, draft) for draft in kept)
    return layout


def _out_of_order(kept: list[_Draft]) -> Iterator[Diagnostic]:
    """Inline code that the notebook ran after that of a later role; functions nothing has called yet."""
    for i, draft in enumerate(kept):
        after = (s for other in kept[i + 1 :] for s in other.code.body)
        first = min(after, key=lambda s: s.index, default=None)
        late = next((s for s in draft.code.body if first is not None and s.index > first.index), None)
        if first is not None and late is not None:
            yield unfit.out_of_order(draft.code.role, late, first)
            return


def _has_code(program: Program, role: Role) -> bool:
    """Whether a role has cells, and more than comments in them; a model cell has to."""
    cells = [c for c in program.notebook.tagged(role) if "skip" not in c.tags]
    return any(role == "model" or program.of_cell(cell) for cell in cells)


# --- the example --------------------------------------------------------------------------------


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
    layout.findings += _between(layout, code)
    why = list(_missed(layout, code)) if not draft.inputs else []
    layout.findings += why
    if not draft.inputs and layout.example and code.body and not why:
        layout.findings.append(_takes_nothing(layout, code, earlier))
    return draft


def _between(layout: Layout, code: RoleCode) -> Iterator[Diagnostic]:
    """What cells between the role's own do to a name that it reads or binds before and reads after them."""
    known: dict[str, int] = {}
    for statement in code.body:
        start = layout.program.start(statement.cell)
        for name in sorted((statement.names.reads | statement.names.deferred) & known.keys()):
            events = layout.program.events(name, known[name], start)
            if event := next((e for e in events if not code.owns(e)), None):
                yield unfit.bound_between(name, event, code.role)
        end = layout.program.end(statement.cell)
        used = statement.names.reads | statement.names.deferred | statement.names.may
        known |= {name: end for name in used if name not in known or known[name] < end}


def _missed(layout: Layout, code: RoleCode) -> Iterator[Diagnostic]:
    """Why a role that reads no input would have read one, had the cells another order."""
    known = {name for other in layout.codes.values() if other is not code for name in other.bound.may}
    for read in live_reads(code):
        position = layout.program.start(read.statement.cell)
        bindings = layout.program.reaching(read.name, position).bindings
        if read.name in _example_names(layout) and bindings:
            yield unfit.bound_before(read.name, bindings[-1], code.role)
        elif not bindings and (read.name in {*known, *_example_names(layout)} or is_own(read.name)):
            yield refusals.unbound(layout.program, read.name, position, read.statement)


def _takes_nothing(layout: Layout, code: RoleCode, earlier: list[_Draft]) -> Diagnostic:
    """NB204 or NB216 if the role reads what was made from the request elsewhere, else NB215."""
    roles = {c.id for other in layout.codes.values() for c in other.cells}
    for read in live_reads(code):
        start = layout.program.start(read.statement.cell)
        for binding in layout.program.reaching(read.name, start).bindings:
            if binding.index in layout.tainted and not code.owns(binding):
                in_role = binding.cell.id in roles
                return refusals.from_request(read.name, binding, read.statement, in_role=in_role)
    if (beside := _beside_function(code)) is not None:
        return beside
    request = _example_names(layout)
    given = _named_result(layout, earlier[-1].code) if earlier else ", ".join(request)
    called, instead = to_call(layout.program, code.body[-1]), _source(layout, code)
    return unfit.no_request(code, request, called, given, instead if not earlier else None)


def _beside_function(code: RoleCode) -> Diagnostic | None:
    """NB215 of a cell that ends in a function, but does more than define it."""
    last = code.body[-1] if code.body else None
    others = [s for s in code.body if not is_declaration(s)]
    if last is None or not others or not isinstance(last.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return unfit.beside_function(code.role, last, others[0])


def _source(layout: Layout, code: RoleCode) -> str | None:
    """What a role reads, and does not train on, of which the example is made."""
    ids = {cell.id for cell in layout.example}
    made_of = {n for s in layout.program.statements if s.cell.id in ids for n in s.names.reads}
    read = [r.name for r in live_reads(code) if r.name in made_of]
    values = [n for n in read if layout.program.holds_value(n, layout.program.start(code.cells[0]))]
    trains = any(call.function.rpartition(".")[2] in FITS for s in code.body for call in s.names.calls)
    return values[0] if len(values) == 1 and not trains else None


def _named_result(layout: Layout, code: RoleCode) -> str:
    """The name that code below a role has for its result; `…` if it has none."""
    result = result_of(layout.program, code) if code.style == "inline" else None
    return result[1] if isinstance(result, tuple) and result[0] == "names" else "…"


def _takes(layout: Layout, code: RoleCode, read: Read, earlier: list[_Draft]) -> bool:
    """True if a name read is the request, or a result of an earlier role, which then gives it."""
    start = layout.program.start(read.statement.cell)
    reaching = layout.program.reaching(read.name, start)
    if not reaching.bindings or any(
        b.kind_of(read.name) in ("import", "definition") for b in reaching.bindings
    ):
        return False
    for draft in reversed(earlier):
        if any(map(draft.code.owns, reaching.bindings)) and draft.code.style == "inline":
            return _takes_bound(layout, code, read, draft, earlier)
        if _changes(layout, draft, read.name, reaching.bindings):
            # what that role made of it is meant
            _refuse_changes(layout, code, read, start, since=layout.program.end(draft.code.cells[-1]))
            _give(draft, read.name)
            return True
    if {b.cell.id for b in reaching.bindings} <= {c.id for c in layout.example}:
        _refuse_changes(layout, code, read, start)
        _request(layout, read.name)
        return True
    return False


def _takes_bound(layout: Layout, code: RoleCode, read: Read, draft: _Draft, earlier: list[_Draft]) -> bool:
    """True if an earlier role gives what it binds, or on some paths what was there before."""
    start = layout.program.start(read.statement.cell)
    reaching = layout.program.reaching(read.name, start)
    bindings = reaching.bindings
    if all(map(draft.code.owns, bindings)):
        _refuse_changes(layout, code, read, start)
        if not reaching.certain and read.name not in read.statement.names.reads:
            layout.findings.append(unfit.perhaps_unbound(read, bindings[-1]))
        _give(draft, read.name)
        return True
    first = layout.program.start(draft.code.cells[0])
    _refuse_changes(layout, code, read, start, since=layout.program.end(draft.code.cells[-1]))
    others = [b for b in bindings if b.index >= first and not draft.code.owns(b)]
    if others:  # refused here, or where a role reads what a later one binds
        return not any(other.owns(b) for other in layout.codes.values() for b in others)
    before = Read(read.name, draft.code.body[0])
    if read.name not in draft.inputs and _takes(layout, draft.code, before, earlier[: earlier.index(draft)]):
        draft.inputs.append(read.name)
    _give(draft, read.name)
    return True


def _give(draft: _Draft, name: str) -> None:
    if name not in draft.outputs:
        draft.outputs.append(name)


def _changes(layout: Layout, draft: _Draft, name: str, bindings: tuple[Statement, ...]) -> bool:
    """True if a role changes a value in place: one on its way through it, or a copy of state."""
    first = layout.program.start(draft.code.cells[0])
    if name not in draft.code.changed or layout.program.is_immutable(name, first):
        return False
    return name in draft.inputs or any(b.index < first for b in bindings)


def _refuse_changes(layout: Layout, code: RoleCode, read: Read, start: int, since: int | None = None) -> None:
    """Code outside the roles must not change what passes between them, `since` it was bound."""
    roles = {c.id for other in layout.codes.values() for c in other.cells}
    bindings = layout.program.reaching(read.name, start).bindings
    ids = roles | {c.id for c in layout.example}
    since = bindings[0].index + 1 if since is None else since
    events = set(layout.program.events(read.name, since, start))
    between = layout.program.statements[since:start]
    changing = layout.program.changes.by(s.node for s in between).get(read.name)
    for event in between:
        if event.cell.id not in ids and (event in events or event.node is changing):
            layout.findings.append(unfit.changed_outside(read.name, event, code.role))


# --- function stages -----------------------------------------------------------------------------


def _function(layout: Layout, code: RoleCode, earlier: list[_Draft]) -> _Draft:
    entry = code.entry
    assert entry is not None
    arguments = arguments_of(layout.program, entry)
    assert arguments is not None
    draft = _Draft(code, outputs=[ANSWERS[code.role]], result="return")
    positional, keyword = _required(arguments)
    if not positional and not keyword and arguments.args:
        positional = [arguments.args[0].arg]
    if not positional and not keyword and arguments.vararg is None:
        layout.findings.append(unfit.bad_entry(entry, _example_names(layout), None))
        return draft
    for i, name in enumerate([*positional, *keyword]):
        others = None if i or not positional else {*positional[1:], *keyword}
        source = _supply(layout, name, earlier, others)
        if source is None:
            layout.findings.append(unfit.bad_entry(entry, _example_names(layout), name))
            continue
        draft.inputs.append(source)
        if name in keyword:
            draft.keywords.append(name)
    return draft


def _required(arguments: ast.arguments) -> tuple[list[str], list[str]]:
    positional = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    required = positional[: len(positional) - len(arguments.defaults)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return required, [a.arg for a, default in pairs if default is None]


def _supply(layout: Layout, name: str, earlier: list[_Draft], others: set[str] | None) -> str | None:
    """Where a parameter's value comes from: a name of the pipeline, or None.

    The first parameter may have any name; then `others` are those of all other parameters.
    """
    for draft in reversed(earlier):
        if draft.code.style == "inline" and name in {*draft.code.bound.may, *draft.code.changed}:
            _give(draft, name)
            return name
    examples = _example_names(layout)
    if name in examples and (others is None or not earlier):
        return _request(layout, name)
    if others is None:
        return None
    if earlier:
        return _answer(layout, earlier[-1])
    free = [example for example in examples if example not in others]
    return _request(layout, free[-1]) if free else None if examples else "request"


def _request(layout: Layout, name: str) -> str:
    if name not in layout.request:
        layout.request = (*layout.request, name)
    return name


# --- what each stage gives -----------------------------------------------------------------------


def _answer(layout: Layout, draft: _Draft) -> str:
    """The one name for all that a stage gives."""
    if not draft.outputs:
        result = result_of(layout.program, draft.code)
        if isinstance(result, Diagnostic):
            told = _beside_function(draft.code) in layout.findings
            layout.findings += [] if told else [result]
            draft.outputs.append(ANSWERS[draft.code.role])
        else:
            draft.result, name = result
            draft.outputs.append(name)
    return draft.outputs[0]


def _settle_last(layout: Layout, drafts: list[_Draft]) -> None:
    if drafts:
        last = drafts[-1]
        if last.code.style == "inline":
            last.outputs.clear()
            _answer(layout, last)


def _used(drafts: list[_Draft]) -> list[_Draft]:
    """The stages that the last one needs or that guard it, in order. Others' code stays, as helpers."""
    wanted = set(drafts[-1].inputs)
    kept = [drafts[-1]]
    for draft in reversed(drafts[:-1]):
        if wanted & set(draft.outputs) or _guards(draft):
            kept.append(draft)
            wanted |= set(draft.inputs)
    return kept[::-1]


def _guards(draft: _Draft) -> bool:
    """Whether an inline role may refuse a request: by `assert`, by `raise`, or in what it only calls."""
    body = [s.node for s in draft.code.body]
    called = (n.value for n in body if isinstance(n, ast.Expr))
    return any(isinstance(value, ast.Call | ast.Await) for value in called) or any(map(_raises, body))


def _raises(node: ast.AST) -> bool:
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    if isinstance(node, ast.Assert | ast.Raise):
        return True
    return not isinstance(node, inner) and any(map(_raises, ast.iter_child_nodes(node)))


def _is_called(draft: _Draft, drafts: list[_Draft]) -> bool:
    """Whether the function of a role is called by another role's code, so that it needs no place in line."""
    if draft.code.entry is None:
        return False
    names_ = draft.code.entry.names.must
    codes = [d.code for d in drafts if d is not draft]
    statements = [s for code in codes for s in (code.body if code.entry is None else [code.entry])]
    return any(names_ & (s.names.reads | s.names.deferred) for s in statements)


def _stage(program: Program, draft: _Draft) -> Stage:
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
        code.awaits if code.entry is None else is_async(program, code.entry),
    )
