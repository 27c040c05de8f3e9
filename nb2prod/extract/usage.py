"""What a piece of Python reads, binds and changes: the walk over its statements and expressions.

A read is *immediate* when running the statement reads the name, and *deferred* when only a later call of a
function made by the statement does. Reads count only where nothing before them in the same piece must have
bound the name.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nb2prod.extract import effects
from nb2prod.extract.names import Call, Function, Names, call_of, dotted, root_name

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_QUERY_NAME = re.compile(r"@([A-Za-z_]\w*)")
_DYNAMIC = frozenset({"eval", "exec", "globals", "locals", "vars"})


def of(statements: ast.stmt | Iterable[ast.stmt]) -> Names:
    """The names of statements that run one after the other."""
    result = Names()
    for statement in [statements] if isinstance(statements, ast.stmt) else statements:
        result.then(_statement(statement))
    return result


def of_expression(node: ast.expr | None) -> Names:
    """The names of one expression."""
    result = Names()
    if node is not None:
        _expression(node, result)
    return result


@dataclass(frozen=True, slots=True)
class Body:
    """A function from inside: its parameters in order, its local names and the names of its body."""

    parameters: tuple[str, ...]
    local: frozenset[str]
    names: Names
    declared: frozenset[str]
    """Names declared `global`."""


def body_of(node: Function) -> Body:
    """A function from inside."""
    parameters = tuple(a.arg for a in _parameters(node.args))
    # in a function a name is local or not for the whole body, wherever it is bound
    body = of_expression(node.body) if isinstance(node, ast.Lambda) else of(node.body)
    declared = _declared_global(node)
    local = {*parameters, *_type_parameters(node)} | (body.may - declared)
    return Body(parameters, frozenset(local), body, frozenset(declared))


def _free_names(node: Function) -> Names:
    """What calling a function reads (`reads`) and rebinds (`writes_global`) outside itself."""
    inside = body_of(node)
    body = inside.names
    result = Names(dynamic=dict(body.dynamic), hints=set(body.hints))
    result.reads = (body.reads | body.deferred) - inside.local
    result.writes_global = (body.may & inside.declared) | body.writes_global
    result.mutates = (body.mutates | (body.augments & inside.declared)) - inside.local
    return result


def _parameters(node: ast.arguments) -> list[ast.arg]:
    found = [*node.posonlyargs, *node.args, *node.kwonlyargs, node.vararg, node.kwarg]
    return [parameter for parameter in found if parameter is not None]


def _type_parameters(node: ast.AST) -> set[str]:
    """The names in `def f[T](...)` and `class C[T]` (Python 3.12)."""
    return {parameter.name for parameter in getattr(node, "type_params", ())}


def _declared_global(node: ast.AST) -> set[str]:
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Global):
            found |= set(child.names)
        elif not isinstance(child, (*_FUNCTIONS, ast.Lambda, ast.ClassDef)):
            found |= _declared_global(child)
    return found


# --- statements ----------------------------------------------------------------------------------


def _statement(node: ast.stmt) -> Names:
    result = Names()
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            _function(node, result)
        case ast.ClassDef():
            _class(node, result)
        case ast.Import() | ast.ImportFrom():
            result.bind((a.asname or a.name).partition(".")[0] for a in node.names if a.name != "*")
        case ast.Assign():
            _expression(node.value, result)
            for target in node.targets:
                _target(target, result)
        case ast.AnnAssign():
            result.then(of_expression(node.value))
            result.then(_annotation(node.annotation))
            _target(node.target, result, binds=node.value is not None)
        case ast.AugAssign():
            _augmented(node, result)
        case ast.Delete():
            for target in node.targets:
                _delete(target, result)
        case ast.If() | ast.While() | ast.For() | ast.AsyncFor() | ast.Match():
            _branching(node, result)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                _expression(item.context_expr, result)
                if item.optional_vars is not None:
                    _target(item.optional_vars, result)
            body = of(node.body)
            result.either([body, Names()] if _suppresses(node) else [body])
        case ast.Try() | ast.TryStar():
            _try(node, result)
        case _:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    _expression(child, result)
    return result


def _suppresses(node: ast.With | ast.AsyncWith) -> bool:
    """`with suppress(KeyError):` may leave its body anywhere."""
    calls = (item.context_expr for item in node.items)
    return any(isinstance(c, ast.Call) and dotted(c.func).endswith("suppress") for c in calls)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, result: Names) -> None:
    for expression in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
        result.then(of_expression(expression))
    result.then(_annotation(node.returns))
    for parameter in _parameters(node.args):
        result.then(_annotation(parameter.annotation))
    result.reads -= _type_parameters(node)
    result.defer(_free_names(node))
    _registered(node.decorator_list, result)
    result.bind({node.name})


def _registered(decorators: list[ast.expr], result: Names) -> None:
    """`@area.register` changes `area`."""
    for decorator in decorators:
        if isinstance(decorator, ast.Attribute) and decorator.attr in effects.MUTATORS:
            result.mutates |= {root} if (root := root_name(decorator)) else set()


def _class(node: ast.ClassDef, result: Names) -> None:
    for expression in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
        _expression(expression, result)
    body = of(node.body)
    result.reads |= (body.reads | _past_class(node)) - result.must
    # Methods don't see the names of the class body.
    result.deferred |= body.deferred
    result.early |= body.deferred - result.must
    result.writes_global |= body.writes_global
    result.mutates |= body.mutates - body.may
    result.dynamic |= body.dynamic
    result.hints |= body.hints
    _registered(node.decorator_list, result)
    result.bind({node.name})


def _past_class(node: ast.ClassDef) -> set[str]:
    """Names that comprehensions of a class body read past it: only their first iterable sees the class's."""
    found: set[str] = set()
    todo: list[ast.AST] = list(node.body)
    while todo:
        child = todo.pop()
        if isinstance(child, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = Names()
            _comprehension(child, inner)
            found |= inner.reads - of_expression(child.generators[0].iter).reads
        elif not isinstance(child, (*_FUNCTIONS, ast.Lambda)):
            todo += ast.iter_child_nodes(child)
    return found


def _annotation(node: ast.expr | None) -> Names:
    """An annotation: what it reads, and as hints the names in its texts."""
    result = of_expression(node)
    for child in ast.walk(node) if node is not None else ():
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            with contextlib.suppress(SyntaxError, ValueError):
                result.hints |= of_expression(ast.parse(child.value.strip(), mode="eval").body).reads
    return result


def _augmented(node: ast.AugAssign, result: Names) -> None:
    _expression(node.value, result)
    if isinstance(node.target, ast.Name):
        result.reads |= {node.target.id} - result.must
        result.augments.add(node.target.id)
    _target(node.target, result)


def _branching(node: ast.If | ast.While | ast.For | ast.AsyncFor | ast.Match, result: Names) -> None:
    if isinstance(node, ast.Match):
        _expression(node.subject, result)
        sure = any(_takes_all(case) for case in node.cases)
        result.either([*map(_case, node.cases), *([] if sure else [Names()])])
        return
    if isinstance(node, ast.If):
        _expression(node.test, result)
        result.either([of(node.body), of(node.orelse)])
        return
    body = Names()
    if isinstance(node, ast.While):
        _expression(node.test, result)
    else:
        _expression(node.iter, result)
        _target(node.target, body)
    body.then(of(node.body))
    result.either([body, Names()])
    orelse = of(node.orelse)
    if node.orelse and any(map(_breaks, node.body)):
        # what else binds is bound anyway if everything before a break binds it too
        orelse.must &= body.must
        result.either([orelse, Names(must=set(orelse.must), may=set(orelse.must))])
    else:
        result.then(orelse)


def _breaks(node: ast.AST) -> bool:
    """Whether a statement of a loop's body leaves that loop early."""
    if isinstance(node, ast.Break):
        return True
    inner = (ast.For, ast.AsyncFor, ast.While, *_FUNCTIONS, ast.ClassDef, ast.Lambda)
    return not isinstance(node, inner) and any(map(_breaks, ast.iter_child_nodes(node)))


def _takes_all(case: ast.match_case) -> bool:
    """`case _:` and `case name:` without a condition."""
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def _case(case: ast.match_case) -> Names:
    result = Names()
    for node in ast.walk(case.pattern):
        if isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            result.bind({node.name})
        elif isinstance(node, ast.MatchMapping) and node.rest:
            result.bind({node.rest})
        elif isinstance(node, ast.MatchValue | ast.MatchClass):
            result.then(of_expression(node.value if isinstance(node, ast.MatchValue) else node.cls))
    result.then(of_expression(case.guard))
    result.then(of(case.body))
    return result


def _try(node: ast.Try | ast.TryStar, result: Names) -> None:
    body = of([*node.body, *node.orelse])
    branches = [body]
    for handler in node.handlers:
        caught = of_expression(handler.type)
        caught.may |= {handler.name} if handler.name else set()
        inner = of(handler.body)
        inner.reads -= {handler.name} if handler.name else set()
        caught.then(inner)
        branches.append(caught)
    result.either(branches)
    result.then(of(node.finalbody))


def _target(node: ast.expr, result: Names, *, binds: bool = True) -> None:
    match node:
        case ast.Name():
            if binds:
                result.bind({node.id})
        case ast.Tuple() | ast.List():
            for element in node.elts:
                _target(element, result)
        case ast.Starred():
            _target(node.value, result)
        case _:
            _expression(node, result)
            if root := root_name(node):
                result.mutates.add(root)


def _delete(node: ast.expr, result: Names) -> None:
    if isinstance(node, ast.Name):
        result.reads |= {node.id} - result.must
        result.deletes.add(node.id)
        result.must.discard(node.id)
        return
    for child in node.elts if isinstance(node, ast.Tuple | ast.List) else []:
        _delete(child, result)
    if isinstance(node, ast.Attribute | ast.Subscript):
        _target(node, result)


# --- expressions ---------------------------------------------------------------------------------


def _expression(node: ast.AST, result: Names) -> None:
    match node:
        case ast.Constant() | ast.expr_context():
            pass
        case ast.Name():
            if isinstance(node.ctx, ast.Load):
                result.reads |= {node.id} - result.must
        case ast.Lambda():
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                result.then(of_expression(default))
            result.defer(_free_names(node))
        case ast.NamedExpr():
            _expression(node.value, result)
            _target(node.target, result)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            _comprehension(node, result)
        case ast.Call():
            _call(node, result)
        case ast.BoolOp(values=[first, *others]) | ast.Compare(left=first, comparators=others):
            _expression(first, result)
            sure = 1 if isinstance(node, ast.Compare) else 0
            for other in others[:sure]:
                _expression(other, result)
            _perhaps(others[sure:], result)
        case ast.IfExp():
            _expression(node.test, result)
            result.either([of_expression(node.body), of_expression(node.orelse)])
        case _:
            for child in ast.iter_child_nodes(node):
                _expression(child, result)


def _perhaps(nodes: Sequence[ast.expr], result: Names) -> None:
    """Append expressions of which each is reached only if all before it are."""
    if nodes:
        reached = of_expression(nodes[0])
        _perhaps(nodes[1:], reached)
        result.either([reached, Names()])


def _comprehension(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, result: Names) -> None:
    inner, local = Names(), set[str]()
    _expression(node.generators[0].iter, result)  # in the scope outside
    for i, generator in enumerate(node.generators):
        iterated = of_expression(generator.iter) if i else Names()
        iterated.reads -= local
        inner.then(iterated)
        target = Names()
        _target(generator.target, target)
        local |= target.may
        for condition in generator.ifs:
            inner.then(of_expression(condition))
    parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    for part in parts:
        inner.then(of_expression(part))
    result.reads |= inner.reads - local - result.must
    result.deferred |= inner.deferred - local
    result.early |= inner.early - local - result.must
    result.mutates |= inner.mutates - local
    result.calls |= inner.calls
    result.dynamic |= inner.dynamic
    # A walrus in a comprehension binds outside it.
    result.may |= inner.may - local


def _call(node: ast.Call, result: Names) -> None:
    for child in ast.iter_child_nodes(node):
        _expression(child, result)
    call = call_of(node)
    result.calls[call] = None
    if not isinstance(node.func, ast.Attribute):
        _dynamic(node, call, result)
        return
    root = root_name(node.func.value)
    if root and effects.receiver_changes(node):
        result.mutates.add(root)
    if node.func.attr in ("query", "eval") and node.args and isinstance(node.args[0], ast.Constant):
        # pandas reads `@name` inside the text from the caller's variables.
        result.reads |= set(_QUERY_NAME.findall(str(node.args[0].value))) - result.must


def _dynamic(node: ast.Call, call: Call, result: Names) -> None:
    """`eval` and the like: a literal text is read as code, anything else cannot be."""
    if call.function not in _DYNAMIC or call.function in result.must:
        return
    if call.function in ("eval", "exec") and node.args and isinstance(node.args[0], ast.Constant):
        try:
            code = ast.parse(str(node.args[0].value).strip())
        except SyntaxError:
            return
        result.then(of(code.body))
    elif call.function != "vars" or not node.args:
        result.dynamic[call.function] = None
