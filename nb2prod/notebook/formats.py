"""Notebooks of any age as format 4 has them: cells with `cell_type`, `source`, `metadata`, `execution_count`.

Formats 1 to 3 are few fields apart from 4. nbformat converts them too, but needs seconds to load and refuses
notebooks for faults in their outputs, which nothing here looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NEWEST = 4

_NAMES = {"input": "source", "code": "source", "text": "source", "prompt_number": "execution_count"}
_KINDS = {"heading": "markdown", "html": "markdown", "text": "markdown"}


class Damaged(ValueError):
    """The notebook lacks what its format asks for."""


def cells_of(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The cells of a notebook in any format up to 4; Damaged if it has no list of them."""
    if "worksheets" in raw and "cells" not in raw:
        sheets = raw["worksheets"]
        if not isinstance(sheets, list) or not all(isinstance(sheet, Mapping) for sheet in sheets):
            raise Damaged("its worksheets are no list")
        cells = [cell for sheet in sheets for cell in _list(sheet)]
    else:
        cells = _list(raw)
    found = [cell for cell in cells if isinstance(cell, Mapping)]
    return found if raw["nbformat"] == NEWEST else [_renamed(cell) for cell in found]


def _list(holder: Mapping[str, Any]) -> list[Any]:
    cells = holder.get("cells")
    if not isinstance(cells, list):
        raise Damaged("it has no list of cells")
    return cells


def _renamed(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    new = {_NAMES.get(key, key): value for key, value in cell.items()}
    new["cell_type"] = _KINDS.get(str(cell.get("cell_type")), cell.get("cell_type"))
    return new


def language_of(raw: Mapping[str, Any], cells: list[Mapping[str, Any]]) -> str:
    """The language that a notebook says it is in, as it writes it; empty if it does not say."""
    metadata = mapping(raw.get("metadata"))
    info, spec = mapping(metadata.get("language_info")), mapping(metadata.get("kernelspec"))
    ran, asked = str(info.get("name") or ""), str(spec.get("language") or "")
    if is_python(ran) and asked and not is_python(asked):
        return asked  # SageMath and its like: Python to an editor, not to Python
    said = ran or asked or str(metadata.get("language") or "") or _by_kernel(str(spec.get("name") or ""))
    return said or next(_by_cells(raw, cells), "")


def is_python(language: str) -> bool:
    """True for Python's names among languages, and for none given."""
    return language.lower() in ("", "python", "python2", "python3", "ipython", "ipython2", "ipython3")


_KERNELS = {
    ".net-csharp": "C#",
    ".net-fsharp": "F#",
    ".net-powershell": "PowerShell",
    "bash": "bash",
    "ir": "R",
    "iruby": "Ruby",
    "javascript": "JavaScript",
    "julia": "Julia",
    "octave": "Octave",
    "sagemath": "SageMath",
    "scala": "Scala",
    "spylon-kernel": "Scala",
    "xcpp": "C++",
}
"""Kernels by the start of their names, for notebooks that name nothing else."""


def _by_kernel(name: str) -> str:
    return next((lang for start, lang in _KERNELS.items() if name == start or _numbered(name, start)), "")


def _numbered(name: str, start: str) -> bool:
    """`julia-1.10` and `xcpp17`, not `iris`."""
    return name.startswith(start) and name[len(start) :].lstrip("-")[:1].isdigit()


def _by_cells(raw: Mapping[str, Any], cells: list[Mapping[str, Any]]) -> Iterator[str]:
    """Before format 4 each code cell named its language."""
    if raw["nbformat"] < NEWEST:
        for cell in cells:
            if cell.get("cell_type") == "code" and not is_python(str(cell.get("language") or "")):
                yield str(cell["language"])


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object; an empty one for anything else that stands in its place."""
    return value if isinstance(value, Mapping) else {}
