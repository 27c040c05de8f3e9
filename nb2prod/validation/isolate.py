"""Proves a package once more, in an environment that holds its requirements.txt and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2prod.domain import ROLES, Bundle, Isolation, Report
from nb2prod.errors import ParityError, SetupError
from nb2prod.validation.environments import Environment, prepared
from nb2prod.validation.installed import Installed
from nb2prod.validation.prove import ask
from nb2prod.validation.verdict import differ, differences_in, failed, place_of, where

ALONE = "in an environment with requirements.txt alone"

Progress = Callable[[int, int, str], None]


def isolate(
    bundle: Bundle,
    report: Report,
    package: Path,
    cases: Path,
    *,
    envs: Path,
    progress: Progress | None = None,
) -> Report:
    """The report, with the proof of a package in an empty environment, which is kept under `envs`.

    `package` is the package on disk, `cases` what it was asked when it was proven here. Raises SetupError
    NB332 to NB334 if there can be no such environment; ParityError NB329 if a module is missing in it,
    NB335 if the package fails or answers otherwise there.
    """
    show = progress or (lambda done, total, what: None)
    environment = _environment(bundle, report, envs, lambda what: show(0, 2, what))
    show(1, 2, f"{report.rows_compared} answers with {environment.packages} packages")
    started = time.perf_counter()
    result = _answered(package, cases, report, environment)
    _refuse(bundle, report, result)
    seconds = {"install": environment.seconds, "prove": time.perf_counter() - started}
    show(2, 2, "done")
    isolated = Isolation(
        environment.folder.name, environment.installer, environment.packages, environment.megabytes, seconds
    )
    return replace(report, isolated=isolated)


def _environment(bundle: Bundle, report: Report, envs: Path, tell: Callable[[str], None]) -> Environment:
    try:
        return prepared(bundle.files["requirements.txt"], envs, tell)
    except SetupError as error:
        known = [f"{found.message}." for found in report.diagnostics if found.code == "NB328"]
        if error.code == "NB332" and known:
            raise SetupError(
                error.message, code="NB332", hint=" ".join([*known, error.hint or ""])
            ) from error
        raise


def _answered(package: Path, cases: Path, report: Report, environment: Environment) -> dict[str, Any]:
    try:
        return ask(package, cases, report.within, environment.python)
    except ParityError as error:
        raise _otherwise(error) from error


def _refuse(bundle: Bundle, report: Report, result: Mapping[str, Any]) -> None:
    error = result["error"]
    if error is not None:
        raise _missing(bundle, error) if error["module"] else _otherwise(failed(error, bundle))
    if differences := differences_in(result):
        raise _otherwise(differ(replace(report, passed=False, differences=differences), result, bundle))


def _otherwise(error: ParityError) -> ParityError:
    found = ParityError(
        f"{ALONE}: {error.message}",
        code="NB335",
        report=error.report,
        hint="It passed here: something else that is installed here makes the difference.",
        cell=error.cell,
        number=error.number,
        line=error.line,
    )
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found


def _missing(bundle: Bundle, error: Mapping[str, Any]) -> ParityError:
    module = error["module"]
    here = Installed()
    pins = ", ".join(f"{here[name].name}=={here[name].version}" for name in sorted(here.named(module)))
    found = ParityError(
        f"{ALONE}, {error['what']}: {module!r} is missing ({_importer(error['frames'])})",
        code="NB329",
        hint=(f"Here it comes with {pins}, but" if pins else "Here")
        + " nothing imported it when the package was proven. Import it at the top of the cell, or let the"
        " example or the reference hold a row that needs it.",
        **where(place_of(bundle, error["frames"], module)),
    )
    found.add_note(error["traceback"])
    return found


def _importer(frames: list[tuple[str, int]]) -> str:
    role = next((Path(file).stem for file, _ in frames if Path(file).stem in ROLES), None)
    file, line = frames[0] if frames else ("the package", 0)
    return f"{file}, line {line}" + (f", for the role {role}" if role and file != f"{role}.py" else "")
