"""Small notebooks with hand-written plans and packages, for the clean run, the proof and the registry.

Cells are given as (tags separated by blanks, source) and get the ids c1, c2, …
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import nb2prod.extract.package
from nb2prod.domain import (
    Bundle,
    CapturePlan,
    Cell,
    CleanRun,
    Evidence,
    MappedLine,
    Notebook,
    Report,
    Role,
    Stage,
    StateItem,
    to_json,
)
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.extract.schema import schema_of
from nb2prod.notebook.magics import plain_code
from nb2prod.validation import clean_run, prove, write_package

FIXED = Path(nb2prod.extract.package.__file__).parent


def book(
    folder: Path, *cells: tuple[str, str], name: str = "made", kernel: str | None = "python3"
) -> Notebook:
    """A notebook of code cells that lies in `folder`, as the reader would give it."""
    made = [
        Cell(i, f"c{i}", "code", source, tuple(tags.split()), plain_code(source).code)
        for i, (tags, source) in enumerate(cells, 1)
    ]
    return Notebook(name, folder / f"{name}.ipynb", tuple(made), kernel=kernel)


def inline(
    role: Role,
    takes: str,
    gives: str,
    *cells: str,
    result: Literal["expression", "names"] = "expression",
) -> Stage:
    """An inline stage; `takes` and `gives` are names separated by blanks."""
    return Stage(role, "inline", role, tuple(takes.split()), tuple(gives.split()), cells, result)


def function(role: Role, name: str, takes: str, gives: str, cell: str, keywords: str = "") -> Stage:
    """A function-style stage."""
    return Stage(
        role,
        "function",
        name,
        tuple(takes.split()),
        tuple(gives.split()),
        (cell,),
        "return",
        tuple(keywords.split()),
    )


def state(
    name: str,
    cell: str,
    when: Literal["before", "after"] = "before",
    *,
    bound: tuple[str, int, int] = ("c1", 1, 1),
    optional: bool = False,
    key: str | None = None,
) -> StateItem:
    """A state item; `bound` is the id, number and line of the statement that made it."""
    return StateItem(key or name, name, cell, when, *bound, optional)


def plan(
    request: str,
    *stages: Stage,
    moment: str,
    example: str,
    items: tuple[StateItem, ...] = (),
    rehome: Mapping[str, str] | None = None,
    reads: str = "",
    reference: tuple[str, str | None] | None = None,
) -> CapturePlan:
    """A plan; `reference` is the cell and the name that it binds."""
    return CapturePlan(
        request=tuple(request.split()),
        stages=stages,
        state=items,
        moment=moment,
        rehome=rehome or {},
        example_cells=(example,),
        example_reads=tuple(reads.split()),
        reference_cell=reference[0] if reference else None,
        reference_name=reference[1] if reference else None,
    )


def run(notebook: Notebook, what: CapturePlan, **options: Any) -> CleanRun:
    """A clean run of a notebook, in the folder `run` beside it."""
    options = {"parameters": {}, **options}
    return clean_run(notebook, what, folder=notebook.path.parent / "run", **options)


def bundle_of(
    notebook: Notebook,
    what: CapturePlan,
    evidence: Evidence,
    modules: Mapping[str, str],
    lines: tuple[MappedLine, ...] = (),
) -> Bundle:
    """A bundle with the modules given by name and text; `pipeline` must be one of them."""
    files = {f"{name}.py": text for name, text in modules.items()}
    for name in FIXED_FILES:
        files[name] = (FIXED / name).read_text("utf-8")
    files["__init__.py"] = "from .runtime import InvalidRequest, Predictor, load\n"
    files["contract.json"] = json.dumps(to_json(evidence.contract))
    files["schema.json"] = json.dumps(schema_of(evidence.contract, notebook.name))
    files["manifest.json"] = json.dumps(
        {
            "format": 1,
            "name": notebook.name,
            "notebook": {"file": notebook.path.name, "digest": notebook.digest},
            "state": to_json(evidence.state),
            "source_map": to_json(lines),
        }
    )
    pins = "".join(f"{item.pin}  # {' '.join(item.roles)}\n" for item in evidence.requirements)
    files["requirements.txt"] = f"# made by hand\n{pins}" if pins else ""
    return Bundle(
        name=notebook.name,
        notebook_digest=notebook.digest,
        files=files,
        plan=what,
        imports=(),
        source_map=lines,
        evidence=evidence,
    )


@dataclasses.dataclass(frozen=True)
class Proven:
    """A notebook's clean run, bundle, package on disk and report."""

    notebook: Notebook
    run: CleanRun
    bundle: Bundle
    package: Path
    report: Report


def proven(
    notebook: Notebook,
    what: CapturePlan,
    modules: Mapping[str, str],
    *,
    lines: tuple[MappedLine, ...] = (),
    rtol: float = 0.0,
    **options: Any,
) -> Proven:
    """The whole way from a notebook to the report on its package; raises what is wrong on the way."""
    done = run(notebook, what, **options)
    bundle = bundle_of(notebook, what, done.evidence, modules, lines)
    package = notebook.path.parent / "package" / notebook.name
    write_package(bundle, done.folder, package)
    return Proven(notebook, done, bundle, package, prove(bundle, done, package, rtol=rtol))
