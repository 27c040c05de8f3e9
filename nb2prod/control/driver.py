"""What is done with Ray: the verbs that an agent answers. Only here does control import Ray.

A request and its answer are plain JSON data. Room `serving` is named by import path, as in a Ray
Serve config file: it runs in the cluster, not here.
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nb2prod.control import tables
from nb2prod.control.haproxy import FRONT as FRONT_NAME
from nb2prod.domain import Endpoint, Route, to_json
from nb2prod.errors import DeployError

REPLICA = "nb2prod.serving.replica"
FRONT = "nb2prod.serving.front"
GRPC = "nb2prod.serving.ingress.add_to_server"

CONNECT_S = 120.0
ROLLBACK_S = 20.0

logger = logging.getLogger("nb2prod.control")


def _logs(name: str) -> str:
    return f"See `nb2prod logs {name}`."


class Deadline:
    """A moment by which all must be done."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end = time.monotonic() + limit_s

    @property
    def left(self) -> float:
        """Seconds left, at least a tenth of one."""
        return max(self._end - time.monotonic(), 0.1)

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() > self._end


# --- connection ----------------------------------------------------------------------------------


def connect(address: str, *, wait: bool) -> Any:
    """Connect to a cluster; with `wait`, one that is only starting. Returns Ray's context."""
    import ray
    from ray import serve  # noqa: F401  (imported while the head starts)

    deadline = Deadline(CONNECT_S)
    while wait and not _listens(address) and not deadline.passed:
        time.sleep(0.05)
    while True:
        try:
            return ray.init(address, log_to_driver=False, configure_logging=False, namespace="nb2prod")
        except (ConnectionError, RuntimeError, ValueError):
            # the head's node is not registered yet
            if not wait or deadline.passed:
                raise
            time.sleep(0.2)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 1.0):
        return True
    return False


def start_serve(host: str, port: int, grpc_port: int = 0) -> None:
    """Start Serve, its proxy on this node alone; gRPC with a port for it. Does nothing where it runs."""
    from ray import serve

    # reflection would name the service and know nothing of its messages
    grpc = {"port": grpc_port, "grpc_servicer_functions": [GRPC], "enable_reflection": False}
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": host, "port": port},
        grpc_options=grpc if grpc_port else None,
    )


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """Host, ports and dashboard of the cluster that RAY_ADDRESS names; Serve is started if need be."""
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client

    if not serve.status().proxies:
        # without gRPC: Ray would open a port for it on all interfaces of every node, and ask for nothing
        start_serve(request["host"], request["port"])
    # no public call tells these
    client = _get_global_client()
    options, grpc = client.http_config, ray.get(client._controller.get_grpc_config.remote())
    node = ray._private.worker._global_node
    dashboard = node.webui_url if node is not None else ""
    return {
        "host": options.host or "127.0.0.1",
        "port": options.port,
        # who set it up may have other services, or none
        "grpc_port": grpc.port if GRPC in grpc.grpc_servicer_functions else 0,
        "dashboard": f"http://{dashboard}" if dashboard else "",
    }


# --- applications --------------------------------------------------------------------------------


_pickling = threading.Lock()
_TRIES = 5


def _one_at_a_time(call: Callable[[], Any]) -> Any:
    """What a call into Serve gives that pickles the parts of applications.

    It does so by way of a registry that is not thread-safe; Ray's own threads use it too: then once more.
    """
    with _pickling:
        for _ in range(_TRIES - 1):
            try:
                return call()
            except ValueError as error:
                if "pickle by value" not in str(error):
                    raise
        return call()


def _applications() -> Mapping[str, Any]:
    from ray import serve

    return _one_at_a_time(lambda: serve.status().applications)  # type: ignore[no-any-return]


def _application(name: str) -> Any:
    return _applications().get(name)


def _run(apps: Mapping[str, Callable[[], Any]]) -> None:
    """Build applications and start them, without waiting for them to run."""
    from ray import serve

    def start() -> None:
        targets = [
            serve.RunTarget(build(), name=name, route_prefix="/" if name == FRONT_NAME else f"/{name}")
            for name, build in apps.items()
        ]
        serve.run_many(
            targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )

    _one_at_a_time(start)


def _host(table: Path, num_replicas: int) -> Callable[[], Any]:
    return lambda: importlib.import_module(REPLICA).build(str(table), num_replicas=num_replicas)


def applications(request: Mapping[str, Any]) -> dict[str, Any]:
    """Serve's applications by name: {"status", "message", "replicas" (how many run)}."""
    return {
        name: {
            "status": str(app.status.value),
            "message": app.message,
            "replicas": _replicas(app),
        }
        for name, app in _applications().items()
    }


def _replicas(app: Any) -> int:
    return sum(d.replica_states.get("RUNNING", 0) for d in app.deployments.values())


def front(request: Mapping[str, Any]) -> None:
    """Start the application that answers where no endpoint does."""
    if _application(FRONT_NAME) is None:
        folder = str(tables.folder(Path(request["home"])))
        _run({FRONT_NAME: lambda: importlib.import_module(FRONT).build(folder)})


def restore(request: Mapping[str, Any]) -> list[str]:
    """Start the application of every endpoint that has a table and none runs for; returns their names."""
    home, known = Path(request["home"]), _applications()
    missing = [e for e in tables.read_all(home) if e.name not in known]
    if missing:
        _run({e.name: _host(tables.path(home, e.name), e.num_replicas) for e in missing})
    return [e.name for e in missing]


def _bring_up(name: str, table: Path, num_replicas: int, deadline: Deadline) -> None:
    """See to it that an endpoint's application has replicas; DeployError if they do not come.

    One that has some, well or not, is left alone: they can be given another release.
    """
    app = _application(name)
    if app is None or app.status in ("DEPLOY_FAILED", "DELETING"):
        _run({name: _host(table, num_replicas)})
    elif _replicas(app):
        return
    while True:
        app = _application(name)
        if app is not None and app.status == "RUNNING":
            return
        if app is not None and app.status == "DEPLOY_FAILED":
            raise DeployError(
                f"the replicas of {name} do not start: {_reason(app)}", hint=f"See `nb2prod logs {name}`."
            )
        if deadline.passed:
            raise DeployError(
                f"the replicas of {name} did not start within {deadline.limit_s:.0f} s: {_reason(app)}",
                hint="The cluster may be out of CPUs: see `nb2prod dashboard`.",
            )
        time.sleep(0.1)


def _reason(app: Any) -> str:
    if app is None:
        return "no application"
    told = [app.message, *(d.message for d in app.deployments.values())]
    return next((text.strip().splitlines()[-1] for text in told if text.strip()), str(app.status))


def _delete(name: str) -> None:
    from ray import serve

    serve.delete(name, _blocking=False)


# --- deploy --------------------------------------------------------------------------------------


def deploy(request: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a release into service behind an endpoint: the Endpoint, as JSON.

    `home`, `name`, `route`, `url` and `grpc` (of the endpoint), `num_replicas`, `limit_s`. Raises
    DeployError; the endpoint then is as it was.
    """
    home, name, deadline = Path(request["home"]), request["name"], Deadline(request["limit_s"])
    table = tables.path(home, name)
    busy = DeployError(f"another deploy of {name} is still at work", hint="Wait for it to end.")
    with tables.lock(table.with_suffix(".lock"), deadline.left, busy):
        previous = tables.read(table)
        generation = previous.generation + 1 if previous else 1
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        route = Route.from_json(request["route"])
        replicas = previous.num_replicas if previous else request["num_replicas"]
        endpoint = Endpoint(name, request["url"], (route,), generation, moment, replicas, request["grpc"])
        try:
            _bring_up(name, table, replicas, deadline)
            _switch(endpoint, table, deadline)
        except BaseException:
            _undo(name, table, previous)
            raise
    logger.info("%s: version %s serves (generation %s)", name, route.version, generation)
    found: dict[str, Any] = to_json(endpoint)
    return found


def _switch(endpoint: Endpoint, table: Path, deadline: Deadline) -> None:
    route = endpoint.routes[0]
    answers = _broadcast(endpoint.name, deadline, "prepare", endpoint.generation, to_json(route))
    failed = next((answer for answer in answers if "error" in answer), None)
    if failed is not None:
        raise _would_not_load(route, failed)
    tables.write(table, endpoint)
    _broadcast(endpoint.name, deadline, "activate", endpoint.generation)
    _verify(endpoint, deadline)


def _would_not_load(route: Route, failed: Mapping[str, Any]) -> DeployError:
    where = "".join(f"\n  {line}" for line in failed["lines"])
    return DeployError(
        f"version {route.version} of {route.model_name} does not load: {failed['error']}{where}",
        hint="The whole traceback is in `nb2prod logs`.",
    )


def _broadcast(name: str, deadline: Deadline, method: str, *args: Any) -> list[Any]:
    from ray import serve

    try:
        answers: list[Any] = (
            _one_at_a_time(lambda: serve.get_app_handle(name))
            .broadcast(method, *args)
            .results(timeout_s=deadline.left)
        )
    except Exception as error:  # the process boundary: a replica may die in user code, Ray raises anything
        what = f"not done within {deadline.limit_s:.0f} s" if isinstance(error, TimeoutError) else str(error)
        last = (what.strip().splitlines() or [type(error).__name__])[-1]
        raise DeployError(
            f"{method} failed on a replica of {name}: {last}", hint=f"See `nb2prod logs {name}`."
        ) from error
    return answers


def _undo(name: str, table: Path, previous: Endpoint | None) -> None:
    """Leave the endpoint as it was; replicas that have switched already follow the table back."""
    if previous is None:
        table.unlink(missing_ok=True)
        with suppress(Exception):  # Ray is what failed; the error that is on its way says so
            _delete(name)
        return
    if tables.read(table) != previous:
        tables.write(table, previous)
    with suppress(DeployError):
        _broadcast(name, Deadline(ROLLBACK_S), "discard")


def _verify(endpoint: Endpoint, deadline: Deadline) -> None:
    """Ask the endpoint over HTTP, as a client would, until the new version answers."""
    seen = "nothing answers"
    while not deadline.passed:
        found = health(endpoint.url, 5.0)
        if found.get("version") == endpoint.routes[0].version:
            return
        seen = found.get("detail") or f"version {found.get('version')} answers"
        time.sleep(0.05)
    raise DeployError(
        f"{endpoint.url} did not come to answer within {deadline.limit_s:.0f} s: {seen}",
        hint=f"See `nb2prod logs {endpoint.name}`.",
    )


def health(url: str, timeout_s: float) -> dict[str, Any]:
    """What an endpoint's /health answers: {"model_name", "version"}, or {"detail"} if it does not."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)
    try:
        connection.request("GET", f"{where.path}/health")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException) as error:
        return {"detail": str(error)}
    except ValueError:
        # not ours: the proxy's own text
        return {"detail": "the proxy knows no such endpoint yet"}
    finally:
        connection.close()
    return answer


VERBS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "ping": lambda request: True,
    "describe": describe,
    "applications": applications,
    "deploy": deploy,
    "restore": restore,
    "front": front,
}
