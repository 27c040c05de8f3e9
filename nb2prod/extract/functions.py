"""An inline role as a function: the cells' own lines and comments, under a signature and a docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nb2prod.domain import Cell, Stage
from nb2prod.extract.hints import Hints, Seen, cells, docstring, listed, safe, shapes_of
from nb2prod.extract.making import shows_name
from nb2prod.extract.program import Statement
from nb2prod.extract.rolecode import RoleCode
from nb2prod.extract.style import returned, signature
from nb2prod.extract.text import (
    BLANK,
    INDENT,
    Line,
    as_return,
    between,
    ends_in_definition,
    indented,
    is_definition,
    plain,
    squeezed,
    stripped,
    verbatim,
)
from nb2prod.extract.units import Slice, Unit


@dataclass(frozen=True, slots=True)
class Inline:
    """An inline stage. `taken`: names that its function binds itself, and those by which it takes them."""

    stage: Stage
    unit: Unit
    taken: Mapping[str, str]
    copier: str
    """What `copies.deepcopy` is called in the module."""


def function_lines(slice_: Slice, inline: Inline, hints: Hints, seen: Seen) -> list[Line]:
    """The function of an inline stage; `hints` learns what its annotations need."""
    stage = inline.stage
    code = slice_.layout.codes[stage.role]
    parameters = [hints.parameter(name, seen.takes(stage, name)) for name in stage.inputs]
    returns = hints.of(seen.returns(stage))
    lines = plain(*signature(stage.function, parameters, returns, asynchronous=stage.asynchronous))
    lines += plain(*_docstring(slice_, stage, seen), *_own_names(inline))
    if code.body and is_definition(code.body[0].node):
        lines.append(BLANK)
    lines += indented(_body(slice_, stage, code), code.cells)
    if stage.result == "names" and stage.outputs:
        lines += [BLANK] if code.body and ends_in_definition(code.body[-1].node) else []
        lines += plain(*returned(stage.outputs, INDENT))
    return lines


def _own_names(inline: Inline) -> Iterator[str]:
    for name, target in sorted(inline.unit.needs.items()):
        if target.kind != "import" and name in inline.taken:
            value = inline.taken[name]
            value = f"{inline.copier}({value})" if name in inline.unit.copies else value
            yield f"{INDENT}{name} = {value}"


def _docstring(slice_: Slice, stage: Stage, seen: Seen) -> list[str]:
    notebook = slice_.layout.program.notebook
    where = cells(notebook.cell(cell).number for cell in stage.cells)
    takes = listed([f"`{name}`" for name in stage.inputs])
    gives = [f"`{name}`" for name in stage.outputs] if stage.result == "names" else ["the answer"]
    what = f"From {takes} to {listed(gives)}" if gives else f"What {takes} must pass"
    summary = f"{what}: {where} of {safe(notebook.path.name)}."
    labels = stage.outputs if stage.result == "names" else ("the answer",)
    given = list(zip(labels, seen.gives(stage), strict=False))
    return docstring(summary, shapes_of([seen.takes(stage, name) for name in stage.inputs], given))


def _body(slice_: Slice, stage: Stage, code: RoleCode) -> list[Line]:
    """The lines of all cells, each under its number if there are several."""
    result = code.body[-1] if stage.result == "expression" else None
    used = [cell for cell in code.cells if any(s.cell.id == cell.id for s in code.body)]
    lines: list[Line] = []
    for cell in used:
        if len(used) > 1:
            lines += [*([BLANK] if lines else []), Line(f"# cell {cell.number}")]
        lines += stripped(squeezed(_of_cell(slice_, cell, code, result), most=1, leading=False))
    return lines


def _of_cell(slice_: Slice, cell: Cell, code: RoleCode, result: Statement | None) -> Iterator[Line]:
    for statement, above in between(cell, slice_.layout.program.of_cell(cell), code.body):
        yield from above
        if statement is not None:
            yield from as_return(statement) if statement is result else verbatim(statement)
            yield from _called_as_before(statement)


def _called_as_before(statement: Statement) -> Iterator[Line]:
    """A class in a function is `predict.<locals>.Point`, and a dataclass shows that: it keeps its name."""
    node = statement.node
    if isinstance(node, ast.ClassDef) and shows_name(node):
        yield from [BLANK, *plain(f'{node.name}.__qualname__ = "{node.name}"'), BLANK]
