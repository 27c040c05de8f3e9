"""From a notebook to the Bundle that serves it. Text in, text out: nothing is run, nothing is written."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from nb2prod.domain import (
    Behind,
    Bundle,
    CapturePlan,
    Cell,
    Diagnostic,
    Evidence,
    Notebook,
    Requirement,
    Role,
    StateItem,
    requirements_by_role,
    to_json,
)
from nb2prod.errors import NotebookError
from nb2prod.extract.attributes import attributes_read
from nb2prod.extract.checks import first_checks
from nb2prod.extract.compared import compared
from nb2prod.extract.display import is_display
from nb2prod.extract.hidden import in_state
from nb2prod.extract.hints import safe
from nb2prod.extract.ipython import dropped
from nb2prod.extract.marks import behind, cell_marks
from nb2prod.extract.modules import Layer, code_files
from nb2prod.extract.needs import needs_of
from nb2prod.extract.program import program_of
from nb2prod.extract.roles import Layout, layout_of
from nb2prod.extract.schema import schema_of
from nb2prod.extract.settings import settings
from nb2prod.extract.slicer import slice_of
from nb2prod.extract.units import Slice
from nb2prod.extract.warmed import warmed
from nb2prod.extract.watches import rebound_later

PACKAGE_FORMAT = 2
FIXED_FILES = (
    "runtime.py",
    "checks.py",
    "casts.py",
    "wire.py",
    "copies.py",
    "codecs.py",
    "writer.py",
    "formats.py",
    "plain.py",
    "frames.py",
    "accelerated.py",
    "mlflow_model.py",
)
"""What every package carries as it is: nb2prod/extract/package."""


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
    slice_ = slice_of(layout, frozenset(s.key for s in evidence.state) if evidence is not None else None)
    rehomed, values = (evidence.rehomed, evidence.values) if evidence is not None else ((), ())
    findings = list(dict.fromkeys([*findings, *(f for u in slice_.included(rehomed) for f in u.findings)]))
    findings += [*rebound_later(slice_), *warmed(slice_, rehomed), *dict.fromkeys(in_state(slice_, rehomed))]
    _stop_on_errors(findings)
    layer = code_files(slice_, rehomed, values)
    _stop_on_errors([*findings, *layer.findings])
    kept = {unit.statement for unit in slice_.included(rehomed)}
    kept |= {s for code in layout.codes.values() for s in layout.program.statements if code.owns(s)}
    assert slice_.moment is not None
    findings += settings(layout.program, layer.imports, kept, layout.program.end(slice_.moment))
    needs = needs_of(slice_, rehomed)
    if evidence is not None:
        keys = {item.key for item in layer.state}
        evidence = replace(evidence, state=tuple(s for s in evidence.state if s.key in keys))
    return Bundle(
        name=notebook.name,
        notebook_digest=notebook.digest,
        files=_files(slice_, layer, evidence, needs),
        plan=_plan(slice_, layer),
        imports=layer.imports,
        source_map=tuple(layer.source_map),
        diagnostics=tuple(findings),
        evidence=evidence,
        needs=needs,
    )


def _stop_on_errors(findings: list[Diagnostic]) -> None:
    if any(f.severity == "error" for f in findings):
        raise NotebookError.of(findings)


# --- what the clean run must see -----------------------------------------------------------------


def _plan(slice_: Slice, layer: Layer) -> CapturePlan:
    layout = slice_.layout
    assert slice_.moment is not None
    reference = _reference(layout)
    how, looked_up = compared(slice_), layout.program.changes.looked_up
    return CapturePlan(
        request=layout.request or ("request",),
        stages=layer.stages,
        state=tuple(
            replace(item, compared=how.get(key, ""), looked_up=item.name in looked_up)
            for key, item in slice_.state.items()
        ),
        moment=slice_.moment.id,
        rehome=layer.homes,
        example_cells=tuple(c.id for c in layout.example),
        example_reads=_example_reads(layout),
        reference_cell=reference[0].id if reference else None,
        reference_name=reference[1] if reference else None,
        watched=tuple(slice_.watched),
        attributes=attributes_read(slice_),
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
    last = statements[-1] if statements else None
    if last is not None and isinstance(last.node, ast.Expr) and last.kind == "value":
        if isinstance(last.node.value, ast.Name):
            return cells[-1], last.node.value.id
        if not is_display(last, layout.program) and not last.names.mutates:
            return cells[-1], None
    bound = [n for s in statements if s.kind != "import" for n in sorted(s.names.may)]
    return cells[-1], bound[-1] if bound else None


# --- files ---------------------------------------------------------------------------------------


def _files(slice_: Slice, layer: Layer, evidence: Evidence | None, roles: Iterable[Role]) -> dict[str, str]:
    notebook = slice_.layout.program.notebook
    files = dict(layer.files)
    files["__init__.py"] = _init(notebook)
    for name in FIXED_FILES:
        files[name] = resources.files("nb2prod.extract.package").joinpath(name).read_text("utf-8")
    contract = to_json(evidence.contract) if evidence else {"kind": None, "fields": []}
    files["contract.json"] = _json(contract)
    if evidence is not None:
        files["schema.json"] = _json(schema_of(evidence.contract, notebook.name))
    by_role = requirements_by_role(roles, evidence)
    proven = {**_proven(evidence), "requirements": by_role}
    files["manifest.json"] = _json({**_manifest(slice_, layer, evidence), **proven})
    files["requirements.txt"] = _requirements(evidence.requirements if evidence else ())
    return files


def _proven(evidence: Evidence | None) -> Mapping[str, Any]:
    """What the proof says of how a release serves. Nothing in it is another in the next proof."""
    if evidence is None:
        return {"batch_safe": None, "batch_reason": "", "acceleration": None}
    tried = evidence.acceleration
    return {
        "batch_safe": evidence.batch_safe,
        "batch_reason": evidence.batch_reason,
        "acceleration": None if tried is None else [{"key": item.key, "why": item.why} for item in tried],
    }


def _requirements(found: Iterable[Requirement]) -> str:
    """`requirements.txt`, in groups: each pin with the roles or the distributions that it is there for."""
    groups: dict[str, list[str]] = {}
    for item in found:
        title = "imported by this package"
        if item.via:
            title = "imported by those where installed" if item.optional else "needed by those"
        groups.setdefault(title, []).append(f"{item.pin}  # {', '.join(item.via or item.roles)}\n")
    return "\n".join("".join([f"# {title}\n", *lines]) for title, lines in groups.items())


def _init(notebook: Notebook) -> str:
    return (
        f'"""{notebook.name}: extracted from {safe(notebook.path.name)} by nb2prod."""\n\n'
        "from .runtime import InvalidRequest, Predictor, load\n\n"
        '__all__ = ["InvalidRequest", "Predictor", "load"]\n'
    )


def _manifest(slice_: Slice, layer: Layer, evidence: Evidence | None) -> Mapping[str, Any]:
    notebook = slice_.layout.program.notebook
    captured = {s.key: to_json(s) for s in evidence.state} if evidence else {}
    for item in evidence.accelerated if evidence else ():
        captured[item.key] |= {"accelerated": to_json(item.manifest)}
    computed = behind(slice_, layer.state)
    return {
        "format": PACKAGE_FORMAT,
        "name": notebook.name,
        "notebook": {"file": notebook.path.name, "digest": notebook.digest},
        "stages": to_json(layer.stages),
        "state": [
            {**_item(item), **captured.get(item.key, {}), "behind": _marked(computed[item.key])}
            for item in layer.state
        ],
        "cells": [{**to_json(mark), "lines": " ".join(mark.lines)} for mark in cell_marks(notebook)],
        "source_map": to_json(layer.source_map),
    }


def _item(item: StateItem) -> Mapping[str, Any]:
    return {
        "key": item.key,
        "name": item.name,
        "cell": item.bound_number,
        "line": item.bound_line,
        "expected": item.expected,
    }


def _marked(found: tuple[Behind, ...]) -> Mapping[str, str]:
    return {item.cell: item.digest for item in found}


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
