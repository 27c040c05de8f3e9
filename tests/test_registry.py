"""Releases in MLflow: real SQLite, a real server, real full disks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nb2prod.domain import CapturePlan, Contract, Evidence, Field, Notebook, Report, Requirement
from nb2prod.errors import RegistryError, UsageError
from nb2prod.extract.package import runtime
from nb2prod.project import Project
from nb2prod.registry import Registry
from nb2prod.registry.signature import signature_of
from nb2prod.serving.local import CannotServe
from nb2prod.validation import write_package
from nb2prod.validation.probe import contract as observed
from nb2prod.validation.probe import rows
from tests.plans import book, bundle_of, inline, plan

ROOT = Path(__file__).parent.parent

ECHO_ROWS = """
def run(request):
    kinds = {name: str(dtype) for name, dtype in request.dtypes.items()} if hasattr(request, "dtypes") else {}
    rows = request.to_dict("records") if hasattr(request, "columns") else list(request)
    return [f"{row!r} {kinds}" for row in rows]
"""
ECHO_ONE = "def run(request):\n    return f'{type(request).__name__} {request!r}'\n"
ECHO_NAMES = "def run(a, n):\n    return f'{a!r} {n!r}'\n"


@dataclass(frozen=True)
class Made:
    """A package made without a kernel: what the registry needs of a proven notebook."""

    bundle: Any
    report: Report
    package: Path
    executed: Path
    notebook: Notebook

    def register(self, registry: Registry, content: str = "content-1") -> Any:
        return registry.register(
            self.bundle,
            self.report,
            self.package,
            self.executed,
            content=content,
            notebook_path=self.notebook.path,
        )


def contract_of(requests: dict[str, Any]) -> Contract:
    """The contract that the probe reads off an example; the response is filled in by hand."""
    kind = observed.kind_of(requests)
    value = requests if kind == "names" else next(iter(requests.values()))
    names = observed.names_of(value, kind)
    data = rows.of_request(value, kind, names)
    labels = names or tuple(requests)
    seen = [observed.seen_in_example(data, name, runtime.to_wire) for name in labels]
    return Contract.from_json(
        {
            "kind": kind,
            "request": list(requests),
            "fields": observed.fields_of(labels, seen, None),
            "shape": rows.values_shape(value) if kind == "array" else (),
            "answer": {"name": "prediction", "dtype": "string", "python": "str"},
            "example": runtime.to_instances(value, kind),
            "response": ["x"] * len(data) if kind in runtime.BATCH_KINDS else ["x"],
        }
    )


def made(
    folder: Path, name: str = "made", requests: dict[str, Any] | None = None, pipeline: str = ECHO_ONE
) -> Made:
    """A package for an example of one kind, with the report that registering asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = book(folder, ("example", "text = 'a'"), ("model", "text"), name=name)
    what: CapturePlan = plan("text", inline("model", "text", "p", "c2"), moment="c2", example="c1")
    contract = contract_of(requests or {"text": "abc"})
    needed = tuple(Requirement(name, version(name), ("model",)) for name in ("numpy", "pandas"))
    evidence = Evidence(contract, (), requirements=needed)
    bundle = bundle_of(notebook, what, evidence, {"pipeline": pipeline})
    write_package(bundle, None, folder / name)
    executed = folder / "executed.ipynb"
    executed.write_text("{}")
    report = Report(
        name=name,
        notebook_digest=notebook.digest,
        bundle_digest=bundle.digest,
        passed=True,
        rows_compared=3,
        differences=(),
        tolerance=0.0,
        batch_safe=None,
        batch_reason="",
        metrics={"auc": 0.75, "odd name (%)": 1.0, "nan": float("nan")},
        parameters={"depth": 3, "why": "x" * 7000},
        data_digest="d" * 64,
        reference_rows=500,
        seconds={"clean run": 1.5},
        latency_ms={"one": 2.5},
        state=(),
    )
    return Made(bundle, report, folder / name, executed, notebook)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry on SQLite, its folder's name with blanks. Each test uses a model name of its own."""
    home = tmp_path_factory.mktemp("my project")
    return Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts", home / "releases")


def client_of(registry: Registry) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(registry.tracking_uri, registry.tracking_uri)


# --- releases ------------------------------------------------------------------------------------


def test_a_release_is_found_again(registry: Registry, tmp_path: Path) -> None:
    thing = made(tmp_path, "found")
    assert registry.find("found", "content-1") is None
    release = thing.register(registry)
    assert (release.model_name, release.version, release.content) == ("found", 1, "content-1")
    assert release.bundle_digest == thing.bundle.digest
    assert registry.find("found", "content-1") == release
    assert registry.find("found", "content-2") is None
    assert registry.versions("found") == (release,)
    assert registry.versions("nothing") == ()
    written = {p.name: p.read_bytes() for p in release.path.iterdir()}
    assert written == {p.name: p.read_bytes() for p in thing.package.iterdir()}


def test_the_champion_moves_only_when_it_is_promoted(registry: Registry, tmp_path: Path) -> None:
    thing = made(tmp_path, "moving")
    first = registry.promote(thing.register(registry, "one"))
    assert first.aliases == ("champion",)
    second = thing.register(registry, "two")
    assert (second.version, second.aliases) == (2, ())
    assert registry.champion("moving") == first
    registry.promote(second)
    registry.promote(first, "challenger")
    assert [release.aliases for release in registry.versions("moving")] == [("challenger",), ("champion",)]
    assert registry.get("moving").version == 2
    assert registry.get("moving", "challenger").version == 1
    assert registry.get("moving", 1).version == 1
    assert registry.find("moving", "one") == registry.get("moving", 1)


def test_what_does_not_exist(registry: Registry, tmp_path: Path) -> None:
    made(tmp_path, "only").register(registry)
    assert registry.champion("only") is None
    assert registry.champion("nothing") is None
    with pytest.raises(UsageError, match="only has no version or alias 7") as caught:
        registry.get("only", 7)
    assert (caught.value.code, caught.value.hint) == ("NB402", "Its versions: 1.")
    with pytest.raises(UsageError, match="nothing has no version"):
        registry.get("nothing")


def test_a_package_that_is_no_longer_on_disk_is_fetched(registry: Registry, tmp_path: Path) -> None:
    thing = made(tmp_path, "fetched")
    release = thing.register(registry)
    before = {p.name: p.read_bytes() for p in release.path.iterdir()}
    shutil.rmtree(registry.cache / "fetched")
    assert not registry.versions("fetched")[0].path.exists()
    again = registry.get("fetched", 1)
    assert {p.name: p.read_bytes() for p in again.path.iterdir()} == before
    assert [p.name for p in again.path.parent.iterdir()] == ["fetched"]


def test_only_a_proven_bundle_becomes_a_release(registry: Registry, tmp_path: Path) -> None:
    thing = made(tmp_path, "unproven")
    for report in (
        dataclasses.replace(thing.report, passed=False),
        dataclasses.replace(thing.report, bundle_digest="0" * 64),
    ):
        with pytest.raises(ValueError, match="does not prove unproven"):
            dataclasses.replace(thing, report=report).register(registry)


def test_the_run_remembers_where_the_release_came_from(registry: Registry, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    thing = made(tmp_path, "lineage")
    release = thing.register(registry)
    client = client_of(registry)
    run = client.get_run(release.run_id)
    assert (run.info.status, run.data.params["depth"], len(run.data.params["why"])) == ("FINISHED", "3", 6000)
    metrics = run.data.metrics
    assert (metrics["auc"], metrics["odd name ___"], metrics["nb2prod.ms.one"]) == (0.75, 1.0, 2.5)
    assert run.data.tags["mlflow.source.git.commit"] == head
    assert run.data.tags["nb2prod.notebook"] == thing.notebook.digest
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.digest, json.loads(data.dataset.profile)) == ("d" * 36, {"num_rows": 500})
    stored = {item.path for item in client.list_artifacts(release.run_id)}
    assert stored == {"model", "report.json", "executed.ipynb"}
    assert client.get_experiment(run.info.experiment_id).name == "lineage"
    model = registry.artifact_root / "lineage" / release.run_id / "artifacts" / "model"
    needed = (model / "requirements.txt").read_text().split()
    assert [pin.partition("==")[0] for pin in needed] == ["numpy", "pandas", "mlflow"]


# --- without nb2prod -----------------------------------------------------------------------------

FRAME = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "small": np.array([1, -2, 3], dtype=np.int8),
        "whole": pd.Series([1, None, 2**60 + 1], dtype="Int64"),
        "x": [0.1, None, 3.0],
        "x32": np.array([0.1, 0.2, 0.3], dtype=np.float32),
        "ok": [True, False, True],
        "maybe": pd.Series([True, None, False], dtype="boolean"),
        "text": ["a", None, "ä"],
        "mixed": pd.Series(["a", "b", "c"], dtype=object),
        "when": pd.to_datetime(["2020-01-01", None, "2020-01-03"]).astype("datetime64[ns]"),
        "zoned": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-07-03"], utc=True).tz_convert(
            "Europe/Berlin"
        ),
        "kind": pd.Categorical(["lo", "hi", None], categories=["lo", "hi"], ordered=True),
        "tags": [["a"], [], ["b", "c"]],
    }
)
RECORD = {
    "n": 1,
    "x": 0.5,
    "text": "a",
    "none": None,
    "tags": [1, 2],
    "inner": {"zip": "1", "days": [dt.date(2020, 1, 1)]},
    "when": pd.Timestamp("2020-01-01"),
}
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "frame": ({"batch": FRAME}, ECHO_ROWS),
    "records": ({"batch": [{"n": 1, "x": 0.5, "s": "a"}, {"n": 2, "x": None, "s": "b"}]}, ECHO_ROWS),
    "record": ({"row": RECORD}, ECHO_ONE),
    "texts": ({"batch": ["a", "b c"]}, ECHO_ROWS),
    "numbers": ({"batch": [0.5, 1.5]}, ECHO_ROWS),
    "nested": ({"batch": [[1, 2], [3]]}, ECHO_ROWS),
    "array": ({"batch": np.array([[0.1, 2.0], [3.0, 4.0]])}, ECHO_ROWS),
    "array32": ({"batch": np.array([[[1], [2]]], dtype=np.float32)}, ECHO_ROWS),
    "words": ({"batch": np.array(["a", "bc"])}, ECHO_ROWS),
    "text": ({"text": "a text"}, ECHO_ONE),
    "value": ({"value": 7}, ECHO_ONE),
    "names": ({"a": "x", "n": 3}, ECHO_NAMES),
}

LOADER = """
import pickle, sys
sys.modules["nb2prod"] = None  # whoever imports it fails
import mlflow
uri, work = sys.argv[1:]
mlflow.set_tracking_uri(uri)
with open(f"{work}/requests", "rb") as file:
    requests = pickle.load(file)
answers = {}
for name, request in requests.items():
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    signature = model.metadata.signature
    columns = signature and [(str(c.type), getattr(c, "required", True)) for c in signature.inputs.inputs]
    answers[name] = (model.predict(request), model.input_example is not None, columns)
with open(f"{work}/answers", "wb") as file:
    pickle.dump(answers, file)
"""


@pytest.fixture(scope="module")
def elsewhere(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Any, bool, Any]]:
    """What plain MLflow answers in a process that cannot import nb2prod, for every kind of request."""
    folder = tmp_path_factory.mktemp("kinds")
    native = {}
    for name, (requests, pipeline) in REQUESTS.items():
        registry.promote(made(folder / name, name, requests, pipeline).register(registry))
        native[name] = requests if name == "names" else next(iter(requests.values()))
    (folder / "requests").write_bytes(pickle.dumps(native))
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", LOADER, registry.tracking_uri, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[Any, bool, Any]] = pickle.loads((folder / "answers").read_bytes())
    return answers


@pytest.mark.parametrize("name", REQUESTS)
def test_plain_mlflow_gives_the_same_answers(
    elsewhere: dict[str, tuple[Any, bool, Any]], name: str, tmp_path: Path
) -> None:
    requests, pipeline = REQUESTS[name]
    namespace: dict[str, Any] = {}
    exec(pipeline, namespace)
    package = runtime.Predictor(json.loads(json.dumps(contract_json(requests))), namespace["run"])
    answer, has_example, signature = elsewhere[name]
    assert answer == package.predict(contract_json(requests)["example"])
    assert (has_example, bool(signature)) == ((False, False) if name == "nested" else (True, True))


def contract_json(requests: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dataclasses.asdict(contract_of(requests))
    return found


def test_the_signature_says_what_a_request_holds(elsewhere: dict[str, tuple[Any, bool, Any]]) -> None:
    found = dict(zip(FRAME.columns, elsewhere["frame"][2], strict=True))
    assert found["n"] == ("DataType.long", True)
    assert found["x"] == ("DataType.double", False)
    assert found["when"] == ("DataType.datetime", False)
    assert found["text"] == ("DataType.string", False)
    assert found["ok"] == ("DataType.boolean", True)
    assert found["zoned"] == ("Any", True)
    assert found["tags"] == ("Array(Any)", True)


ANSWERS: dict[str, tuple[Field | None, str]] = {
    "number": (Field("p", "number", "float", nullable=True), "[double (required)]"),
    "integer": (Field("p", "integer", "int", minimum=0, maximum=9), "[long (required)]"),
    "huge": (Field("p", "integer", "int", minimum=0, maximum=2**63), "[Any (required)]"),
    "text": (Field("p", "string", "str"), "[string (required)]"),
    "moment": (Field("p", "datetime", "Timestamp"), "[string (required)]"),
    "truth": (Field("p", "boolean", "bool"), "[boolean (required)]"),
    "mixed": (Field("p", "any", "object"), "[Any (required)]"),
    "matrix": (
        Field("p", "list", "list", parts=(Field("", "list", "list", parts=(Field("", "number", "float"),)),)),
        "[Array(Array(double)) (required)]",
    ),
    "map": (
        Field("p", "map", "dict", parts=(Field("", "integer", "int"),)),
        "[Map(str -> DataType.long) (required)]",
    ),
    "record": (
        Field("p", "record", "dict", parts=(
            Field("label", "string", "str"),
            Field("score", "number", "float", nullable=True),
            Field("why", "record", "dict", parts=(Field("rule", "string", "str", optional=True),)),
        )),
        "['label': string (required), 'score': double (optional),"
        " 'why': {rule: string (optional)} (required)]",
    ),
    "perhaps a record": (
        Field("p", "record", "dict", nullable=True, parts=(Field("label", "string", "str"),)),
        "[{label: string (required)} (required)]",
    ),
    "unknown": (None, "None"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_the_signature_says_what_an_answer_holds(name: str) -> None:
    answer, outputs = ANSWERS[name]
    contract = dataclasses.replace(contract_of({"text": "abc"}), answer=answer)
    assert str(signature_of(contract).outputs) == outputs


# --- failures ------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, but no one listens
        with pytest.raises(RegistryError) as caught:
            Registry(uri, None, tmp_path).find("made", "content")
    assert caught.value.code == "NB400"
    assert uri in caught.value.message
    assert caught.value.hint is not None
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError, match="cannot be used") as caught:
            Registry(uri, None, tmp_path).versions("made")
    assert caught.value.code == "NB400"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_folder_without_a_package_stands_back_behind_a_release_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.at(tmp_path)
    release = project.registry.promote(made(tmp_path / "work", "model").register(project.registry))
    for name in ("model", "nothing"):
        (tmp_path / "here" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert project.served("model") == (release.path, "model", 1)
    with pytest.raises(CannotServe, match="nothing holds no package"):
        project.served("nothing")
    with pytest.raises(CannotServe, match="model holds no package"):
        project.served("./model")
    monkeypatch.chdir(tmp_path / "work")
    assert project.served("model") == (Path("model"), "model", 1)


def test_a_database_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError) as caught:
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path, tmp_path).versions("made")
    assert caught.value.code == "NB400"


FULL = """
import os, sys
from pathlib import Path
import resource
from nb2prod.errors import RegistryError
from nb2prod.project import Project
from nb2prod.registry import Registry
from nb2prod.registry.signature import signature_of
from tests.test_registry import made
home, how, store = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
large = "x = " + repr("x" * 30_000_000)
thing = made(home / "work", "full", pipeline=large + "\\ndef run(text):\\n    return text\\n")
registry = Registry(f"sqlite:///{home / 'mlflow.db'}", store / "artifacts", home / "releases")
registry.versions("full")
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
try:
    thing.register(registry)
except RegistryError as error:
    print(error.code)
left = [p for p in store.rglob("*") if p.is_file()] + [p for p in (home / "releases").rglob("*")]
runs = registry._client.search_runs([registry._client.get_experiment_by_name("full").experiment_id])
print(len(registry.versions("full")), len(left), len(runs))
"""


def test_a_full_disk_leaves_nothing_half_registered(registry: Registry, tmp_path: Path) -> None:
    registry.versions("full")
    shutil.copy(registry.tracking_uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    store = tmp_path / "store"
    store.mkdir()
    (tmp_path / "full.py").write_text(FULL)
    small = f"mount -t tmpfs -o size=1m none {store}"
    run = f"exec {sys.executable} {tmp_path}/full.py {tmp_path}"
    if shutil.which("unshare") and not subprocess.run(["unshare", "-Urm", "sh", "-c", small]).returncode:
        command = ["unshare", "-Urm", "sh", "-c", f"{small} && {run} disk {store}"]
    else:  # no one may mount a small disk here: files may not grow large instead
        command = ["sh", "-c", f"{run} limit {store}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["NB401", "0 0 0"], "")


# --- a server, and what others see ---------------------------------------------------------------


@pytest.fixture
def server(registry: Registry, tmp_path: Path) -> Iterator[str]:
    """The address of a real MLflow server, which keeps artifacts itself."""
    registry.versions("any")
    shutil.copy(registry.tracking_uri.removeprefix("sqlite:///"), tmp_path / "server.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "kept")]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, text=True, stderr=subprocess.PIPE, start_new_session=True
    ) as it:
        try:
            assert it.stderr is not None
            assert any("Uvicorn running on" in line for line in it.stderr)  # only now it listens
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(it.pid, 9)


def test_a_server_far_away(server: str, registry: Registry, tmp_path: Path) -> None:
    far = Registry(server, None, tmp_path / "releases")
    thing = made(tmp_path / "work", "far")
    release = far.promote(thing.register(far))
    assert far.find("far", "content-1") == release
    shutil.rmtree(far.cache)
    fetched = far.champion("far")
    assert fetched is not None
    assert (fetched.path / "pipeline.py").read_text() == ECHO_ONE


QUIET = """
import sys
from pathlib import Path
import nb2prod.registry
print("mlflow" in sys.modules)
from tests.test_registry import made
home = Path(sys.argv[1])
uri = f"sqlite:///{home / 'new' / 'mlflow.db'}"
registry = nb2prod.registry.Registry(uri, home / "artifacts", home / "releases")
print(registry.promote(made(home / "work").register(registry)).version)
import os
print(sorted(os.listdir(".")), [name for name in os.environ if "MLFLOW" in name])
"""


def test_it_is_quiet_and_leaves_no_trace(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", QUIET, str(tmp_path)]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["False", "1", "[] []"], "")
