"""Asks the notebook's own role cells again, with another request, in the namespace that they had.

Runs inside the notebook's kernel. The user's namespace is swapped for the time of the call and put
back, so that the notebook goes on as if nothing had happened.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dis
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Protocol

from .places import last_error

MISSING = object()

Plan = Mapping[str, Any]


class KeepLast:
    """An AST transformer that hands the value of the expression in which a cell ends to `keep`, while armed.

    What only shows something may follow it (`plt.show()`, `print(...)`): such calls give None.
    """

    def __init__(self) -> None:
        self.armed = False
        self.value: Any = MISSING

    def visit(self, tree: Any) -> Any:
        """The tree with the expressions at its end wrapped, in place; other trees as they are."""
        if self.armed and isinstance(tree, ast.Module):
            for statement in reversed(tree.body):
                if not isinstance(statement, ast.Expr):
                    break
                statement.value = ast.copy_location(_wrapped(statement.value), statement.value)
            ast.fix_missing_locations(tree)
        return tree

    def keep(self, value: Any, outer: bool) -> Any:
        """Remember a value, unless it is nothing, or only what a magic returned for an inner expression."""
        if self.value is MISSING or not (outer or value is None):
            self.value = value
        return value

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Armed, with no value kept yet; as it was before afterwards."""
        before = self.armed, self.value
        self.armed, self.value = True, MISSING
        try:
            yield
        finally:
            self.armed, self.value = before


def _wrapped(value: ast.expr) -> ast.expr:
    # reached through sys.modules, so that the user's namespace needs no name of ours
    keep = ast.parse(f"__import__('sys').modules[{__package__!r}].keep", mode="eval").body
    outer = "get_ipython" in {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    return ast.Call(keep, [value, ast.Constant(outer)], [])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is shown, no figure is left open, and global random state is as it was before."""
    from IPython.utils.capture import capture_output

    figures, states = _figures(), _random_states()
    try:
        with capture_output():
            yield
    finally:
        for put_back, state in states:
            put_back(state)
        for number in _figures() - figures:
            sys.modules["matplotlib.pyplot"].close(number)


def _figures() -> set[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot is not None else set()


def _random_states() -> list[tuple[Callable[[Any], Any], Any]]:
    states: list[tuple[Callable[[Any], Any], Any]] = [(random.setstate, random.getstate())]
    if (numpy := sys.modules.get("numpy")) is not None:
        states.append((numpy.random.set_state, numpy.random.get_state()))
    if (torch := sys.modules.get("torch")) is not None:
        states.append((torch.random.set_rng_state, torch.random.get_rng_state()))
        if torch.cuda.is_initialized():
            states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return states


@contextlib.contextmanager
def swapped(namespace: dict[str, Any], content: Mapping[str, Any]) -> Iterator[None]:
    """The namespace with another content: functions that read it as their globals see that one."""
    before = dict(namespace)
    namespace.clear()
    namespace.update(content)
    try:
        yield
    finally:
        namespace.clear()
        namespace.update(before)


@dataclass
class Scenes:
    """The namespaces that role code had: before each inline cell, and at the moment of the functions."""

    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    moment: dict[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Whoever looks at what passes between the roles."""

    def taken(self, stage: Plan, values: Mapping[str, Any]) -> None: ...

    def given(self, stage: Plan, values: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Replay:
    """The role cells as one function, with the state that was captured. `watch` is told what passes by."""

    shell: Any
    plan: Plan
    sources: Mapping[str, str]
    scenes: Scenes
    state: Mapping[str, Any]
    last: KeepLast
    watch: Watcher | None = None

    def __call__(self, request: Mapping[str, Any]) -> Any:
        """The last role's answer to one request, given as the names that the example binds."""
        values = dict(request)
        answer = None
        for stage in self.plan["stages"]:
            if self.watch is not None:
                self.watch.taken(stage, values)
            run = self._inline if stage["style"] == "inline" else self._function
            answer = run(stage, values)
            outputs = outputs_of(stage, answer)
            if self.watch is not None:
                self.watch.given(stage, outputs)
            values.update(outputs)
        return answer

    def _inline(self, stage: Plan, values: Mapping[str, Any]) -> Any:
        bound: dict[str, Any] = {name: values[name] for name in stage["inputs"]}
        value: Any = MISSING
        for cell in stage["cells"]:
            scene = {**self.scenes.cells[cell], **self._items(cell, "before"), **bound}
            with swapped(self.shell.user_ns, scene):
                value, stored = run_cell(self.shell, self.sources[cell], self.last)
                after = dict(self.shell.user_ns)
            bound.update({k: v for k, v in after.items() if k in stored or scene.get(k, MISSING) is not v})
        return answer_of(stage, {**values, **bound}, value)

    def _function(self, stage: Plan, values: Mapping[str, Any]) -> Any:
        state = self._items(self.plan["moment"], "after")
        with swapped(self.shell.user_ns, {**self.scenes.moment, **state}):
            return call_stage(stage, self.shell.user_ns, values)

    def _items(self, cell: str, when: str) -> dict[str, Any]:
        """The state that serving code reads at one moment, by its name in the notebook."""
        return {
            item["name"]: self.state[item["key"]]
            for item in self.plan["state"]
            if (item["cell"], item["when"]) == (cell, when) and item["key"] in self.state
        }


def run_cell(shell: Any, source: str, last: KeepLast) -> tuple[Any, frozenset[str]]:
    """Run a cell in the user's namespace: its last expression's value, or MISSING, and what it binds."""
    code = shell.transform_cell(source)
    name = shell.compile.get_code_name(source, code, 0)
    flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with last.watching():
        tree = last.visit(compile(code, name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True))
        compiled = compile(tree, name, "exec", flags, dont_inherit=True)
        shown = last_error()
        finish(eval(compiled, shell.user_ns))
        if (hidden := last_error()) is not None and hidden is not shown:
            raise hidden  # by `%%capture`
        return last.value, _stored(compiled)


def _stored(code: CodeType) -> frozenset[str]:
    """The names that a cell's code binds at its top level, even if to what they stood for before."""
    stores = ("STORE_NAME", "STORE_GLOBAL")
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in stores)


def finish(value: Any) -> Any:
    """What a coroutine gives, in a thread of its own, for the kernel's loop is busy; else the value."""
    if not inspect.iscoroutine(value):
        return value
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, value).result()


def call_stage(stage: Plan, namespace: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Call a function-style stage with its inputs."""
    keywords = {name: values[name] for name in stage["keywords"]}
    args = [values[name] for name in stage["inputs"] if name not in keywords]
    return finish(namespace[stage["function"]](*args, **keywords))


def answer_of(stage: Plan, namespace: Mapping[str, Any], expression: Any) -> Any:
    """What an inline stage gave: its last expression, or its output names (several: a tuple of them)."""
    if stage["result"] == "expression":
        return None if expression is MISSING else expression
    outputs = tuple(namespace[name] for name in stage["outputs"])
    return outputs[0] if len(outputs) == 1 else outputs


def outputs_of(stage: Plan, answer: Any) -> dict[str, Any]:
    """A stage's answer by the names that later stages know it by."""
    names = stage["outputs"]
    return {names[0]: answer} if len(names) == 1 else dict(zip(names, answer, strict=True))
