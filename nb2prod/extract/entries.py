"""Which function of a role cell is the role's, and what it is called with.

A function may be written by `def` or `lambda`, made by a partial or a factory, or be the method of an object.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from nb2prod.domain import Role
from nb2prod.extract import names
from nb2prod.extract.defined import own_parts
from nb2prod.extract.program import Program, Statement

_METHODS_TEXT = (
    "apply decision_function encode inverse_transform predict predict_log_proba predict_proba score_samples"
    " transform"
)
_METHODS = frozenset(_METHODS_TEXT.split())
"""Methods of fitted objects that answer requests."""

_GETTERS = ("operator.attrgetter", "operator.itemgetter")


def with_methods(program: Program) -> Program:
    """The program with `predict = model.predict` for a function, in role cells that hold no other code.

    So is `predict = score`, where that is a function.
    """
    statements = list(program.statements)
    for cell in program.notebook.code:
        inside = program.of_cell(cell) if cell.roles and "skip" not in cell.tags else ()
        if all(is_declaration(s) or _is_other_name(s, program) for s in inside):
            for s in inside:
                statements[s.index] = replace(s, kind="definition") if _is_other_name(s, program) else s
    return replace(program, statements=tuple(statements))


def is_declaration(statement: Statement) -> bool:
    """Whether a statement only binds names for later: it computes nothing."""
    node = statement.node
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return (
        statement.kind in ("import", "definition", "constant", "magic") or text or isinstance(node, ast.Pass)
    )


def _is_other_name(statement: Statement, program: Program) -> bool:
    match statement.node:
        case ast.Assign(targets=[ast.Name()], value=ast.Attribute(attr=method) as value):
            return names.root_name(value) is not None and method in _METHODS | program.methods
        case ast.Assign(targets=[ast.Name()], value=ast.Name(id=name)):
            only = program.reaching(name, statement.index).only
            return only is not None and arguments_of(program, only) is not None
    return False


def entry_of(program: Program, statements: Iterable[Statement], role: Role) -> Statement | None:
    """The function named like the role, else the last one that no other function calls."""
    functions = [s for s in statements if arguments_of(program, s) is not None]
    named = [s for s in functions if role in s.names.must]
    used = {name for s in functions for name in (s.names.reads | s.names.deferred) - s.names.must}
    free = [s for s in functions if not s.names.must & used]
    return next(iter([*reversed(named), *reversed(free), *reversed(functions)]), None)


def arguments_of(program: Program, statement: Statement) -> ast.arguments | None:
    """What the function that a statement binds to a name takes; None of other statements."""
    match statement.node:
        case ast.FunctionDef(args=arguments) | ast.AsyncFunctionDef(args=arguments):
            return arguments
        case ast.Assign(value=ast.Lambda(args=arguments)):
            return arguments
        case ast.Assign(targets=[ast.Name()], value=ast.Attribute()) if statement.kind == "definition":
            return _one()
        case ast.Assign(targets=[ast.Name()], value=ast.Name() as value) if statement.kind == "definition":
            return _of_value(program, value, statement.index)
        case ast.Assign(targets=[ast.Name()], value=ast.Call() as call) if statement.kind == "definition":
            return _of_made(program, call, statement.index)
    return None


def _of_made(program: Program, call: ast.Call, position: int) -> ast.arguments | None:
    """What a function takes that a call makes."""
    function = program.changes.resolved(names.dotted(call.func))
    if function in _GETTERS:
        return _one()
    if function == "functools.partial" and call.args:
        whole = _of_value(program, call.args[0], position)
        return _less(whole, call) if whole is not None else None
    factory = program.reaching(names.dotted(call.func), position).only
    if factory is None or not isinstance(factory.node, ast.FunctionDef):
        return None
    own = list(own_parts(factory.node))
    inside = {n.name: n.args for n in own if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    given = [r.value for r in own if isinstance(r, ast.Return)]
    found = [v.args if isinstance(v, ast.Lambda) else inside.get(getattr(v, "id", "")) for v in given]
    alike = len({ast.dump(one) if one is not None else "" for one in found}) == 1
    return found[0] if alike else None


def _of_value(program: Program, node: ast.expr, position: int) -> ast.arguments | None:
    """What a function takes that is given to a partial; of a library's, and of methods, nothing is known."""
    if isinstance(node, ast.Lambda):
        return node.args
    only = program.reaching(node.id, position).only if isinstance(node, ast.Name) else None
    return arguments_of(program, only) if only is not None and only.kind != "import" else _one()


def _one() -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=[ast.arg("value")], kwonlyargs=[], kw_defaults=[], defaults=[])


def _less(whole: ast.arguments, call: ast.Call) -> ast.arguments | None:
    """What is left for the callers of a partial: from the first keyword given, all go by name."""
    given = {k.arg for k in call.keywords}
    if None in given or any(isinstance(a, ast.Starred) for a in call.args):
        return None
    every = [*whole.posonlyargs, *whole.args]
    required = every[: len(every) - len(whole.defaults)]
    left = every[len(call.args) - 1 :]
    first = next((i for i, a in enumerate(left) if a.arg in given), len(left))
    pairs = zip(whole.kwonlyargs, whole.kw_defaults, strict=True)
    by_name = [(a, a in required and a.arg not in given) for a in left[first:]]
    by_name += [(a, default is None and a.arg not in given) for a, default in pairs]
    return ast.arguments(
        posonlyargs=[],
        args=left[:first],
        vararg=whole.vararg,
        kwonlyargs=[a for a, _ in by_name],
        kw_defaults=[None if needed else ast.Constant(None) for _, needed in by_name],
        kwarg=whole.kwarg,
        defaults=[ast.Constant(None) for a in left[:first] if a not in required],
    )


def to_call(program: Program, last: Statement) -> str | None:
    """The name of what a statement binds, if it is plainly something to call."""
    match last.node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            kinds = program.changes.kinds(name)
            own = bool(kinds) and any(program.changes.methods("__call__", kinds))
            method = isinstance(value, ast.Attribute) and not value.attr.endswith("_")
            callable_ = own or method or "functools.partial" in kinds
            return name if callable_ or program.changes.makes_definition(last.node) else None
    return None


def is_async(program: Program, statement: Statement) -> bool:
    """Whether what a statement binds gives a coroutine when it is called."""
    match statement.node:
        case ast.AsyncFunctionDef():
            return True
        case ast.Assign(value=ast.Name(id=name)) | ast.Assign(value=ast.Call(args=[ast.Name(id=name), *_])):
            only = program.reaching(name, statement.index).only
            return only is not None and only.kind == "definition" and is_async(program, only)
    return False
