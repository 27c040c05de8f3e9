"""Proves that a package answers what the notebook answered, in a process that has never seen the notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2prod.domain import Bundle, CleanRun, Diagnostic, Difference, MappedLine, Report
from nb2prod.errors import ParityError

_SHOWN = 5


def prove(bundle: Bundle, run: CleanRun, package: Path, *, rtol: float = 0.0) -> Report:
    """The report on a package (a folder) made from `bundle` and the state of `run`.

    `rtol` is the relative difference that numbers may have; 0 asks for the very same. Raises
    ParityError: NB320 if answers differ (it carries the report), NB321 if the package answers the same
    request differently each time, NB322 if its code fails, NB326 if answering changes a container.
    """
    started = time.perf_counter()
    result = _in_child(run, package, rtol)
    if result["error"] is not None:
        raise _failed(result["error"], bundle, _unlike(run.diagnostics))
    seconds = {**run.seconds, "prove": time.perf_counter() - started}
    if any(case["disordered"] for case in result["cases"]):
        raise ParityError(
            "the answer has the request's rows in another order",
            code="NB223",
            hint="Answer in the request's order: `.sort_index()` at the end, or return plain values.",
            **_last_role(bundle),
        )
    changed = _changed(bundle, result["changed"])
    if any(finding.severity == "error" for finding in changed):
        raise ParityError.of(changed)
    report = _report(bundle, run, result, rtol, seconds)
    report = replace(report, diagnostics=(*report.diagnostics, *changed))
    if not report.passed:
        raise _differs(report, result, _last_role(bundle))
    return report


def _in_child(run: CleanRun, package: Path, rtol: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nb2prod-prove-") as work:
        result, job = Path(work, "result.json"), Path(work, "job.json")
        job.write_text(
            json.dumps(
                {
                    "package": str(package.resolve()),
                    "cases": str(run.folder.resolve() / "cases.pkl"),
                    "compare": str(Path(__file__).with_name("compare.py")),
                    "result": str(result),
                    "rtol": rtol,
                }
            ),
            "utf-8",
        )
        # -P: the folder of our script must not become a place to import from
        command = [sys.executable, "-P", str(Path(__file__).with_name("child.py")), str(job)]
        done = subprocess.run(
            command, cwd=work, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if not result.exists():
            raise _died(done)
        answer: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return answer


def _environment() -> dict[str, str]:
    ours = ("JPY_", "IPY", "NB2PROD_", "PYTHONSTARTUP", "MPLBACKEND")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _report(
    bundle: Bundle, run: CleanRun, result: Mapping[str, Any], rtol: float, seconds: Mapping[str, float]
) -> Report:
    differences = tuple(
        Difference(case["name"], row, expected, got, detail)
        for case in result["cases"]
        for row, expected, got, detail in case["first"]
    )
    odd = [("response", result["wire"])] if result["wire"] and not differences else []
    odd += [("example, asked twice", result["repeat"])] if result["repeat"] else []
    differences += tuple(Difference(name, *found) for name, found in odd)
    return Report(
        name=bundle.name,
        notebook_digest=bundle.notebook_digest,
        bundle_digest=bundle.digest,
        passed=not differences,
        rows_compared=sum(case["rows"] for case in result["cases"]),
        differences=differences[:_SHOWN],
        tolerance=rtol,
        batch_safe=result["batch_safe"],
        batch_reason=result["batch_reason"],
        metrics=run.metrics,
        parameters=run.parameters,
        data_digest=run.data_digest,
        reference_rows=run.reference_rows,
        seconds=seconds,
        latency_ms=result["latency_ms"],
        state=bundle.evidence.state if bundle.evidence is not None else (),
        pickled=tuple(result["pickled"]),
        peak_rss_mb=result["peak_rss_mb"],
        diagnostics=run.diagnostics,
        python=result["python"],
    )


def _changed(bundle: Bundle, changed: list[tuple[str, bool]]) -> tuple[Diagnostic, ...]:
    """State that answering requests has changed: an error, but for library objects, which may only cache."""
    items = {item.key: item for item in bundle.plan.state}
    return tuple(
        Diagnostic(
            "NB326",
            "error" if matters else "warning",
            f"answering requests changes the state `{items[key].name}`: later answers may differ",
            items[key].bound_cell,
            items[key].bound_number,
            items[key].bound_line,
            f"Work on a copy of `{items[key].name}` in the role code.",
        )
        for key, matters in changed
    )


# --- failure -------------------------------------------------------------------------------------


def _differs(report: Report, result: Mapping[str, Any], where: Mapping[str, Any]) -> ParityError:
    rows = "\n".join(
        f"  {d.case}, row {d.row}: expected {d.expected}, got {d.got}"
        + (f" ({d.detail})" if d.detail else "")
        for d in report.differences
    )
    differing = sum(case["differing"] for case in result["cases"])
    if not differing and result["repeat"]:
        message = "the package answers the same request differently each time"
        hint = "Seed random generators inside the role cells, and change no state that they read."
        return ParityError(f"{message}:\n{rows}", code="NB321", report=report, hint=hint, **where)
    message = f"{differing} of {report.rows_compared} rows are answered otherwise than by the notebook"
    hint = (
        "A request comes as the contract says: index 0 to n-1, types that fit example and reference alike."
        " If that is not the example's, mend the example. Rounding is allowed by a tolerance (--rtol)."
    )
    hint = _unlike(report.diagnostics) or hint
    return ParityError(f"{message}:\n{rows}", report=report, hint=hint, **where)


def _unlike(diagnostics: tuple[Diagnostic, ...]) -> str | None:
    """What the clean run has already said about an answer that its own role cells do not repeat."""
    found = next((d for d in diagnostics if d.code == "NB324"), None)
    return f"Perhaps no fault of the package: {found.message}. {found.hint}" if found is not None else None


def _last_role(bundle: Bundle) -> dict[str, Any]:
    cell = bundle.plan.stages[-1].cells[-1]
    number = next((mapped.number for mapped in bundle.source_map if mapped.cell == cell), None)
    return {"cell": cell, "number": number}


def _failed(error: Mapping[str, Any], bundle: Bundle, hint: str | None) -> ParityError:
    place = _place(error["frames"], bundle)
    if error["module"]:
        hint = f"{error['module']!r} is not installed. A module that lies beside the notebook is no part of "
        hint += "the package: install it, or move its code into a cell."
    file, line = (place.file, place.line) if place else next(reversed(error["frames"]), (None, None))
    where = f" in {file}, line {line}" if file else ""
    failed = ParityError(
        f"the extracted package fails{where}, {error['what']}: {error['type']}: {error['message']}",
        code="NB322",
        hint=hint,
        cell=place.cell if place else None,
        number=place.number if place else None,
        line=place.cell_line if place else None,
    )
    failed.add_note(error["traceback"])
    return failed


def _place(frames: list[list[Any]], bundle: Bundle) -> MappedLine | None:
    """The innermost line of the package that was taken from the notebook."""
    lines = {(mapped.file, mapped.line): mapped for mapped in bundle.source_map}
    found = (lines.get((file, line)) for file, line in reversed(frames))
    return next((mapped for mapped in found if mapped is not None), None)


def _died(done: subprocess.CompletedProcess[str]) -> ParityError:
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    tail = done.stderr.strip()[-2000:]
    return ParityError(
        f"the process that loaded the package died ({how})" + (f":\n{tail}" if tail else ""), code="NB322"
    )
