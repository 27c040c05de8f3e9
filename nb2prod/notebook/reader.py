"""Reads a notebook file. The file is never written; old formats are upgraded in memory."""

from __future__ import annotations

import json
import keyword
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2prod.domain import Cell, Notebook, digest
from nb2prod.errors import UnreadableNotebook
from nb2prod.notebook.magics import PlainCode, plain_code

PYTHON = frozenset({"python", "python3", "ipython", "ipython3", ""})


def read(path: Path, name: str | None = None) -> Notebook:
    """The notebook in a file; `name` replaces the name that the file gives it.

    Raises UnreadableNotebook: NB101 no such file, NB102 not a notebook, NB103 another language,
    NB104 no code, NB105 a name that cannot name a Python package, NB106 a newer format.
    """
    name = _name(path, name)
    raw = _parse(path)
    version = f"{raw.get('nbformat')}.{raw.get('nbformat_minor', 0)}"
    notebook = _upgrade(raw, path)
    metadata = notebook.get("metadata", {})
    language = _language(metadata)
    if language.lower() not in PYTHON:
        raise UnreadableNotebook(
            f"{path.name} is written in {language}, with the kernel {_kernel(metadata)!r}",
            code="NB103",
            hint="nb2prod extracts Python; a notebook in another language cannot be deployed.",
        )
    cells = tuple(_cells(notebook["cells"], raw))
    if not any(cell.kind == "code" and cell.source.strip() for cell in cells):
        raise UnreadableNotebook(
            f"{path.name} has no code cell",
            code="NB104",
            hint="`nb2prod new NAME` writes a starter notebook that deploys as it is.",
        )
    return Notebook(name, path.resolve(), cells, "python", _kernel(metadata), version)


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
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableNotebook(
            f"cannot read {path}: {error.strerror or error}", code="NB101", hint="Check the path."
        ) from error
    except ValueError as error:
        raise _not_a_notebook(path, f"it is not JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("nbformat"), int):
        raise _not_a_notebook(path, "it has no `nbformat`")
    if data["nbformat"] > 4:
        raise UnreadableNotebook(
            f"{path.name} is in notebook format {data['nbformat']}, newer than nb2prod knows (4)",
            code="NB106",
            hint="Save it as format 4 from JupyterLab, or update nb2prod.",
        )
    return data


def _not_a_notebook(path: Path, why: str) -> UnreadableNotebook:
    return UnreadableNotebook(
        f"{path.name} is not a notebook: {why}", code="NB102", hint="Give the path of an .ipynb file."
    )


def _upgrade(raw: dict[str, Any], path: Path) -> Mapping[str, Any]:
    if raw["nbformat"] == 4 and isinstance(raw.get("cells"), list):
        return raw
    import nbformat
    import nbformat.reader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read: Any = nbformat.reader.reads(json.dumps(raw))  # type: ignore[no-untyped-call]
            upgraded: Mapping[str, Any] = nbformat.convert(read, 4)  # type: ignore[no-untyped-call]
    except (KeyError, AttributeError, TypeError, ValueError, nbformat.ValidationError) as error:
        raise _not_a_notebook(path, f"its format {raw['nbformat']} is damaged ({error!r})") from error
    if not isinstance(upgraded.get("cells"), list):
        raise _not_a_notebook(path, "it has no list of cells")
    return upgraded


def _language(metadata: Mapping[str, Any]) -> str:
    info = metadata.get("language_info") or {}
    spec = metadata.get("kernelspec") or {}
    return str(info.get("name") or spec.get("language") or "")


def _kernel(metadata: Mapping[str, Any]) -> str | None:
    name = (metadata.get("kernelspec") or {}).get("name")
    return str(name) if name else None


def _cells(cells: list[Any], raw: Mapping[str, Any]) -> Iterator[Cell]:
    keeps_ids = (raw["nbformat"], raw.get("nbformat_minor", 0)) >= (4, 5)
    seen: dict[str, int] = {}
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, Mapping):
            continue
        source = _text(cell.get("source", ""))
        kind = cell.get("cell_type", "code")
        base = str(cell.get("id") or "") if keeps_ids else ""
        base = base or digest(kind, source)[:8]
        seen[base] = seen.get(base, 0) + 1
        unique = base if seen[base] == 1 else f"{base}-{seen[base]}"
        tags = (cell.get("metadata") or {}).get("tags") or ()
        plain = plain_code(source) if kind == "code" else PlainCode("")
        yield Cell(
            number,
            unique,
            kind if kind in ("code", "markdown") else "raw",
            source,
            tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
            plain.code,
            plain.magic,
        )


def _text(source: Any) -> str:
    text = "".join(str(line) for line in source) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n")
