"""What a piece of Python reads, binds and changes.

Names are those of the notebook's top level. A read is *immediate* when running the statement reads
the name, and *deferred* when only a later call of a function made by the statement does. Reads count
only where nothing before them in the same piece must have bound the name.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nb2prod.extract import effects

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_QUERY_NAME = re.compile(r"@([A-Za-z_]\w*)")
_DYNAMIC = frozenset({"eval", "exec", "globals", "locals", "vars"})


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its dotted name, and the names that its arguments stand for, by position or keyword."""

    function: str
    arguments: tuple[tuple[int | str, str], ...] = ()
    root: str | None = None
    """The name at the root of the function's expression: `model` of `model.steps[0].fit(X)`."""


@dataclass(slots=True)
class Names:
    """Names that a piece of code reads, binds (`must` on every path, `may` on some) and changes.

    `mutates`: in place, by method, item or attribute. `augments`: by `x += …`, which may be in place.
    `calls`: what it calls itself. `dynamic`: calls by which code reads names that no text shows.
    """

    reads: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    must: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    mutates: set[str] = field(default_factory=set)
    augments: set[str] = field(default_factory=set)
    writes_global: set[str] = field(default_factory=set)
    calls: dict[Call, None] = field(default_factory=dict)
    dynamic: dict[str, None] = field(default_factory=dict)
    hints: set[str] = field(default_factory=set)
    """Names that annotations speak of without reading them: texts, and all under `from __future__`."""

    def then(self, after: Names) -> None:
        """Append what runs after this."""
        self.reads |= after.reads - self.must
        self.deferred |= after.deferred
        self.may |= after.may
        self.deletes |= after.deletes
        self.mutates |= after.mutates
        self.augments |= after.augments
        self.must = (self.must - after.deletes) | after.must
        self.writes_global |= after.writes_global
        self.calls |= after.calls
        self.dynamic |= after.dynamic
        self.hints |= after.hints

    def either(self, branches: Sequence[Names]) -> None:
        """Append branches of which exactly one runs after this."""
        joined = Names()
        joined.must = set.intersection(*(b.must for b in branches)) if branches else set()
        for branch in branches:
            joined.reads |= branch.reads
            joined.deferred |= branch.deferred
            joined.may |= branch.may
            joined.deletes |= branch.deletes
            joined.mutates |= branch.mutates
            joined.augments |= branch.augments
            joined.writes_global |= branch.writes_global
            joined.calls |= branch.calls
            joined.dynamic |= branch.dynamic
            joined.hints |= branch.hints
        self.then(joined)

    def bind(self, names: Iterable[str]) -> None:
        """Append a binding that is sure to happen."""
        names = set(names)
        self.must |= names
        self.may |= names
        self.deletes -= names


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


Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


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
    arguments = node.args
    parameters = [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    parameters += [a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None]
    # in a function a name is local or not for the whole body, wherever it is bound
    body = of_expression(node.body) if isinstance(node, ast.Lambda) else of(node.body)
    declared = _declared_global(node)
    local = {*parameters, *_type_parameters(node)} | (body.may - declared)
    return Body(tuple(parameters), frozenset(local), body, frozenset(declared))


def free_names(node: Function) -> Names:
    """What calling a function reads (`reads`) and rebinds (`writes_global`) outside itself."""
    inside = body_of(node)
    body = inside.names
    result = Names(dynamic=dict(body.dynamic), hints=set(body.hints))
    result.reads = (body.reads | body.deferred) - inside.local
    result.writes_global = (body.may & inside.declared) | body.writes_global
    result.mutates = (body.mutates | (body.augments & inside.declared)) - inside.local
    return result


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


def awaits(node: ast.AST) -> bool:
    """True if running a statement awaits; functions defined in it may."""
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(part, ast.comprehension) and part.is_async:
            return True
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(part)
    return False


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
    arguments = [
        *node.args.posonlyargs,
        *node.args.args,
        *node.args.kwonlyargs,
        node.args.vararg,
        node.args.kwarg,
    ]
    for argument in arguments:
        result.then(_annotation(argument.annotation if argument else None))
    result.reads -= _type_parameters(node)
    _defer(free_names(node), result)
    _registered(node.decorator_list, result)
    result.bind({node.name})


def _registered(decorators: list[ast.expr], result: Names) -> None:
    """`@area.register` changes `area`."""
    for decorator in decorators:
        if isinstance(decorator, ast.Attribute) and decorator.attr in effects.MUTATORS:
            result.mutates |= {root} if (root := root_name(decorator)) else set()


def _defer(free: Names, result: Names) -> None:
    result.deferred |= free.reads
    result.writes_global |= free.writes_global
    result.mutates |= free.mutates
    result.dynamic |= free.dynamic
    result.hints |= free.hints


def _class(node: ast.ClassDef, result: Names) -> None:
    for expression in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
        _expression(expression, result)
    body = of(node.body)
    result.reads |= (body.reads | _past_class(node)) - result.must
    # Methods don't see the names of the class body.
    result.deferred |= body.deferred
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


def with_texts_for_annotations(node: ast.stmt) -> ast.stmt:
    """The statement as `from __future__ import annotations` has it: annotations are texts."""
    changed: ast.stmt = _Lazy().visit(copy.deepcopy(node))
    return changed


class _Lazy(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        for part in ("annotation", "returns"):
            if isinstance(inner := getattr(node, part, None), ast.expr):
                setattr(node, part, ast.copy_location(ast.Constant(ast.unparse(inner)), inner))
        return super().generic_visit(node)


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


def root_name(node: ast.expr) -> str | None:
    """The name at the root of `a.b[c].d`, or None."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


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
            _defer(free_names(node), result)
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
    result.mutates |= inner.mutates - local
    result.calls |= inner.calls
    result.dynamic |= inner.dynamic
    # A walrus in a comprehension binds outside it.
    result.may |= inner.may - local


def _call(node: ast.Call, result: Names) -> None:
    for child in ast.iter_child_nodes(node):
        _expression(child, result)
    call = _as_call(node)
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


def call_of(node: ast.expr) -> Call:
    """A call, or that of a decorator that is given without arguments."""
    return _as_call(node) if isinstance(node, ast.Call) else Call(dotted(node), (), root_name(node))


def _as_call(node: ast.Call) -> Call:
    given = [*enumerate(node.args), *((k.arg, k.value) for k in node.keywords)]
    roots = [(slot, root_name(value)) for slot, value in given if slot is not None]
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    arguments = () if starred else tuple((slot, root) for slot, root in roots if root is not None)
    return Call(dotted(node.func), arguments, root_name(node.func))


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; `.c` of a method of anything else; "" of other calls."""
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return ""
    inner = dotted(node.value)
    return f"{inner}.{node.attr}" if inner[:1] != "." else f".{node.attr}"


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
