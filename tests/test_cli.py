"""The command line as people meet it: help, exit codes, JSON, and what it imports."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nb2prod.shells import cli
from tests.made import TINY, notebook

HEAVY = {"ray", "mlflow", "papermill", "evidently", "pandas", "sklearn", "numpy"}
VERBS = [
    "build",
    "check",
    "dashboard",
    "deploy",
    "diff",
    "doctor",
    "down",
    "explain",
    "export",
    "logs",
    "new",
    "predict",
    "serve",
    "status",
    "up",
    "validate",
]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """nb2prod in a process of its own, in a project of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nb2prod", *arguments],
        cwd=cwd,
        env={**os.environ, "NB2PROD_PROJECT": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def imported(code: str, cwd: Path) -> set[str]:
    """Top-level modules in memory after running code."""
    end = "\nimport sys\nprint('\\n'.join({m.partition('.')[0] for m in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code + end], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split("\n"))


def test_help_names_every_verb(tmp_path: Path) -> None:
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout
    assert set(cli.cli.commands) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, tmp_path: Path) -> None:
    result = run(verb, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--json" in result.stdout
    assert len(result.stdout.split("\n")[2].strip()) > 15


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "from nb2prod.shells.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not imported(code, tmp_path) & HEAVY


def test_check_imports_nothing_heavy(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    call = f"main(['check', {str(path)!r}])"
    code = f"from nb2prod.shells.cli import main\ntry:\n    {call}\nexcept SystemExit:\n    pass"
    assert not imported(code, tmp_path) & HEAVY


def test_explain_imports_nothing_heavy(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    call = f"main(['explain', {str(path)!r}, '--html', {str(tmp_path / 'graph.html')!r}])"
    code = f"from nb2prod.shells.cli import main\ntry:\n    {call}\nexcept SystemExit:\n    pass"
    assert not imported(code, tmp_path) & HEAVY


def test_importing_nb2prod_imports_nothing_heavy(tmp_path: Path) -> None:
    assert (
        not imported("import nb2prod, nb2prod.project, nb2prod.control, nb2prod.validation", tmp_path) & HEAVY
    )


def test_help_is_no_slower_than_importing_pandas(tmp_path: Path) -> None:
    """A ratio of medians, interleaved: the promise is relative, so a slow machine does not matter."""

    def seconds(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, check=True)
        return time.perf_counter() - started

    pairs = [(seconds("-m", "nb2prod", "--help"), seconds("-c", "import pandas")) for _ in range(5)]
    assert statistics.median(a for a, _ in pairs) <= statistics.median(b for _, b in pairs)


def test_check_says_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    path = notebook(tmp_path, ("example", "request = {'a': 1}"), ("model", "x = 1\nrequest['a'] * k"))
    result = run("check", path.name, cwd=tmp_path)
    assert result.returncode == 1
    assert "✗ NB201 cell 2, line 2: `k` is read here, but nothing binds it" in result.stdout
    as_json = run("check", path.name, "--json", cwd=tmp_path)
    assert as_json.returncode == 1
    found = json.loads(as_json.stdout)
    assert found["ok"] is False
    assert found["diagnostics"][0]["code"] == "NB201"
    assert (found["diagnostics"][0]["number"], found["diagnostics"][0]["line"]) == (2, 2)


def test_check_of_a_good_notebook_exits_with_0(tmp_path: Path) -> None:
    notebook(tmp_path, *TINY)
    assert run("check", "made.ipynb", cwd=tmp_path).returncode == 0


def test_an_unreadable_file_is_the_users_error_in_json_too(tmp_path: Path) -> None:
    result = run("check", "none.ipynb", "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert json.loads(result.stdout)["error"] == "NB101"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("check",),
        ("predict", "x"),
        ("predict", "x", "--data", "{"),
        ("new", "no name"),
        ("up", "--port", "x"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_settings_exit_with_2_and_name_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.nb2prod]\nprt = 8001\n")
    result = run("status", cwd=tmp_path)
    assert result.returncode == 2
    assert "`port`" in result.stderr
    (tmp_path / "pyproject.toml").write_text("[tool.nb2prod]\nport = '8001'\n")
    assert run("status", cwd=tmp_path).returncode == 2
    (tmp_path / "pyproject.toml").write_text("[tool.nb2prod\n")
    assert run("status", cwd=tmp_path).returncode == 2


def test_build_writes_a_draft_and_runs_nothing(tmp_path: Path) -> None:
    notebook(tmp_path, *TINY, ("", "raise SystemExit('never run')"))
    result = run("build", "made.ipynb", "--out", "here", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)["files"]) >= {"model.py", "pipeline.py", "manifest.json"}
    assert (tmp_path / "here" / "made" / "model.py").read_text().count("def predict(request)") == 1


def test_build_replaces_a_package_and_nothing_else(tmp_path: Path) -> None:
    notebook(tmp_path, *TINY)
    assert run("build", "made.ipynb", cwd=tmp_path).returncode == 0
    assert run("build", "made.ipynb", cwd=tmp_path).returncode == 0
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "data.csv").write_text("precious")
    result = run("build", "made.ipynb", "--out", ".", cwd=tmp_path)
    assert result.returncode == 2
    assert "made exists and is no package" in result.stderr
    assert (tmp_path / "made" / "data.csv").read_text() == "precious"


def test_new_writes_a_starter_that_passes_check_and_never_overwrites(tmp_path: Path) -> None:
    assert run("new", "my_model", cwd=tmp_path).returncode == 0
    assert run("check", "my_model.ipynb", cwd=tmp_path).returncode == 0
    (tmp_path / "my_model.ipynb").write_text("mine")
    assert run("new", "my_model", cwd=tmp_path).returncode == 2
    assert (tmp_path / "my_model.ipynb").read_text() == "mine"


def test_status_without_anything(tmp_path: Path) -> None:
    result = run("status", cwd=tmp_path)
    assert result.returncode == 0
    assert "nb2prod deploy NOTEBOOK" in result.stdout
    assert json.loads(run("status", "--json", cwd=tmp_path).stdout) == {"endpoints": []}
    assert not (tmp_path / ".nb2prod").exists(), "asking must not write"


def test_an_unknown_endpoint_is_named(tmp_path: Path) -> None:
    result = run("predict", "nobody", "--example", cwd=tmp_path)
    assert result.returncode == 1
    assert "NB610" in result.stderr
    assert "'nobody'" in result.stderr


def test_doctor_looks_at_everything(tmp_path: Path) -> None:
    result = run("doctor", "--json", cwd=tmp_path)
    names = {f["name"] for f in json.loads(result.stdout)["findings"]}
    assert names >= {"Python", "ray", "mlflow", "papermill", "kernel python3", "disk", "cluster"}


def test_a_folder_that_cannot_be_written_is_the_environments_fault(tmp_path: Path) -> None:
    notebook(tmp_path, *TINY)
    (tmp_path / ".nb2prod").write_text("a file where a folder should be")
    result = run("validate", "made.ipynb", cwd=tmp_path)
    assert result.returncode == 3
    assert "NB403" in result.stderr
    assert ".nb2prod" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unforeseen_error_gets_a_code_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / ".nb2prod").mkdir()
    (tmp_path / ".nb2prod" / "endpoints").write_text("a file where a folder should be")
    result = run("status", cwd=tmp_path)
    assert "Traceback" not in result.stderr
