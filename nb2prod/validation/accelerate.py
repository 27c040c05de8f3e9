"""Models of a proven package answered by onnxruntime, where that is proven to answer alike, and quicker."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2prod.domain import ACCELERATED_RTOL, Accelerated, Bundle, CleanRun, Report
from nb2prod.errors import ParityError
from nb2prod.validation.prove import ask, environment
from nb2prod.validation.requirements import required
from nb2prod.validation.verdict import differences_in


def convert(run: CleanRun, package: Path) -> tuple[Accelerated, ...]:
    """The fitted models of a package (a folder): each as ONNX in the run's folder, or why not.

    Conversion has a process of its own. If that dies, there is one entry that says so.
    """
    with tempfile.TemporaryDirectory(prefix="nb2prod-convert-") as work:
        result, job = Path(work, "result.json"), Path(work, "job.json")
        told = {"package": package, "cases": run.folder / "cases.pkl", "folder": run.folder, "result": result}
        job.write_text(json.dumps({name: str(path.resolve()) for name, path in told.items()}), "utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "nb2prod.validation.onnx.convert", str(job)],
            cwd=work,
            env=environment(own=False),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if not result.exists():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return (Accelerated("", "", why=f"the process that converts models died: {last}"[:300]),)
        return tuple(Accelerated.from_json(item) for item in json.loads(result.read_text("utf-8")))


def prove_accelerated(bundle: Bundle, run: CleanRun, package: Path, report: Report) -> Report:
    """The report on a package, with what is proven of its accelerated form: `bundle`, the folder `package`.

    It is asked all that it was asked before. If an answer differs by more than rounding, or anything else is
    otherwise, the original serves, and the report says why.
    """
    try:
        result = ask(package, run.folder / "cases.pkl", max(report.tolerance, ACCELERATED_RTOL))
    except ParityError as error:
        return _refused(report, str(error))
    if why := _otherwise(result, report):
        return _refused(report, why)
    needed, _ = required(bundle, result["imports"])
    known = {item.name for item in report.requirements}
    more = tuple(item for item in needed if item.name not in known)
    return replace(
        report,
        requirements=tuple(sorted((*report.requirements, *more), key=lambda item: item.name.lower())),
        batch_reason=result["batch_reason"],
        latency_ms={**result["latency_ms"], "original": report.latency_ms["one"]},
        peak_rss_mb=result["peak_rss_mb"],
    )


def _otherwise(result: Mapping[str, Any], report: Report) -> str:
    if result["error"] is not None:
        return f"the package fails: {result['error']['type']}: {result['error']['message']}"
    if found := differences_in(result):
        first = found[0]
        return f"{first.case}, row {first.row}: {first.expected} became {first.got} {first.detail}".strip()
    if result["batch_safe"] != report.batch_safe:
        return f"rows together: {result['batch_reason']}"
    return ""


def _refused(report: Report, why: str) -> Report:
    found = tuple(
        item
        if item.why
        else Accelerated(item.key, item.type, why=f"the package answers otherwise with it: {why}")
        for item in report.acceleration
    )
    return replace(report, acceleration=found)
