"""Runs a small notebook and its extracted package in this process, to compare their answers.

No kernel and no papermill: cells are executed in order in one namespace, state is captured where the
plan says. What the real clean run does is tested in test_validate_*.py.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import itertools
import pickle
import sys
from pathlib import Path
from typing import Any

from nb2prod.domain import Bundle, CapturePlan, Notebook

_count = itertools.count()


def notebook_answer(book: Notebook, plan: CapturePlan) -> tuple[Any, dict[str, Any], Any]:
    """The notebook's own answer to its example, the state by key, and the request."""
    space: dict[str, Any] = {"__name__": "__main__"}
    state: dict[str, Any] = {}
    request: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for cell in book.code:
        if "skip" in cell.tags:
            continue
        _capture(plan, "before", cell.id, space, state)
        answers[cell.id] = _run(cell.code, space)
        _capture(plan, "after", cell.id, space, state)
        if cell.id in plan.example_cells:
            request = {name: copy.deepcopy(space[name]) for name in plan.request if name in space}
        if cell.id == plan.moment:
            return _answer(plan, space, answers, request), state, request
    raise AssertionError("the moment never came")


def _capture(plan: CapturePlan, when: str, cell: str, space: dict[str, Any], state: dict[str, Any]) -> None:
    for item in plan.state:
        if item.when == when and item.cell == cell and item.name in space:
            state[item.key] = space[item.name]
            try:
                state[item.key] = pickle.loads(pickle.dumps(space[item.name]))
            except (pickle.PicklingError, AttributeError, TypeError):
                assert item.optional, item


def _run(code: str, space: dict[str, Any]) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    # dont_inherit: this file's own future imports are not the notebook's
    exec(compile(tree, "<cell>", "exec", dont_inherit=True), space)
    if last is None:
        return None
    expression = ast.Expression(last.value)  # type: ignore[attr-defined]
    return eval(compile(expression, "<cell>", "eval", dont_inherit=True), space)


def _answer(
    plan: CapturePlan, space: dict[str, Any], answers: dict[str, Any], request: dict[str, Any]
) -> Any:
    known: dict[str, Any] = dict(request)
    value: Any = None
    for stage in plan.stages:
        if stage.style == "function":
            value = space[stage.function](*(copy.deepcopy(known[n]) for n in stage.inputs))
            known[stage.outputs[0]] = value
        elif stage.result == "expression":
            value = known[stage.outputs[0]] = answers[stage.cells[-1]]
        else:
            known |= {name: space[name] for name in stage.outputs}
            value = known[stage.outputs[0]]
    return value


def package_answer(bundle: Bundle, state: dict[str, Any], request: dict[str, Any], folder: Path) -> Any:
    """The answer of the generated code, imported from `folder`, with that state."""
    name = f"made_package_{next(_count)}"
    path = folder / name
    path.mkdir()
    for file, text in bundle.files.items():
        (path / file).write_text(text, "utf-8")
    lines = [f"{key} = _state[{key!r}]" for key in state]
    (path / "state.py").write_text(f"import builtins\n_state = builtins.{name}\n" + "\n".join(lines), "utf-8")
    import builtins

    setattr(builtins, name, state)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        pipeline = importlib.import_module(f"{name}.pipeline")
        return pipeline.run(*(copy.deepcopy(request[n]) for n in bundle.plan.request))
    finally:
        sys.path.remove(str(folder))
        delattr(builtins, name)
