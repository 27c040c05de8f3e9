"""The line, once through: read → check → extract → validate → register → deploy.

Each step takes the noun before it and returns the next. The rooms come in as `Rooms`, so a test can
pass others; nothing here knows papermill, MLflow or Ray. Steps whose content is unchanged are not
done again: `reused` says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
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
    Step,
    digest,
    to_json,
)
from nb2prod.errors import NotebookError, ParityError

CURL_BYTES = 2_000
"""Longest example body (bytes) shown in the curl line; a longer one is cut to its first instance."""

FAILED = "last-failed"

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
    pins: Callable[[tuple[str, ...]], tuple[str, ...]]
    prove: Prover
    find_release: Callable[[str, str], Release | None]
    register: Registrar
    promote: Callable[[Release], Release]
    serving: Callable[[str], Endpoint | None]
    deploy: Callable[[Release, str], Endpoint]


@dataclass(frozen=True, slots=True)
class Validated:
    """A Bundle with the Report that proves it, kept under `folder`; `content` is the key of both."""

    bundle: Bundle
    report: Report
    folder: Path
    content: str
    reused: bool

    @property
    def package(self) -> Path:
        """The package on disk, state included."""
        return self.folder / "package" / self.bundle.name

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.folder / "executed.ipynb"


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
    watcher: Watcher | None = None,
) -> Validated:
    """A notebook proven: run clean, extracted, its package equal to it. Kept under `work`.

    Raises NotebookError (and its kinds); the executed notebook then lies in `work`/last-failed.
    """
    return _validate(rooms, notebook, work, parameters or {}, rtol, force, _Timer(watcher))


def deploy(
    rooms: Rooms,
    notebook: Notebook,
    work: Path,
    *,
    endpoint: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    rtol: float = 0.0,
    force: bool = False,
    watcher: Watcher | None = None,
) -> Deployment:
    """A notebook live: whatever of the line is not already done for this very content."""
    timer, name = _Timer(watcher), endpoint or notebook.name
    proven = _validate(rooms, notebook, work, parameters or {}, rtol, force, timer)
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
    return Deployment(release, live, tuple(timer.steps), curl_line(live, contract), changed or new)


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
    parameters: Mapping[str, Any],
    rtol: float,
    force: bool,
    timer: _Timer,
) -> Validated:
    notebook = rooms.expand(notebook)
    timer.run("check", lambda: _check(rooms, notebook), lambda found: (_counted(found), False))
    draft = timer.run("build", lambda: rooms.extract(notebook, None), lambda b: (_described(b), False))
    folder = work / notebook.name / content_key(notebook, parameters, rtol)[:16]
    return timer.run(
        "validate",
        lambda: (
            (None if force else _kept(rooms, notebook, folder))
            or _prove(rooms, notebook, draft, folder, parameters, rtol, timer)
        ),
        lambda proven: (_proof(proven), proven.reused),
    )


def content_key(notebook: Notebook, parameters: Mapping[str, Any], rtol: float) -> str:
    """What a proof is valid for: the notebook's code, its parameters, the tolerance and the tools."""
    tools = f"{__version__} {platform.python_version()}"
    return digest(notebook.digest, json.dumps(parameters, sort_keys=True, default=str), repr(rtol), tools)


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
    return f"{report.rows_compared} answers equal to the notebook's"


def _prove(
    rooms: Rooms,
    notebook: Notebook,
    draft: Bundle,
    folder: Path,
    parameters: Mapping[str, Any],
    rtol: float,
    timer: _Timer,
) -> Validated:
    scratch = folder.parent / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        run = rooms.clean_run(
            notebook, draft.plan, folder=scratch, parameters=parameters, progress=timer.progress("validate")
        )
        bundle = _whole(rooms, notebook, run.evidence)
        package = scratch / "package" / bundle.name
        rooms.write_package(bundle, scratch, package)
        report = rooms.prove(bundle, run, package, rtol=rtol)
    except NotebookError as error:
        if isinstance(error, ParityError) and error.report is not None:
            _write(scratch / "report.json", error.report)
        _replace(scratch, folder.parent / FAILED)
        raise
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    assert bundle.evidence is not None
    _write(scratch / "report.json", report)
    _write(scratch / "evidence.json", run.evidence)
    _replace(scratch, folder)
    return Validated(bundle, report, folder, _content(folder, bundle), reused=False)


def _whole(rooms: Rooms, notebook: Notebook, evidence: Evidence) -> Bundle:
    """The Bundle with evidence; its pins cover what its code imports and what its state needs."""
    imports = rooms.extract(notebook, evidence).imports
    pinned = tuple(sorted({*evidence.requirements, *rooms.pins(imports)}))
    return rooms.extract(notebook, replace(evidence, requirements=pinned))


def _content(folder: Path, bundle: Bundle) -> str:
    assert bundle.evidence is not None
    return digest(folder.name, *bundle.evidence.requirements, bundle.digest)


def _kept(rooms: Rooms, notebook: Notebook, folder: Path) -> Validated | None:
    """The proof of an earlier run, if it is whole and the packages that it pinned are still installed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        report = Report.from_json(json.loads((folder / "report.json").read_text("utf-8")))
        evidence = Evidence.from_json(json.loads((folder / "evidence.json").read_text("utf-8")))
        bundle = _whole(rooms, notebook, evidence)
        if not all(_installed(pin) for pin in evidence.requirements):
            return None
        if bundle.digest == report.bundle_digest and (folder / "package" / bundle.name).is_dir():
            return Validated(bundle, report, folder, _content(folder, bundle), reused=True)
    return None


def _installed(pin: str) -> bool:
    name, _, version = pin.partition("==")
    try:
        return importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def _write(path: Path, noun: Any) -> None:
    path.write_text(json.dumps(to_json(noun), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)


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
