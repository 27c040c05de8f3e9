"""Why a statement of the notebook is in the package or out of it, in a data scientist's words."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nb2prod.domain import Role, Standing
from nb2prod.extract.display import is_display
from nb2prod.extract.findings import place
from nb2prod.extract.links import Link, label, names_bound
from nb2prod.extract.program import NOT_PYTHON, Statement, parse
from nb2prod.extract.rolecode import live_reads
from nb2prod.extract.view import View

PROOFS = {
    "example": "makes the example",
    "reference": "makes the reference rows, for the proof and for ranges",
    "metrics": "metrics: computed when the release is made",
    "check": "a check: asked when the release is made",
}
"""The tags of cells that no request runs, and what their lines are for."""

SHOWN = 2
"""How many readers are named before the others are only counted."""


@dataclass(frozen=True, slots=True)
class Why:
    """Where something stands and why: `reason` is a word for programs, `text` a line for people."""

    standing: Standing
    reason: str
    text: str
    modules: tuple[str, ...] = ()


class Reasons:
    """Answers why each statement of a notebook is in or out."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._binds = self._state_by_statement(binds=True)
        self._changes = self._state_by_statement(binds=False)
        self._behind = self._state_behind()
        self._import_users = self._users_of_imports()
        self._refused = {
            (f.cell, f.line): f.code for f in view.findings if f.severity == "error" and view.bundle is None
        }
        self._example_cells = {cell.id for cell in view.layout.example}
        self._proofs = self._behind_proofs()
        self._answering = self._behind_roles()
        self._in_skipped = _read_in_skipped(view)

    def why(self, statement: Statement) -> Why:
        """Why a statement is in the package, perhaps in it, or out of it."""
        return self._inside(statement) or self._perhaps(statement) or self._outside(statement)

    # -- in

    def _inside(self, statement: Statement) -> Why | None:
        body = self.view.bodies.get(statement.index)
        if body is not None:
            return self._own_line(body.role, statement)
        unit = self.view.needed.get(statement.index)
        if unit is not None:
            return self._unit(statement)
        return self._import(statement)

    def _own_line(self, role: Role, statement: Statement) -> Why:
        held = self.view.modules(statement)
        into = self._into(tuple(m for m in held if m == f"{role}.py") or (f"{role}.py",))
        text = f"{into}: the {role} role's own line{self._given(role, statement)}"
        if elsewhere := [link for link in self._sure(statement) if link.role != role]:
            text += f"; {_used(elsewhere)}"
        return Why("in", "role", text, held)

    def _given(self, role: Role, statement: Statement) -> str:
        stages = self.view.layout.stages
        stage = next((s for s in stages if s.role == role), None)
        body = self.view.layout.codes[role].body
        if stage is None or stage.result != "expression" or statement is not body[-1]:
            return ""
        return "; its value is the answer" if stage is stages[-1] else "; its value goes to the next role"

    def _unit(self, statement: Statement) -> Why:
        held = self.view.modules(statement)
        links = self._sure(statement)
        entry = next((r for r, root in self.view.slice.roots.items() if root.statement is statement), None)
        if entry is not None:
            used = f"; {_used(links)}" if links else ""
            into = self._into(held or (f"{entry}.py",))
            return Why(
                "in", "entry", f"{into}: the {entry} role's function, called for each request{used}", held
            )
        constant = statement.kind == "constant"
        why = _used(links) if links else self._remembered(statement)
        text = f"{'constant ' if constant else ''}{self._into(held)}: {why}"
        return Why("in", "constant" if constant else "needed", text, held)

    def _remembered(self, statement: Statement) -> str:
        """Of what no code reads by its name: which definition it registers itself with."""
        others = [u for u in self.view.slice.units.values() if u.statement not in (None, statement)]
        knowing = [u.statement for u in others for t in u.needs.values() if statement in t.statements]
        return f"`{label(knowing[0])}` remembers it" if knowing and knowing[0] else "other code needs it"

    def _import(self, statement: Statement) -> Why | None:
        links = [link for link in self._sure(statement) if link.target.kind == "import"]
        if not links:
            return None
        held = tuple(dict.fromkeys(m for link in links for m in self._home(link)))
        unused = [n for n in names_bound(statement) if n != "*" and n not in {link.name for link in links}]
        rest = f"; {_quoted(unused)} {'stays' if len(unused) == 1 else 'stay'} out" if unused else ""
        if statement.kind != "import":
            rest = "; the rest of the statement stays out"
        text = f"import {self._into(held)}: {_used(links)}{rest}"
        return Why("in", "import", text, tuple(sorted(held)))

    def _home(self, link: Link) -> tuple[str, ...]:
        """The module in which a link's reader stands."""
        if link.unit.statement is None:
            return (f"{link.unit.role}.py",)
        return self.view.modules(link.unit.statement)

    def _into(self, modules: Sequence[str]) -> str:
        if self.view.bundle is None:
            return f"would be in {' and '.join(modules) or 'the package'}"
        return f"in {' and '.join(modules)}"

    def _sure(self, statement: Statement) -> list[Link]:
        """Links to a statement as code, from what is in the package."""
        links = self.view.readers.get(statement.index, [])
        return [link for link in links if link.target.kind != "state" and link.unit in self.view.sure]

    # -- perhaps in

    def _perhaps(self, statement: Statement) -> Why | None:
        links = [k for k in self.view.readers.get(statement.index, []) if k.target.kind != "state"]
        if statement.index not in self.view.maybe and not (statement.kind == "import" and links):
            return None
        keys = self._behind.get(statement.index, ())
        if keys and statement.kind != "import":
            told = f"only if the captured {_quoted(keys)} refers to `{label(statement)}`"
        elif links:
            told = f"only if {links[0].reader} goes along, which captured state may refer to"
        else:
            told = f"only if captured state refers to `{label(statement)}`"
        return Why("perhaps", "embedded", f"perhaps in: {told}; the clean run sees that")

    # -- out

    def _outside(self, statement: Statement) -> Why:
        if refusal := self._refusal(statement):
            return Why("out", "refused", f"out as it is: refused, {refusal}")
        kind = {"import": "import ", "constant": "constant "}.get(statement.kind, "")
        for find in (
            self._magic,
            self._unread_role,
            self._makes_state,
            self._feeds_state,
            self._example,
            self._answers,
            self._not_meant,
            self._only_shows,
            self._tagged,
            self._unused_import,
            self._for_proofs,
            self._shown_or_asserted,
            self._uncalled,
        ):
            found = find(statement)
            if found is not None:
                return Why("out", found[0], f"{kind}out: {found[1]}")
        return Why("out", "unneeded", f"{kind}out: nothing that serving needs")

    def _refusal(self, statement: Statement) -> str | None:
        lines = range(statement.first, statement.last + 1)
        codes = (self._refused.get((statement.cell.id, line)) for line in lines)
        return next((code for code in codes if code is not None), None)

    def _magic(self, statement: Statement) -> tuple[str, str] | None:
        if statement.kind != "magic":
            return None
        return "magic", "a magic or shell line: it speaks to the notebook, not to production"

    def _unread_role(self, statement: Statement) -> tuple[str, str] | None:
        for role, code in self.view.layout.codes.items():
            if role not in self.view.slice.roots and (statement in code.body or statement is code.entry):
                return "unread", f"no later role reads what the {role} role gives"
        return None

    def _makes_state(self, statement: Statement) -> tuple[str, str] | None:
        if keys := self._binds.get(statement.index):
            what = "a literal; its value" if statement.kind == "constant" else "training; its result"
            what = "a parameter; its value" if "parameters" in statement.cell.tags else what
            result = f"{what} {self._named(keys)} becomes"
        elif keys := self._changes.get(statement.index):
            result = f"training; it changes {self._named(keys)}, which becomes"
        else:
            return None
        readers = self._state_readers(keys)
        if all(self.view.optional(key) for key in keys):
            return "state", f"{result} state only if {readers} goes along, which captured state may refer to"
        return "state", f"{result} state, read by {readers}"

    def _named(self, keys: Sequence[str]) -> str:
        """The names of some state; the key too where one name has several values."""
        names = {key: self.view.state[key].name for key in keys}
        return _listed([f"`{n}`" if n == key else f"`{n}` (`{key}`)" for key, n in names.items()])

    def _state_readers(self, keys: Iterable[str]) -> str:
        wanted = set(keys)
        links = [k for k in self.view.links if k.target.kind == "state" and k.target.key in wanted]
        return _told([link.reader for link in links])

    def _feeds_state(self, statement: Statement) -> tuple[str, str] | None:
        keys = self._behind.get(statement.index)
        if not keys:
            return None
        what = "a parameter of training" if "parameters" in statement.cell.tags else "training"
        if statement.kind == "import":
            return None
        if statement.kind in ("constant", "definition"):
            return "training", f"only training uses `{label(statement)}`"
        state = "the state " if len(keys) == 1 else ""
        return "training", f"{what}; {state}{_quoted(keys)} {_are(keys)} made from it"

    def _example(self, statement: Statement) -> tuple[str, str] | None:
        if statement.cell.id not in self._example_cells or statement.kind not in ("value", "constant"):
            return None
        bound = [n for n in names_bound(statement) if n in self.view.layout.request]
        if not bound and is_display(statement, self.view.program):
            return None
        made = f"the example: {_quoted(bound)} {_are(bound)} what a request brings"
        return "example", made if bound else PROOFS["example"]

    def _answers(self, statement: Statement) -> tuple[str, str] | None:
        role = self._answering.get(statement.index)
        if role is None:
            return None
        return "outside", f"computed from the example outside the role cells; the {role} role needs it"

    def _not_meant(self, statement: Statement) -> tuple[str, str] | None:
        for name in names_bound(statement):
            if meant := self.view.meant.get(name):
                reason, why = superseded(statement.index, [self.view.program.statements[i] for i in meant])
                return reason, f"binds `{name}`, but {why}"
        return None

    def _only_shows(self, statement: Statement) -> tuple[str, str] | None:
        return ("shows", "only shows something") if is_display(statement, self.view.program) else None

    def _tagged(self, statement: Statement) -> tuple[str, str] | None:
        tag = next((tag for tag in PROOFS if tag in statement.cell.tags), None)
        if tag is None or tag == "example" or statement.kind == "import":
            return None
        return tag, PROOFS[tag]

    def _unused_import(self, statement: Statement) -> tuple[str, str] | None:
        if statement.kind != "import":
            return None
        users = self._import_users.get(statement.index, [])
        if not users:
            only = statement.names.may & self._in_skipped
            return "unused", "only cells tagged `skip` use it" if only else "nothing uses it"
        training = [s for s in users if s.index in self._behind]
        if training:
            return "training", f"only training uses it ({place(training[0])})"
        if all(is_display(s, self.view.program) for s in users):
            return "shows", f"only what shows something uses it ({place(users[0])})"
        return "unneeded", f"only what stays behind uses it ({place(users[0])})"

    def _for_proofs(self, statement: Statement) -> tuple[str, str] | None:
        tags = self._proofs.get(statement.index)
        if not tags:
            return None
        cells = _listed([f"the {tag} cell" for tag in tags])
        needs = "needs" if len(tags) == 1 else "need"
        return tags[0], f"{cells} {needs} `{label(statement)}`, serving does not"

    def _shown_or_asserted(self, statement: Statement) -> tuple[str, str] | None:
        found = statement.names
        if isinstance(statement.node, ast.Assert):
            return "check", "only checks something"
        last = self.view.program.of_cell(statement.cell)[-1] is statement
        if last and isinstance(statement.node, ast.Expr) and not found.may | found.mutates:
            return "shows", "only shows something"
        return None

    def _uncalled(self, statement: Statement) -> tuple[str, str] | None:
        if statement.kind != "definition":
            return None
        return "unneeded", f"no role needs `{label(statement)}`"

    # -- what the whole notebook says of a statement

    def _behind_roles(self) -> dict[int, Role]:
        """By index: what is computed from the example outside the roles, and the role that needs it."""
        program, found = self.view.program, dict[int, Role]()
        for role, code in self.view.layout.codes.items():
            for read in live_reads(code):
                start = program.start(read.statement.cell)
                behind = self.view.ancestry.of(program.reaching(read.name, start).bindings, start).statements
                for index in behind.keys() & self.view.layout.tainted - self.view.bodies.keys():
                    found.setdefault(index, role)
        return found

    def _state_by_statement(self, *, binds: bool) -> dict[int, tuple[str, ...]]:
        """By index: the state that a statement binds, or changes before it is captured."""
        found: dict[int, tuple[str, ...]] = {}
        for key, behind in self.view.lineages.items():
            for statement in behind.direct:
                if binds == (self.view.state[key].name in statement.names.may):
                    found[statement.index] = (*found.get(statement.index, ()), key)
        return found

    def _state_behind(self) -> dict[int, tuple[str, ...]]:
        found: dict[int, tuple[str, ...]] = {}
        for key, behind in self.view.lineages.items():
            for index in behind.statements:
                found[index] = (*found.get(index, ()), key)
        return found

    def _users_of_imports(self) -> dict[int, list[Statement]]:
        program = self.view.program
        imported = {n for s in program.statements if s.kind == "import" for n in s.names.may}
        found: dict[int, list[Statement]] = {}
        for statement in program.statements:
            for name in imported & (statement.names.reads | statement.names.deferred):
                for binding in program.reaching(name, statement.index).bindings:
                    found.setdefault(binding.index, []).append(statement)
        return found

    def _behind_proofs(self) -> dict[int, tuple[str, ...]]:
        """By index: the tags of the cells that make the example or prove the release from a statement."""
        program = self.view.program
        found: dict[int, tuple[str, ...]] = {}
        for tag in PROOFS:
            own = [s for c in program.notebook.tagged(tag) for s in program.of_cell(c)]
            for index in self.view.ancestry.of(own).statements:
                found[index] = (*found.get(index, ()), tag)
        return found


def _read_in_skipped(view: View) -> set[str]:
    """The names that cells tagged `skip` mention, as far as they are Python."""
    found: set[str] = set()
    for cell in view.program.notebook.tagged("skip"):
        try:
            found |= {n.id for n in ast.walk(parse(cell.code)) if isinstance(n, ast.Name)}
        except NOT_PYTHON:
            continue
    return found


def superseded(index: int, meant: Sequence[Statement]) -> tuple[str, str]:
    """Why serving code does not mean the binding by statement `index`, but one of `meant`."""
    later = [s for s in meant if s.index > index]
    if later:
        return "replaced", f"{place(later[0])} binds it anew before serving code reads it"
    return "later", f"serving code means the one from {place(meant[-1])}"


def _used(links: Sequence[Link]) -> str:
    """`f` is called by …, for one name; for several names, each in turn."""
    by_name: dict[str, list[Link]] = {}
    for link in links:
        by_name.setdefault(link.name, []).append(link)
    parts = [f"`{n}` is {found[0].how} by {_told([k.reader for k in found])}" for n, found in by_name.items()]
    return "; ".join(parts)


def _told(readers: Sequence[str]) -> str:
    """The first readers by name, the rest as a count."""
    unique = list(dict.fromkeys(readers))
    if len(unique) <= SHOWN:
        return " and ".join(unique)
    more = len(unique) - SHOWN
    return f"{', '.join(unique[:SHOWN])} and {more} more"


def _quoted(names: Iterable[str]) -> str:
    return _listed([f"`{name}`" for name in names])


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
