"""What the slicer refuses, in words: each with its place and the edit that would satisfy it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import TypeGuard

from nb2prod.domain import Diagnostic, Role
from nb2prod.extract import defined, effects, ipython, making, names, usage
from nb2prod.extract.applied import defaults, may_change
from nb2prod.extract.findings import at, line_that_changes, place
from nb2prod.extract.imports import is_star
from nb2prod.extract.program import Program, Statement
from nb2prod.extract.rolecode import RoleCode


def from_request(
    name: str, binding: Statement, reader: Statement, *, in_role: bool, bound: bool = True
) -> Diagnostic:
    """NB204, NB216: a name depends on the request, and no role before the reader gives it."""
    if in_role:
        return at(
            reader,
            "NB216",
            f"`{name}` is the result of a later or function-style role ({place(binding)})",
            f"Tag cell {binding.cell.number} with an earlier role: each reads what those before it give,"
            " in the order preprocess, model, postprocess.",
        )
    how = "computed from the example" if bound else "changed by what is computed from the example"
    return at(
        binding,
        "NB204",
        f"`{name}` is {how} here, outside the role cells, and read in {place(reader)}",
        "Tag this cell with the role it belongs to, or move the line into the role cell.",
    )


def unbound(program: Program, name: str, position: int, reader: Statement) -> Diagnostic:
    """NB201 to NB206, NB123, NB126: why nothing binds a name by then."""
    if ipython.is_own(name):
        return ipython.only_there(name, reader)
    deleted = program.reaching(name, position).deleted
    if deleted is not None:
        why = f"`{name}` is read here, but {place(deleted)} deletes it"
        return at(reader, "NB206", why, "Delete it after the role cells, or not at all.")
    if name in program.skipped:
        cell = program.skipped[name]
        why = f"`{name}` is read here, but only cell {cell.number} binds it, which is tagged `skip`"
        return at(reader, "NB202", why, f"Remove the tag `skip` from cell {cell.number}.")
    later = program.bound_after(name, position)
    if later is not None and later is not reader:
        why = f"`{name}` is read here, but bound only later, in {place(later)}"
        own = later.cell.id == reader.cell.id
        what = f"line {later.node.lineno}" if own else f"cell {later.cell.number}"
        return at(reader, "NB203", why, f"Move {what} up, before this {'line' if own else 'one'}.")
    if where := ipython.perhaps_bound(program, name, position):
        return ipython.elsewhere(name, where, reader)
    bound = {known for s in program.statements[:position] for known in s.names.may}
    close = difflib.get_close_matches(name, sorted(bound), n=1, cutoff=0.75)
    meant = f"Did you mean `{close[0]}`? Else bind" if close else "Bind"
    hint = f"{meant} `{name}` in an earlier cell, or correct the name."
    return at(reader, "NB201", f"`{name}` is read here, but nothing binds it", hint)


def unknown_star(program: Program, position: int, name: str) -> Statement | None:
    """The last `from module import *` above a position of which nobody has said yet what it brings."""
    deleted = program.reaching(name, position).deleted is not None
    if name == "get_ipython" or name in program.skipped or deleted:
        return None
    stars = (s for s in program.statements[:position] if is_star(s.node))
    unknown = [s for s in stars if getattr(s.node, "module", "") not in program.notebook.stars]
    return unknown[-1] if unknown else None


def from_star(name: str, star: Statement, reader: Statement) -> Diagnostic:
    """NB205, a note: a name is taken to come from a star import; the kernel will be asked."""
    module = getattr(star.node, "module", "module")
    return at(
        reader,
        "NB205",
        f"`{name}` is taken to come from `import *` in {place(star)}: validation asks the kernel",
        f"Import it by name to be sure: `from {module} import {name}`.",
        "info",
    )


def global_writes(statement: Statement) -> Iterator[Diagnostic]:
    """NB209: serving code rebinds globals."""
    read = {n.id for n in ast.walk(statement.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for name in sorted(statement.names.writes_global):
        hint = f"Drop `global {name}` and return the value under a local name"
        if name not in read:
            hint = f"Drop this line and `global {name}`: no answer reads it"
        yield at(
            statement,
            "NB209",
            f"serving code rebinds the notebook's `{name}` (`global {name}`)",
            f"{hint}; replicas share nothing, and requests come in any order.",
            line=line_that_changes(statement.node, name),
        )


def hidden_argument(name: str, binder: Statement, helper: Statement) -> Diagnostic:
    """NB212: a helper reads a global that a role's code binds or changes: in the package it is a local."""
    how = "bound" if name in binder.names.may | binder.names.deletes else "changed"
    return at(
        binder,
        "NB212",
        f"`{name}` is {how} here and read by a function of the notebook ({place(helper)})",
        f"Pass `{name}` to the function as an argument, or give it another name here.",
    )


def reads_request(name: str, helper: Statement) -> Diagnostic:
    """NB212: a helper reads the request as a global: in the package that is an argument of the roles."""
    return at(
        helper,
        "NB212",
        f"this function or class reads `{name}`, which the example binds: another request would not reach it",
        f"Pass `{name}` to it as an argument.",
    )


def imported_anew(name: str, where: Statement, role: Role) -> Diagnostic:
    """NB217: an import in role code gives another meaning to a name that the role has used."""
    return at(
        where,
        "NB217",
        f"`{name}` is imported here, and stands for something else elsewhere in the {role} cell",
        f"Give one of the two another name than `{name}`: `from … import … as …`.",
    )


def two_definitions(name: str, bindings: Iterable[Statement], reader: Statement) -> Diagnostic:
    """NB213: which definition counts depends on what ran."""
    others = " and ".join(place(b) for b in bindings)
    return at(
        reader,
        "NB213",
        f"`{name}` may be what {others} defines: it depends on what ran",
        f"Define `{name}` once, without a condition.",
    )


def two_moments(name: str, event: Statement, helper: Statement) -> Diagnostic:
    """NB214: a global changes between two moments at which a definition reads it."""
    return at(
        event,
        "NB214",
        f"`{name}` changes here, between two moments at which {place(helper)} reads it for serving",
        "Give the two values two names, or pass the value as an argument.",
    )


def two_meanings(name: str, one: Statement, other: Statement) -> Diagnostic:
    """NB214: one name stands for two values in a module."""
    return at(
        other,
        "NB214",
        f"`{name}` stands for another value here than in {place(one)}, and serving needs both",
        "Give the two values two names.",
    )


def shadowing(name: str, reader: Statement) -> Diagnostic:
    """NB217: role code takes the name of an import for a value."""
    return at(
        reader,
        "NB217",
        f"`{name}` is imported, and the role code binds the same name anew",
        f"Give the new value another name than `{name}`.",
    )


def changed_state(name: str, where: Statement) -> Diagnostic:
    """NB218, a warning: role code changes state in place; in the package each request does so to a copy."""
    found = usage.of(where.node)
    itself = name in found.mutates | found.augments
    what = f"changes `{name}` in place" if itself else f"may change `{name}` in place, by what it calls"
    return at(
        where,
        "NB218",
        f"the role code {what}: each request works on a copy of `{name}` as it was before this cell, and"
        " nothing is remembered from one request to the next",
        f"To say that it is meant, make the copy yourself: `{name} = copy.deepcopy({name})` above this line.",
        "warning",
    )


def counts_calls(statement: Statement) -> Iterator[Diagnostic]:
    """NB228: a decorator gives a function that rebinds what it holds with each call."""
    for name, line in making.rebound(statement.node):
        message = f"what this makes rebinds `{name}` when it is called: the next request would differ"
        hint = f"Pass `{name}` to the function as an argument, or return the new value."
        yield at(statement, "NB228", message, hint, line=line)


def unseen_names(statement: Statement) -> Iterator[Diagnostic]:
    """NB230: serving code reads names by their text, so that nothing shows what it needs."""
    walked = list(ast.walk(statement.node))
    for call in statement.names.dynamic:
        yield at(
            statement,
            "NB230",
            f"serving code calls `{call}(...)`, which reads names that cannot be seen in the text",
            "Read the names directly, or keep the values in a dict and look them up there.",
            line=min((n.lineno for n in walked if _is_call_of(n, call)), default=None),
        )
    asked = [n.lineno for n in walked if isinstance(n, ast.Attribute) and n.attr == "__subclasses__"]
    if asked:
        yield at(
            statement,
            "NB230",
            "serving code asks for `__subclasses__()`, which are whatever the notebook has defined by then",
            "Keep the classes in a list or dict, below the last one, and read that.",
            line=min(asked),
        )


def _is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def own_name(statement: Statement) -> Iterator[Diagnostic]:
    """NB235: code that asks whether it runs as the main program gets another answer in the package."""
    for node in ast.walk(statement.node):
        if isinstance(node, ast.Compare) and any(
            isinstance(part, ast.Name) and part.id == "__name__" for part in (node.left, *node.comparators)
        ):
            yield at(
                statement,
                "NB235",
                '`__name__` is "__main__" in the notebook, but not in the package',
                "Remove the condition on `__name__`: role cells run only when they are meant to.",
                line=node.lineno,
            )


def local_name(statement: Statement) -> Iterator[Diagnostic]:
    """NB235: a class in a block of a role is called otherwise once the role is a function."""
    for node in ast.walk(statement.node):
        if isinstance(node, ast.ClassDef) and node is not statement.node and making.shows_name(node):
            message = f"`{node.name}` may show where it is defined, which in the package is inside a function"
            hint = "Define it at the top of a cell above the role cells."
            yield at(statement, "NB235", message, hint, line=node.lineno)


def read_past_class(statement: Statement, local: Collection[str]) -> Iterator[Diagnostic]:
    """NB235: the body of a class in a role reads a name that it binds too: inside a function it then looks
    for that name among those of the module, never among those of the function."""
    todo: list[ast.AST] = [statement.node]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ClassDef):
            body = usage.of(node.body)
            for name in sorted(body.reads & body.may & set(local)):
                message = f"`{node.name}` binds `{name}` and reads the role's `{name}`, which a class in a"
                hint = f"Give the role's `{name}` a name of its own, and read that: `{name} = role_{name}`."
                yield at(statement, "NB235", f"{message} function cannot do", hint, line=node.lineno)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def changed_default(statement: Statement, program: Program) -> Iterator[Diagnostic]:
    """NB231: a function changes the default of a parameter, which all its calls share."""
    for name, node in defined.functions_in(statement.node):
        changed = program.changes.parameters(node)
        for parameter, default in defaults(node.args):
            if parameter in changed and may_change(default) and not _is_literal(default, statement, program):
                yield at(
                    statement,
                    "NB231",
                    f"`{name}` changes the default of its parameter `{parameter}`, which all calls share:"
                    " each answer would depend on the calls before it",
                    f"Write `{parameter}=None`, and make the value inside the function.",
                )


def _is_literal(default: ast.expr, statement: Statement, program: Program) -> bool:
    """Whether a default is the name of a constant that nothing can change."""
    name = default.id if isinstance(default, ast.Name) else ""
    return program.is_immutable(name, statement.index)


def training(
    code: RoleCode, program: Program, inputs: Iterable[str], state: Iterable[str]
) -> Iterator[Diagnostic]:
    """NB232: role code trains: on data of the notebook, or what the notebook has fitted, on the request."""
    fed, fitted = {*code.bound.may, *inputs}, set(state)
    for statement in code.body:
        for method, root, read in _fits(statement.node):
            given = {name for name in read if name in fed or program.holds_value(name, statement.index)}
            if root in fitted and given & fed:
                yield at(
                    statement,
                    "NB232",
                    f"the {code.role} cell fits `{root}` anew (`.{method}`) on each request",
                    f"Fit `{root}` before the role cells; here, only use it: `.transform`, `.predict`.",
                )
            elif given and not given & fed:
                data = ", ".join(f"`{name}`" for name in sorted(given))
                yield at(
                    statement,
                    "NB232",
                    f"the {code.role} cell trains (`.{method}`) on {data}: it would do so with every request",
                    "Move the training to a cell of its own above; leave only what answers a request here.",
                )


def _fits(node: ast.stmt) -> Iterator[tuple[str, str | None, set[str]]]:
    """Calls that train: the method, the name that it is called on, and those that the arguments read."""
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Attribute(attr=method) as func) if method in effects.FITS:
                given = [usage.of_expression(a) for a in [*call.args, *(k.value for k in call.keywords)]]
                yield method, names.root_name(func), {name for found in given for name in found.reads}


def made_anew(statement: Statement) -> Iterator[Diagnostic]:
    """NB237: a definition trains, reads a file or draws a random number as it is made."""
    if statement.differs is not None:
        yield at(
            statement,
            "NB237",
            "this trains, draws at random or reads from outside as the function or class is made: the package"
            " would do so again, whenever it is imported",
            "Do that in a line above, give the value a name, and use the name here: it is captured.",
            line=statement.differs,
        )


def changed_in_cell(name: str, event: Statement, definition: Statement) -> Diagnostic:
    """NB219: a value used in a definition changes later in the same cell."""
    anew = name in event.names.may
    return at(
        event,
        "NB219",
        f"`{name}` changes later in the cell that defines a function from it ({place(definition)})",
        "Put this line into a cell of its own, after the definition."
        if anew
        else "Move this line up, before the definition.",
    )


def patched(path: str, event: Statement) -> Diagnostic:
    """NB227: the notebook sets an attribute of a library that serving uses."""
    return at(
        event,
        "NB227",
        f"`{path}` of a library is set here: in the package the library is as it was installed",
        "Write a function or a subclass of your own, and call that.",
        line=line_that_changes(event.node, path.partition(".")[0]),
    )


def changed_after(name: str, event: Statement, definition: Statement, *, anew: bool) -> Diagnostic:
    """NB219: what a definition has read is changed afterwards, and its name then given to another value.

    Or the definition has computed with it, so that it may hold a copy.
    """
    taken = f"`{name}` is changed here, after {place(definition)} has"
    if not anew:
        hint = "Change it before the definition, or make a copy in a line above that, and use the copy there."
        return at(event, "NB219", f"{taken} made a definition with it", hint)
    return at(
        event,
        "NB219",
        f"{taken} taken it into a definition, and later bound to another value",
        "Change it before the definition, or give the two values two names.",
    )
