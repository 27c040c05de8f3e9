"""The clean run: a fresh kernel executes the notebook, and the probe captures what serving needs."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nb2prod.domain import (
    CapturePlan,
    CleanRun,
    Contract,
    Diagnostic,
    Evidence,
    Notebook,
    SeenValue,
    StateFile,
    to_json,
)
from nb2prod.validation import kernels
from nb2prod.validation.script import check_parameters, node_id, runs, script

Progress = Callable[[int, int, str], None]

PACKAGE = Path(__file__).parent.parent / "extract" / "package"
"""The files that every package carries. The kernel loads them by path; no room imports another."""


def clean_run(
    notebook: Notebook,
    plan: CapturePlan,
    *,
    folder: Path,
    parameters: Mapping[str, Any],
    progress: Progress | None = None,
    kernel: str | None = None,
    start_timeout: float = 60,
    cell_timeout: float | None = None,
) -> CleanRun:
    """Run a notebook from a clean kernel, in its own folder, and capture what the plan asks for.

    `folder` is emptied and then holds all that the run leaves. `progress` is called as each cell
    starts with how many are done, of how many, and what runs now. Timeouts are in seconds,
    `cell_timeout` for each cell.

    Raises NotebookError: NB112 and NB113 parameters, NB220 to NB225 example, reference and answers;
    RunError: NB300 a cell failed, NB301 the kernel died, NB302 too slow, NB303 a role function failed,
    NB330 a check failed, NB331 metrics are no numbers; StateError: NB310 to NB313; ParityError NB321;
    UsageError NB115; SetupError NB304.
    """
    check_parameters(notebook, parameters)
    name, warnings = kernels.choose(notebook, kernel)
    _empty(folder)
    _write_job(notebook, plan, folder)
    started = time.perf_counter()
    _execute(notebook, plan, folder, parameters, (name, progress, start_timeout, cell_timeout))
    seconds = {"clean run": time.perf_counter() - started}
    observed = json.loads((folder / "observed.json").read_text("utf-8"))
    return CleanRun(
        folder=folder,
        executed=folder / "executed.ipynb",
        evidence=_evidence(observed),
        metrics=observed["metrics"],
        parameters=dict(parameters),
        data_digest=observed["data_digest"],
        reference_rows=observed["reference_rows"],
        seconds=seconds,
        diagnostics=(*warnings, *_findings(observed, name)),
        settings=observed["settings"],
    )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write_job(notebook: Notebook, plan: CapturePlan, folder: Path) -> None:
    cells = {c.id: {"number": c.number, "source": c.source, "tags": c.tags} for c in notebook.code}
    job = {
        "plan": to_json(plan),
        "cells": cells,
        "folder": str(folder.resolve()),
        "package": str(PACKAGE),
        "compare": str(Path(__file__).with_name("compare.py")),
    }
    (folder / "job.json").write_text(json.dumps(to_json(job)), "utf-8")


def _execute(
    notebook: Notebook,
    plan: CapturePlan,
    folder: Path,
    parameters: Mapping[str, Any],
    how: tuple[str, Progress | None, float, float | None],
) -> None:
    from nb2prod.validation.execute import Work, execute

    name, progress, start_timeout, cell_timeout = how
    work = Work(
        kernel=name,
        home=notebook.path.parent,
        folder=folder.resolve(),
        cells={node_id(cell): cell for cell in notebook.code if runs(cell)},
        watched=watched(notebook, plan),
        progress=progress or (lambda done, total, what: None),
        cell_timeout=cell_timeout,
        start_timeout=start_timeout,
    )
    execute(script(notebook, parameters, name), work)


def watched(notebook: Notebook, plan: CapturePlan) -> frozenset[str]:
    """Ids of the cells that the probe looks at."""
    roles = {cell for stage in plan.stages for cell in stage.cells}
    state = {item.cell for item in plan.state}
    state |= {cell for item in plan.watched for cell in (item.cell, item.bound_cell) if cell}
    metrics = {cell.id for cell in notebook.tagged("metrics")}
    others = {plan.moment, plan.reference_cell or plan.moment, *plan.example_cells}
    hiding = {cell.id for cell in notebook.code if "%%capture" in cell.source}
    return frozenset(roles | state | metrics | others | hiding)


def _evidence(observed: Mapping[str, Any]) -> Evidence:
    return Evidence(
        contract=Contract.from_json(observed["contract"]),
        state=tuple(StateFile.from_json(item) for item in observed["state"]),
        rehomed=tuple(observed["rehomed"]),
        decoding=tuple(observed["decoding"]),
        values=tuple(SeenValue(**item) for item in observed["values"]),
    )


def _findings(observed: Mapping[str, Any], kernel: str) -> Iterable[Diagnostic]:
    for item in observed["findings"]:
        yield Diagnostic(**{key: value for key, value in item.items() if key != "traceback"})
    if Path(observed["prefix"]).resolve() != Path(sys.prefix).resolve():
        yield Diagnostic(
            "NB116",
            "warning",
            f"the kernel {kernel!r} runs in {observed['prefix']}, the package is proven in {sys.prefix}",
            hint="Install nb2prod in the notebook's environment, so that one environment does both.",
        )
