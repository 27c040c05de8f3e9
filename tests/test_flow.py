"""The line with rooms of paper: what is done, what is not done again, what is kept when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from nb2prod import flow
from nb2prod.domain import (
    Bundle,
    CapturePlan,
    CleanRun,
    Contract,
    Diagnostic,
    Difference,
    Endpoint,
    Evidence,
    Field,
    Isolation,
    Notebook,
    Release,
    Report,
    Requirement,
    Route,
    Step,
)
from nb2prod.errors import DeployError, Nb2prodError, ParityError, RunError, SetupError
from nb2prod.extract import check, extract
from nb2prod.notebook import read
from nb2prod.shells import render
from tests.made import TINY, notebook

CONTRACT = Contract("frame", ("request",), (Field("a", "number", "float64"),), example=({"a": 1.0},))


class Paper:
    """Rooms that note what they are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.releases: list[Release] = []
        self.live: dict[str, Endpoint] = {}
        self.requirements: tuple[Requirement, ...] = ()
        self.fail: dict[str, Exception] = {}

    def note(self, verb: str) -> None:
        self.asked.append(verb)
        if verb in self.fail:
            raise self.fail[verb]

    def clean_run(
        self,
        notebook: Notebook,
        plan: CapturePlan,
        *,
        folder: Path,
        parameters: Mapping[str, Any],
        progress: Callable[[int, int, str], None] | None,
    ) -> CleanRun:
        (folder / "executed.ipynb").write_text("{}")
        if progress is not None:
            progress(1, 1, "cell 1")
        self.note("run")
        return CleanRun(folder, folder / "executed.ipynb", Evidence(CONTRACT, ()), {}, parameters, "d", 1, {})

    def write_package(self, bundle: Bundle, run_folder: Path | None, dest: Path) -> None:
        dest.mkdir(parents=True, exist_ok=True)
        for name, text in bundle.files.items():
            (dest / name).write_text(text)

    def prove(self, bundle: Bundle, run: CleanRun, package: Path, *, rtol: float) -> Report:
        self.note("prove")
        assert (package / "requirements.txt").read_text() == "", "what predicting imports is not known yet"
        return report(bundle, requirements=self.requirements)

    def accelerate(
        self,
        run: CleanRun,
        package: Path,
        report: Report,
        remake: Callable[[Report], Bundle],
        *,
        progress: Callable[[int, int, str], None] | None,
    ) -> Report:
        return report

    def isolate(
        self,
        bundle: Bundle,
        report: Report,
        package: Path,
        cases: Path,
        *,
        progress: Callable[[int, int, str], None] | None,
    ) -> Report:
        assert (package / "requirements.txt").read_text() == bundle.files["requirements.txt"]
        self.note("isolate")
        return replace(report, isolated=Isolation("e", "uv", 2, 1.5, {"install": 1.0, "prove": 1.0}))

    def register(
        self,
        bundle: Bundle,
        report: Report,
        package: Path,
        executed: Path,
        *,
        content: str,
        notebook_path: Path,
    ) -> Release:
        self.note("register")
        release = Release(bundle.name, len(self.releases) + 1, content, bundle.digest, "run", package)
        self.releases.append(release)
        return release

    def deploy(self, release: Release, name: str) -> Endpoint:
        self.note("deploy")
        route = Route(release.model_name, release.version, str(release.path))
        self.live[name] = Endpoint(name, f"http://127.0.0.1:1/{name}", (route,), release.version, "now")
        return self.live[name]

    def promote(self, release: Release) -> Release:
        self.note("promote")
        return replace(release, aliases=("champion",))

    def rooms(self) -> flow.Rooms:
        return flow.Rooms(
            expand=lambda notebook: notebook,
            check=check,
            extract=extract,
            clean_run=self.clean_run,
            write_package=self.write_package,
            prove=self.prove,
            accelerate=self.accelerate,
            isolate=self.isolate,
            find_release=lambda name, content: next((r for r in self.releases if r.content == content), None),
            register=self.register,
            promote=self.promote,
            serving=lambda name: self.live.get(name),
            deploy=self.deploy,
        )


def report(bundle: Bundle, **changes: Any) -> Report:
    base = Report(
        name=bundle.name,
        notebook_digest=bundle.notebook_digest,
        bundle_digest=bundle.digest,
        passed=True,
        rows_compared=3,
        differences=(),
        tolerance=0.0,
        batch_safe=True,
        batch_reason="",
        metrics={},
        parameters={},
        data_digest="d",
        reference_rows=1,
        seconds={},
        latency_ms={},
        state=(),
    )
    return replace(base, **changes)


@pytest.fixture
def book(tmp_path: Path) -> Notebook:
    return read(notebook(tmp_path, ("", "import re"), *TINY[1:2], ("model", "[re, request['a']]")))


def test_everything_once_in_order(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    made = flow.deploy(paper.rooms(), book, tmp_path / "work")
    assert paper.asked == ["run", "prove", "register", "deploy", "promote"]
    assert [s.name for s in made.steps] == ["check", "build", "validate", "register", "deploy"]
    assert made.release.aliases == ("champion",)
    assert made.changed
    assert made.curl.startswith("curl -s http://127.0.0.1:1/made/predict ")


def test_nothing_changed_nothing_done(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    flow.deploy(paper.rooms(), book, tmp_path / "work")
    paper.asked.clear()
    again = flow.deploy(paper.rooms(), book, tmp_path / "work")
    assert paper.asked == ["promote"]
    assert not again.changed
    assert [s.name for s in again.steps if s.reused] == ["validate", "register", "deploy"]


def test_force_runs_again(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    flow.deploy(paper.rooms(), book, tmp_path / "work")
    paper.asked.clear()
    flow.deploy(paper.rooms(), book, tmp_path / "work", force=True)
    assert paper.asked[:2] == ["run", "prove"]


@pytest.mark.parametrize("change", ["parameters", "rtol", "accelerate", "installed", "code", "tampered"])
def test_whatever_a_proof_rests_on_asks_for_a_new_one(change: str, book: Notebook, tmp_path: Path) -> None:
    paper, options = Paper(), {}
    paper.requirements = (Requirement("pytest", "0.1", ("model",)),) if change == "installed" else ()
    first = flow.validate(paper.rooms(), book, tmp_path / "work")
    if change == "parameters":
        options = {"parameters": {"k": 2}}
    elif change == "rtol":
        options = {"rtol": 1e-9}
    elif change == "accelerate":
        options = {"accelerate": False}
    elif change == "installed":
        paper.requirements = (Requirement("pytest", version("pytest"), ("model",)),)
    elif change == "code":
        cells = tuple(replace(c, source=c.source + " ", code=c.code + " ") for c in book.cells)
        book = replace(book, cells=cells)
    else:
        saved = json.loads((first.folder / "report.json").read_text())
        (first.folder / "report.json").write_text(json.dumps({**saved, "bundle_digest": "other"}))
    second = flow.validate(paper.rooms(), book, tmp_path / "work", **options)  # type: ignore[arg-type]
    assert not second.reused
    assert paper.asked == ["run", "prove"] * 2
    assert change == "tampered" or second.content != first.content


def test_a_failed_run_keeps_the_executed_notebook_and_the_old_proof(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    flow.deploy(paper.rooms(), book, tmp_path / "work")
    paper.fail["run"] = RunError("cell 1 failed")
    with pytest.raises(RunError):
        flow.validate(paper.rooms(), book, tmp_path / "work", force=True)
    assert (tmp_path / "work" / "made" / flow.FAILED / "executed.ipynb").exists()
    assert flow.validate(paper.rooms(), book, tmp_path / "work").reused
    assert "register" not in paper.asked[3:]


def test_a_failed_parity_keeps_its_report_and_registers_nothing(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    failed = report(extract(book), passed=False, differences=(Difference("example", 0, "1", "2"),))
    paper.fail["prove"] = ParityError("differs", report=failed)
    with pytest.raises(ParityError):
        flow.deploy(paper.rooms(), book, tmp_path / "work")
    kept = json.loads((tmp_path / "work" / "made" / flow.FAILED / "report.json").read_text())
    assert kept["differences"][0]["expected"] == "1"
    assert paper.asked == ["run", "prove"]


def test_an_interrupt_leaves_nothing_half_done(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    paper.fail["run"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        flow.validate(paper.rooms(), book, tmp_path / "work")
    assert list((tmp_path / "work" / "made").iterdir()) == []


def test_a_bundle_gets_the_requirements_that_the_proof_saw(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    paper.requirements = (Requirement("pytest", version("pytest"), ("model",)),)
    made = flow.validate(paper.rooms(), book, tmp_path / "work")
    pin = f"pytest=={version('pytest')}"
    assert made.bundle.requirements_by_role == {"model": (pin,)}
    assert (made.package / "requirements.txt").read_text() == f"# imported by this package\n{pin}  # model\n"
    assert json.loads((made.package / "manifest.json").read_text())["requirements"] == {"model": [pin]}
    assert made.report.bundle_digest == made.bundle.digest
    again = flow.validate(paper.rooms(), book, tmp_path / "work")
    assert again.reused
    assert (again.bundle, again.report, again.content) == (made.bundle, made.report, made.content)


def test_requirements_must_change_nothing_else(book: Notebook, tmp_path: Path) -> None:
    def unsteady(book: Notebook, evidence: Evidence | None) -> Bundle:
        bundle = extract(book, evidence)
        odd = {"odd.py": ""} if evidence is not None and evidence.requirements else {}
        return replace(bundle, files={**bundle.files, **odd})

    paper = Paper()
    paper.requirements = (Requirement("pytest", version("pytest"), ("model",)),)
    with pytest.raises(Nb2prodError, match="changes other files"):
        flow.validate(replace(paper.rooms(), extract=unsteady), book, tmp_path / "work")


def test_a_proof_in_isolation_is_kept(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    plain = flow.validate(paper.rooms(), book, tmp_path / "work")
    alone = flow.validate(paper.rooms(), book, tmp_path / "work", isolated=True)
    assert (plain.report.isolated, alone.reused, alone.content) == (None, False, plain.content)
    assert flow.validate(paper.rooms(), book, tmp_path / "work", isolated=True).reused
    assert paper.asked == ["run", "prove", "isolate"]
    assert flow.validate(paper.rooms(), book, tmp_path / "work").report == alone.report
    flow.deploy(paper.rooms(), book, tmp_path / "work")
    assert paper.asked[3:] == ["register", "deploy", "promote"]
    forced = flow.validate(paper.rooms(), book, tmp_path / "work", force=True, isolated=True)
    assert paper.asked[6:] == ["run", "prove", "isolate"]
    assert forced.report.isolated is not None


def test_a_failed_isolation_leaves_the_proof(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    paper.fail["isolate"] = SetupError("no registry")
    with pytest.raises(SetupError):
        flow.validate(paper.rooms(), book, tmp_path / "work", isolated=True)
    assert flow.validate(paper.rooms(), book, tmp_path / "work").reused


def test_a_failed_deploy_moves_no_alias(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    paper.fail["deploy"] = DeployError("would not load")
    with pytest.raises(DeployError):
        flow.deploy(paper.rooms(), book, tmp_path / "work")
    assert "promote" not in paper.asked


def test_the_watcher_sees_every_step(book: Notebook, tmp_path: Path) -> None:
    seen: list[str] = []

    class Watcher:
        def begin(self, step: str) -> None:
            seen.append(f"begin {step}")

        def move(self, step: str, done: int, total: int, note: str) -> None:
            seen.append(f"{step} {done}/{total} {note}")

        def end(self, step: Step) -> None:
            seen.append(f"end {step.name}")

    flow.validate(Paper().rooms(), book, tmp_path / "work", watcher=Watcher())
    assert seen[-3:] == ["begin validate", "validate 1/1 cell 1", "end validate"]


def test_a_long_example_is_cut_to_one_instance_in_the_curl_line() -> None:
    endpoint = Endpoint("x", "http://127.0.0.1:1/x", (), 1, "now")
    contract = replace(CONTRACT, example=tuple({"a": float(i), "text": "it's" * 20} for i in range(100)))
    line = flow.curl_line(endpoint, contract)
    assert len(line) < 400
    assert "'\"'\"'" in line, "quoted for the shell"


def test_what_text_and_proof_warn_of_is_told_once_by_a_kept_proof_too(book: Notebook, tmp_path: Path) -> None:
    paper = Paper()
    text, proof = (Diagnostic(code, "warning", f"{code} it is") for code in ("NB238", "NB350"))
    note = Diagnostic("NB211", "info", "dropped")

    def extracted(book: Notebook, evidence: Evidence | None) -> Bundle:
        return replace(extract(book, evidence), diagnostics=(text, note))

    def prove(bundle: Bundle, *args: Any, **options: Any) -> Report:
        return replace(paper.prove(bundle, *args, **options), diagnostics=(text, proof))

    rooms = replace(paper.rooms(), extract=extracted, prove=prove)
    first = flow.validate(rooms, book, tmp_path / "work")
    assert first.report.diagnostics == (text, note, proof)
    again = flow.validate(rooms, book, tmp_path / "work")
    assert (again.reused, again.report.diagnostics) == (True, (text, note, proof))
    made = flow.deploy(rooms, book, tmp_path / "work")
    assert made.diagnostics == (text, note, proof)
    assert [*render.deployment(made)][:2] == ["! NB238 NB238 it is", "! NB350 NB350 it is"]
