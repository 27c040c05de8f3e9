"""Proofs on disk: what a validation keeps in its folder, and when that still counts.

package/NAME   the proven package, state included      executed.ipynb   the clean run
report.json    what validation saw                     evidence.json    what the clean run saw
cases.pkl      what the package was asked, and the notebook's answers
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nb2prod.domain import (
    Bundle,
    CleanRun,
    Evidence,
    Notebook,
    Report,
    Requirement,
    digest,
    to_json,
)
from nb2prod.errors import Nb2prodError

FAILED = "last-failed"

Extract = Callable[[Notebook, Evidence | None], Bundle]


@dataclass(frozen=True, slots=True)
class Validated:
    """A Bundle with the Report that proves it, kept under `folder`."""

    bundle: Bundle
    report: Report
    folder: Path
    reused: bool

    @property
    def content(self) -> str:
        """The key of both: what was proven, and what came of it."""
        return digest(self.folder.name, self.bundle.digest)

    @property
    def package(self) -> Path:
        """The package on disk, state included."""
        return self.folder / "package" / self.bundle.name

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.folder / "executed.ipynb"

    @property
    def cases(self) -> Path:
        """What the package was asked, and what the notebook answered."""
        return self.folder / "cases.pkl"


def pinned(
    extract: Extract, notebook: Notebook, evidence: Evidence, bundle: Bundle, report: Report
) -> tuple[Bundle, Report]:
    """The proven bundle with what only the proof could tell, and the report on that one, which carries all
    that text, clean run and proof have found.

    Nothing else may be new about it: so it is proven as well.
    """
    made = _whole(extract, notebook, evidence, report)
    if _but_for_proof(made) != _but_for_proof(bundle):
        raise Nb2prodError(f"the proof changes other files of {bundle.name}: a mistake in nb2prod")
    found = tuple(dict.fromkeys((*made.diagnostics, *report.diagnostics)))
    return made, replace(report, bundle_digest=made.digest, diagnostics=found)


def remaking(
    extract: Extract,
    write_package: Callable[[Bundle, Path | None, Path], None],
    notebook: Notebook,
    run: CleanRun,
    bundle: Bundle,
    package: Path,
) -> Callable[[Report], Bundle]:
    """A function that writes the proven package anew, as a report says, and gives its bundle."""

    def remake(report: Report) -> Bundle:
        made, _ = pinned(extract, notebook, run.evidence, bundle, report)
        write_package(made, run.folder, package)
        return made

    return remake


def _whole(extract: Extract, notebook: Notebook, evidence: Evidence, report: Report) -> Bundle:
    proven = replace(
        evidence,
        requirements=report.requirements,
        batch_safe=report.batch_safe,
        batch_reason=report.batch_reason,
        acceleration=report.acceleration,
    )
    return extract(notebook, proven)


def _but_for_proof(bundle: Bundle) -> Any:
    files = {name: text for name, text in bundle.files.items() if name != "requirements.txt"}
    said = dict.fromkeys(("requirements", "batch_safe", "batch_reason", "acceleration"))
    manifest = {**json.loads(files.pop("manifest.json")), **said}
    manifest["state"] = [{**item, "accelerated": None} for item in manifest["state"]]
    return files, manifest, bundle.evidence and bundle.evidence.state


def kept(extract: Extract, notebook: Notebook, folder: Path) -> Validated | None:
    """The proof of an earlier run, if it is whole and the packages that it pinned are still installed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        report = Report.from_json(json.loads((folder / "report.json").read_text("utf-8")))
        evidence = Evidence.from_json(json.loads((folder / "evidence.json").read_text("utf-8")))
        if not all(_installed(item) for item in report.requirements):
            return None
        found = Validated(_whole(extract, notebook, evidence, report), report, folder, reused=True)
        if found.bundle.digest == report.bundle_digest and found.package.is_dir():
            return found
    return None


def _installed(item: Requirement) -> bool:
    try:
        return importlib.metadata.version(item.name) == item.version
    except importlib.metadata.PackageNotFoundError:
        return False


def write(path: Path, noun: Any) -> None:
    """A noun as JSON; whoever reads meanwhile sees the old one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(to_json(noun), indent=1, ensure_ascii=False) + "\n", "utf-8")
    scratch.replace(path)


def move(source: Path, target: Path) -> None:
    """Put a folder in the place of another."""
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)
