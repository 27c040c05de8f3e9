"""What can be said of a notebook before anything is extracted: tags, syntax, order, the cells it needs."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from nb2prod.domain import TAGS, Cell, Diagnostic, Notebook
from nb2prod.extract.findings import at
from nb2prod.extract.ipython import installs
from nb2prod.extract.order import last_run
from nb2prod.extract.program import NOT_PYTHON, parse
from nb2prod.extract.syntax import syntax

_LONGEST = 2 * max(len(tag) for tag in TAGS)


def first_checks(notebook: Notebook) -> tuple[Diagnostic, ...]:
    """Findings of the first look: NB108 to NB137."""
    return (
        *_kernel(notebook),
        *_tags(notebook),
        *syntax(notebook),
        *last_run(notebook),
        *installs(notebook),
        *_needed(notebook),
    )


def _kernel(notebook: Notebook) -> Iterator[Diagnostic]:
    if notebook.kernel in ("python2", "ipython2"):
        yield at(
            None,
            "NB108",
            f"the notebook was written for Python 2 (kernel {notebook.kernel!r}): Python 3 runs it",
            "Run it under Python 3 and compare: `/` no longer rounds, and map, zip and keys() are no lists.",
            "warning",
        )


def _tags(notebook: Notebook) -> Iterator[Diagnostic]:
    for cell in notebook.cells:
        for tag in cell.tags:
            meant = _meant(tag)
            if meant is not None:
                hint = f"Did you mean `{meant}`? Tags are lower case."
                yield at(cell, "NB110", f"the tag {tag!r} means nothing to nb2prod", hint, "warning")
        if cell.kind != "code" and (wrong := [t for t in cell.tags if t in TAGS]):
            yield at(
                cell, "NB135", f"a {cell.kind} cell is tagged `{wrong[0]}`", "Tag the code cell.", "warning"
            )
        if cell.roles and cell.roles[0] != "model" and _is_empty(cell):
            message = f"the cell is tagged `{cell.roles[0]}` and holds no code"
            yield at(cell, "NB135", message, "Write it, or remove the tag.", "warning")
        if "skip" in cell.tags and (roles := [t for t in cell.tags if t in TAGS and t != "skip"]):
            hint = "Remove one of the two tags: a skipped cell is not run."
            yield at(cell, "NB133", f"the cell is tagged both `skip` and `{roles[0]}`", hint)
        if len(cell.roles) > 1:
            both = " and ".join(f"`{r}`" for r in cell.roles)
            yield at(cell, "NB134", f"the cell is tagged {both}", "Split it: one role a cell.")


def _meant(tag: str) -> str | None:
    if tag in TAGS:
        return None
    plain = tag.lower().replace("-", "").replace("_", "").replace(" ", "")
    if plain in TAGS or len(plain) > _LONGEST:
        return plain if plain in TAGS else None
    close = difflib.get_close_matches(plain, TAGS, n=1, cutoff=0.84)
    return close[0] if close else None


def _needed(notebook: Notebook) -> Iterator[Diagnostic]:
    if not notebook.tagged("model"):
        yield at(
            None,
            "NB130",
            "no cell is tagged `model`",
            "Tag the cell that computes the answer: in JupyterLab, select it and add the tag `model` under"
            " Property Inspector > Cell Tags.",
        )
    examples = _runs(notebook, "example")
    if not notebook.tagged("example"):
        yield at(
            None,
            "NB131",
            "no cell is tagged `example`",
            "Add a cell that binds an example request, say `request = df.head(3)`, and tag it `example`.",
        )
    for cell in examples:
        if not any(isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) for n in _nodes(cell)):
            yield at(cell, "NB132", "the example cell binds no name", "Bind the request: `request = ...`.")


def _runs(notebook: Notebook, tag: str) -> list[Cell]:
    return [cell for cell in notebook.tagged(tag) if "skip" not in cell.tags]


def _is_empty(cell: Cell) -> bool:
    first = next(_nodes(cell))
    return cell.kind == "code" and isinstance(first, ast.Module) and not first.body


def _nodes(cell: Cell) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(parse(cell.code))
    except NOT_PYTHON:
        yield ast.Name(id="", ctx=ast.Store())  # the syntax error is a finding of its own
