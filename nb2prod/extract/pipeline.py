"""The modules that are wholly ours: `pipeline.py` calls the roles, `state.py` names the fitted values."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nb2prod.domain import ROLES, SeenValue, Stage, StateItem
from nb2prod.extract.hints import Hints, Seen, cells, docstring, safe, shapes_of
from nb2prod.extract.style import WIDTH, Call, Import, assigned, bracketed, import_lines, signature
from nb2prod.extract.text import INDENT
from nb2prod.extract.units import Slice


def lazy_state_lines(state: tuple[StateItem, ...]) -> list[str]:
    """`state.py` where state refers to helpers that read state: each value is loaded when it is asked for."""
    items = [f'{INDENT}"{i.key}": "cell {i.bound_number}, line {i.bound_line}",' for i in state]
    load_state, computed = _free("load_state", state), _free("COMPUTED", state)
    return [
        '"""Fitted state, as the notebook\'s clean run had it when the role cells read it.',
        "",
        "Loaded when it is first asked for: some of it holds functions or classes that read some of it.",
        '"""',
        "",
        *import_lines([Import(".runtime", "load_state", load_state)]),
        "",
        f"{computed} = {{",
        *items,
        "}",
        "",
        "",
        "def __getattr__(name: str) -> object:",
        f"{INDENT}if name not in {computed}:",
        f"{INDENT * 2}raise AttributeError(name)",
        f"{INDENT}value = globals()[name] = {load_state}(name)",
        f"{INDENT}return value",
    ]


def state_lines(state: tuple[StateItem, ...]) -> list[str]:
    """`state.py`: each value, and the line that computed it."""
    load_state = _free("load_state", state)
    lines = [
        '"""Fitted state, as the notebook\'s clean run had it when the role cells read it."""',
        "",
        *import_lines([Import(".runtime", "load_state", load_state)]),
        "",
    ]
    for item in state:
        where = f"# cell {item.bound_number}, line {item.bound_line}"
        load = bracketed(f"{item.key} = {load_state}(", [f'"{item.key}"'], ")")
        beside = f"{load[0]}  {where}"
        lines += [beside] if len(load) == 1 and len(beside) <= WIDTH else [where, *load]
    return lines


def _free(name: str, state: tuple[StateItem, ...]) -> str:
    """A name of ours in `state.py`; with underscores before it where state has that name."""
    while any(item.key == name for item in state):
        name = f"_{name}"
    return name


def _beside(name: str, taken: Collection[str]) -> str:
    """A name of the notebook's in `pipeline.py`, where ours has it: with underscores behind."""
    while name in taken:
        name = f"{name}_"
    return name


def pipeline_lines(
    slice_: Slice, stages: tuple[Stage, ...], seen: Seen, homes: Mapping[str, str]
) -> list[str]:
    """`pipeline.py`: `run` takes a request as the notebook's code sees it."""
    file = safe(slice_.layout.program.notebook.path.name)
    request = slice_.layout.request or ("request",)
    alone = len(request) == 1
    fixed = set() if alone else set(request)  # several names come by keyword: the modules give way
    ours = {n: f"_{n}" if n in fixed else n for n in (*ROLES, "run", "wait")}
    taken = set(ours.values())
    names = dict.fromkeys(n for s in stages for n in (*s.inputs, *s.outputs, *request))
    local = {n: _beside(n, {*taken, *names}) if n in taken else n for n in names}
    values = {name: _first(name, stages, seen) for name in request}
    imports = {Import(".", s.role, ours[s.role] if s.role in fixed else "") for s in stages}
    wait = Import(".runtime", "wait", ours["wait"] if "wait" in fixed else "")
    imports |= {wait for stage in stages if stage.asynchronous}
    hints = Hints("pipeline", imports, {"run"}, homes)
    parameters = [hints.parameter(local[n], values[n]) for n in request]
    lines = signature("run", parameters, hints.of(seen.returns(stages[-1])))
    gives = [("the answer", value) for value in seen.gives(stages[-1])]
    lines += docstring(_summary(slice_, stages), shapes_of(list(values.values()), gives))
    for stage in stages:
        around = ours["wait"] if stage.asynchronous else ""
        call = Call(f"{ours[stage.role]}.{stage.function}", _arguments(stage, local), around)
        if stage is stages[-1] or not stage.outputs:
            lines += call.lines("return " if stage.outputs else "", INDENT)
        else:
            lines += assigned([local[n] for n in stage.outputs], call, INDENT)
    return [f'"""The way of a request through {file}."""', "", *hints.header(), "", "", *lines]


def _first(name: str, stages: tuple[Stage, ...], seen: Seen) -> SeenValue | None:
    """A name of the request as the first stage that reads it has it."""
    stage = next((s for s in stages if name in s.inputs), None)
    return seen.takes(stage, name) if stage is not None else None


def _summary(slice_: Slice, stages: tuple[Stage, ...]) -> str:
    notebook = slice_.layout.program.notebook
    numbers = [notebook.cell(cell).number for stage in stages for cell in stage.cells]
    return f"From a request to the answer: {cells(numbers)} of {safe(notebook.path.name)}."


def _arguments(stage: Stage, local: Mapping[str, str]) -> list[str]:
    positional = [local[n] for n in stage.inputs if n not in stage.keywords]
    return positional + [f"{n}={local[n]}" for n in stage.keywords]
