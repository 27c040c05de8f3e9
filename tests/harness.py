"""Runs a small notebook and its extracted package in this process, to compare their answers.

No kernel and no papermill: cells are executed in order in one namespace, state is captured and things
are watched where the plan says. What the real clean run does is tested in test_validate_*.py.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import importlib.util
import inspect
import itertools
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType
from typing import Any

from nb2prod.domain import Bundle, CapturePlan, Cell, Contract, Evidence, Notebook, StateFile, to_json
from nb2prod.extract import extract, usage
from nb2prod.validation.probe import state as capturing
from nb2prod.validation.probe.finding import Refused, refused
from nb2prod.validation.probe.lost import lost
from nb2prod.validation.probe.pickling import Home, Homes, Pickled, Unstorable, pickled, restore
from nb2prod.validation.probe.portrait import unlike
from nb2prod.validation.probe.unchanged import Unchanged
from nb2prod.validation.verdict import placed, unlike_notebook

__all__ = ["Ran", "Refused", "described", "outcomes", "package_answer", "run", "same_answers", "whole"]

_count = itertools.count()


@dataclass
class Ran:
    """What a run of a notebook has shown: its answer to the example, the kept state and the request.

    `state` holds copies for the notebook, of its own classes; `stored` is what a package reads.
    """

    answer: Any = None
    state: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, Pickled] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    rehomed: set[str] = field(default_factory=set)
    portraits: list[dict[str, Any]] = field(default_factory=list)


def run(
    book: Notebook,
    plan: CapturePlan,
    space: dict[str, Any] | None = None,
    execute: Callable[[Cell], Any] | None = None,
) -> Ran:
    """Run a notebook up to the moment at which its answer is known; Refused as the clean run does.

    `execute` may run the cells otherwise than as plain Python; it binds their names in `space`.
    """
    space = {"__name__": "__main__"} if space is None else space
    answers, given = dict[str, Any](), dict[str, dict[str, Any]]()
    unchanged = Unchanged(
        to_json(plan.watched), lambda one, other: repr(one) == repr(other), lambda code: code.co_filename
    )
    ran = Ran(portraits=unchanged.portraits)
    for cell in book.code:
        if "skip" in cell.tags:
            continue
        with _located(cell):
            unchanged.before(cell.id, space, Homes.now(space, plan.rehome))
        _capture(plan, "before", cell.id, space, ran)
        unchanged.check_inside(ran.rehomed)
        answers[cell.id] = execute(cell) if execute is not None else _run(cell.code, space)
        with _located(cell):
            unchanged.after(cell.id, space, Homes.now(space, plan.rehome))
        for stage in plan.stages:
            if stage.style == "inline" and stage.cells[-1] == cell.id:
                given[stage.role] = {name: space.get(name) for name in stage.outputs}
                if stage.result == "expression":
                    given[stage.role] = {stage.outputs[0]: answers[cell.id]}
        _capture(plan, "after", cell.id, space, ran)
        unchanged.check_inside(ran.rehomed)
        if cell.id in plan.example_cells:
            ran.request = {name: copy.deepcopy(space[name]) for name in plan.request if name in space}
        if cell.id == plan.moment:
            for item in plan.state:
                if item.expected and item.key not in ran.state:
                    raise refused("NB313", f"{item.name} was never bound")
            ran.answer = _answer(plan, space, given, ran.request)
            return ran
    raise AssertionError("the moment never came")


@contextmanager
def _located(cell: Cell) -> Iterator[None]:
    try:
        yield
    except Refused as problem:
        if problem.finding.cell is not None:
            raise
        raise Refused(replace(problem.finding, cell=cell.id, number=cell.number)) from problem


def run_plainly(book: Notebook) -> None:
    """Run all cells that are not skipped, in order: whatever they raise is raised."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in book.code:
        if "skip" not in cell.tags:
            _run(cell.code, space)


def whole(book: Notebook, ran: Ran) -> Bundle:
    """The Bundle with what a run has shown of the state; its contract is of no use."""
    contract = Contract(kind="value", request=())
    files = tuple(
        StateFile(key, "", "pickle", type(value).__name__, 0, "") for key, value in ran.state.items()
    )
    bundle = extract(book, Evidence(contract, files, rehomed=tuple(sorted(ran.rehomed))))
    for name in ran.rehomed:
        home = bundle.files[f"{bundle.plan.rehome[name]}.py"]
        assert name in usage.of(ast.parse(home).body).may, f"state refers to {name}, which no module has"
    return bundle


def _capture(plan: CapturePlan, when: str, cell: str, space: Mapping[str, Any], ran: Ran) -> None:
    for item in plan.state:
        if item.when != when or item.cell != cell or item.name not in space:
            continue
        value = space[item.name]
        if item.literal is not None and repr(value) == item.literal:
            continue
        if item.same_as is not None and _bytes(value) == _bytes(ran.state.get(item.same_as)):
            continue
        try:
            stored = pickled(value, Homes.now(space, plan.rehome))
        except Unstorable as problem:
            if not item.optional:
                raise capturing.no_form(to_json(item), value, problem, space) from problem
            continue
        ran.state[item.key], ran.stored[item.key] = restore(stored), stored
        ran.rehomed |= stored.used
        for finding in lost(to_json(item), value, ran.state[item.key], stored.homes, plan.attributes):
            if finding.severity == "error":
                raise Refused(finding)


def _bytes(value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return str(id(value)).encode()


def _run(code: str, space: dict[str, Any]) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    _finish(eval(_compiled(tree, "exec"), space))
    if last is None:
        return None
    return _finish(eval(_compiled(ast.Expression(last.value), "eval"), space))  # type: ignore[attr-defined]


def _compiled(tree: ast.AST, mode: str) -> CodeType:
    # dont_inherit: this file's own future imports are not the notebook's
    code = compile(tree, "<cell>", mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)  # type: ignore[call-overload]
    assert isinstance(code, CodeType)
    return code


def _finish(value: Any) -> Any:
    """Cells with an await at their top level give a coroutine."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def _answer(
    plan: CapturePlan,
    space: dict[str, Any],
    given: Mapping[str, Mapping[str, Any]],
    request: Mapping[str, Any],
) -> Any:
    known: dict[str, Any] = dict(request)
    for stage in plan.stages:
        if stage.style == "function":
            keywords = {n: copy.deepcopy(known[n]) for n in stage.keywords}
            values = (copy.deepcopy(known[n]) for n in stage.inputs if n not in keywords)
            try:
                known[stage.outputs[0]] = _finish(space[stage.function](*values, **keywords))
            except Exception as error:
                raise refused("NB303", f"{type(error).__name__}: {error}") from error
        else:
            known |= given[stage.role]
    return known[plan.stages[-1].outputs[0]]


class StateChanged(AssertionError):
    """Answering has changed the state: the proof refuses that."""


def package_answer(
    bundle: Bundle,
    stored: Mapping[str, Pickled],
    request: dict[str, Any],
    folder: Path,
    portraits: Iterable[Mapping[str, Any]] = (),
) -> Any:
    """The answer of the generated code, imported from `folder`, with that state; StateChanged."""
    with _imported(bundle, stored, folder, portraits) as (ask, state):
        before = {key: _bytes(value) for key, value in state.items()}
        answer = ask(request)
        if before != {key: _bytes(value) for key, value in state.items()}:
            raise StateChanged(bundle.name)
        return answer


def outcomes(
    bundle: Bundle, stored: Mapping[str, Pickled], requests: Iterable[dict[str, Any]], folder: Path
) -> list[str]:
    """What one copy of the generated code makes of requests that come one after the other."""
    with _imported(bundle, stored, folder) as (ask, _):
        return [described(lambda: ask(request)) for request in requests]  # noqa: B023


def _check_like(bundle: Bundle, package: str, portraits: Iterable[Mapping[str, Any]]) -> None:
    found = unlike(
        placed(bundle, portraits),
        lambda module: importlib.import_module(f"{package}.{module}"),
        lambda module: module == "__main__" or module.startswith(f"{package}."),
    )
    if found is not None:
        error = unlike_notebook(found)
        where = {"cell": error.cell, "number": error.number, "line": error.line}
        raise refused(error.code, error.message, error.hint, **where)


def described(answer: Callable[[], Any]) -> str:
    """An answer as text; what it raises by its type."""
    try:
        return repr(answer())
    except (StateChanged, Refused):
        raise
    except Exception as error:
        return type(error).__name__


def same_answers(bundle: Bundle, ran: Ran, folder: Path) -> None:
    """Ask the generated code twice; Refused NB321, as by the proof, if the second answer is another."""
    with _imported(bundle, ran.stored, folder, ran.portraits) as (ask, _):
        if repr(ask(ran.request)) == repr(ask(ran.request)):
            return
    last = bundle.plan.stages[-1].cells[-1]
    hint = "Seed random generators inside the role cells, and change no state that they read."
    number = next(line.number for line in bundle.source_map if line.cell == last)
    raise refused(
        "NB321", "the same request is answered differently each time", hint, cell=last, number=number
    )


class _Package(dict[Home, Any]):
    """What the package's own modules hold under the names that stored state knows."""

    def __init__(self, package: str, rehome: Mapping[str, str]) -> None:
        super().__init__()
        self._package, self._rehome = package, rehome

    def __missing__(self, home: Home) -> Any:
        first, *inner = home[1].split(".")
        found = getattr(importlib.import_module(f"{self._package}.{self._rehome[first]}"), first)
        for name in inner:
            found = getattr(found, name)
        return found


class _State(dict[str, Any]):
    """State as the package loads it: objects of its own classes, not of the notebook's."""

    def __init__(self, stored: Mapping[str, Pickled], homes: _Package) -> None:
        super().__init__()
        self._stored, self._homes = stored, homes

    def __missing__(self, key: str) -> Any:
        self[key] = restore(replace(self._stored[key], homes=Homes(frozenset(), {}, self._homes)))
        return self[key]


@contextmanager
def _imported(
    bundle: Bundle,
    stored: Mapping[str, Pickled],
    folder: Path,
    portraits: Iterable[Mapping[str, Any]] = (),
) -> Iterator[tuple[Callable[..., Any], Mapping[str, Any]]]:
    """The pipeline of the generated code, as a function of the request's names, and its state.

    Refused as by the proof.
    """
    name = f"made_package_{next(_count)}"
    path = folder / name
    path.mkdir()
    for file, text in bundle.files.items():
        (path / file).write_text(text, "utf-8")
    with (path / "runtime.py").open("a") as runtime:
        runtime.write(f"\n\nimport builtins\n\nload_state = builtins.{name}.__getitem__\n")
    import builtins

    state = _State(stored, _Package(name, bundle.plan.rehome))
    setattr(builtins, name, state)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        pipeline = importlib.import_module(f"{name}.pipeline")
        _check_like(bundle, name, portraits)
        for item in bundle.evidence.state if bundle.evidence else ():
            state[item.key]
        yield lambda request: pipeline.run(*(copy.deepcopy(request[n]) for n in bundle.plan.request)), state
    finally:
        sys.path.remove(str(folder))
        delattr(builtins, name)
