"""Where in the notebook something happened. Runs inside the notebook's kernel."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from types import CodeType
from typing import Any

from .finding import Refused, refused

Cells = Mapping[str, Mapping[str, Any]]
"""By cell id: `number`, `source` and `tags`."""

_TIMED = ("<timed exec>", "<timed eval>")


def at(cells: Cells, cell: str, line: int | None = None) -> dict[str, Any]:
    """A place in the notebook, as the keyword arguments of a finding."""
    return {"cell": cell, "number": cells[cell]["number"], "line": line}


def refused_at(cells: Cells, cell: str, code: str, message: str, hint: str | None = None) -> Refused:
    """A Refused that names a cell."""
    return refused(code, message, hint, **at(cells, cell))


def last_error() -> BaseException | None:
    """The error whose traceback IPython has shown last, or `%%capture` has hidden."""
    return getattr(sys, "last_value", None)


def failed_line(error: BaseException, cell: str, cells: Cells, shell: Any) -> int | None:
    """The line of `cell` at which an error arose in it, or None if that is not known."""
    before = {**_files_of(cells[cell]["source"], shell), **dict.fromkeys(_TIMED, 1)}
    if isinstance(error, SyntaxError) and error.filename in before:
        return (error.lineno or 1) + before[error.filename]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in before and frame.lineno:
            return frame.lineno + before[frame.filename]
    return None


def made_at(code: CodeType, cells: Cells, shell: Any) -> str:
    """Where code comes from, as text: a line of a cell, or of a file."""
    if place := place_of(code, cells, shell):
        return f"cell {place['number']}, line {place['line']}"
    file = code.co_filename
    if file.startswith("<"):
        return "a text that is run as code" if file not in _TIMED else "a cell with `%%time`"
    return f"{os.path.basename(file)}, line {code.co_firstlineno}"


def place_of(code: CodeType, cells: Cells, shell: Any) -> dict[str, Any]:
    """Where in the notebook code begins; nothing if it comes from elsewhere."""
    for cell, info in cells.items():
        if (before := _files_of(info["source"], shell).get(code.co_filename)) is not None:
            return at(cells, cell, code.co_firstlineno + before)
    return {}


def _files_of(source: str, shell: Any) -> dict[str, int]:
    """The names under which a cell is compiled, each with the lines that are above what it stands for."""
    # `%%time` and `%%capture` compile the body, which begins on the cell's second line, on its own
    body = _file_of(source.partition("\n")[2].rstrip("\n") + "\n", shell)
    return {body: 1, _file_of(source, shell): 0}


def origin(error: BaseException, cells: Cells, shell: Any) -> dict[str, Any]:
    """The innermost place in the notebook that an error passed through; nothing if there is none."""
    files = {_file_of(info["source"], shell): cell for cell, info in cells.items()}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return at(cells, files[frame.filename], frame.lineno)
    return {}


def _file_of(source: str, shell: Any) -> str:
    return str(shell.compile.get_code_name(source, source, 0))


def described(error: BaseException) -> str:
    """`ValueError: text` of an error, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def article(noun: str) -> str:
    """The noun after `a` or `an`."""
    last = noun.rpartition(".")[2]
    return f"{'an' if last.startswith(('nd', *'aeiouAEIOU')) else 'a'} {noun}"
