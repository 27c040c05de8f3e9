"""The line, once through: read → check → extract → validate → register → deploy.

Each step takes the noun before it and returns the next. The rooms come in as `Rooms`, so a test can
pass others; nothing here knows papermill, MLflow or Ray. Steps whose content is unchanged are not
done again: `reused` says so.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nb2prod._version import __version__
from nb2prod.domain import (
    Bundle,
    CapturePlan,
    CleanRun,
    Contract,
    Deployment,
    Diagnostic,
    Endpoint,
    Evidence,
    Notebook,
    Release,
    Report,
    Side,
    Step,
    digest,
)
from nb2prod.errors import NotebookError, ParityError
from nb2prod.proofs import FAILED, Validated, kept, move, pinned, remaking, write

CURL_BYTES = 2_000
"""Longest example body (bytes) shown in the curl line; a longer one is cut to its first instance."""

T = TypeVar("T")


class Watcher(Protocol):
    """Whoever shows progress: told of each step as it begins, moves on and ends."""

    def begin(self, step: str) -> None: ...

    def move(self, step: str, done: int, total: int, note: str) -> None: ...

    def end(self, step: Step) -> None: ...


class CleanRunner(Protocol):
    """`validation.clean_run`."""

    def __call__(
        self,
        notebook: Notebook,
        plan: CapturePlan,
        *,
        folder: Path,
        parameters: Mapping[str, Any],
        progress: Callable[[int, int, str], None] | None,
    ) -> CleanRun: ...


class Prover(Protocol):
    """`validation.prove`."""

    def __call__(self, bundle: Bundle, run: CleanRun, package: Path, *, rtol: float) -> Report: ...


class Accelerator(Protocol):
    """`validation.accelerate`. `remake` writes the package for a report anew, and gives its bundle."""

    def __call__(
        self,
        run: CleanRun,
        package: Path,
        report: Report,
        remake: Callable[[Report], Bundle],
        *,
        progress: Callable[[int, int, str], None] | None,
    ) -> Report: ...


class Isolator(Protocol):
    """`validation.isolate`, for the environments of one project."""

    def __call__(
        self,
        bundle: Bundle,
        report: Report,
        package: Path,
        cases: Path,
        *,
        progress: Callable[[int, int, str], None] | None,
    ) -> Report: ...


class Registrar(Protocol):
    """`registry.register`."""

    def __call__(
        self,
        bundle: Bundle,
        report: Report,
        package: Path,
        executed: Path,
        *,
        content: str,
        notebook_path: Path,
    ) -> Release: ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that the line goes through, as functions."""

    expand: Callable[[Notebook], Notebook]
    check: Callable[[Notebook], tuple[Diagnostic, ...]]
    extract: Callable[[Notebook, Evidence | None], Bundle]
    clean_run: CleanRunner
    write_package: Callable[[Bundle, Path | None, Path], None]
    prove: Prover
    accelerate: Accelerator
    isolate: Isolator
    find_release: Callable[[str, str], Release | None]
    register: Registrar
    promote: Callable[[Release], Release]
    serving: Callable[[str], Endpoint | None]
    deploy: Callable[[Release, str], Endpoint]


@dataclass(frozen=True, slots=True)
class How:
    """How a notebook is validated: its parameters, the tolerance of parity, and whether it is accelerated."""

    parameters: Mapping[str, Any]
    rtol: float
    accelerate: bool


class _Timer:
    """Times steps and tells the watcher."""

    def __init__(self, watcher: Watcher | None) -> None:
        self.watcher = watcher
        self.steps: list[Step] = []

    def run(self, name: str, work: Callable[[], T], outcome: Callable[[T], tuple[str, bool]]) -> T:
        if self.watcher is not None:
            self.watcher.begin(name)
        started = time.perf_counter()
        result = work()
        text, reused = outcome(result)
        step = Step(name, text, time.perf_counter() - started, reused)
        self.steps.append(step)
        if self.watcher is not None:
            self.watcher.end(step)
        return result

    def progress(self, name: str) -> Callable[[int, int, str], None] | None:
        watcher = self.watcher
        if watcher is None:
            return None
        return lambda done, total, note: watcher.move(name, done, total, note)


def build(rooms: Rooms, notebook: Notebook, folder: Path) -> Bundle:
    """The draft package of a notebook, written to `folder`/NAME without running anything."""
    bundle = rooms.extract(rooms.expand(notebook), None)
    rooms.write_package(bundle, None, folder / notebook.name)
    return bundle


def validate(
    rooms: Rooms,
    notebook: Notebook,
    work: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    rtol: float = 0.0,
    force: bool = False,
    isolated: bool = False,
    accelerate: bool = True,
    watcher: Watcher | None = None,
) -> Validated:
    """A notebook proven: run clean, extracted, its package equal to it. Kept under `work`.

    `isolated` asks to prove it in an environment of its requirements alone as well; `accelerate` lets
    onnxruntime answer for models where that is proven to be the same. Raises NotebookError (and its kinds);
    the executed notebook then lies in `work`/last-failed.
    """
    timer = _Timer(watcher)
    how = How(parameters or {}, rtol, accelerate)
    proven = _validate(rooms, notebook, work, how, force, timer)
    return _isolated(rooms, proven, timer) if isolated else proven


def deploy(
    rooms: Rooms,
    notebook: Notebook,
    work: Path,
    *,
    endpoint: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    rtol: float = 0.0,
    force: bool = False,
    accelerate: bool = True,
    watcher: Watcher | None = None,
) -> Deployment:
    """A notebook live: whatever of the line is not already done for this very content."""
    timer, name = _Timer(watcher), endpoint or notebook.name
    how = How(parameters or {}, rtol, accelerate)
    proven = _validate(rooms, notebook, work, how, force, timer)
    release, new = timer.run(
        "register",
        lambda: _register(rooms, proven, notebook),
        lambda made: (f"{made[0].model_name} version {made[0].version}", not made[1]),
    )
    live, changed = timer.run(
        "deploy",
        lambda: _deploy(rooms, release, name),
        lambda made: (f"version {release.version} serves at {made[0].url}", not made[1]),
    )
    release = rooms.promote(release)
    contract = proven.bundle.evidence.contract if proven.bundle.evidence else None
    found, curl = proven.report.diagnostics, curl_line(live, contract)
    return Deployment(release, live, tuple(timer.steps), curl, changed or new, found)


def side(rooms: Rooms, notebook: Notebook, work: Path, *, rtol: float = 0.0, accelerate: bool = True) -> Side:
    """A notebook to compare: as proven, if its very content was, else its draft. Raises NotebookError."""
    notebook = rooms.expand(notebook)
    folder = work / notebook.name / content_key(notebook, How({}, rtol, accelerate))[:16]
    proven = kept(rooms.extract, notebook, folder)
    if proven is not None:
        return Side(f"{notebook.path.name} (validated)", proven.bundle.files, proven.report)
    return Side(notebook.path.name, rooms.extract(notebook, None).files)


def curl_line(endpoint: Endpoint, contract: Contract | None) -> str:
    """A curl command that asks an endpoint for the notebook's own example."""
    instances = list(contract.example) if contract else []
    body = json.dumps({"instances": instances}, ensure_ascii=False)
    if len(body.encode()) > CURL_BYTES:
        body = json.dumps({"instances": instances[:1]}, ensure_ascii=False)
    return f"curl -s {endpoint.url}/predict -H 'Content-Type: application/json' -d {shlex.quote(body)}"


# --- validate ------------------------------------------------------------------------------------


def _validate(
    rooms: Rooms,
    notebook: Notebook,
    work: Path,
    how: How,
    force: bool,
    timer: _Timer,
) -> Validated:
    notebook = rooms.expand(notebook)
    timer.run("check", lambda: _check(rooms, notebook), lambda found: (_counted(found), False))
    draft = timer.run("build", lambda: rooms.extract(notebook, None), lambda b: (_described(b), False))
    folder = work / notebook.name / content_key(notebook, how)[:16]
    return timer.run(
        "validate",
        lambda: (
            (None if force else kept(rooms.extract, notebook, folder))
            or _prove(rooms, notebook, draft, folder, how, timer)
        ),
        lambda proven: (_proof(proven), proven.reused),
    )


def content_key(notebook: Notebook, how: How) -> str:
    """What a proof is valid for: the notebook's code, how it was validated, and the tools."""
    tools = f"{__version__} {platform.python_version()}"
    parameters = json.dumps(how.parameters, sort_keys=True, default=str)
    return digest(notebook.digest, parameters, repr((how.rtol, how.accelerate)), tools)


def _check(rooms: Rooms, notebook: Notebook) -> tuple[Diagnostic, ...]:
    found = rooms.check(notebook)
    if any(f.severity == "error" for f in found):
        raise NotebookError.of(found)
    return found


def _counted(found: tuple[Diagnostic, ...]) -> str:
    warnings = sum(f.severity == "warning" for f in found)
    return "no errors" + (f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else "")


def _described(bundle: Bundle) -> str:
    roles = " → ".join(stage.role for stage in bundle.plan.stages)
    state = ", ".join(item.key for item in bundle.plan.state if item.expected) or "no state"
    return f"{roles}; state: {state}"


def _proof(proven: Validated) -> str:
    report = proven.report
    found = f"{report.rows_compared} answers equal to the notebook's"
    quicker = ", ".join(f"{m.key} {m.before_ms / m.after_ms:.0f} times as fast" for m in report.accelerated)
    slow = ", ".join(f"{m.key or 'models'} not accelerated" for m in report.acceleration or () if m.why)
    return "; ".join(filter(None, (found, quicker, slow)))


def _alone(report: Report) -> str:
    assert report.isolated is not None
    return f"as well with nothing but {report.isolated.packages} packages, {report.isolated.megabytes:.0f} MB"


def _prove(
    rooms: Rooms,
    notebook: Notebook,
    draft: Bundle,
    folder: Path,
    how: How,
    timer: _Timer,
) -> Validated:
    scratch = folder.parent / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        run = rooms.clean_run(
            notebook,
            draft.plan,
            folder=scratch,
            parameters=how.parameters,
            progress=timer.progress("validate"),
        )
        bundle = rooms.extract(notebook, run.evidence)
        package = scratch / "package" / bundle.name
        rooms.write_package(bundle, scratch, package)
        report = rooms.prove(bundle, run, package, rtol=how.rtol)
        if how.accelerate:
            remake = remaking(rooms.extract, rooms.write_package, notebook, run, bundle, package)
            report = rooms.accelerate(run, package, report, remake, progress=timer.progress("validate"))
        bundle, report = pinned(rooms.extract, notebook, run.evidence, bundle, report)
        rooms.write_package(bundle, scratch, package)
    except NotebookError as error:
        if isinstance(error, ParityError) and error.report is not None:
            write(scratch / "report.json", error.report)
        move(scratch, folder.parent / FAILED)
        raise
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    write(scratch / "report.json", report)
    write(scratch / "evidence.json", run.evidence)
    move(scratch, folder)
    return Validated(bundle, report, folder, reused=False)


def _isolated(rooms: Rooms, proven: Validated, timer: _Timer) -> Validated:
    """The same, proven by its requirements alone; kept in its report, also for a deploy to come."""

    def work() -> Report:
        if proven.report.isolated is not None:
            return proven.report
        progress = timer.progress("isolate")
        report = rooms.isolate(proven.bundle, proven.report, proven.package, proven.cases, progress=progress)
        write(proven.folder / "report.json", report)
        return report

    report = timer.run("isolate", work, lambda done: (_alone(done), done is proven.report))
    return replace(proven, report=report, reused=proven.reused and report is proven.report)


# --- register, deploy ----------------------------------------------------------------------------


def _register(rooms: Rooms, proven: Validated, notebook: Notebook) -> tuple[Release, bool]:
    found = rooms.find_release(notebook.name, proven.content)
    if found is not None:
        return found, False
    release = rooms.register(
        proven.bundle,
        proven.report,
        proven.package,
        proven.executed,
        content=proven.content,
        notebook_path=notebook.path,
    )
    return release, True


def _deploy(rooms: Rooms, release: Release, name: str) -> tuple[Endpoint, bool]:
    live = rooms.serving(name)
    if live is not None and [(r.model_name, r.version) for r in live.routes] == [
        (release.model_name, release.version)
    ]:
        return live, False
    return rooms.deploy(release, name), True
