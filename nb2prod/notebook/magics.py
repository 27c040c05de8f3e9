"""IPython's cells as plain Python, line for line.

A cell that Python itself can parse is left alone, so that nothing is ever rewritten that need not
be. Else IPython's own transformer is asked; its result keeps every statement on its line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

TRANSPARENT_CELL = frozenset({"time", "capture", "prun"})
"""Cell magics whose body runs as if it stood there without them."""

TRANSPARENT_LINE = frozenset({"time", "prun"})

_CELL_MAGIC = re.compile(r"\s*%%(\w+)(.*)")
_LINE_MAGIC = re.compile(r"^(\s*)(?:([\w., ]+?)\s*=\s*)?%(\w+)\b\s*(?:-\w+\s+)*(.*)$")


@dataclass(frozen=True, slots=True)
class PlainCode:
    """Python text with as many lines as the cell, or no text and the cell magic that rules the cell."""

    code: str
    magic: str | None = None


def plain_code(source: str) -> PlainCode:
    """A cell's source as plain Python. Text that is no Python even then comes back as it was.

    Lines end as Python itself has them end, in texts as well, whatever the editor wrote.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    header, _, body = source.partition("\n")
    match = _CELL_MAGIC.fullmatch(header)
    if match is None:
        return PlainCode(_transform(source))
    if match[1] not in TRANSPARENT_CELL:
        return PlainCode("", match[1])
    return PlainCode("\n" + _transform(body))


def _transform(source: str) -> str:
    if _parses(source):
        return source
    source = "\n".join(_transparent(line) for line in source.split("\n"))
    if _parses(source):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    manager = TransformerManager()  # type: ignore[no-untyped-call]
    transformed = manager.transform_cell(source).rstrip("\n")
    missing = source.count("\n") - transformed.count("\n")
    return transformed + "\n" * max(missing, 0) if _parses(transformed) else source


def _transparent(line: str) -> str:
    match = _LINE_MAGIC.match(line)
    if match is None or match[3] not in TRANSPARENT_LINE or not match[4]:
        return line
    target = f"{match[2]} = " if match[2] else ""
    return f"{match[1]}{target}{match[4]}"


def _parses(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
