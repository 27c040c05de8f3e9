"""What can be said of a notebook before anything is extracted: tags, syntax, the cells that must be there."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from nb2prod.domain import TAGS, Cell, Diagnostic, Notebook
from nb2prod.extract import names
from nb2prod.extract.findings import at
from nb2prod.extract.program import parse


def first_checks(notebook: Notebook) -> tuple[Diagnostic, ...]:
    """Findings of the first look: NB110 to NB135."""
    return (*_tags(notebook), *_syntax(notebook), *_needed(notebook))


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
    if plain in TAGS:
        return plain
    close = difflib.get_close_matches(plain, TAGS, n=1, cutoff=0.84)
    return close[0] if close else None


def _syntax(notebook: Notebook) -> Iterator[Diagnostic]:
    for cell in notebook.code:
        if "skip" in cell.tags:
            continue
        if cell.magic is not None and any(t in TAGS for t in cell.tags):
            hint = f"Remove `%%{cell.magic}`, or the tag."
            yield at(
                cell,
                "NB122",
                f"a tagged cell is ruled by `%%{cell.magic}`: it is not plain Python",
                hint,
                line=1,
            )
        try:
            names.of(parse(cell.code).body)
        except (RecursionError, MemoryError):
            message = "an expression or a block is nested too deeply"
            yield at(cell, "NB120", message, "Split it into several statements.")
        except SyntaxError as error:
            yield _syntax_error(cell, error)
        except ValueError as error:
            yield at(cell, "NB120", f"not Python: {error}", _correct(cell))


def _syntax_error(cell: Cell, error: SyntaxError) -> Diagnostic:
    line = error.lineno or 1
    lines = cell.code.split("\n")
    text = lines[line - 1].strip() if line <= len(lines) else ""
    if "Missing parentheses in call to" in error.msg or "exception types must be" in error.msg:
        hint = "This is Python 2: write print(...), except ... as e."
        return at(cell, "NB121", f"Python 2 syntax: {text}", hint, line=line)
    return at(cell, "NB120", f"syntax error: {error.msg}: {text}", _correct(cell), line=line)


def _correct(cell: Cell) -> str:
    """What to do about a cell that is no Python: one that has a part to play cannot be skipped."""
    if any(tag in TAGS for tag in cell.tags):
        return "Correct the cell."
    return "Correct the cell, or tag it `skip`."


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


def _nodes(cell: Cell) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(parse(cell.code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield ast.Name(id="", ctx=ast.Store())  # the syntax error is a finding of its own
