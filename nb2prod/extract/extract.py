"""From a notebook to the Bundle that serves it. Text in, text out: nothing is run, nothing is written."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from nb2prod.domain import Bundle, CapturePlan, Cell, Diagnostic, Evidence, Notebook, StateItem, to_json
from nb2prod.errors import NotebookError
from nb2prod.extract.checks import first_checks
from nb2prod.extract.ipython import dropped
from nb2prod.extract.modules import Layer, code_files
from nb2prod.extract.program import program_of
from nb2prod.extract.roles import Layout, layout_of
from nb2prod.extract.slicer import Slice, rebound_later, slice_of

PACKAGE_FORMAT = 1
FIXED_FILES = ("runtime.py", "mlflow_model.py")


def check(notebook: Notebook) -> tuple[Diagnostic, ...]:
    """All that is wrong or noteworthy about a notebook, errors first; empty if it can be deployed."""
    try:
        found = extract(notebook).diagnostics
    except NotebookError as error:
        found = error.diagnostics
    return tuple(sorted(found, key=lambda f: (f.severity != "error", f.severity != "warning", f.number or 0)))


def extract(notebook: Notebook, evidence: Evidence | None = None) -> Bundle:
    """The Bundle of a notebook: a draft without evidence, whole with what the clean run saw.

    Raises NotebookError with every finding (NB1xx and NB2xx) if any is an error.
    """
    findings = list(first_checks(notebook))
    _stop_on_errors(findings)
    layout = layout_of(program_of(notebook))
    findings += layout.findings
    for code in layout.codes.values():
        findings += dropped(layout.program, code.cells) if code.style == "inline" else ()
    _stop_on_errors(findings)
    slice_ = slice_of(layout)
    rehomed = evidence.rehomed if evidence is not None else ()
    for unit in slice_.included(rehomed):
        findings += [f for f in unit.findings if f not in findings]
    findings += rebound_later(slice_)
    _stop_on_errors(findings)
    layer = code_files(slice_, rehomed)
    if evidence is not None:
        keys = {item.key for item in layer.state}
        evidence = replace(evidence, state=tuple(s for s in evidence.state if s.key in keys))
    return Bundle(
        name=notebook.name,
        notebook_digest=notebook.digest,
        files=_files(notebook, layer, evidence),
        plan=_plan(slice_, layer),
        imports=layer.imports,
        source_map=tuple(layer.source_map),
        diagnostics=tuple(findings),
        evidence=evidence,
    )


def _stop_on_errors(findings: list[Diagnostic]) -> None:
    if any(f.severity == "error" for f in findings):
        raise NotebookError.of(findings)


# --- what the clean run must see -----------------------------------------------------------------


def _plan(slice_: Slice, layer: Layer) -> CapturePlan:
    layout = slice_.layout
    assert slice_.moment is not None
    reference = _reference(layout)
    return CapturePlan(
        request=layout.request or ("request",),
        stages=layer.stages,
        state=tuple(slice_.state.values()),
        moment=slice_.moment.id,
        rehome=layer.homes,
        example_cells=tuple(c.id for c in layout.example),
        example_reads=_example_reads(layout),
        reference_cell=reference[0].id if reference else None,
        reference_name=reference[1] if reference else None,
        constants=tuple(slice_.constants),
    )


def _example_reads(layout: Layout) -> tuple[str, ...]:
    """Names that the example was made from: what its cells read, and what they bind besides."""
    ids = {c.id for c in layout.example}
    found: dict[str, None] = {}
    for statement in layout.program.statements:
        if statement.cell.id in ids and statement.kind == "value":
            found |= dict.fromkeys(sorted(statement.names.reads | statement.names.may))
    return tuple(name for name in found if name not in layout.request)


def _reference(layout: Layout) -> tuple[Cell, str | None] | None:
    """The reference cell and the name that it binds; no name if it ends in an expression."""
    cells = [c for c in layout.program.notebook.tagged("reference") if "skip" not in c.tags]
    if not cells:
        return None
    statements = layout.program.of_cell(cells[-1])
    if statements and isinstance(statements[-1].node, ast.Expr) and statements[-1].kind == "value":
        name = getattr(statements[-1].node.value, "id", None)
        return cells[-1], name
    bound = [n for s in statements if s.kind != "import" for n in sorted(s.names.may)]
    return cells[-1], bound[-1] if bound else None


# --- files ---------------------------------------------------------------------------------------


def _files(notebook: Notebook, layer: Layer, evidence: Evidence | None) -> dict[str, str]:
    files = dict(layer.files)
    files["__init__.py"] = _init(notebook)
    for name in FIXED_FILES:
        files[name] = resources.files("nb2prod.extract.package").joinpath(name).read_text("utf-8")
    contract = to_json(evidence.contract) if evidence else {"kind": None, "fields": []}
    files["contract.json"] = _json(contract)
    files["manifest.json"] = _json(_manifest(notebook, layer, evidence))
    files["requirements.txt"] = "".join(f"{pin}\n" for pin in (evidence.requirements if evidence else ()))
    return files


def _init(notebook: Notebook) -> str:
    return (
        f'"""{notebook.name}: extracted from {notebook.path.name} by nb2prod."""\n\n'
        "from .runtime import InvalidRequest, Predictor, load\n\n"
        '__all__ = ["InvalidRequest", "Predictor", "load"]\n'
    )


def _manifest(notebook: Notebook, layer: Layer, evidence: Evidence | None) -> Mapping[str, Any]:
    captured = {s.key: to_json(s) for s in evidence.state} if evidence else {}
    return {
        "format": PACKAGE_FORMAT,
        "name": notebook.name,
        "notebook": {"file": notebook.path.name, "digest": notebook.digest},
        "stages": to_json(layer.stages),
        "state": [{**_item(item), **captured.get(item.key, {})} for item in layer.state],
        "source_map": to_json(layer.source_map),
    }


def _item(item: StateItem) -> Mapping[str, Any]:
    return {"key": item.key, "name": item.name, "cell": item.bound_number, "line": item.bound_line}


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
