"""The generated package: modules as a reviewer would want to read them.

Imports, constants and helpers that serving needs, in the notebook's own lines; one function for each
inline role; `pipeline.py` that calls them in order; `state.py` that names the fitted values.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nb2prod.domain import Cell, Diagnostic, MappedLine, Role, SeenValue, Stage, StateItem
from nb2prod.extract.clashes import apart, clashes
from nb2prod.extract.functions import Inline, function_lines
from nb2prod.extract.hints import Hints, Seen, cells, has_annotations, safe
from nb2prod.extract.homes import HELPERS, bound_in, home_of, homes_of, position_of
from nb2prod.extract.imports import imports_of
from nb2prod.extract.pipeline import lazy_state_lines, pipeline_lines, state_lines
from nb2prod.extract.program import Statement
from nb2prod.extract.statewise import reads_itself, state_places
from nb2prod.extract.style import Import, import_lines
from nb2prod.extract.text import (
    BLANK,
    Line,
    between,
    comments_above,
    is_definition,
    plain,
    squeezed,
    stripped,
    verbatim,
)
from nb2prod.extract.units import Slice, Target, Unit

FUNCTION_NAMES: dict[Role, str] = {
    "preprocess": "preprocess",
    "model": "predict",
    "postprocess": "postprocess",
}


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


def code_files(slice_: Slice, rehomed: Iterable[str] = (), values: Iterable[SeenValue] = ()) -> Layer:
    """The code of the package: one text for each module, `state.py` and `pipeline.py` included.

    `values` are what the clean run saw pass between the roles: type hints are made of them.
    """
    units, seen = slice_.included(rehomed), Seen.of(values)
    homes = homes_of(slice_, units)
    layer = Layer(stages=_named_stages(slice_))
    definitions = [u for u in slice_.units.values() if u.statement and u.statement.kind == "definition"]
    layer.homes = {n: homes.get(u, HELPERS) for u in definitions for n in sorted(bound_in(u))}
    imported: set[str] = set()
    parts = [slice_.embedded[name] for name in rehomed if name in slice_.embedded]
    for module in _modules(slice_, units, homes):
        users = (u for u in units if homes[u] != module.name)
        wanted = (t for u in users for t in u.needs.values() if home_of(slice_, t, homes) == module.name)
        layer.findings += clashes(module.units, wanted)
        placed = state_places(slice_, module.units, module.body, parts)
        lines = _module_lines(slice_, module, homes, layer.stages, imported, seen, placed)
        _put(layer, f"{module.name}.py", lines)
    read = {t.key for u in units for t in u.needs.values() if t.kind == "state"}
    layer.state = tuple(item for key, item in slice_.state.items() if key in read)
    if layer.state:
        circular = reads_itself(slice_, homes, parts)
        _put(layer, "state.py", plain(*(lazy_state_lines if circular else state_lines)(layer.state)))
    _put(layer, "pipeline.py", plain(*pipeline_lines(slice_, layer.stages, seen, _names(homes))))
    layer.imports = tuple(sorted(imported))
    return layer


def _put(layer: Layer, name: str, lines: list[Line]) -> None:
    layer.files[name] = "\n".join(line.text for line in lines).rstrip("\n") + "\n"
    layer.source_map += [
        MappedLine(name, i, line.cell, line.number, line.cell_line)
        for i, line in enumerate(lines, 1)
        if line.cell_line is not None
    ]


# --- which units, under which names ---------------------------------------------------------------


def _modules(slice_: Slice, units: list[Unit], homes: Mapping[Unit, str]) -> list[Module]:
    found = {name: Module(name) for name in (HELPERS, *slice_.roots)}
    for unit in units:
        if unit.statement is None:
            found[homes[unit]].body = unit
        else:
            found[homes[unit]].units.append(unit)
    for module in found.values():
        module.units.sort(key=position_of)
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
    slice_: Slice,
    module: Module,
    homes: Mapping[Unit, str],
    stages: tuple[Stage, ...],
    imported: set[str],
    seen: Seen,
    placed: Mapping[str, Statement | None],
) -> list[Line]:
    units = [*module.units, *([module.body] if module.body else [])]
    imports = _imports(slice_, module, units, homes, imported)
    entry = slice_.roots.get(module.name)  # type: ignore[call-overload]
    exported = sorted(bound_in(entry)) if entry is not None and homes[entry] == HELPERS else []
    imports |= {Import(".helpers", name) for name in exported}
    nodes = [node for unit in units for node in _nodes(slice_, unit)]
    if slice_.layout.program.lazy_annotations and (module.units or has_annotations(nodes)):
        imports.add(Import("__future__", "annotations"))
    taken = {name for unit in module.units for name in bound_in(unit)} | {s.function for s in stages}
    below = {item for item in imports if item.module == ".state" and item.name in placed}
    imports -= below
    hints = Hints(module.name, imports, taken, _names(homes), has_annotations(nodes))
    above = {
        place: _late([item for item in below if placed[item.name] is place]) for place in placed.values()
    }
    lines = _unit_lines(slice_, module, above)
    if module.body is not None:
        stage = next(s for s in stages if s.role == module.name)
        inline = Inline(stage, module.body, _taken_as(slice_, module), _copier(slice_, module))
        lines += [BLANK, BLANK, *function_lines(slice_, inline, hints, seen)]
    header = hints.header()
    header += ["", f"__all__ = {json.dumps(exported)}"] if exported else []
    title = plain(f'"""{_title(slice_, module)}"""', *([""] if header else []), *header)
    after = above.get(None, [])
    return [*title, *lines, *plain(*(["", "", *after] if after else []))]


def _late(imports: Iterable[Import]) -> list[str]:
    """Imports that stand below code."""
    return [f"{text}  # noqa: E402" for text in import_lines(set(imports))]


def _names(homes: Mapping[Unit, str]) -> dict[str, str]:
    """The module of each function and class that the package holds."""
    definitions = [u for u in homes if u.statement is not None and u.statement.kind == "definition"]
    definitions.sort(key=position_of)  # of several the last counts, as it does in a module
    return {name: homes[unit] for unit in definitions for name in bound_in(unit)}


def _nodes(slice_: Slice, unit: Unit) -> list[ast.stmt]:
    if unit.statement is not None:
        return [unit.statement.node]
    assert unit.role is not None
    return [statement.node for statement in slice_.layout.codes[unit.role].body]


def _title(slice_: Slice, module: Module) -> str:
    file = safe(slice_.layout.program.notebook.path.name)
    if module.name == HELPERS:
        return f"Functions and constants of {file} that its roles use."
    numbers = [c.number for c in slice_.layout.codes[module.name].cells]  # type: ignore[index]
    return f"The role `{module.name}` of {file}: {cells(numbers)}."


def _unit_lines(slice_: Slice, module: Module, imports: Mapping[Statement | None, list[str]]) -> list[Line]:
    """Definitions and constants, in the notebook's order, below the imports that must stand just above them;
    a comment names the cell where another begins."""
    own = _own_cells(slice_, module)
    code = slice_.layout.codes.get(module.name)  # type: ignore[call-overload]
    here = code.cells[0].id if code is not None and len(code.cells) == 1 else ""
    kept = [unit.statement for unit in module.units if unit.statement is not None]
    comments = {statement: lines for cell in own for statement, lines in _cell_comments(slice_, cell, kept)}
    lines: list[Line] = []
    previous: Statement | None = None
    for statement in kept:
        above, after = comments.get(statement, (comments_above(statement), []))
        if statement in imports:
            lines += plain("", "", *imports[statement])
            previous = None
        anchor = [Line(f"# cell {statement.cell.number}")] if statement.cell.id != here else []
        tight = _is_small(statement) and (previous is None or _is_small(previous))
        tight = tight or (previous is None and not is_definition(statement.node))
        spaced = previous is None or anchor or above[:1] == [BLANK]
        lines += ([BLANK] if spaced else []) if tight else [BLANK, BLANK]
        lines += anchor + squeezed(above, most=2, leading=False)
        lines += verbatim(statement) + stripped(squeezed(after, most=2))
        previous, here = statement, statement.cell.id
    return lines


def _is_small(statement: Statement) -> bool:
    """An assignment: it needs no blank lines around it."""
    made = isinstance(statement.node, ast.Assign | ast.AnnAssign)
    return made and not isinstance(statement.node.value, ast.Lambda)  # type: ignore[attr-defined]


def _own_cells(slice_: Slice, module: Module) -> list[Cell]:
    """The cells of a role whose code is this module; not those that became a function."""
    code = slice_.layout.codes.get(module.name)  # type: ignore[call-overload]
    inline = {statement.cell.id for statement in code.body} if code is not None else set()
    return [cell for cell in code.cells if cell.id not in inline] if code is not None else []


def _cell_comments(
    slice_: Slice, cell: Cell, kept: list[Statement]
) -> Iterator[tuple[Statement, tuple[list[Line], list[Line]]]]:
    """The comments above each kept statement of a cell, and those below the last one."""
    last: Statement | None = None
    above: list[Line] = []
    for statement, lines in between(cell, slice_.layout.program.of_cell(cell), kept):
        if last is not None:
            yield last, (above, [] if statement is not None else lines)
        last, above = statement, lines


def _imports(
    slice_: Slice, module: Module, units: list[Unit], homes: Mapping[Unit, str], imported: set[str]
) -> set[Import]:
    found: set[Import] = set()
    assigned = _taken_as(slice_, module)
    for unit in units:
        nodes = [node for top in _nodes(slice_, unit) for node in ast.walk(top)]
        spelt = {node.id for node in nodes if isinstance(node, ast.Name)}
        for name, target in unit.needs.items():
            unseen = name not in spelt
            if target.kind == "import":
                found |= set(_external(name, target, imported, unseen))
                continue
            alias = assigned.get(name, name) if unit is module.body else name
            home = home_of(slice_, target, homes)
            if home != module.name:
                key = target.key or name
                found.add(Import(f".{home}", key, alias if alias != key else "", unseen))
    if any(unit.copies for unit in units):
        copier = _copier(slice_, module)
        found.add(Import(".copies", "deepcopy", copier if copier != "deepcopy" else ""))
    imported |= {name for u in units if u.statement is not None for name in _nested_imports(u.statement)}
    return found


def _taken_as(slice_: Slice, module: Module) -> Mapping[str, str]:
    """Names that the role's function binds itself, and under which names it takes what they stand for."""
    if module.body is None:
        return {}
    local = slice_.layout.codes[module.name].local  # type: ignore[index]
    names = local | module.body.copies | apart(module.body, module.units)
    used = _used(slice_, module)
    aliases: dict[str, str] = {}
    for name in sorted(names & module.body.needs.keys()):
        aliases[name] = _free(name, {*used, *aliases.values()})
    return aliases


def _copier(slice_: Slice, module: Module) -> str:
    """What `copies.deepcopy` is called in a role's module: a name that none of its code uses."""
    used = _used(slice_, module) | set(_taken_as(slice_, module).values())
    return "deepcopy" if "deepcopy" not in used else _free("deepcopy", used)


def _free(name: str, used: set[str]) -> str:
    """A name with as many underscores before it as it takes to be used nowhere."""
    name = f"_{name}"
    return _free(name, used) if name in used else name


def _used(slice_: Slice, module: Module) -> set[str]:
    """The names that a role's module uses."""
    code = slice_.layout.codes[module.name]  # type: ignore[index]
    units = [*module.units, *([module.body] if module.body else [])]
    used = {name for unit in units for name in unit.needs} | code.local
    used |= {name for unit in module.units for name in bound_in(unit)}
    return used | {name for stage in slice_.layout.stages for name in stage.inputs}


def _nested_imports(statement: Statement) -> Iterable[str]:
    """Modules that a function imports when it is called, or a definition behind `try`."""
    for node in ast.walk(statement.node):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _external(name: str, target: Target, imported: set[str], unseen: bool) -> Iterator[Import]:
    for node in (n for s in target.statements for n in imports_of(s.node, name)):
        for alias in node.names:
            if alias.name != "*" and (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            module = "" if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
            imported.add(module or alias.name)
            yield Import(module, name if alias.name == "*" else alias.name, alias.asname or "", unseen)
