"""HTTP past Ray Serve's wrapper: Serve still counts each request, for autoscaling, draining and metrics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from nb2prod.control import environment
from tests.conftest import PATIENCE_S, Cluster, eventually

DRIVER = """
import asyncio, pathlib, sys, urllib.request
import ray
from ray import serve
from nb2prod.control import driver
from nb2prod.serving.http import Response, inner_path, lifespan, send_response

folder, address, verb = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = inner_path(scope)[1:]
    (folder / f"{path} entered").touch()
    while not (folder / path).exists():
        await asyncio.sleep(0.01)
    await send_response(send, Response(200, b'"straight"'))

@serve.deployment(
    max_ongoing_requests=100,
    ray_actor_options={"num_cpus": 0},
    autoscaling_config={
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 2,
        "metrics_interval_s": 0.5,
        "look_back_period_s": 1,
        "upscale_delay_s": 0.5,
    },
)
@serve.ingress()
class Held:
    def __init__(self):
        self.direct = app

    def __serve_build_asgi_app__(self):
        async def wrapped(scope, receive, send):
            if scope["type"] == "lifespan":
                await lifespan(receive, send)
            else:
                await send_response(send, Response(200, b'"through the wrapper"'))
        return wrapped

driver.connect(address, wait=False)
if verb == "run":
    serve.run(Held.bind(), name="held", route_prefix="/held")
elif verb == "replicas":
    states = serve.status().applications["held"].deployments["Held"].replica_states
    print(states.get("RUNNING", 0))
elif verb == "metrics":
    (node,) = ray.nodes()
    with urllib.request.urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics") as response:
        print(response.read().decode())
else:
    serve.delete("held")
"""


@dataclass(frozen=True)
class Held:
    """An application whose requests are held until their file is there."""

    cluster: Cluster
    folder: Path
    pool: ThreadPoolExecutor

    def drive(self, verb: str) -> str:
        info = self.cluster.info
        env = environment.driver(info.id, Path(info.token))
        command = [sys.executable, "-c", DRIVER, str(self.folder), info.address, verb]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    def ask(self, path: str) -> Future[httpx.Response]:
        return self.pool.submit(httpx.get, f"{self.cluster.info.url}/held/{path}", timeout=PATIENCE_S)

    def entered(self, path: str) -> bool:
        return (self.folder / f"{path} entered").exists()

    def go(self, path: str) -> None:
        (self.folder / path).touch()


@pytest.fixture(scope="module")
def held(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with ThreadPoolExecutor(20) as pool:
        made = Held(cluster, tmp_path_factory.mktemp("held"), pool)
        made.drive("run")
        try:
            yield made
        finally:
            for path in ("many", "last"):
                made.go(path)


def test_requests_that_are_under_way_let_it_grow(held: Held) -> None:
    asked = [held.ask("many") for _ in range(8)]
    eventually(lambda: held.drive("replicas").strip() == "2")
    held.go("many")
    assert {answer.result().json() for answer in asked} == {"straight"}


def test_requests_are_counted_in_its_metrics(held: Held) -> None:
    held.go("counted")
    assert held.ask("counted").result().json() == "straight"

    def counted() -> bool:
        lines = held.drive("metrics").splitlines()
        found = [
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("ray_serve_deployment_request_counter") and 'application="held"' in line
        ]
        return sum(found) >= 9

    eventually(counted)


def test_a_request_that_is_under_way_is_answered_before_it_ends(held: Held) -> None:
    last = held.ask("last")
    eventually(lambda: held.entered("last"))
    ending = held.pool.submit(held.drive, "delete")
    eventually(lambda: held.ask("counted").result().status_code == 404)
    assert not last.done()
    held.go("last")
    assert last.result().json() == "straight"
    ending.result()
