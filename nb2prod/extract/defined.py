"""What a notebook defines, read from its text: functions, classes with their methods, imports, literals."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nb2prod.extract import names, usage
from nb2prod.extract.applied import defaults, may_change
from nb2prod.extract.names import Call, Names

Callee = tuple[names.Function, str, str]
"""A function, the name that it goes by, and the class that it is a method of."""

_WORD = re.compile(r"\w+")
_WITH_BODY = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(slots=True, eq=False)
class Function:
    """A function of the notebook. `makes_function`: it returns a function that it has made itself."""

    node: names.Function
    calls: tuple[Call, ...]
    makes_function: bool = False
    gives: tuple[Call, ...] = ()
    """What the functions that a call makes call in turn."""
    binds: set[str] = field(default_factory=set)
    """Names that a call binds outside, by `global`."""


@dataclass(slots=True, eq=False)
class Class:
    """A class of the notebook: its methods, its bases, and what its objects share and can change."""

    node: ast.ClassDef
    bases: frozenset[str]
    shared: frozenset[str]
    own: frozenset[str]
    """Names under which its objects keep something."""


class Definitions:
    """All that a notebook defines at its top level, by name."""

    def __init__(self, known: Iterable[tuple[ast.stmt, Names]]) -> None:
        pairs = list(known)
        self.nodes = [node for node, _ in pairs]
        self.functions: dict[str, list[Function]] = defaultdict(list)
        self.classes: dict[str, list[Class]] = defaultdict(list)
        self.methods: dict[str, list[tuple[str, names.Function]]] = defaultdict(list)
        self.modules: dict[str, str] = {}
        self.bound = {name for _, found in pairs for name in found.may}
        self.literals = _literals(pairs)
        for node in self.nodes:
            self._add(node)
        self.data = {name for node in self.nodes for part in ast.walk(node) for name in _kept_under(part)}
        self.sharing: dict[str, list[str]] = defaultdict(list)
        self.attributes = {name for classes in self.classes.values() for c in classes for name in c.own}
        for owner, classes in self.classes.items():
            for name, method in (pair for c in classes for pair in _methods(c.node)):
                self.methods[name].append((owner, method))
            for name in {name for c in classes for name in c.shared}:
                self.sharing[name].append(owner)
        self.lines = {name: self._line(name) for name in self.classes}

    def _line(self, name: str) -> frozenset[str]:
        """A class and those that it comes from."""
        found: set[str] = set()
        todo = [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += self._bases(one)
        return frozenset(found)

    def related(self, name: str) -> set[str]:
        """A class, those that it comes from, those that come from it, and what else these come from."""
        return {one for line in self.lines.values() if name in line for one in line}

    def owners(self, method: str, name: str, *, above: bool) -> set[str]:
        """Classes whose method an object of a class, or of one below it, has; `above`: its `super()` has."""
        having = {owner for owner, _ in self.methods.get(method, ())}
        found = (self.related(name) - self.lines.get(name, set())) & having
        if above:
            found -= {one for one in found if name in self.lines[one]}
        todo, seen = list(self._bases(name)) if above else [name], set[str]()
        while todo:
            one = todo.pop()
            if one in having:
                found.add(one)
            elif one not in seen:
                todo += self._bases(one)
            seen.add(one)
        return found

    def _bases(self, name: str) -> Iterator[str]:
        return (base for c in self.classes.get(name, ()) for base in c.bases)

    def used_in_functions(self) -> set[str]:
        """Global names of which functions may change the objects: not those that they only call."""
        bound = self.bound - self.modules.keys()
        used: set[str] = {name for name, known in self.classes.items() if any(c.shared for c in known)}
        for node in self.nodes:
            for inner in (n for n in ast.walk(node) if isinstance(n, _WITH_BODY)):
                called = {id(n.func) for n in ast.walk(inner) if isinstance(n, ast.Call)}
                loads = (n for n in ast.walk(inner) if isinstance(n, ast.Name) and id(n) not in called)
                used.update(n.id for n in loads)
        remember = (f.node for known in self.functions.values() for f in known)
        return bound & (
            used | {n.name for n in remember if not isinstance(n, ast.Lambda) and _remembers_itself(n)}
        )

    def callees_first(self) -> Iterator[Callee]:
        """All functions and methods; as far as calls go one way, those that are called come first."""
        known: dict[str, list[Callee]] = defaultdict(list)
        for name, functions in self.functions.items():
            known[name] += [(f.node, name, "") for f in functions]
        for owner, classes in reversed(self.classes.items()):  # what a class comes from is above it
            for name, node in (pair for c in classes for pair in _methods(c.node)):
                known[name].append((node, owner, owner))
                known[owner] += known[name][-1:] if name == "__init__" else []
        seen: set[ast.AST] = set()
        todo = [iter([one for found in known.values() for one in found])]
        above: list[Callee] = []
        while todo:
            one = next((o for o in todo[-1] if o[0] not in seen), None)
            if one is not None:
                seen.add(one[0])
                above.append(one)
                todo.append(iter([o for name in _mentioned(one[0]) for o in known.get(name, ())]))
                continue
            todo.pop()
            if above:
                yield above.pop()

    def _add(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.functions[name].append(_function(node))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                self.functions[name].append(_function(value))
            case ast.ClassDef(name=name):
                self.classes[name].append(_class(node))
            case _:
                for inner in _statements_in(node):
                    self._add(inner)
        for child in ast.walk(node):
            self._import(child)

    def _import(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    self.modules[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=module, names=aliases) if module:
                self.modules |= {a.asname or a.name: f"{module}.{a.name}" for a in aliases}


def _remembers_itself(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether calls of a function may share what goes by its name: a default, or what decorates it."""
    return bool(node.decorator_list) or any(may_change(default) for _, default in defaults(node.args))


def _mentioned(node: ast.AST) -> list[str]:
    """All names and attributes in a function."""
    found = (getattr(n, "id", None) or getattr(n, "attr", None) for n in ast.walk(node))
    return list(dict.fromkeys(name for name in found if name))


def _statements_in(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements that a loop, a condition, `with`, `try` or `match` has in its branches."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _statements_in(child)


def _literals(pairs: Iterable[tuple[ast.stmt, Names]]) -> dict[str, frozenset[str]]:
    """Names that stand for what is written out, never to be changed: of which no part is an array."""
    found: dict[str, frozenset[str]] = {}
    others: set[str] = set()
    for node, own in pairs:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in found:
                if kinds := _literal_kinds(value):
                    found[name] = kinds
                    continue
        others |= own.may | own.mutates | own.augments
    return {name: kinds for name, kinds in found.items() if name not in others}


def _literal_kinds(value: ast.expr) -> frozenset[str]:
    try:
        known = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return frozenset()
    inside = list(known.values()) if isinstance(known, dict) else known
    if not isinstance(inside, list | tuple | set) or not inside:
        return frozenset()
    scalars = not any(isinstance(one, list | dict | set | tuple) for one in inside)
    return frozenset({"literal", "scalars"} if scalars else {"literal"})


def _kept_under(node: ast.AST) -> Iterator[str]:
    """Names under which code keeps data in objects: `x.fill = 1`, fields of classes and records."""
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.ClassDef(body=body):
            for child in body:
                if not isinstance(getattr(child, "value", None), ast.Lambda):
                    yield from usage.of(child).may if isinstance(child, ast.Assign) else ()
                if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    yield child.target.id
        case ast.Call(func=func, args=given, keywords=keywords):
            made = names.dotted(func).rpartition(".")[2]
            if made == "SimpleNamespace":
                yield from (k.arg for k in keywords if k.arg)
            elif made in ("namedtuple", "NamedTuple", "make_dataclass", "add_argument"):
                texts = (n.value for part in given for n in ast.walk(part) if isinstance(n, ast.Constant))
                yield from (name for text in texts for name in _WORD.findall(str(text)))


def _methods(node: ast.ClassDef) -> Iterator[tuple[str, names.Function]]:
    for child in node.body:
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, child
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                yield name, value


def _class(node: ast.ClassDef) -> Class:
    own = {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store)
        if isinstance(child.value, ast.Name) and child.value.id == "self"
    }
    shared, kept = set(), frozenset(own)
    own |= {c.target.id for c in node.body if isinstance(c, ast.AnnAssign) and isinstance(c.target, ast.Name)}
    for child in node.body:
        match child:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if may_change(value):
                shared.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value and may_change(value):
                if names.dotted(getattr(value, "func", value)).rpartition(".")[2] != "field":
                    shared.add(name)
    bases = frozenset(names.dotted(base).rpartition(".")[2] for base in node.bases)
    return Class(node, bases, frozenset(shared - kept), frozenset(own | shared))


def _function(node: names.Function) -> Function:
    inside = usage.body_of(node)
    binds = set(inside.names.may & inside.declared)
    gives = tuple(call for inner in _functions_in_body(node) for call in usage.body_of(inner).names.calls)
    return Function(node, tuple(inside.names.calls), _makes_function(node), gives, binds)


def _functions_in_body(node: names.Function) -> Iterator[names.Function]:
    for child in [node.body] if isinstance(node, ast.Lambda) else node.body:
        yield from (inner for _, inner in functions_in(child))


def _makes_function(node: names.Function) -> bool:
    if isinstance(node, ast.Lambda):
        return isinstance(node.body, ast.Lambda)
    inside = [s for s in own_parts(node) if isinstance(s, ast.FunctionDef | ast.ClassDef)]
    made = {s.name for s in inside} - {s.name for s in inside if _remembers(s, node)}
    given = [s.value for s in own_parts(node) if isinstance(s, ast.Return)]
    return bool(given) and all(
        isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in made) for value in given
    )


def _remembers(inner: ast.FunctionDef | ast.ClassDef, outer: names.Function) -> bool:
    """Whether a function changes what the function around it holds: it is another one after each call."""
    held = usage.body_of(outer).local & usage.of(inner).mutates
    return bool(held) or any(isinstance(child, ast.Nonlocal) for child in ast.walk(inner))


@functools.lru_cache(maxsize=4096)
def scope(node: names.Function) -> tuple[Mapping[str, bool], frozenset[str]]:
    """Names that a function declares `nonlocal` (true) or `global` (false), and those that are its own."""
    declared = [child for child in own_parts(node) if isinstance(child, ast.Nonlocal | ast.Global)]
    elsewhere = {name: isinstance(child, ast.Nonlocal) for child in declared for name in child.names}
    return elsewhere, usage.body_of(node).local - elsewhere.keys()


def own_parts(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, less what stands in functions inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from own_parts(child)


def functions_in(node: ast.AST, name: str = "lambda") -> Iterator[tuple[str, names.Function]]:
    """The functions that a statement defines, methods included; not those inside other functions."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, node
        case ast.Lambda():
            yield name, node
        case _:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            inner = target.id if isinstance(target, ast.Name) else name
            for child in ast.iter_child_nodes(node):
                yield from functions_in(child, inner)
