"""Cells that Python cannot read, or that something else than Python rules."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from nb2prod.domain import TAGS, Cell, Diagnostic, Notebook
from nb2prod.extract import usage
from nb2prod.extract.findings import at
from nb2prod.extract.ipython import written
from nb2prod.extract.program import parse

MOST_LEVELS = 250
"""Levels of nesting that a statement may have: Python's own functions that read it follow each by a call."""

_PYTHON_2 = re.compile(
    r"Missing parentheses in call to|exception types must be|leading zeros in decimal integer literals"
)
_PYTHON_2_LINE = re.compile(
    r"^\s*raise\s+[\w.]+\s*,|<>|\b\d+[lL]\b|\bur[\"']|^\s*exec\s+[\"']|^\s*print\s+[\"'%\w]"
)
_PYTHON_3_12 = re.compile(r"^\s*(?:type\s+\w+|(?:async\s+)?(?:def|class)\s+\w+\[)")
_DATABRICKS = re.compile(r"%(?:sql|md|scala|r|sh|fs)\b")


def syntax(notebook: Notebook) -> Iterator[Diagnostic]:
    """NB120 to NB122, NB124 and NB125 for the cells that are not skipped."""
    for cell in notebook.code:
        if "skip" in cell.tags:
            continue
        if cell.magic is not None and any(t in TAGS for t in cell.tags):
            yield _ruled(cell)
        try:
            tree = parse(cell.code)
            usage.of(tree.body)
            if (deep := _too_deep(tree)) is not None:
                message = "an expression or a block is nested too deeply"
                yield at(cell, "NB120", message, "Split it into several statements.", line=deep)
        except (RecursionError, MemoryError):
            message = "an expression or a block is nested too deeply"
            yield at(cell, "NB120", message, "Split it into several statements.")
        except SyntaxError as error:
            yield _error(cell, error)
        except ValueError as error:
            yield at(cell, "NB120", f"not Python: {error}", _correct(cell))


def _too_deep(tree: ast.Module) -> int | None:
    """The line of a statement with more levels than all that reads it can follow."""
    for statement in tree.body:
        level: list[ast.AST] = [statement]
        for _ in range(MOST_LEVELS):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            return statement.lineno
    return None


def _ruled(cell: Cell) -> Diagnostic:
    why = "it is not plain Python"
    if cell.magic == "timeit":
        why = "it runs many times, and what it binds is gone afterwards"
    return at(
        cell,
        "NB122",
        f"a tagged cell is ruled by `%%{cell.magic}`: {why}",
        f"Remove `%%{cell.magic}`, or the tag.",
        line=1,
    )


def _error(cell: Cell, error: SyntaxError) -> Diagnostic:
    line = min(error.lineno or 1, cell.source.count("\n") + 1)
    text = written(cell, line)
    if text.startswith("%%"):
        return _misplaced(cell, line, text)
    first = next((n for n, row in enumerate(cell.source.split("\n"), 1) if _says_something(row)), line)
    if _DATABRICKS.match(row := written(cell, first)):
        message = f"`{row.split()[0]}` rules this cell in Databricks only: elsewhere it is a syntax error"
        return at(cell, "NB125", message, "Tag the cell `skip`, or write it in Python.", line=first)
    if _PYTHON_2.search(error.msg) or _PYTHON_2_LINE.search(text):
        hint = "This is Python 2: write print(...), except ... as e."
        return at(cell, "NB121", f"Python 2 syntax: {text}", hint, line=line)
    newer = sys.version_info < (3, 12) and (error.msg.startswith("f-string") or _PYTHON_3_12.search(text))
    hint = f"It may need Python 3.12; this is 3.{sys.version_info[1]}. " if newer else ""
    if written(cell, line - 1).startswith("!"):
        hint += r"A shell line goes on below only where it ends in `\`. "
    hint += _correct(cell)
    return at(cell, "NB120", f"syntax error: {error.msg}: {text}", hint, line=line)


def _correct(cell: Cell) -> str:
    """What to do about a cell that is no Python: one that has a part to play cannot be skipped."""
    if any(tag in TAGS for tag in cell.tags):
        return "Correct the cell."
    return "Correct the cell, or tag it `skip`."


def _misplaced(cell: Cell, line: int, text: str) -> Diagnostic:
    magic = text.split()[0]
    if line > 1 and any(row.strip() for row in cell.source.split("\n")[: line - 1]):
        return at(
            cell,
            "NB124",
            f"`{magic}` is not on the cell's first line: IPython does not know it there",
            "Move it to the first line, above comments (Colab alone looks past them).",
            line=line,
        )
    return at(
        cell,
        "NB124",
        f"IPython refuses `{text}`: a cell magic needs code below it, and only its own options beside it",
        f"Write `{magic}` alone on the first line, and the code below.",
        line=line,
    )


def _says_something(row: str) -> bool:
    return bool(row.strip()) and not row.lstrip().startswith("#")
