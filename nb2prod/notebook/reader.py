"""Reads notebook files of any format, from any editor. The file is never written."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2prod.domain import Cell, Notebook, digest
from nb2prod.errors import UnreadableNotebook
from nb2prod.notebook.formats import NEWEST, Damaged, cells_of, is_python, language_of, mapping
from nb2prod.notebook.magics import PlainCode, plain_code
from nb2prod.notebook.mistaken import conflict, what_else


def read(path: Path, name: str | None = None) -> Notebook:
    """The notebook in a file; `name` replaces the name that the file gives it.

    Raises UnreadableNotebook: NB101 no such file, NB102 not a notebook, NB103 another language,
    NB104 no code, NB105 a name that cannot name a Python package, NB106 a newer format, NB107 an
    unresolved git conflict.
    """
    name = _name(path, name)
    raw = _parse(path)
    try:
        found = cells_of(raw)
    except Damaged as error:
        raise _not_a_notebook(path, str(error)) from error
    language = language_of(raw, found)
    kernel = _kernel(raw)
    if not is_python(language):
        raise UnreadableNotebook(
            f"{path.name} is written in {language}, with the kernel {kernel!r}",
            code="NB103",
            hint="nb2prod extracts Python that the kernel runs itself; nothing else can be deployed.",
        )
    cells = tuple(_cells(found, raw))
    if not any(cell.kind == "code" and cell.source.strip() for cell in cells):
        raise UnreadableNotebook(
            f"{path.name} has no code cell",
            code="NB104",
            hint="`nb2prod new NAME` writes a starter notebook that deploys as it is.",
        )
    version = f"{raw['nbformat']}.{_minor(raw)}"
    return Notebook(name, path.resolve(), cells, "python", kernel, version)


def _name(path: Path, name: str | None) -> str:
    wanted = name or path.stem
    if wanted.isidentifier() and wanted.isascii() and not keyword.iskeyword(wanted):
        return wanted
    better = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_").lower() or "notebook"
    better = f"nb_{better}" if better[0].isdigit() or keyword.iskeyword(better) else better
    raise UnreadableNotebook(
        f"{wanted!r} cannot name a Python package and a URL",
        code="NB105",
        hint=f"Rename the file, or give a name: --name {better}",
    )


def _parse(path: Path) -> dict[str, Any]:
    content = _content(path)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        if line := conflict(content):
            raise UnreadableNotebook(
                f"{path.name} holds an unresolved git conflict (line {line} of the file)",
                code="NB107",
                hint="Resolve it first: `git checkout --ours` or `--theirs` keeps one side; nbdime merges.",
            ) from error
        raise _not_a_notebook(path, *what_else(content, error)) from error
    version = data.get("nbformat") if isinstance(data, dict) else None
    if not isinstance(version, int) or version < 1:
        raise _not_a_notebook(path, "it has no `nbformat`")
    if version > NEWEST:
        raise UnreadableNotebook(
            f"{path.name} is in notebook format {version}, newer than nb2prod knows ({NEWEST})",
            code="NB106",
            hint=f"Save it as format {NEWEST} from JupyterLab, or update nb2prod.",
        )
    return dict(data)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableNotebook(
            f"cannot read {path}: {error.strerror or error}", code="NB101", hint="Check the path."
        ) from error


def _not_a_notebook(
    path: Path, why: str, hint: str = "Give the path of an .ipynb file."
) -> UnreadableNotebook:
    return UnreadableNotebook(f"{path.name} is not a notebook: {why}", code="NB102", hint=hint)


def _kernel(raw: Mapping[str, Any]) -> str | None:
    name = mapping(mapping(raw.get("metadata")).get("kernelspec")).get("name")
    return str(name) if name else None


def _minor(raw: Mapping[str, Any]) -> int:
    minor = raw.get("nbformat_minor")
    return minor if isinstance(minor, int) else 0


def _cells(cells: list[Mapping[str, Any]], raw: Mapping[str, Any]) -> Iterator[Cell]:
    keeps_ids = (raw["nbformat"], _minor(raw)) >= (4, 5)
    seen: dict[str, int] = {}
    taken: set[str] = set()
    for number, cell in enumerate(cells, 1):
        source = _text(cell.get("source"))
        kind = cell.get("cell_type", "code")
        base = str(cell.get("id") or "") if keeps_ids else ""
        base = base or digest(str(kind), source.encode("utf-8", "surrogatepass"))[:8]
        plain = plain_code(source) if kind == "code" else PlainCode("")
        yield Cell(
            number,
            _unique(base, seen, taken),
            kind if kind in ("code", "markdown") else "raw",
            source,
            _tags(cell),
            plain.code,
            plain.magic,
            _execution_count(cell),
        )


def _unique(base: str, seen: dict[str, int], taken: set[str]) -> str:
    """The id itself the first time, then `id-2`, `id-3`; never one that stands elsewhere."""
    while True:
        seen[base] = seen.get(base, 0) + 1
        unique = base if seen[base] == 1 else f"{base}-{seen[base]}"
        if unique not in taken:
            taken.add(unique)
            return unique


def _tags(cell: Mapping[str, Any]) -> tuple[str, ...]:
    tags = mapping(cell.get("metadata")).get("tags")
    return tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()


def _execution_count(cell: Mapping[str, Any]) -> int | None:
    count = cell.get("execution_count")
    return count if isinstance(count, int) and count > 0 else None  # Colab writes 0 for "not run"


def _text(source: Any) -> str:
    """A cell's text, with the line ends that Python sees in it."""
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str))
    return text.replace("\r\n", "\n").replace("\r", "\n")
