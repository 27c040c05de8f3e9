"""Which code of a package its answers have run, and which no request has reached.

Used by the proving process: standard library only.
"""

from __future__ import annotations

import ast
import dis
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

MAX_STEPS = 3_000_000
"""Steps of the package's code, as dis counts them, that are followed: some seconds."""

Span = tuple[int, int, int, int]
"""First line (from 1) and column (from 0, in bytes), last line and the column after it."""

_Trace = Any  # what sys.settrace takes: a function that gives such a function

_LEAVING = (ast.Return, ast.Yield, ast.YieldFrom, ast.Break, ast.Continue)

_FOR_MAKING = frozenset(
    f"__{name}__"
    for name in (
        *("init", "new", "post_init", "init_subclass", "set_name", "class_getitem"),
        *("repr", "str", "eq", "hash", "getstate", "setstate", "reduce", "sklearn_tags"),
    )
)
"""Methods that serving need not call though it has objects of the class."""

_BY_LIBRARIES = frozenset({"transform", "predict", "predict_proba", "decision_function", "forward"})
"""Methods that a library calls: of a step of a pipeline."""

_NOT_BY_LIBRARIES = frozenset(
    [
        *("fit", "partial_fit", "fit_transform", "fit_predict", "score", "train"),
        *("get_params", "set_params", "set_output", "get_feature_names_out", "get_metadata_routing"),
    ]
)
"""Methods that a class has from a library's, which calls them to train or to describe."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Reached:
    """While entered, notes what is run of the modules at `files`."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = {str(file): file for file in files}
        self._seen: dict[CodeType, set[int]] = {}
        self._steps = 0

    def __enter__(self) -> Reached:
        self._before = sys.gettrace()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        sys.settrace(self._before)
        threading.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> _Trace:
        code = frame.f_code
        if code.co_filename not in self._files or self._steps > MAX_STEPS:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        seen = self._seen.setdefault(code, set())

        def step(frame: FrameType, event: str, arg: Any) -> _Trace:
            seen.add(frame.f_lasti)
            self._steps += 1
            if self._steps > MAX_STEPS:
                frame.f_trace_opcodes = False
            return step

        return step

    def gaps(self) -> list[tuple[str, int, int, str]] | None:
        """What was never run, where it could make a difference: file, first and last line, the code.

        None if there was too much to follow.
        """
        if self._steps > MAX_STEPS:
            return None
        found = []
        for name, file in self._files.items():
            source = file.read_text("utf-8")
            tree = ast.parse(source)
            run = {
                span
                for code, offsets in self._seen.items()
                if code.co_filename == name
                for span in _spans(code, offsets)
            }
            last = 0
            known = (tree, compile(source, name, "exec", dont_inherit=True))
            for nodes in _Gaps(*known, run, _module(name)):
                first, before = _span(nodes[0])[0], last
                last = _span(nodes[-1])[2]
                if first > before:
                    text = ast.get_source_segment(source, nodes[0]) or ""
                    found.append((file.name, first, last, text.partition("\n")[0]))
        return found


class _Gaps:
    """The parts of the functions of a module that were not run, each as nodes one after the other."""

    def __init__(self, tree: ast.Module, code: CodeType, run: set[Span], module: ModuleType | None) -> None:
        self._tree = tree
        self._module = module
        self._run = _Inside(run)
        self._all = _Inside(span for inner in _codes(code) for span in _spans(inner))
        self._called = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and self._is_run(node)
        }
        self._by_text = any(_gets_by_text(node) and self._is_run(node) for node in ast.walk(tree))

    def __iter__(self) -> Iterator[Sequence[ast.AST]]:
        yield from self._outside(self._tree)

    def _outside(self, node: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[Sequence[ast.AST]]:
        """Of what runs with the module or with the statement around it: the functions in it."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _FUNCTIONS):
                yield from self._function(child, owner)
            else:
                yield from self._outside(child, child if isinstance(child, ast.ClassDef) else None)

    def _function(self, node: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[Sequence[ast.AST]]:
        body = node.body if isinstance(node.body, list) else [node.body]  # type: ignore[attr-defined]
        if any(self._is_run(child) for child in body):
            yield from self._lists(body)
        elif owner is None or self._may_be_called(getattr(node, "name", ""), owner):
            yield from ([node] for _ in _telling(body))

    def _may_be_called(self, method: str, owner: ast.ClassDef) -> bool:
        """Whether serving calls methods of that name: of a class it needs only these, not `fit`."""
        if method in _FOR_MAKING:
            return False
        by_name = self._by_text or method in self._called or method in _BY_LIBRARIES
        return by_name or method.startswith("__") or method in self._overridden(owner)

    def _overridden(self, owner: ast.ClassDef) -> set[str]:
        """Methods that a library's class above has too, and calls: `handle_data` of an HTMLParser."""
        made = getattr(self._module, owner.name, None)
        package = made.__module__.partition(".")[0] if isinstance(made, type) else ""
        above = made.__mro__[1:] if isinstance(made, type) else ()
        libraries = (c for c in above if c is not object and c.__module__.partition(".")[0] != package)
        return {name for kind in libraries for name in vars(kind)} - _NOT_BY_LIBRARIES

    def _lists(self, nodes: Sequence[ast.AST]) -> Iterator[Sequence[ast.AST]]:
        """Of nodes one after the other: those that were not run, together, and what in the others was not."""
        gap: list[ast.AST] = []
        for node in nodes:
            if hasattr(node, "lineno") and self._is_there(node) and not self._is_run(node):
                gap.append(node)
                continue
            yield from _telling(gap)
            gap = []
            yield from self._inside(node)
        yield from _telling(gap)

    def _inside(self, node: ast.AST) -> Iterator[Sequence[ast.AST]]:
        if isinstance(node, _FUNCTIONS):
            yield from self._function(node)
        elif isinstance(node, ast.ClassDef):
            yield from self._outside(node, node)
        elif isinstance(node, ast.Assert):
            yield from self._inside(node.test)
        else:
            for _, value in ast.iter_fields(node):
                children = value if isinstance(value, list) else [value]
                yield from self._lists([child for child in children if isinstance(child, ast.AST)])

    def _is_run(self, node: ast.AST) -> bool:
        return self._run.holds(_span(node))

    def _is_there(self, node: ast.AST) -> bool:
        return self._all.holds(_span(node))


def _module(file: str) -> ModuleType | None:
    """The module that was loaded from a file."""
    return next((m for m in [*sys.modules.values()] if getattr(m, "__file__", None) == file), None)


class _Inside:
    """Spans, asked whether any of them lies in another."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._by_line: dict[int, list[Span]] = {}
        for span in spans:
            self._by_line.setdefault(span[0], []).append(span)

    def holds(self, outer: Span) -> bool:
        """True if a span begins and ends within `outer`."""
        return any(
            outer[:2] <= span[:2] and span[2:] <= outer[2:]
            for line in range(outer[0], outer[2] + 1)
            for span in self._by_line.get(line, ())
        )


def _telling(nodes: Sequence[ast.AST]) -> Iterator[Sequence[ast.AST]]:
    """The nodes, if running them could make another answer: code that raises makes none."""
    if not nodes or all(_only_raises(node) for node in nodes) or _only_raises(*nodes):
        return
    inner = [node for outer in nodes for node in ast.walk(outer)]
    if any(isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) for node in inner):
        yield nodes


def _only_raises(*nodes: ast.AST) -> bool:
    """Whether nodes one after the other end in `raise`, and cannot be left before."""
    if len(nodes) == 1 and isinstance(nodes[0], ast.ExceptHandler):
        return _only_raises(*nodes[0].body)
    inner = (node for outer in nodes for node in ast.walk(outer))
    return isinstance(nodes[-1], ast.Raise) and not any(isinstance(node, _LEAVING) for node in inner)


def _gets_by_text(node: ast.AST) -> bool:
    """`getattr(it, name)`: any method may be meant."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(), *_]):
            return False
        case (
            ast.Call(func=ast.Name(id="getattr" | "methodcaller"))
            | ast.Call(func=ast.Attribute(attr="methodcaller"))
        ):
            return True
    return False


def _span(node: ast.AST) -> Span:
    at: Any = node
    return at.lineno, at.col_offset, at.end_lineno, at.end_col_offset


def _spans(code: CodeType, offsets: Iterable[int] | None = None) -> Iterator[Span]:
    """Where the instructions of a code object, or those at offsets in bytes, stand in its source."""
    wanted = {i.offset for i in dis.get_instructions(code)} if offsets is None else {*offsets}
    for number, (line, end_line, column, end_column) in enumerate(code.co_positions()):
        if number * 2 in wanted and None not in (line, end_line, column, end_column):
            yield line, column, end_line, end_column  # type: ignore[misc]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and all that are inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
