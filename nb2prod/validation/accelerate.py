"""Models of a proven package answered by onnxruntime, where that is proven to answer alike, and quicker."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2prod.domain import Accelerated, Bundle, CleanRun, Report
from nb2prod.errors import ParityError
from nb2prod.validation.installed import canonical
from nb2prod.validation.prove import ask, environment
from nb2prod.validation.requirements import required
from nb2prod.validation.verdict import differences_in

MAX_SECONDS = 600.0
"""Longest time for converting a package's models."""

Progress = Callable[[int, int, str], None]


def accelerate(
    run: CleanRun,
    package: Path,
    report: Report,
    remake: Callable[[Report], Bundle],
    *,
    progress: Progress | None = None,
) -> Report:
    """The report on a proven package (a folder), with the models for which onnxruntime may answer.

    `remake` writes the package as a report says, and gives its bundle. It is asked all that it was asked
    before; as long as it answers otherwise, the model whose numbers differ most is left to its original.
    """
    show, started = progress or (lambda done, total, what: None), time.perf_counter()
    show(0, 2, "models as ONNX")
    report = replace(report, acceleration=convert(run, package))
    while report.accelerated:
        show(1, 2, f"{report.rows_compared} answers with onnxruntime")
        proven = _proven(remake(report), run, package, report)
        if isinstance(proven, Report):
            report = proven
            break
        worst = max(report.accelerated, key=lambda item: item.difference)
        left = Accelerated(worst.key, worst.type, why=f"the package answers otherwise with it: {proven}")
        found = (left if item is worst else item for item in report.acceleration or ())
        report = replace(report, acceleration=tuple(found))
    return replace(report, seconds={**report.seconds, "accelerate": time.perf_counter() - started})


def convert(run: CleanRun, package: Path) -> tuple[Accelerated, ...]:
    """The fitted models of a package (a folder): each as ONNX in the run's folder, or why not.

    Conversion has a process of its own. If that dies or takes too long, there is one entry that says so.
    """
    with tempfile.TemporaryDirectory(prefix="nb2prod-convert-") as work:
        result, job = Path(work, "result.json"), Path(work, "job.json")
        told = {"package": package, "cases": run.folder / "cases.pkl", "folder": run.folder, "result": result}
        job.write_text(json.dumps({name: str(path.resolve()) for name, path in told.items()}), "utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "nb2prod.validation.onnx.convert", str(job)],
                cwd=work,
                env=environment(own=False),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=MAX_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return (Accelerated("", "", why=f"converting took longer than {MAX_SECONDS:.0f} seconds"),)
        if not result.exists():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return (Accelerated("", "", why=f"the process that converts models died: {last}"[:300]),)
        return tuple(Accelerated.from_json(item) for item in json.loads(result.read_text("utf-8")))


def _proven(bundle: Bundle, run: CleanRun, package: Path, report: Report) -> Report | str:
    """The report on an accelerated package; or in what it is otherwise, beyond rounding."""
    try:
        result = ask(package, run.folder / "cases.pkl", report.within)
    except ParityError as error:
        return str(error)
    if why := _otherwise(result, report):
        return why
    needed, _ = required(bundle, result["imports"])
    known = {item.name for item in report.requirements}
    found = [*report.requirements, *(item for item in needed if item.name not in known)]
    return replace(
        report,
        requirements=tuple(sorted(found, key=lambda r: (bool(r.via), r.optional, canonical(r.name)))),
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
