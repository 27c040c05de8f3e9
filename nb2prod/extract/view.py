"""A notebook as its explanation sees it: what extraction made of it, or would have made if it is refused."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nb2prod.domain import Bundle, Diagnostic, Notebook, Stage, StateItem
from nb2prod.extract import usage
from nb2prod.extract.lineage import Lineage, Lineages
from nb2prod.extract.links import Link, links_of
from nb2prod.extract.program import Program, Statement, program_of
from nb2prod.extract.provenance import Provenance
from nb2prod.extract.rolecode import RoleCode, live_reads
from nb2prod.extract.roles import Layout, layout_of
from nb2prod.extract.slicer import slice_of
from nb2prod.extract.units import Slice, Target, Unit


@dataclass(frozen=True)
class View:
    """All that explanations draw on. `bundle` is None if the notebook is refused.

    `units` are in the package; `perhaps` come to it if the captured state refers to them.
    """

    slice: Slice
    bundle: Bundle | None
    findings: tuple[Diagnostic, ...]
    units: tuple[Unit, ...]
    perhaps: tuple[Unit, ...]
    links: tuple[Link, ...]

    @property
    def layout(self) -> Layout:
        """The roles."""
        return self.slice.layout

    @property
    def program(self) -> Program:
        """All statements."""
        return self.slice.layout.program

    @functools.cached_property
    def state(self) -> Mapping[str, StateItem]:
        """The state that units in the package or perhaps in it read, by key."""
        read = {link.target.key for link in self.links if link.target.kind == "state"}
        return {key: item for key, item in self.slice.state.items() if key in read}

    @functools.cached_property
    def ancestry(self) -> Lineages:
        """What any value of the program was computed from."""
        return Lineages(self.program)

    @functools.cached_property
    def lineages(self) -> Mapping[str, Lineage]:
        """What each piece of state is computed from, by key."""
        bound = {k.target.key: k.target.statements for k in self.links if k.target.kind == "state"}
        return {
            key: self.ancestry.of_value(item.name, bound[key], self.position(item))
            for key, item in self.state.items()
        }

    @functools.cached_property
    def needed(self) -> Mapping[int, Unit]:
        """The units with a statement of their own that are in the package, by its index."""
        return {u.statement.index: u for u in self.units if u.statement is not None}

    @functools.cached_property
    def maybe(self) -> Mapping[int, Unit]:
        """Those that are perhaps in it."""
        return {u.statement.index: u for u in self.perhaps if u.statement is not None}

    @functools.cached_property
    def bodies(self) -> Mapping[int, RoleCode]:
        """The roles' own inline statements, by index: each with its role."""
        codes = self.layout.codes
        return {s.index: codes[role] for role in self.slice.roots for s in codes[role].body}

    @functools.cached_property
    def readers(self) -> Mapping[int, list[Link]]:
        """The links that lead to a statement of the notebook, by its index."""
        found: dict[int, list[Link]] = defaultdict(list)
        for link in self.links:
            for statement in link.target.statements:
                found[statement.index].append(link)
        return found

    @functools.cached_property
    def meant(self) -> Mapping[str, dict[int, Target]]:
        """By name: the bindings that serving code means, imports aside, by index."""
        found: dict[str, dict[int, Target]] = defaultdict(dict)
        for link in self.links:
            if link.target.kind != "import":
                found[link.name] |= {s.index: link.target for s in link.target.statements}
        return found

    def position(self, item: StateItem) -> int:
        """How many statements have run when a piece of state is captured."""
        cell = self.program.notebook.cell(item.cell)
        return self.program.start(cell) if item.when == "before" else self.program.end(cell)

    def optional(self, key: str) -> bool:
        """True of state that only what is perhaps in the package reads."""
        return key not in self._sure_state

    def stage(self, role: str) -> Stage:
        """A role's stage, with the name that its function has in the package if that is known."""
        stages = self.bundle.plan.stages if self.bundle is not None else self.layout.stages
        return next(stage for stage in stages if stage.role == role)

    def modules(self, statement: Statement) -> tuple[str, ...]:
        """The generated files that hold a statement's lines; none for a notebook that is refused."""
        lines = range(statement.first, statement.last + 1)
        files = sorted({file for n in lines for file in self._mapped.get((statement.cell.id, n), ())})
        if len(files) < 2:
            return tuple(files)
        body = self.bodies.get(statement.index)
        own = f"{body.role}.py" if body is not None else None
        # other statements may share its line
        return tuple(f for f in files if f == own or statement.names.may <= self._defined[f])

    @functools.cached_property
    def sure(self) -> frozenset[Unit]:
        """The units that are in the package."""
        return frozenset(self.units)

    @functools.cached_property
    def _sure_state(self) -> set[str]:
        return {k.target.key for k in self.links if k.target.kind == "state" and k.unit in self.sure}

    @functools.cached_property
    def _mapped(self) -> Mapping[tuple[str, int], set[str]]:
        found: dict[tuple[str, int], set[str]] = defaultdict(set)
        for line in self.bundle.source_map if self.bundle is not None else ():
            found[line.cell, line.cell_line].add(line.file)
        return found

    @functools.cached_property
    def _defined(self) -> Mapping[str, set[str]]:
        """By file: the names that it binds at its top level."""
        assert self.bundle is not None
        files = {line.file for line in self.bundle.source_map}
        return {file: usage.of(ast.parse(self.bundle.files[file]).body).may for file in files}


def view_of(notebook: Notebook, bundle: Bundle | None, findings: tuple[Diagnostic, ...]) -> View:
    """The view of a notebook whose cells all parse."""
    slice_ = _slice(program_of(notebook))
    units = slice_.included()
    more = [u for u in slice_.included(tuple(slice_.embedded)) if u not in units]
    links = links_of(slice_, [*units, *more])
    return View(slice_, bundle, findings, tuple(units), tuple(more), tuple(links))


def _slice(program: Program) -> Slice:
    """The slice; of a notebook without sound roles, as far as it goes."""
    skipped = {c.id for c in program.notebook.tagged("skip")}
    example = program.notebook.tagged("example")
    if not any(c.roles and c.id not in skipped for c in program.notebook.code):
        return Slice(Layout(program, example, {}), Provenance(program))
    layout = layout_of(program)
    return slice_of(layout if layout.stages else _assumed(layout))


def _assumed(layout: Layout) -> Layout:
    """A layout for roles that cannot be settled: what they read of the example or another role is taken."""
    codes = layout.codes
    sources = {c.id for c in layout.example} | {c.id for code in codes.values() for c in code.cells}
    taken = {role: _taken(layout.program, code, sources) for role, code in codes.items()}
    later = {name for names_ in taken.values() for name in names_}
    stages: list[Stage] = []
    request = dict.fromkeys(layout.request)
    for role, code in codes.items():
        known = {name for stage in stages for name in stage.outputs}
        inputs = tuple(name for name in taken[role] if name in known or layout.example)
        request |= dict.fromkeys(name for name in inputs if name not in known)
        name = next(iter(code.entry.names.must)) if code.entry is not None else ""
        outputs = tuple(sorted(code.bound.may & later))
        cells = tuple(c.id for c in code.cells)
        stages.append(Stage(role, code.style, name, inputs, outputs, cells, "names"))
    return replace(layout, stages=tuple(stages), request=tuple(request))


def _taken(program: Program, code: RoleCode, sources: set[str]) -> list[str]:
    reads = list(live_reads(code)) if code.entry is None else []
    reaching = {r.name: program.reaching(r.name, program.start(r.statement.cell)).bindings for r in reads}
    return [name for name, found in reaching.items() if found and {b.cell.id for b in found} <= sources]
