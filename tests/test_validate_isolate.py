"""Environments that hold requirements.txt alone, and proofs in them. Real ones, filled from the registry
that this machine's installers are set up for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from nb2prod.errors import ParityError, SetupError
from nb2prod.proofs import Validated
from nb2prod.shells import api
from nb2prod.validation import environments, installers
from tests.made import notebook

CLICK = f"click=={version('click')}"
UNREACHABLE = "http://127.0.0.1:9/simple"
"""Port 9 (discard): nothing answers there."""

RULES = (("", "LIMIT = 10"), ("example", "request = {'amount': 3}"), ("model", "request['amount'] < LIMIT"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path))
    return tmp_path


def isolated(folder: Path, *cells: tuple[str, str]) -> Validated:
    return api.validate(notebook(folder, *cells), isolated=True)


def inside(folder: Path, code: str) -> str:
    """What code prints in the environment in a folder."""
    command = [str(folder / "bin" / "python"), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def lines(made: Validated) -> list[str]:
    """The names in requirements.txt."""
    text = (made.package / "requirements.txt").read_text()
    return [line.partition("==")[0] for line in text.split("\n") if "==" in line]


# --- whole proofs --------------------------------------------------------------------------------


def test_rules_need_nothing_at_all(project: Path) -> None:
    made = isolated(project, *RULES)
    alone = made.report.isolated
    assert alone is not None
    assert (alone.packages, alone.installer, lines(made)) == (0, "nothing to install", [])
    environment = project / ".nb2prod" / "envs" / alone.environment
    found = json.loads(inside(environment, "import sys, json; print(json.dumps([sys.prefix, sys.path]))"))
    assert found[0] == str(environment)
    assert not [path for path in found[1] if "site-packages" in path and str(environment) not in path]
    kept = api.validate(project / "made.ipynb")
    assert (kept.reused, kept.report) == (True, made.report)
    again = api.validate(project / "made.ipynb", force=True, isolated=True).report.isolated
    assert again is not None
    assert again.environment == alone.environment
    assert (again.seconds["install"], alone.seconds["install"] > 0) == (0, True)


def test_numpy_and_what_only_predicting_shows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lib").mkdir()
    (project / "lib" / "yaml.py").write_text("raise ImportError('where the path of this process leads')")
    cells = (
        ("", "import importlib, numpy as np\nweights = np.array([1.0, 2.0])"),
        ("", "def load(name):\n    return importlib.import_module(name)"),
        ("example", "request = {'a': 3, 'text': '5'}"),
        (
            "preprocess",
            "n = request['a'] if request['a'] < 9 else load('ya' + 'ml').safe_load(request['text'])",
        ),
        ("model", "float(weights.sum()) * n * len(load('cli' + 'ck').__name__)"),
        ("reference", "past = [{'a': n, 'text': '7'} for n in range(8, 11)]"),
    )
    api.validate(notebook(project, *cells))
    monkeypatch.setenv("PYTHONPATH", str(project / "lib"))
    made = isolated(project, *cells)
    assert set(lines(made)) >= {"numpy", "click", "PyYAML"}
    assert "pandas" not in lines(made)
    alone = made.report.isolated
    assert alone is not None
    assert alone.packages == len(lines(made))


def test_pandas_and_sklearn(project: Path) -> None:
    cells = (
        ("", "import pandas as pd\nfrom sklearn.linear_model import LinearRegression"),
        ("", "data = pd.DataFrame({'a': [1.0, 2.0, 4.0], 'y': [2.0, 4.1, 8.2]})"),
        ("", "model = LinearRegression().fit(data[['a']], data['y'])"),
        ("example", "request = data[['a']].head(2)"),
        ("model", "pd.Series(model.predict(request))"),
    )
    made = isolated(project, *cells)
    direct = [item.name for item in made.report.requirements if not item.via]
    assert set(direct) >= {"pandas", "scikit-learn"}
    joblib = next(item for item in made.report.requirements if item.name == "joblib")
    assert (joblib.via, joblib.optional, joblib.roles) == (("scikit-learn",), False, ("model",))
    assert made.report.isolated is not None
    assert made.report.isolated.packages >= len(made.report.requirements)
    assert made.report.isolated.megabytes > 50


def test_a_module_that_is_missing_there_names_the_line(project: Path) -> None:
    cells = (
        ("", "import importlib, importlib.util\nHAS = 'pandas'"),
        ("example", "request = {'text': '5'}"),
        ("model", "if importlib.util.find_spec(HAS):\n    n = int(request['text'])\nelse:\n"
                  "    n = importlib.import_module('ya' + 'ml').safe_load(request['text'])\nn"),
    )  # fmt: skip
    with pytest.raises(ParityError) as caught:
        isolated(project, *cells)
    error = caught.value
    assert (error.code, error.cell, error.number, error.line) == ("NB329", "c3", 3, 4)
    assert (
        "in an environment with requirements.txt alone, asked for the example: 'yaml' is missing"
        in error.message
    )
    assert "model.py, line" in error.message
    assert error.hint is not None
    assert f"PyYAML=={version('pyyaml')}" in error.hint
    assert any("ModuleNotFoundError" in note for note in error.__notes__)
    assert api.validate(project / "made.ipynb").reused, "the proof here still stands"


def test_an_answer_that_depends_on_what_else_is_installed(project: Path) -> None:
    cells = (
        ("", "import importlib.util"),
        ("example", "request = {'a': 5}"),
        ("model", "request['a'] + (importlib.util.find_spec('pandas') is None)"),
    )
    with pytest.raises(ParityError) as caught:
        isolated(project, *cells)
    error = caught.value
    assert (error.code, error.number) == ("NB335", 3)
    assert "1 of 1 rows are answered otherwise" in error.message
    assert error.report is not None
    assert (error.report.differences[0].expected, error.report.differences[0].got) == ("5", "6")


def test_the_command_line_shows_it(project: Path) -> None:
    path = notebook(project, *RULES)
    command = [sys.executable, "-m", "nb2prod", "validate", str(path), "--isolated"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "  requires    nothing\n" in done.stdout
    assert "  isolated    proven with nothing else installed: 0 packages" in done.stdout
    assert "✓ isolate" in done.stderr
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=project, check=True)
    assert json.loads(again.stdout)["report"]["isolated"]["packages"] == 0
    assert "= isolate" in again.stderr


# --- environments --------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", [installers.with_uv, installers.with_pip])
def test_both_installers_fill_an_empty_environment(tool: object, tmp_path: Path) -> None:
    assert callable(tool)
    environments._create(tmp_path / "env")
    (tmp_path / "requirements.txt").write_text(f"# direct\n{CLICK}  # model\n")
    made = tool(tmp_path / "env" / "bin" / "python")
    assert made.name.split()[0] in ("uv", "pip")
    made.install(tmp_path / "requirements.txt")
    assert inside(tmp_path / "env", "import click; print(click.__file__)").startswith(str(tmp_path))
    with pytest.raises(subprocess.CalledProcessError):
        inside(tmp_path / "env", "import pip")


def test_two_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(
            lambda text: environments.prepared(text, tmp_path), [CLICK, f"\n{CLICK}  # model"]
        )
    assert one.folder == two.folder
    assert sorted([one.seconds == 0, two.seconds == 0]) == [False, True]
    assert (one.packages, one.installer) == (1, two.installer)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [one.folder.name]


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    made = environments.prepared("", tmp_path)
    assert environments.prepared("", tmp_path).seconds == 0
    made.folder.rename(tmp_path / f".{made.folder.name}.new")  # it died before the last step
    assert environments.prepared("", tmp_path).seconds > 0
    made.python.unlink()
    made.python.symlink_to("/gone/python")  # the interpreter that it was made with was removed
    assert environments.prepared("", tmp_path).seconds > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{made.folder.name}.lock", made.folder.name]


def test_an_interrupt_ends_the_installer_and_leaves_nothing(tmp_path: Path) -> None:
    """The registry is a socket that takes the call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = (
            "import sys, pathlib\n"
            "from nb2prod.validation import environments, installers\n"
            "installers.with_uv = lambda python: None\n"
            "environments.prepared('click==1.0', pathlib.Path(sys.argv[1]))\n"
        )
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        env = {**os.environ, "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull}
        command = [sys.executable, "-c", code, str(tmp_path / "envs")]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as child:
            call, _ = silent.accept()  # pip, deep in it
            pips = psutil.Process(child.pid).children(recursive=True)
            assert pips
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=60)
        call.close()
    assert "KeyboardInterrupt" in errors
    assert not psutil.wait_procs(pips, timeout=60)[1]
    assert [path.suffix for path in (tmp_path / "envs").iterdir()] == [".lock"]


def only(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Installers that are told nothing but these settings."""
    for name in os.environ:
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        (installers.with_uv, {"UV_DEFAULT_INDEX": UNREACHABLE, "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}),
        (
            installers.with_pip,
            {"PIP_INDEX_URL": UNREACHABLE, "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull},
        ),
    ],
)
def test_a_registry_that_does_not_answer(
    tool: object, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, **settings)
    assert callable(tool)
    environments._create(tmp_path / "env")
    (tmp_path / "requirements.txt").write_text(CLICK)
    with pytest.raises(SetupError) as caught:
        tool(tmp_path / "env" / "bin" / "python").install(tmp_path / "requirements.txt")
    assert (caught.value.code, caught.value.exit_code) == ("NB333", 3)
    assert "onnection refused" in caught.value.message
    assert caught.value.hint is not None
    assert "PIP_INDEX_URL" in caught.value.hint


@pytest.mark.parametrize("tool", ["with_uv", "with_pip"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"python-dateutil=={version('python-dateutil')}\nsix==1.4.1", "six==1.4.1"),
        ("click==0.0.99", "click==0.0.99"),
    ],
    ids=["conflict", "no such version"],
)
def test_requirements_that_cannot_be_installed(
    tool: str, text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"with_uv": "with_pip", "with_pip": "with_uv"}[tool]
    monkeypatch.setattr(installers, other, lambda python: None)
    with pytest.raises(SetupError) as caught:
        environments.prepared(text, tmp_path / "envs")
    assert (caught.value.code, caught.value.exit_code) == ("NB332", 3)
    assert told in caught.value.message
    assert caught.value.hint is not None
    assert [path.suffix for path in (tmp_path / "envs").iterdir()] == [".lock"], "nothing is left half made"


def test_what_pip_is_told_holds_for_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://index.invalid/simple\nextra-index-url = https://a.invalid\n"
    )
    only(
        monkeypatch,
        PIP_CONFIG_FILE=str(config),
        PIP_FIND_LINKS="/wheels /more",
        XDG_CONFIG_HOME=str(tmp_path),
    )
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.invalid https://c.invalid")
    monkeypatch.setenv("PIP_TARGET", "/somewhere/else")
    made = installers.with_uv(tmp_path / "python")
    assert made is not None
    told = {name: value for name, value in made.environment.items() if name.startswith("UV_")}
    assert told == {
        "UV_DEFAULT_INDEX": "https://index.invalid/simple",
        "UV_INDEX": "https://b.invalid https://c.invalid",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert "PIP_TARGET" not in made.environment
    monkeypatch.setenv("UV_INDEX_URL", "https://uv.invalid")
    made = installers.with_uv(tmp_path / "python")
    assert made is not None
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"} & made.environment.keys()


def test_no_password_is_shown() -> None:
    error = installers._failure("uv 1", "error: Failed to fetch: `https://me:secret@index.invalid/simple/x/`")
    assert "secret" not in error.message
    assert "https://index.invalid/simple/x/" in error.message


def test_neither_uv_nor_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installers, "with_uv", lambda python: None)
    monkeypatch.setattr(installers, "with_pip", lambda python: None)
    with pytest.raises(SetupError) as caught:
        environments.prepared(CLICK, tmp_path)
    assert caught.value.code == "NB334"
    assert environments.prepared("", tmp_path).packages == 0, "nothing needs no installer"
