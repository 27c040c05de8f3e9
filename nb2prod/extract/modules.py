"""The generated package: modules as a reviewer would want to read them.

Imports, constants and helpers that serving needs, in the notebook's own lines; one function for each
inline role; `pipeline.py` that calls them in order; `state.py` that names the fitted values.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from nb2prod.domain import ROLES, Diagnostic, MappedLine, Role, Stage, StateItem
from nb2prod.extract.clashes import apart, clashes
from nb2prod.extract.program import Statement, imports_of
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.slicer import Slice, Target, Unit
from nb2prod.extract.text import Line, as_return, gap, indented, plain, verbatim

FUNCTION_NAMES: dict[Role, str] = {
    "preprocess": "preprocess",
    "model": "predict",
    "postprocess": "postprocess",
}
HELPERS = "helpers"


@dataclass(slots=True)
class Module:
    """One generated module while it is put together."""

    name: str
    units: list[Unit] = field(default_factory=list)
    body: Unit | None = None


@dataclass(slots=True)
class Layer:
    """All code files with where their lines came from, and the stages with their final names."""

    files: dict[str, str] = field(default_factory=dict)
    source_map: list[MappedLine] = field(default_factory=list)
    stages: tuple[Stage, ...] = ()
    homes: dict[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    state: tuple[StateItem, ...] = ()
    findings: list[Diagnostic] = field(default_factory=list)


def code_files(slice_: Slice, rehomed: Iterable[str] = ()) -> Layer:
    """The code of the package: one text for each module, `state.py` and `pipeline.py` included."""
    units = slice_.included(rehomed)
    homes = _homes(slice_, units)
    layer = Layer(stages=_named_stages(slice_))
    definitions = [u for u in slice_.units.values() if u.statement and u.statement.kind == "definition"]
    layer.homes = {n: homes.get(u, HELPERS) for u in definitions for n in sorted(_bound(u))}
    modules = _modules(slice_, units, homes)
    imported: set[str] = set()
    for module in modules:
        layer.findings += clashes(module.units)
        lines = _module_lines(slice_, module, homes, layer.stages, imported)
        _put(layer, f"{module.name}.py", lines)
    keys = {t.key for u in units for t in u.needs.values() if t.kind == "state"}
    layer.state = tuple(item for key, item in slice_.state.items() if key in keys)
    if layer.state:
        _put(layer, "state.py", _state_lines(layer.state))
    _put(layer, "pipeline.py", _pipeline_lines(slice_, layer.stages))
    layer.imports = tuple(sorted(imported))
    return layer


def _put(layer: Layer, name: str, lines: list[Line]) -> None:
    layer.files[name] = "\n".join(line.text for line in lines).rstrip("\n") + "\n"
    layer.source_map += [
        MappedLine(name, i, line.cell, line.number, line.cell_line)
        for i, line in enumerate(lines, 1)
        if line.cell_line is not None
    ]


# --- which module holds what ---------------------------------------------------------------------


def _bound(unit: Unit) -> set[str]:
    return unit.statement.names.may if unit.statement is not None else set()


def _homes(slice_: Slice, units: list[Unit]) -> dict[Unit, str]:
    """Role cells' code in the role's module; what two modules share, and other cells' code, in helpers."""
    homes: dict[Unit, str] = {}
    for unit in units:
        role = next((r for r, root in slice_.roots.items() if root is unit), None)
        homes[unit] = role or _own_role(slice_, unit) or HELPERS
    for unit in units:
        if unit.statement is not None and unit.statement.kind == "constant":
            users = _users(slice_, unit, units, homes)
            homes[unit] = users.pop() if len(users) == 1 else HELPERS
    while moved := [u for u in units if homes[u] != HELPERS and _must_move(slice_, u, units, homes)]:
        for unit in moved:
            homes[unit] = HELPERS
    return homes


def _own_role(slice_: Slice, unit: Unit) -> Role | None:
    assert unit.statement is not None
    codes = slice_.layout.codes
    return next((r for r in slice_.roots if codes[r].owns(unit.statement)), None)


def _users(slice_: Slice, unit: Unit, units: list[Unit], homes: Mapping[Unit, str]) -> set[str]:
    return {
        homes[other]
        for other in units
        for target in other.needs.values()
        if other is not unit
        and unit.statement in target.statements
        and target.kind in ("definition", "constant")
    }


def _must_move(slice_: Slice, unit: Unit, units: list[Unit], homes: Mapping[Unit, str]) -> bool:
    if unit.statement is None:
        return False
    if _is_shadowed(slice_, unit, homes[unit]):
        return True
    users = _users(slice_, unit, units, homes) - {homes[unit]}
    if slice_.roots.get(homes[unit]) is unit:  # type: ignore[call-overload]
        later = ROLES[ROLES.index(homes[unit]) + 1 :]
        return bool(users - set(later))
    return bool(users)


def _is_shadowed(slice_: Slice, unit: Unit, home: str) -> bool:
    """True if the role's function in the same module binds the unit's name: it needs it under another one."""
    root = slice_.roots.get(home)  # type: ignore[call-overload]
    if root is None or root.statement is not None:
        return False
    return bool(_bound(unit) & slice_.layout.codes[home].local & root.needs.keys())  # type: ignore[index]


def _modules(slice_: Slice, units: list[Unit], homes: Mapping[Unit, str]) -> list[Module]:
    found = {name: Module(name) for name in (HELPERS, *slice_.roots)}
    for unit in units:
        if unit.statement is None:
            found[homes[unit]].body = unit
        else:
            found[homes[unit]].units.append(unit)
    for module in found.values():
        module.units.sort(key=lambda u: u.statement.index if u.statement else 0)
    return [m for m in found.values() if m.name != HELPERS or m.units]


def _named_stages(slice_: Slice) -> tuple[Stage, ...]:
    stages = []
    for stage in slice_.layout.stages:
        name = stage.function
        if stage.style == "inline":
            unit, code = slice_.roots[stage.role], slice_.layout.codes[stage.role]
            taken = set(unit.needs) | code.local | set(stage.inputs)
            base = FUNCTION_NAMES[stage.role]
            name = next(n for n in (base, f"{base}_request", f"run_{base}", f"nb_{base}") if n not in taken)
        stages.append(replace(stage, function=name))
    return tuple(stages)


# --- one module ----------------------------------------------------------------------------------


def _module_lines(
    slice_: Slice, module: Module, homes: Mapping[Unit, str], stages: tuple[Stage, ...], imported: set[str]
) -> list[Line]:
    units = [*module.units, *([module.body] if module.body else [])]
    lines = plain(f'"""{_title(slice_, module)}"""')
    entry = slice_.roots.get(module.name)  # type: ignore[call-overload]
    header = _import_lines(slice_, module, units, homes, imported)
    if entry is not None and homes[entry] == HELPERS:
        header += [f"from .helpers import {next(iter(_bound(entry)))}"]
    if module.units and slice_.layout.program.lazy_annotations:
        header = ["from __future__ import annotations", *([""] if header else []), *header]
    lines += plain(*([""] if header else []), *header)
    previous: Statement | None = None
    for unit in module.units:
        assert unit.statement is not None
        small = _is_small(unit.statement)
        first = previous is None and isinstance(unit.statement.node, ast.Assign | ast.AnnAssign)
        tight = first or (small and previous is not None and _is_small(previous))
        lines += plain(*([""] if tight and previous is None else [] if tight else ["", ""]))
        lines += verbatim(unit.statement)
        previous = unit.statement
    if module.body is not None:
        stage = next(s for s in stages if s.role == module.name)
        lines += plain("", "") + _function_lines(slice_, stage, module)
    return lines


def _is_small(statement: Statement) -> bool:
    """An assignment: it needs no blank lines around it."""
    made = isinstance(statement.node, ast.Assign | ast.AnnAssign)
    return made and not isinstance(statement.node.value, ast.Lambda)  # type: ignore[attr-defined]


def _title(slice_: Slice, module: Module) -> str:
    file = slice_.layout.program.notebook.path.name
    if module.name == HELPERS:
        return f"Functions and constants of {file} that its roles use."
    numbers = [str(c.number) for c in slice_.layout.codes[module.name].cells]  # type: ignore[index]
    return f"The role `{module.name}` of {file}: {_cells(numbers)}."


def _cells(numbers: list[str]) -> str:
    return f"cell {numbers[0]}" if len(numbers) == 1 else f"cells {', '.join(numbers)}"


def _import_lines(
    slice_: Slice, module: Module, units: list[Unit], homes: Mapping[Unit, str], imported: set[str]
) -> list[str]:
    external: dict[str, set[str]] = defaultdict(set)
    local: dict[str, set[str]] = defaultdict(set)
    assigned = _taken_as(slice_, module)
    for unit in units:
        for name, target in unit.needs.items():
            if target.kind == "import":
                _collect_import(external, name, target, imported)
                continue
            alias = f"_{name}" if unit is module.body and name in assigned else name
            if target.kind == "state":
                local["state"].add(_as(target.key, alias))
                continue
            home = homes[slice_.units[target.statements[0].index]]
            if home != module.name:
                local[home].add(_as(name, alias))
    if any(unit.copies for unit in units):
        external["from copy import "].add(_as("deepcopy", _deepcopy(units)))
    imported |= {name for u in units if u.statement is not None for name in _nested_imports(u.statement)}
    return _grouped(external) + _local(local, bool(external))


def _taken_as(slice_: Slice, module: Module) -> frozenset[str]:
    """Names that the role's function takes under another name, to bind them itself."""
    if module.body is None:
        return frozenset()
    local = slice_.layout.codes[module.name].local  # type: ignore[index]
    return local | module.body.copies | apart(module.body, module.units)


def _as(name: str, alias: str) -> str:
    return name if name == alias else f"{name} as {alias}"


def _deepcopy(units: Iterable[Unit]) -> str:
    """What `copy.deepcopy` is called in a module: a name that none of its code uses."""
    used = {name for unit in units for name in unit.needs}
    return next(name for name in ("deepcopy", "_deepcopy", "__deepcopy") if name not in used)


def _nested_imports(statement: Statement) -> Iterable[str]:
    """Modules that a function imports when it is called, or a definition behind `try`."""
    for node in ast.walk(statement.node):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _collect_import(external: dict[str, set[str]], name: str, target: Target, imported: set[str]) -> None:
    for node in (n for s in target.statements for n in imports_of(s.node, name)):
        for alias in node.names:
            if alias.name != "*" and (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            renamed = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
            if isinstance(node, ast.Import):
                external[f"import {renamed}"] |= set()
                imported.add(alias.name)
            else:
                module = "." * node.level + (node.module or "")
                external[f"from {module} import "].add(name if alias.name == "*" else renamed)
                imported.add(module)


def _grouped(external: Mapping[str, set[str]]) -> list[str]:
    """Sorted as isort does: the standard library, then everything else; `import` before `from`."""
    standard: list[str] = []
    others: list[str] = []
    for text in sorted(external, key=lambda t: (t.startswith("from"), t)):
        line = text + ", ".join(sorted(external[text], key=str.lower))
        root = text.split()[1].partition(".")[0]
        (standard if root in sys.stdlib_module_names else others).append(line)
    return standard + ([""] if standard and others else []) + others


def _local(local: Mapping[str, set[str]], spaced: bool) -> list[str]:
    lines = [f"from .{module} import {', '.join(sorted(local[module]))}" for module in sorted(local)]
    return ([""] if spaced and lines else []) + lines


# --- an inline role as a function ----------------------------------------------------------------


def _function_lines(slice_: Slice, stage: Stage, module: Module) -> list[Line]:
    code, unit = slice_.layout.codes[stage.role], module.body
    assert unit is not None
    taken = _taken_as(slice_, module)
    define = "async def" if stage.asynchronous else "def"
    lines = plain(f"{define} {stage.function}({', '.join(stage.inputs)}):")
    lines += plain(f'    """{_docstring(slice_, stage)}"""')
    for name, target in sorted(unit.needs.items()):
        if target.kind != "import" and name in taken:
            value = f"{_deepcopy([unit])}(_{name})" if name in unit.copies else f"_{name}"
            lines += plain(f"    {name} = {value}")
    lines += indented(_body_lines(slice_, stage, code), code.body)
    if stage.result == "names":
        lines += plain(f"    return {', '.join(stage.outputs)}")
    return lines


def _docstring(slice_: Slice, stage: Stage) -> str:
    numbers = [str(slice_.layout.program.notebook.cell(c).number) for c in stage.cells]
    takes = " and ".join(f"`{n}`" for n in stage.inputs)
    gives = " and ".join(f"`{n}`" for n in stage.outputs) if stage.result == "names" else "the answer"
    return f"From {takes} to {gives}, as {_cells(numbers)} does."


def _body_lines(slice_: Slice, stage: Stage, code: RoleCode) -> list[Line]:
    result = code.body[-1] if stage.result == "expression" else None
    lines: list[Line] = []
    for statement in code.body:
        lines += gap(_above(slice_, statement), statement, first=not lines)
        lines += as_return(statement) if statement is result else verbatim(statement, comments=False)
    return lines


def _above(slice_: Slice, statement: Statement) -> Statement | None:
    """The statement before it in its cell, dropped or not: its comments are not this one's."""
    before = slice_.layout.program.statements[statement.index - 1] if statement.index else None
    return before if before is not None and before.cell.id == statement.cell.id else None


# --- state.py and pipeline.py --------------------------------------------------------------------


def _state_lines(state: tuple[StateItem, ...]) -> list[Line]:
    lines = plain(
        '"""Fitted state, as the notebook\'s clean run had it when the role cells read it."""',
        "",
        "from .runtime import load_state",
        "",
    )
    for item in state:
        where = f"cell {item.bound_number}, line {item.bound_line}"
        lines += plain(f'{item.key} = load_state("{item.key}")  # {where}')
    return lines


def _pipeline_lines(slice_: Slice, stages: tuple[Stage, ...]) -> list[Line]:
    file = slice_.layout.program.notebook.path.name
    modules = sorted({stage.role for stage in stages})
    request = slice_.layout.request or ("request",)
    taken: set[str] = {*ROLES, "run", "wait"}
    local = {n: f"{n}_" if n in taken else n for s in stages for n in (*s.inputs, *s.outputs, *request)}
    parameters = ", ".join(request if len(request) > 1 else [local.get(request[0], request[0])])
    lines = plain(
        f'"""The way of a request through {file}."""',
        "",
        f"from . import {', '.join(modules)}",
        *(["from .runtime import wait"] if any(stage.asynchronous for stage in stages) else []),
        "",
        "",
        f"def run({parameters}):",
        '    """The answer of the last role to one request."""',
    )
    if len(request) > 1:
        lines += plain(*(f"    {local[n]} = {n}" for n in request if local[n] != n))
    for stage in stages:
        call = _call(stage, local)
        last = stage is stages[-1]
        lines += plain(
            f"    return {call}" if last else f"    {', '.join(local[n] for n in stage.outputs)} = {call}"
        )
    return lines


def _call(stage: Stage, local: Mapping[str, str]) -> str:
    positional = [local[n] for n in stage.inputs if n not in stage.keywords]
    keyword = [f"{n}={local[n]}" for n in stage.keywords]
    call = f"{stage.role}.{stage.function}({', '.join(positional + keyword)})"
    return f"wait({call})" if stage.asynchronous else call
