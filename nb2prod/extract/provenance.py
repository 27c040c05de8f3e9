"""What a value was computed from: the statements that it depends on, over the whole notebook.

Data dependencies: what binds the value or changes it in place, what that reads, and what functions read
when they are called. Where text cannot tell whether a call changes what it is given, it is taken to, so
that a change is rather seen where there is none than missed. Display is left out.
"""

from __future__ import annotations

import ast
import bisect
import functools
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nb2prod.domain import Behind, digest
from nb2prod.extract import effects, names
from nb2prod.extract.display import is_display
from nb2prod.extract.names import Names, is_builtin
from nb2prod.extract.program import Program, Statement

_SHOWING = (
    "agg all any argmax argmin astype between copy corr cov count cross_val_score crosstab cumsum"
    " decision_function diff drop drop_duplicates dropna duplicated eq evaluate fillna filter groupby"
    " idxmax idxmin isin isna isnull items join keys map max mean median melt merge min mode nlargest"
    " notna nsmallest nunique pivot pivot_table plot predict predict_log_proba predict_proba prod"
    " quantile query rank rename resample reset_index rolling round score score_samples select_dtypes"
    " set_index sort_index sort_values std sum summary transform transpose unique unstack value_counts"
    " values var"
)
_PURE = frozenset(_SHOWING.split())
"""Methods of the usual libraries that change nothing: called at the end of cells for what they show."""

_PURE_BEGINNINGS = ("get_", "is_", "plot_", "read_", "to_")

_COMPOUND = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.If, ast.Try, ast.Match)


class _Search:
    """What is behind one value: `found` statements with the names wanted of them, and names still to do."""

    def __init__(self, found: dict[int, set[str]], todo: list[tuple[int, str]]) -> None:
        self.found = found
        self.todo = sorted(todo)
        self._wanted = set(todo)
        self._bound: set[tuple[str, int]] = set()

    def want(self, names: Iterable[str], before: int) -> None:
        """Ask for names as they are at a position."""
        for query in {(-before, name) for name in names} - self._wanted:
            self._wanted.add(query)
            heapq.heappush(self.todo, query)

    def next(self) -> tuple[str, int]:
        """The name and position to look at: the last position first."""
        before, name = heapq.heappop(self.todo)
        return name, -before

    def is_new(self, name: str, first: Statement) -> bool:
        """Whether the value of a name that begins with a binding is met for the first time."""
        known = (name, first.index) in self._bound
        self._bound.add((name, first.index))
        return not known


def _used(statement: Statement) -> set[str]:
    """What a statement reads when it runs; of a function, what its definition reads."""
    used = statement.names.reads | statement.names.mutates | statement.names.augments
    return used if statement.kind == "definition" else used | statement.names.deferred


class Provenance:
    """Answers what values of a program were computed from."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._unseen = [_affected(s, program) for s in program.statements]
        self._carried = _carried(program, self._unseen)
        # many values have most of what is behind them in common
        self._text = functools.cache(_text)
        self._touching = functools.cache(self._touched)
        self._behind = functools.cache(self._find)

    def cells(self, name: str, position: int) -> tuple[Behind, ...]:
        """The cells behind the value that a name has at a position, in document order."""
        code: dict[str, list[str]] = defaultdict(list)
        for statement, wanted in self.statements(name, position).items():
            code[statement.cell.id].append(self._text(statement, wanted))
        return tuple(Behind(cell, digest(*texts)[:16]) for cell, texts in code.items())

    def statements(self, name: str, position: int) -> Mapping[Statement, frozenset[str]]:
        """The statements that a value depends on, in document order, each with the names wanted of it."""
        return self._behind(name, position)

    def _find(self, name: str, position: int) -> dict[Statement, frozenset[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        self._follow(_Search(found, [(-position, name)]))
        last = max(found, default=0)
        seeds = [s for s in self._seeding if s.index < last]
        self._follow(_Search(found, [(-s.index, name) for s in seeds for name in s.names.reads]))
        indices = sorted(found.keys() | {s.index for s in seeds})
        return {self._program.statements[i]: frozenset(found[i]) for i in indices}

    def _follow(self, search: _Search) -> None:
        # From the end to the beginning: what changes a value by a position includes what changes it earlier.
        while search.todo:
            name, before = search.next()
            search.want(_at(self._carried.get(name, []), before), before)
            bindings = self._program.reaching(name, before).bindings
            if not bindings or not search.is_new(name, bindings[0]):
                continue
            for statement in self._touching(name, before):
                search.found[statement.index].add(name)
                search.want(_used(statement), statement.index)

    def _touched(self, name: str, before: int) -> tuple[Statement, ...]:
        """What binds the value that a name has at a position, and whatever may have changed it since."""
        bindings = self._program.reaching(name, before).bindings
        if not bindings or bindings[0].kind in ("import", "definition"):
            return bindings
        return (*bindings, *self._changing(name, bindings[0].index + 1, before))

    def _changing(self, name: str, low: int, high: int) -> Iterator[Statement]:
        """What changes a value under its name, or under that of what it is a part of or has as a part."""
        covered: dict[str, list[tuple[int, int]]] = defaultdict(list)
        todo = [
            (low, -high, name)
        ]  # the longest first: what follows from it includes what follows from shorter ones
        while todo:
            low, end, name = heapq.heappop(todo)
            if low >= -end or any(start <= low and -end <= stop for start, stop in covered[name]):
                continue
            covered[name].append((low, -end))
            yield from (s for s in self._program.events(name, low, -end) if name not in s.names.deletes)
            yield from (self._program.statements[i] for i in self._affected.get(name, ()) if low <= i < -end)
            first = min((b.index for b in self._program.reaching(name, low).bindings), default=low)
            for other, since in self._links.get(name, ()):
                if first <= since < -end:
                    heapq.heappush(todo, (max(low, since + 1), -self._end(other, since + 1, -end), other))

    def _end(self, name: str, low: int, high: int) -> int:
        """Where a name has been bound anew, after which it says nothing any more about what it stood for."""
        binders = self._rebound.get(name, [])
        found = bisect.bisect_left(binders, low)
        if found == len(binders) or binders[found] >= high:
            return high
        # a block may first change what it was, and then bind it
        return binders[found] + isinstance(self._program.statements[binders[found]].node, _COMPOUND)

    # -- once for a program

    @functools.cached_property
    def _affected(self) -> Mapping[str, list[int]]:
        """By name: statements with calls, made for their effect alone, that may change what it stands for."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, affected in enumerate(self._unseen):
            for name in affected:
                found[name].append(index)
        return found

    @functools.cached_property
    def _rebound(self) -> Mapping[str, list[int]]:
        """By name: the statements that surely bind it anew."""
        found: dict[str, list[int]] = defaultdict(list)
        for statement in self._program.statements:
            for name in statement.names.must - statement.names.augments:
                found[name].append(statement.index)
        return found

    @functools.cached_property
    def _links(self) -> Mapping[str, list[tuple[str, int]]]:
        """By name: others that since a statement may stand for the same object, or for one that holds it."""
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for statement in self._program.statements:
            for one, other in set(_linked(statement)):
                found[one].append((other, statement.index))
                found[other].append((one, statement.index))
        return found

    @functools.cached_property
    def _seeding(self) -> tuple[Statement, ...]:
        """Statements that seed random generators: they change no value, and all that is drawn."""
        return tuple(s for s in self._program.statements if s.kind != "definition" and seeds(s))


def seeds(statement: Statement) -> bool:
    """Whether a statement seeds a random generator."""
    return any("seed" in call.function.rpartition(".")[2].lower() for call in statement.names.calls)


def _text(statement: Statement, wanted: frozenset[str]) -> str:
    """The statement's code without its layout; of an import, only what binds the names wanted of it."""
    node = statement.node
    if isinstance(node, ast.Import | ast.ImportFrom):
        kept = [a for a in node.names if a.name == "*" or (a.asname or a.name.partition(".")[0]) in wanted]
        module = f"{'.' * node.level}{node.module or ''}:" if isinstance(node, ast.ImportFrom) else ""
        return ", ".join(sorted(f"{module}{a.name} as {a.asname or a.name}" for a in kept))
    return ast.unparse(node)


# --- what functions inside a value read ------------------------------------------------------------


def _carried(program: Program, unseen: Sequence[set[str]]) -> Mapping[str, list[tuple[int, frozenset[str]]]]:
    """By name, from each position on: names that functions in its value read, whenever they are called."""
    history: dict[str, list[tuple[int, frozenset[str]]]] = defaultdict(list)
    classes: set[str] = set()
    for statement in program.statements:
        inside = frozenset(statement.names.deferred)
        for name in _escaping(statement, classes):
            inside |= _at(history.get(name, []), statement.index)
        changed = statement.names.mutates | statement.names.augments | unseen[statement.index]
        for name in statement.names.may | changed:
            known = _at(history[name], statement.index)
            after = inside if name in statement.names.must - statement.names.augments else known | inside
            if after != known:
                history[name].append((statement.index + 1, after))
        if isinstance(statement.node, ast.ClassDef):
            classes.add(statement.node.name)
    return history


def _at(history: list[tuple[int, frozenset[str]]], position: int) -> frozenset[str]:
    found = bisect.bisect_right(history, position, key=lambda entry: entry[0])
    return history[found - 1][1] if found else frozenset()


def _escaping(statement: Statement, classes: set[str]) -> set[str]:
    """Names read otherwise than to be called, and classes: what they stand for may be part of the result."""
    if statement.kind == "definition":
        return statement.names.reads
    called = {id(n.func) for n in ast.walk(statement.node) if isinstance(n, ast.Call)}
    loads = (n for n in ast.walk(statement.node) if isinstance(n, ast.Name))
    return {n.id for n in loads if id(n) not in called or n.id in classes} & statement.names.reads


# --- what text cannot tell ---------------------------------------------------------------------------


def _affected(statement: Statement, program: Program) -> set[str]:
    """Names that calls for their effect alone may change; in a loop or block, all that it reads."""
    if statement.kind in ("definition", "magic") or is_display(statement, program):
        return set()
    found: set[str] = set()
    for node in _own(statement.node):
        if isinstance(node, ast.Expr) and (touched := set(_given(node, program, statement))):
            found |= statement.names.reads if isinstance(statement.node, _COMPOUND) else touched
    return found


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and all in it, but for the bodies of functions and classes."""
    todo = [node]
    while todo:
        part = todo.pop()
        yield part
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += reversed([*ast.iter_child_nodes(part)])


def _given(line: ast.Expr, program: Program, statement: Statement) -> Iterator[str]:
    """Names of what a call is made on and with, if it is one that may change something unseen."""
    call = line.value.value if isinstance(line.value, ast.Await) else line.value
    shown = is_display(Statement(statement.index, statement.cell, line, "value", Names()), program)
    if isinstance(call, ast.Call) and not shown and not _is_known(call):
        yield from _passed(call)


def _is_known(call: ast.Call) -> bool:
    """A call whose effect is read off its text already, or that surely has none."""
    match call.func:
        case ast.Name(id=name):
            return is_builtin(name) or name[:1].isupper()
        case ast.Attribute(value=receiver, attr=method):
            if method in _PURE or method.startswith(_PURE_BEGINNINGS) or method[:1].isupper():
                return True
            return names.root_name(receiver) is not None and effects.receiver_changes(call)
    return False


def _passed(node: ast.expr) -> Iterator[str]:
    """Names whose objects an expression hands on: itself, in a container, or as an argument."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
            yield from _passed(inner)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(values=parts):
            for part in parts:
                yield from _passed(part)
        case ast.Call(func=func, args=args, keywords=keywords):
            for part in (*args, *(keyword.value for keyword in keywords)):
                yield from _passed(part)
            if isinstance(func, ast.Attribute):
                yield from _passed(func.value)


def _linked(statement: Statement) -> Iterator[tuple[str, str]]:
    """Pairs of names of which one may, from now on, hold the other's object, or be another name for it.

    By assignment, by what puts one into the other, and by what is named like a class: `Trainer(model)`.
    """
    yield from effects.aliases(statement.node)
    for node in _own(statement.node):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            roots = {root for target in targets if (root := names.root_name(target)) is not None}
            held = set(_passed(node.value)) if not isinstance(node.value, ast.Call) else set()
            yield from ((root, name) for root in roots for name in held - {root})
        elif isinstance(node, ast.Call):
            yield from _linked_by(node, statement)


def _linked_by(call: ast.Call, statement: Statement) -> Iterator[tuple[str, str]]:
    if names.dotted(call.func).rpartition(".")[2][:1].isupper():
        yield from ((one, name) for one in statement.names.may for name in set(_passed(call)) - {one})
    elif isinstance(call.func, ast.Attribute) and call.func.attr not in effects.FITS:
        root = names.root_name(call.func)
        if root is not None and effects.receiver_changes(call):
            yield from ((root, name) for name in set(_passed(call)) - {root})
