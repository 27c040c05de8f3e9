"""A release served without Ray, as a real process: from start to end, and in platforms' containers."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from nb2prod.project import Project
from tests.conftest import eventually
from tests.packages import MODEL, write_package
from tests.processes import CLI, SERVING, failed, serving
from tests.test_registry import made
from tests.test_serving_app import ROW, SLOW, WAIT

ROOT = Path(__file__).parent.parent
ROWS = {"instances": [ROW]}
CSV = b"x,n,colour\n1.5,1,red\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "doubler")


def test_it_answers_until_it_is_told_to_end(package: Path) -> None:
    with serving(package) as served:
        assert served.line.startswith("doubler version 1 answers at http://127.0.0.1:")
        answer = httpx.post(f"{served.url}/predict", json=ROWS)
        assert answer.json()["predictions"] == [4.0]
        assert answer.headers["x-request-id"]
        assert served.process.poll() is None
        code, errors = served.end()
    assert code == 0
    assert "POST" not in errors, "there is no access log"


def test_name_and_version_can_be_given(package: Path) -> None:
    with serving(package, "--name", "other", "--version", "7") as served:
        assert httpx.get(f"{served.url}/v2/models/other/versions/7/ready").status_code == 200


def test_it_needs_nothing_else_of_nb2prod(tmp_path: Path) -> None:
    model = "import sys\ndef model(pairs):\n    return [' '.join(sys.modules) for pair in pairs]\n"
    with serving(write_package(tmp_path / "p", model=model)) as served:
        found = httpx.post(f"{served.url}/predict", json=ROWS).json()["predictions"][0].split()
    ours = {name for name in found if name.startswith("nb2prod.")}
    assert all(name.startswith("nb2prod.serving") or name == "nb2prod._version" for name in ours), ours
    assert not {"ray", "mlflow", "pandas", "grpc", "pyarrow", "opentelemetry"} & {*found}
    assert {"uvloop", "httptools"} <= {*found}


# --- the end -------------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    model = WAIT.format(folder=str(tmp_path), version=1)
    # the example must not wait
    return write_package(tmp_path / "slow", model=model)


def test_what_is_under_way_is_answered_and_readiness_says_503(slow: Path, tmp_path: Path) -> None:
    with serving(slow, "--drain-s", "0") as served, ThreadPoolExecutor() as pool, httpx.Client() as idle:
        assert idle.get(f"{served.url}/health").status_code == 200
        asked = pool.submit(httpx.post, f"{served.url}/predict", json=SLOW, timeout=None)
        eventually((tmp_path / "entered").exists)
        served.process.terminate()
        for path in ("health", "ping", "v2/health/ready", "v2/models/slow/ready", "v1/models/slow"):
            eventually(lambda path=path: httpx.get(f"{served.url}/{path}").status_code == 503)
        assert httpx.get(f"{served.url}/v2/health/live").status_code == 200
        assert not asked.done()
        (tmp_path / "go").touch()
        assert asked.result().json()["predictions"] == [1]
        assert served.process.wait(60) == 0


def test_it_answers_on_while_who_sends_requests_finds_out(package: Path) -> None:
    with serving(package, "--drain-s", "600") as served:
        served.process.terminate()
        eventually(lambda: httpx.get(f"{served.url}/health").status_code == 503)
        assert httpx.post(f"{served.url}/predict", json=ROWS).status_code == 200
        assert served.end()[0] == 0, "a second SIGTERM ends it at once"


def test_a_model_that_never_comes_back_does_not_keep_it(slow: Path, tmp_path: Path) -> None:
    with serving(slow, "--drain-s", "0") as served, ThreadPoolExecutor() as pool:
        headers = {"x-request-timeout-ms": "100"}
        asked = pool.submit(httpx.post, f"{served.url}/predict", json=SLOW, headers=headers, timeout=None)
        assert asked.result().status_code == 504
        assert served.end()[0] == 0


# --- what cannot be served -----------------------------------------------------------------------


@pytest.mark.parametrize("how", [(), CLI], ids=["module", "command"])
def test_a_port_that_is_taken(package: Path, how: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = failed(package, "--port", str(port), **({"how": how} if how else {}))
    assert code == 3
    assert f"NB501 port {port} is taken" in errors
    assert f"--port {port + 1}" in errors
    assert "Traceback" not in errors


def test_an_address_that_is_not_of_this_machine(package: Path) -> None:
    code, errors = failed(package, "--host", "192.0.2.1", "--port", "0")
    assert (code, "NB500 cannot listen on 192.0.2.1" in errors) == (3, True)


@pytest.mark.parametrize("how", [(), CLI], ids=["module", "command"])
def test_a_folder_that_holds_no_package(tmp_path: Path, how: tuple[str, ...]) -> None:
    code, errors = failed(tmp_path, **({"how": how} if how else {}))
    assert (code, f"NB511 {tmp_path} holds no package" in errors) == (2, True)
    code, errors = failed(tmp_path / "none", **({"how": how} if how else {}))
    assert (code, "none is no folder" in errors) == (2, True)


@pytest.mark.parametrize("how", [(), CLI], ids=["module", "command"])
def test_a_release_that_would_not_load(tmp_path: Path, how: tuple[str, ...]) -> None:
    package = write_package(tmp_path / "p", model=MODEL.replace("13", "1"))
    code, errors = failed(package, "--port", "0", **({"how": how} if how else {}))
    assert code == 3
    assert "NB510" in errors
    assert "would not load: ZeroDivisionError" in errors
    assert "notebook: doubler.ipynb, cell 3, line 2 (model.py:7)" in errors


def test_a_release_whose_error_cannot_be_told(tmp_path: Path) -> None:
    odd = "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\n"
    package = write_package(tmp_path / "p", model=f"{odd}def model(pairs):\n    raise Odd\n")
    code, errors = failed(package, "--port", "0")
    assert (code, "NB510" in errors, "would not load: Odd: " in errors) == (3, True, True)


def test_the_port_opens_only_once_the_release_has_answered(tmp_path: Path) -> None:
    """The model asks, while it is warmed, whether the port is open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = (
        "import socket\ndef model(pairs):\n    with socket.socket() as s:\n"
        f"        code = s.connect_ex(('127.0.0.1', {port}))\n"
        "    raise SystemExit(f'connecting gave {code}')\n"
    )
    code, errors = failed(write_package(tmp_path / "p", model=model), "--port", str(port))
    assert code == 3
    assert "connecting gave 111" in errors, "refused"


@pytest.mark.parametrize("how", [(), CLI], ids=["module", "command"])
def test_what_becomes_of_values_that_were_not_seen(package: Path, how: tuple[str, ...]) -> None:
    body = {"instances": [{**ROW, "x": 9.5}]}
    chosen = {"how": how} if how else {}
    with serving(package, "--unseen", "refuse", **chosen) as served:
        assert "a number from 0.0 to 9.0" in httpx.post(f"{served.url}/predict", json=body).json()["detail"]
    with serving(package, **chosen) as served:
        assert httpx.post(f"{served.url}/predict", json=body).status_code == 200
        assert httpx.get(f"{served.url}/health").json()["unseen"] == {"x": 1}


HOWS = pytest.mark.parametrize("how", [SERVING, CLI], ids=["module", "command"])


@HOWS
def test_limits_can_be_given(package: Path, how: tuple[str, ...]) -> None:
    with serving(package, "--max-rows", "1", "--max-body", "200", how=how) as served:
        assert httpx.post(f"{served.url}/predict", json=ROWS).status_code == 200
        many = httpx.post(f"{served.url}/predict", json={"instances": [ROW] * 2})
        assert "at most 1 instances" in many.json()["detail"]
        assert "at most 200 bytes" in httpx.post(f"{served.url}/predict", content=b" " * 201).json()["detail"]


@HOWS
def test_a_limit_that_does_not_fit(package: Path, how: tuple[str, ...]) -> None:
    code, errors = failed(package, "--timeout-s", "0", how=how)
    assert code == 2
    assert "more than 0 and at most 86400" in errors


def test_the_projects_limits_count_unless_others_are_given(package: Path, tmp_path: Path) -> None:
    settings = "[tool.nb2prod]\nmax_rows = 2\nunseen = 'refuse'\n"
    (tmp_path / "pyproject.toml").write_text(settings)
    beyond = {"instances": [{**ROW, "x": 9.5}] * 3}
    about = {"how": CLI, "NB2PROD_PROJECT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with serving(package, **about) as served:
        answer = httpx.post(f"{served.url}/predict", json=beyond)
        assert "at most 2 instances" in answer.json()["detail"]
    with serving(package, "--max-rows", "3", **about) as served:
        answer = httpx.post(f"{served.url}/predict", json=beyond)
        assert "a number from 0.0 to 9.0" in answer.json()["detail"]


# --- the command line ----------------------------------------------------------------------------


def test_a_release_by_name_and_the_mlflow_model_that_it_is(tmp_path: Path) -> None:
    project = Project.at(tmp_path)
    made(tmp_path).register(project.registry)
    for what in ("made@1", next(tmp_path.rglob("MLmodel")).parent):
        with serving(what, how=CLI, NB2PROD_PROJECT=str(tmp_path), PYTHONPATH=str(ROOT)) as it:
            answer = httpx.post(f"{it.url}/predict", json={"instances": ["abc"]}).json()
            assert (answer["predictions"], answer["model_name"]) == (["str 'abc'"], "made")
            assert it.end()[0] == 0


def test_nothing_to_serve(tmp_path: Path) -> None:
    environ = {"SM_MODEL_DIR": str(tmp_path / "none"), "NB2PROD_PROJECT": str(tmp_path)}
    code, errors = failed(how=CLI, **environ)
    assert (code, "there is nothing to serve" in errors) == (2, True)
    assert failed(**environ)[0] == 2


# --- containers ----------------------------------------------------------------------------------


def test_a_sagemaker_container(package: Path) -> None:
    """It is started with the one argument `serve`, its model where SageMaker has unpacked it."""
    with serving("serve", SM_MODEL_DIR=str(package), SAGEMAKER_BIND_TO_PORT="0") as served:
        assert "http://0.0.0.0:" in served.line
        assert httpx.get(f"{served.url}/ping", timeout=2).status_code == 200
        answer = httpx.post(f"{served.url}/invocations", content=CSV, headers={"content-type": "text/csv"})
        assert answer.json() == {"predictions": [4.0]}


def test_what_is_named_comes_before_what_a_platform_has(package: Path, tmp_path: Path) -> None:
    other = write_package(tmp_path / "other")
    with serving(package, "--port", "0", SM_MODEL_DIR=str(other)) as served:
        assert served.line.startswith("doubler version 1 answers at http://127.0.0.1:")


VERTEX = {
    "AIP_HTTP_PORT": "0",
    "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
    "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
}


def test_a_vertex_container(package: Path) -> None:
    with serving(package, **VERTEX) as served:
        assert "http://0.0.0.0:" in served.line
        assert httpx.get(served.url + VERTEX["AIP_HEALTH_ROUTE"]).status_code == 200
        answer = httpx.post(served.url + VERTEX["AIP_PREDICT_ROUTE"], json={**ROWS, "parameters": {}})
        assert answer.json() == {"predictions": [4.0]}
        for parameters, status in (({"k": 1}, 422), (None, 200)):
            body = {**ROWS, "parameters": parameters}
            assert httpx.post(served.url + VERTEX["AIP_PREDICT_ROUTE"], json=body).status_code == status
        assert httpx.post(f"{served.url}/predict", json=ROWS).status_code == 200
