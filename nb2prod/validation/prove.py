"""Proves that a package answers what the notebook answered, in a process that has never seen the notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nb2prod.domain import Bundle, CleanRun, Diagnostic, Report, Severity, StateItem
from nb2prod.errors import ParityError
from nb2prod.validation.requirements import required
from nb2prod.validation.seeds import Suspect, seeds_hint, suspects, unsteady
from nb2prod.validation.unset import likely_cause, not_made
from nb2prod.validation.verdict import (
    died,
    differ,
    differences_in,
    drifted,
    failed,
    last_role,
    modules_read,
    placed,
    planted_in_libraries,
    unlike,
    unlike_notebook,
    unreached,
    where,
)


def prove(bundle: Bundle, run: CleanRun, package: Path, *, rtol: float = 0.0) -> Report:
    """The report on a package (a folder) made from `bundle` and the state of `run`.

    `rtol` is the relative difference that numbers may have; 0 asks for the very same. Raises
    ParityError: NB320 if answers differ (it carries the report), NB321 if the package answers the same
    request differently each time, NB322 if its code fails, NB326 if answering changes a container, NB327 if
    it imports what no installed package claims, NB339 if answers differ from process to process.
    """
    started = time.perf_counter()
    portraits, planted = (_written(run.folder, name) for name in ("portraits", "planted"))
    made = {key: seen["values"] for key, seen in run.settings.items()}
    seen = {"portraits": placed(bundle, portraits), "planted": planted, "settings": made}
    result = ask(package, run.folder / "cases.pkl", rtol, seen=seen)
    if problem := planted_in_libraries(bundle, planted, result["planted"]):
        raise problem
    unset = not_made(bundle, run, result["settings"])
    likely = likely_cause(bundle, unset, result["settings"])
    if result["error"] is not None:
        raise failed(result["error"], bundle, unlike(run.diagnostics) or likely)
    seconds = {**run.seconds, "prove": time.perf_counter() - started}
    if result["unlike"]:
        raise unlike_notebook(result["unlike"])
    if any(case["disordered"] for case in result["cases"]):
        raise ParityError(
            "the answer has the request's rows in another order",
            code="NB223",
            hint="Answer in the request's order: `.sort_index()` at the end, or return plain values.",
            **last_role(bundle),
        )
    found = suspects(bundle, run.folder)
    if found:
        _check_steady(bundle, run, package, found)
    changed = _changed(bundle, result["changed"], drifted(result))
    if any(finding.severity == "error" for finding in changed):
        raise ParityError.of(changed)
    report = _report(bundle, run, result, rtol, seconds)
    more = (*unset, *changed, *_mixed(bundle, result), *modules_read(bundle))
    report = replace(report, diagnostics=(*report.diagnostics, *more))
    report = replace(report, diagnostics=(*report.diagnostics, *unreached(bundle, result["unreached"])))
    if not report.passed:
        raise differ(report, result, bundle, likely or seeds_hint(found))
    requirements, warnings = required(bundle, result["imports"])
    return replace(report, diagnostics=(*report.diagnostics, *warnings), requirements=requirements)


def _written(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return found


def _check_steady(bundle: Bundle, run: CleanRun, package: Path, found: list[Suspect]) -> None:
    """Refuse answers that depend on how a process hashes texts."""
    cases = run.folder / "cases.pkl"
    problem = unsteady(bundle, run.folder, found, lambda seed: ask(package, cases, 0.0, seed=seed))
    if problem is not None:
        place = where(problem.place) or last_role(bundle)
        raise ParityError(problem.message, code="NB339", hint=problem.hint, **place)


def ask(
    package: Path,
    cases: Path,
    rtol: float,
    python: Path | None = None,
    seed: int | None = None,
    seen: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a new process (of another interpreter, if given) finds of a package asked for the `cases`.

    With a `seed` of hashes, it finds only what the package answers to a few rows. `seen` are the "portraits"
    of what its modules must hold once it is loaded, what was "planted" in libraries, and the "settings" that
    the notebook's roles have met.

    Raises ParityError NB322 if the process dies.
    """
    with tempfile.TemporaryDirectory(prefix="nb2prod-prove-") as work:
        result, job = Path(work, "result.json"), Path(work, "job.json")
        job.write_text(
            json.dumps(
                {
                    "package": str(package.resolve()),
                    "cases": str(cases.resolve()),
                    "result": str(result),
                    "rtol": rtol,
                    "answers only": seed is not None,
                    "portraits": seen.get("portraits", ()),
                    "planted": seen.get("planted", ()),
                    "settings": seen.get("settings", {}),
                }
            ),
            "utf-8",
        )
        # -P: the folder of our script must not become a place to import from
        command = [python or sys.executable, "-P", str(Path(__file__).with_name("child.py")), str(job)]
        env = environment(own=python is not None)
        env |= {"PYTHONHASHSEED": str(seed)} if seed is not None else {}
        done = subprocess.run(
            command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if not result.exists():
            raise died(done)
        answer: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return answer


def environment(own: bool) -> dict[str, str]:
    """This process's, without what makes it a session; and without what leads to modules, for an own one."""
    ours: tuple[str, ...] = ("JPY_", "IPY", "NB2PROD_", "PYTHONSTARTUP", "MPLBACKEND")
    if own:
        ours += ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _report(
    bundle: Bundle, run: CleanRun, result: Mapping[str, Any], rtol: float, seconds: Mapping[str, float]
) -> Report:
    differences = differences_in(result)
    return Report(
        name=bundle.name,
        notebook_digest=bundle.notebook_digest,
        bundle_digest=bundle.digest,
        passed=not differences,
        rows_compared=sum(case["rows"] for case in result["cases"]),
        differences=differences,
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
        peak_rss_mb=result["peak_rss_mb"],
        diagnostics=run.diagnostics,
        python=result["python"],
    )


def _changed(
    bundle: Bundle, changed: list[tuple[str, bool, str, str, bool]], drifted: bool
) -> tuple[Diagnostic, ...]:
    """State that answering requests has changed: an error, but where no answer depends on it.

    Where answers have `drifted`, they do.
    """
    items = {item.key: item for item in bundle.plan.state}
    return tuple(
        _change(items[key], matters or drifted, path, added, only_grown and not drifted)
        for key, matters, path, added, only_grown in changed
    )


def _mixed(bundle: Bundle, result: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """A warning if what else is in a request changes the answer to a row."""
    if result["mixed"]:
        yield Diagnostic(
            "NB336",
            "warning",
            f"rows of one request influence each other's answers: {result['batch_reason']}",
            hint="Usual causes: `get_dummies`, `groupby`, `any()`, and scaling, ranking or filling by a mean"
            " in the request. Fit that on the training data, in a cell above the role cells; or ask it of"
            " each row by itself. If it is meant, leave it.",
            **last_role(bundle),
        )


def _change(item: StateItem, matters: bool, path: str, added_to: str, only_grown: bool) -> Diagnostic:
    part, hint = f"`{item.name}{path}`", f"Work on a copy of `{item.name}` in the role code."
    what = f"answering requests changes {part} in the state: later answers may differ"
    if added_to == "defaultdict":
        what = f"answering requests adds {part} to the state: a defaultdict keeps each key that is asked for"
        hint = "Read it by `.get(key, default)`, which adds nothing."
        if only_grown and item.looked_up:
            matters, what = False, f"{what}, which takes memory, but changes no answer"
    elif not matters:
        what = f"answering requests changes something inside `{item.name}`, but no answer: it seems to cache"
        hint = "Nothing needs doing, if it does. If it learns from requests, work on a copy in the role code."
    severity: Severity = "error" if matters else "warning"
    return Diagnostic("NB326", severity, what, item.bound_cell, item.bound_number, item.bound_line, hint)
