"""The notebook that a clean run executes: built in memory, the user's file is never touched."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nb2prod.domain import Cell, Notebook
from nb2prod.errors import NotebookError

_VALID_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def runs(cell: Cell) -> bool:
    """Whether the clean run executes a cell."""
    return cell.kind == "code" and "skip" not in cell.tags and bool(cell.source.strip())


def node_id(cell: Cell) -> str:
    """The id of a cell in the executed notebook: its own, where nbformat allows it."""
    return cell.id if _VALID_ID.fullmatch(cell.id) else f"cell-{cell.number}"


def script(notebook: Notebook, parameters: Mapping[str, Any], kernel: str) -> Any:
    """The notebook as nbformat has it, without `skip` cells, parameters injected as papermill does."""
    from nbformat import v4
    from papermill.iorw import load_notebook_node

    make: dict[str, Any] = {
        "code": v4.new_code_cell,
        "markdown": v4.new_markdown_cell,
        "raw": v4.new_raw_cell,
    }
    new_notebook: Any = v4.new_notebook
    cells = [
        make[cell.kind](cell.source, id=node_id(cell), metadata={"tags": list(cell.tags)})
        for cell in notebook.cells
        if "skip" not in cell.tags
    ]
    metadata = {
        "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
        "language_info": {"name": "python"},
    }
    return _parameterized(
        load_notebook_node(new_notebook(cells=cells, metadata=metadata)), parameters, kernel
    )


def _parameterized(nb: Any, parameters: Mapping[str, Any], kernel: str) -> Any:
    from papermill.parameterize import parameterize_notebook

    return (
        parameterize_notebook(nb, dict(parameters), kernel_name=kernel, language="python")
        if parameters
        else nb
    )


def check_parameters(notebook: Notebook, parameters: Mapping[str, Any]) -> None:
    """Raises NotebookError NB112 if no cell takes parameters, NB113 if it binds no parameter of that name."""
    if not parameters:
        return
    cells = [cell for cell in notebook.tagged("parameters") if "skip" not in cell.tags]
    given = ", ".join(sorted(parameters))
    if not cells:
        raise NotebookError(
            f"parameters are given ({given}), but no cell is tagged `parameters`",
            code="NB112",
            hint="Tag the cell that binds their defaults with `parameters`.",
        )
    bound = list(_bound(cells[0]))
    unknown = sorted(set(parameters) - set(bound))
    if unknown and bound:
        raise NotebookError(
            f"no parameter {unknown[0]!r}; the cell tagged `parameters` binds {', '.join(bound)}",
            code="NB113",
            hint="Give one of these names, or bind a default for the new one in that cell.",
            cell=cells[0].id,
            number=cells[0].number,
        )


def _bound(cell: Cell) -> Iterator[str]:
    """Names that the cell assigns; none if it is no Python, which the run itself will report."""
    try:
        tree = ast.parse(cell.code or cell.source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
