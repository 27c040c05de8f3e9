"""Endpoints on a real cluster, asked over real HTTP."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from nb2prod import control
from nb2prod.control import environment, processes
from nb2prod.domain import Endpoint, EndpointStatus, Manner, Release
from nb2prod.errors import ClusterError, DeployError, UsageError
from nb2prod.project import Project, Settings
from tests.conftest import PATIENCE_S, Cluster, eventually
from tests.packages import write_release

ROW = {"x": 1.5, "n": 1, "colour": "red"}
KEPT = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")

Make = Callable[..., Release]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes releases of `doubler`, each with the next version."""
    folder, versions = tmp_path_factory.mktemp("releases"), itertools.count(1)
    return lambda **how: write_release(folder, version=next(versions), **how)


@pytest.fixture(scope="module")
def first(cluster: Cluster, make: Make) -> Endpoint:
    """The endpoint `doubler`, deployed once; tests deploy what else they need."""
    return control.deploy(make(), cluster.info, cluster.home, "doubler")


@pytest.fixture
def url(first: Endpoint) -> str:
    return first.url


def predict(url: str, *instances: Any) -> httpx.Response:
    return httpx.post(f"{url}/predict", json={"instances": list(instances or [ROW])}, timeout=30)


def version(url: str) -> Any:
    return httpx.get(f"{url}/health").json().get("version")


def replica(cluster: Cluster, name: str) -> psutil.Process:
    return next(p for p in processes.members(cluster.info.id) if f"ServeReplica:{name}:" in title(p))


def title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def table(cluster: Cluster, name: str = "doubler") -> Path:
    return cluster.home / "endpoints" / f"{name}.json"


# --- the first deploy ----------------------------------------------------------------------------


def test_deploy_answers_at_its_url(cluster: Cluster, first: Endpoint) -> None:
    assert first.url == f"{cluster.info.url}/doubler"
    assert (first.generation, first.routes[0].version) == (1, 1)
    assert Endpoint.from_json(json.loads(table(cluster).read_text())) == first
    answer = predict(first.url)
    assert answer.json()["predictions"] == [4.0]
    assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]


def test_the_page_and_its_assets_are_served_here(url: str) -> None:
    for path in ("docs", "docs/swagger-ui.css", "docs/openapi.json", "openapi.json"):
        assert httpx.get(f"{url}/{path}").status_code == 200, path


REQUESTS = {
    "not JSON": (b"x=1", 400, "The request cannot be read"),
    "NaN": (b'{"instances": [{"x": NaN, "n": 1, "colour": "red"}]}', 400, "send null for a missing value"),
    "no instances": (b"{}", 422, "instances: expected a list of instances"),
    "empty batch": (b'{"instances": []}', 422, "at least one instance"),
    "missing column": (b'{"instances": [{"x": 1, "n": 1}]}', 422, "it is missing"),
    "extra column": (b'{"instances": [{"x": 1, "n": 1, "colour": "red", "y": 1}]}', 422, "no such field"),
    "wrong type": (b'{"instances": [{"x": "1", "n": 1, "colour": "red"}]}', 422, "expected a number"),
    "null": (b'{"instances": [{"x": 1, "n": null, "colour": "red"}]}', 422, "never null"),
    "over the limit": (b" " * (10 * 2**20 + 1), 413, "at most 10485760 bytes"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request(url: str, name: str) -> None:
    body, status, text = REQUESTS[name]
    answer = httpx.post(f"{url}/predict", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert text in answer.text


def test_a_body_at_the_limit_is_taken(url: str) -> None:
    body = json.dumps({"instances": [ROW]}).encode()
    answer = httpx.post(f"{url}/predict", content=body.ljust(10 * 2**20))
    assert answer.json()["predictions"] == [4.0]


def test_a_long_body_of_unknown_length_is_refused(url: str) -> None:
    sent = (b" " * 2**16 for _ in range(1_000))
    assert httpx.post(f"{url}/predict", content=sent, timeout=30).status_code == 413
    assert version(url)


def test_an_unknown_endpoint_is_told_which_exist(cluster: Cluster, url: str) -> None:
    def answer() -> httpx.Response | None:
        # while the front starts, Serve's proxy lets requests wait for it
        found = httpx.get(f"{cluster.info.url}/doublerr/predict", timeout=PATIENCE_S)
        return found if found.headers["content-type"] == "application/problem+json" else None

    refused = eventually(answer)
    assert refused.status_code == 404
    assert "/doubler" in refused.json()["detail"]
    listed = httpx.get(f"{cluster.info.url}/").json()["endpoints"]
    told = {"name": "doubler", "url": "/doubler", "model_name": "doubler"}
    assert any(told.items() <= item.items() for item in listed)


def test_a_failing_model_is_in_the_log(cluster: Cluster, url: str) -> None:
    answer = predict(url, {**ROW, "n": 13})
    assert answer.status_code == 500
    assert "division" not in answer.text
    log = "\n".join(control.logs(cluster.info, cluster.home, "doubler", 1_000))
    assert f"request {answer.json()['request_id']}: doubler version" in log
    assert "notebook: doubler.ipynb, cell 3, line 2 (model.py:7)" in log
    assert "ZeroDivisionError: division by zero" in log
    assert len(control.logs(cluster.info, cluster.home, "doubler", 2)) == 2
    assert control.logs(cluster.info, cluster.home, "other", 2) == []


TALKS = """
import logging
def model(pairs):
    print("printed by the notebook")
    logging.getLogger("anyone").warning("logged by the notebook")
    return [x for x, n in pairs]
"""


def test_what_the_notebooks_code_says_is_in_the_log(cluster: Cluster, url: str, make: Make) -> None:
    control.deploy(make(model=TALKS), cluster.info, cluster.home, "doubler")
    assert predict(url).status_code == 200
    log = "\n".join(control.logs(cluster.info, cluster.home, "doubler", 1_000))
    assert "printed by the notebook" in log
    assert "logged by the notebook" in log


# --- the next ones -------------------------------------------------------------------------------


def test_redeploy_swaps_in_the_running_replica_and_drops_nothing(
    cluster: Cluster, url: str, make: Make
) -> None:
    control.deploy(make(), cluster.info, cluster.home, "doubler")
    before, seen, stop = replica(cluster, "doubler"), list[tuple[int, Any]](), threading.Event()

    def load() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                answer = client.post(f"{url}/predict", json={"instances": [ROW]})
                seen.append((answer.status_code, answer.json()))

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(load) for _ in range(4)]
        try:
            release = make(factor=3.0)
            eventually(lambda: len(seen) > 50)
            endpoint = control.deploy(release, cluster.info, cluster.home, "doubler")
            eventually(lambda: any(body.get("version") == release.version for _, body in seen[-10:]))
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert endpoint.routes[0].version == release.version == version(url)
    assert {status for status, _ in seen} == {200}
    right = {release.version: [5.5]}
    assert all(body["predictions"] == right.get(body["version"], [4.0]) for _, body in seen)
    assert replica(cluster, "doubler") == before


def test_limits_come_with_a_deploy_and_go_with_the_next(cluster: Cluster, url: str, make: Make) -> None:
    release, rows = make(), [ROW, {**ROW, "x": 9.5}]

    def deployed(**limits: Any) -> httpx.Response:
        control.deploy(release, cluster.info, cluster.home, "doubler", limits=limits)
        return predict(url, *rows)

    assert "at most 1 instances" in deployed(max_rows=1).json()["detail"]
    assert "a number from 0.0 to 9.0" in deployed(max_rows=2, unseen="refuse").json()["detail"]
    # a replica that comes back has them from the table
    killed = replica(cluster, "doubler")
    killed.kill()
    eventually(lambda: not processes.alive(killed.pid, killed.create_time()))
    eventually(lambda: "9.5" in predict(url, *rows).text)
    project = Project(cluster.home.parent, Settings(max_rows=2, unseen="refuse"))
    found = project.serving("doubler")
    assert found is not None
    assert found.routes[0].limits == {"max_rows": 2, "unseen": "refuse"}
    assert Project(project.root, Settings()).serving("doubler") is None, "other limits are to be deployed"
    assert deployed().status_code == 200


BROKEN = {
    "raises": ("def model(pairs):\n    raise KeyError('gone')\n", "KeyError: 'gone'"),
    "exits": ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    "needs what is not there": ("import no_such_package\n", "No module named 'no_such_package'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_release_that_does_not_load_changes_nothing(
    cluster: Cluster, url: str, make: Make, name: str
) -> None:
    before, serving = table(cluster).read_bytes(), version(url)
    source, reason = BROKEN[name]
    with pytest.raises(DeployError, match=reason) as caught:
        control.deploy(make(model=source), cluster.info, cluster.home, "doubler")
    assert caught.value.code == "NB510"
    assert (table(cluster).read_bytes(), version(url)) == (before, serving)
    assert predict(url).status_code == 200


def test_a_release_that_hangs_while_it_loads(cluster: Cluster, url: str, make: Make) -> None:
    before, serving = table(cluster).read_bytes(), version(url)
    hangs = make(model="import threading\nthreading.Event().wait()\n")
    with pytest.raises(DeployError, match="not done within 1 s"):
        control.deploy(hangs, cluster.info, cluster.home, "doubler", limit_s=1)
    assert (table(cluster).read_bytes(), version(url)) == (before, serving)
    release = make()
    control.deploy(release, cluster.info, cluster.home, "doubler")
    assert version(url) == release.version


def test_two_deploys_at_once_come_one_after_the_other(cluster: Cluster, url: str, make: Make) -> None:
    before = json.loads(table(cluster).read_text())["generation"]
    with ThreadPoolExecutor() as pool:
        deploys = [
            pool.submit(control.deploy, make(), cluster.info, cluster.home, "doubler") for _ in range(3)
        ]
        made = sorted((d.result() for d in deploys), key=lambda endpoint: endpoint.generation)
    assert [endpoint.generation for endpoint in made] == [before + 1, before + 2, before + 3]
    assert version(url) == made[-1].routes[0].version


def test_a_failed_first_deploy_leaves_no_trace(cluster: Cluster, make: Make) -> None:
    with pytest.raises(DeployError, match="KeyError"):
        control.deploy(make(model=BROKEN["raises"][0]), cluster.info, cluster.home, "other")
    assert not table(cluster, "other").exists()
    assert "other" not in [s.endpoint.name for s in control.status(cluster.info, cluster.home)]
    eventually(lambda: httpx.get(f"{cluster.info.url}/other/health").status_code == 404)
    endpoint = control.deploy(make(), cluster.info, cluster.home, "other")
    assert predict(endpoint.url).json()["predictions"] == [4.0]


@pytest.mark.parametrize("name", ["", "a/b", "-a", "nb2prod.front", "Verspätung", "a b"])
def test_a_name_that_no_endpoint_can_have(cluster: Cluster, make: Make, name: str) -> None:
    with pytest.raises(UsageError, match="no name for an endpoint"):
        control.deploy(make(), cluster.info, cluster.home, name)


# --- status --------------------------------------------------------------------------------------


def test_status(cluster: Cluster, first: Endpoint) -> None:
    found = next(s for s in control.status(cluster.info, cluster.home) if s.endpoint.name == "doubler")
    assert (found.state, found.replicas, found.message) == ("healthy", 1, "")
    assert found.endpoint.url == first.url
    assert found.manners == (Manner(True, "it was written so", {"factor": "it is a number"}),)


def test_status_without_a_cluster(cluster: Cluster, first: Endpoint) -> None:
    states = {s.endpoint.name: s.state for s in control.status(None, cluster.home)}
    assert states["doubler"] == "down"


def test_status_of_an_endpoint_that_the_cluster_does_not_run(
    cluster: Cluster, first: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "endpoints").mkdir()
    data = json.loads(table(cluster).read_text())
    (tmp_path / "endpoints" / "lost.json").write_text(json.dumps({**data, "name": "lost"}))
    (found,) = control.status(cluster.info, tmp_path)
    assert (found.state, found.replicas) == ("missing", 0)
    shutil.rmtree(tmp_path / "endpoints")
    (tmp_path / "endpoints").mkdir()
    data["routes"][0]["path"] = str(tmp_path / "gone")
    (tmp_path / "endpoints" / "gone.json").write_text(json.dumps({**data, "name": "gone"}))
    (found,) = control.status(None, tmp_path)
    assert found.manners == (None,)


def test_the_dashboard_asks_for_the_token(cluster: Cluster) -> None:
    url = control.dashboard_url(cluster.info)
    assert url.startswith(f"{cluster.info.dashboard}/")
    assert httpx.get(url).status_code == 200
    asked = f"{cluster.info.dashboard}/api/serve/applications/"
    assert httpx.get(asked).status_code == 401
    secret = control.dashboard_token(cluster.info)
    assert httpx.get(asked, headers={"Authorization": f"Bearer {secret}"}, timeout=60).status_code == 200


# --- what breaks ---------------------------------------------------------------------------------


def test_a_killed_replica_comes_back_with_the_release_it_served(
    cluster: Cluster, url: str, make: Make
) -> None:
    release = make(factor=5.0)
    control.deploy(release, cluster.info, cluster.home, "doubler")
    killed = replica(cluster, "doubler")
    killed.send_signal(signal.SIGKILL)
    eventually(lambda: not processes.alive(killed.pid, killed.create_time()))
    eventually(lambda: predict(url).status_code == 200)
    assert predict(url).json()["predictions"] == [8.5]
    assert version(url) == release.version


def test_an_endpoint_whose_release_vanished_takes_the_next_one(
    cluster: Cluster, url: str, make: Make
) -> None:
    release = make()
    control.deploy(release, cluster.info, cluster.home, "doubler")
    shutil.rmtree(release.path)
    killed = replica(cluster, "doubler")
    killed.send_signal(signal.SIGKILL)
    eventually(lambda: not processes.alive(killed.pid, killed.create_time()))

    def told() -> EndpointStatus | None:
        found = next(s for s in control.status(cluster.info, cluster.home) if s.endpoint.name == "doubler")
        return found if "would not load" in found.message else None

    found = eventually(told)
    assert found.state == "unhealthy"
    assert f"version {release.version} would not load: FileNotFoundError" in found.message
    control.deploy(make(), cluster.info, cluster.home, "doubler")
    assert predict(url).json()["predictions"] == [4.0]


def test_a_killed_agent_is_replaced(cluster: Cluster, first: Endpoint, make: Make) -> None:
    agent = next(p for p in processes.members(cluster.info.id) if "nb2prod.control.agent" in title(p))
    agent.send_signal(signal.SIGKILL)
    eventually(lambda: not processes.alive(agent.pid, agent.create_time()))
    states = {s.endpoint.name: s.state for s in control.status(cluster.info, cluster.home)}
    assert states["doubler"] == "healthy"


# --- RAY_ADDRESS ---------------------------------------------------------------------------------


def test_an_address_where_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{processes.free_ports(1)[0]}")
    with pytest.raises(ClusterError, match="nothing answers there") as caught:
        control.up(tmp_path)
    assert caught.value.code == "NB500"
    assert control.find(tmp_path) is None


def test_a_cluster_that_ray_address_names(
    cluster: Cluster, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = environment.driver(cluster.info.id, Path(cluster.info.token))
    for name in KEPT:
        monkeypatch.setenv(name, driver[name])
    monkeypatch.setenv("RAY_ADDRESS", cluster.info.address)
    running = len(processes.members(cluster.info.id))
    info = control.up(tmp_path)
    assert (info.external, info.url, control.find(tmp_path)) == (True, cluster.info.url, info)
    assert info.grpc == cluster.info.grpc
    endpoint = control.deploy(make(), info, tmp_path, "elsewhere")
    assert predict(endpoint.url).json()["predictions"] == [4.0]
    assert [s.state for s in control.status(info, tmp_path)] == ["healthy"]
    assert control.down(tmp_path) is False
    assert control.find(tmp_path) is None
    assert len(processes.members(cluster.info.id)) >= running


def test_importing_the_room_imports_no_ray() -> None:
    code = "import sys; from nb2prod.control import up, deploy, status, logs; print('ray' in sys.modules)"
    env = os.environ | environment.reachable()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == "False"


def test_first_deploys_of_several_endpoints_at_once(cluster: Cluster, make: Make) -> None:
    releases = {f"crowd{i}": make() for i in range(3)}
    with ThreadPoolExecutor(len(releases)) as pool:
        found = list(pool.map(lambda n: control.deploy(releases[n], cluster.info, cluster.home, n), releases))
    assert [e.name for e in found] == list(releases)
    assert [version(e.url) for e in found] == [r.version for r in releases.values()]
