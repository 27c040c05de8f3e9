"""Endpoints: deployed, looked at, brought back. Nothing here imports Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2prod.control import link, rest, tables
from nb2prod.control.cluster import ClusterInfo, revive_agent
from nb2prod.control.driver import health
from nb2prod.domain import Endpoint, EndpointStatus, Manner, Release, Route, to_json
from nb2prod.errors import ClusterError

DEPLOY_S = 300.0
"""How long a deploy may take, in seconds."""

RESTORE_S = 120.0
STATUS_S = 5.0
HEALTH_S = 2.0
GRACE_S = 25.0

STATES = {
    "NOT_STARTED": "updating",
    "DEPLOYING": "updating",
    "RUNNING": "healthy",
    "UNHEALTHY": "unhealthy",
    "DEPLOY_FAILED": "unhealthy",
    "DELETING": "updating",
}
"""Ray Serve's states of an application, in our words."""


def deploy(
    release: Release,
    info: ClusterInfo,
    home: Path,
    endpoint_name: str,
    num_replicas: int = 1,
    *,
    limits: Mapping[str, Any] | None = None,
    limit_s: float = DEPLOY_S,
) -> Endpoint:
    """Bring a release into service behind `<url>/<endpoint_name>`; an endpoint that runs is not interrupted.

    `num_replicas` counts for the endpoint's first deploy; `limits`: see Route. Raises DeployError if the
    release does not load or does not come to answer within `limit_s` seconds: the endpoint is then exactly as
    it was.
    """
    tables.path(home, endpoint_name).parent.mkdir(parents=True, exist_ok=True)
    path = str(release.path.resolve())
    route = Route(release.model_name, release.version, path, limits=limits or {})
    request = {
        "home": str(home.resolve()),
        "name": endpoint_name,
        "url": f"{info.url}/{endpoint_name}",
        "grpc": info.grpc,
        "route": to_json(route),
        "num_replicas": num_replicas,
        "limit_s": limit_s,
    }
    return Endpoint.from_json(_ask(info, home, "deploy", request, limit_s))


def restore(info: ClusterInfo, home: Path, *, limit_s: float = RESTORE_S) -> tuple[EndpointStatus, ...]:
    """Every endpoint of the project brought back after a restart, and awaited for `limit_s` seconds."""
    if not tables.read_all(home):
        return ()
    _ask(info, home, "restore", {"home": str(home.resolve())}, limit_s)
    deadline = time.monotonic() + limit_s
    while True:
        found = status(info, home)
        if all(s.state in ("healthy", "unhealthy") for s in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _ask(info: ClusterInfo, home: Path, verb: str, request: Mapping[str, Any], limit_s: float) -> Any:
    # the driver keeps to the limit itself, and must have the time to say so
    patience = limit_s + GRACE_S
    if info.socket is None:
        return link.once(verb, {**request, "address": info.address}, patience)
    try:
        return link.resident(info.socket, verb, request, patience)
    except TimeoutError as error:
        raise ClusterError(
            f"the cluster did not answer within {patience:.0f} s", hint="Try again, or: nb2prod down"
        ) from error
    except (ConnectionError, FileNotFoundError):
        revive_agent(info, home)
        return link.resident(info.socket, verb, request, patience)


# --- looking -------------------------------------------------------------------------------------


def status(info: ClusterInfo | None, home: Path) -> tuple[EndpointStatus, ...]:
    """Every endpoint of the project as it is now; all are "down" where no cluster answers."""
    return tuple(replace(found, manners=_manners(found.endpoint)) for found in _statuses(info, home))


def _manners(endpoint: Endpoint) -> tuple[Manner | None, ...]:
    return tuple(_manner(Path(route.path)) for route in endpoint.routes)


def _manner(package: Path) -> Manner | None:
    try:
        return Manner.of(json.loads((package / "manifest.json").read_bytes()))
    except (OSError, ValueError):  # whoever loads it says so
        return None


def _statuses(info: ClusterInfo | None, home: Path) -> tuple[EndpointStatus, ...]:
    endpoints = tables.read_all(home)
    if not endpoints:
        return ()
    if info is None:
        return tuple(EndpointStatus(e, "down", 0, "no cluster runs") for e in endpoints)
    try:
        applications = _applications(info, home)
    except ClusterError as error:
        return tuple(EndpointStatus(e, "down", 0, error.message) for e in endpoints)
    # the cluster may listen elsewhere than when the table was written
    here = [replace(e, url=f"{info.url}/{e.name}", grpc=info.grpc) for e in endpoints]
    with ThreadPoolExecutor(8) as pool:
        return tuple(pool.map(lambda e: _status(e, applications.get(e.name)), here))


def _applications(info: ClusterInfo, home: Path) -> Mapping[str, Any]:
    if info.external:
        return rest.applications(info)
    found: Mapping[str, Any] = _ask(info, home, "applications", {}, STATUS_S)
    return found


def _status(endpoint: Endpoint, application: Mapping[str, Any] | None) -> EndpointStatus:
    if application is None:
        return EndpointStatus(endpoint, "missing", 0, "the cluster does not run it; `nb2prod up` restores it")
    state, message = STATES.get(application["status"], "unhealthy"), application["message"]
    if state == "healthy":
        # Serve only knows that the replicas run; whether they have a release, they know
        answer = health(endpoint.url, HEALTH_S)
        state = "healthy" if "version" in answer else "unhealthy"
        message = answer.get("detail", message)
    return EndpointStatus(endpoint, state, application["replicas"], message)


def dashboard_url(info: ClusterInfo) -> str:
    """The Ray dashboard's page of Serve's applications. It asks for `dashboard_token`."""
    if not info.dashboard:
        raise ClusterError("this cluster has no dashboard", hint="Start its head with the dashboard.")
    return f"{info.dashboard}/#/serve"


def dashboard_token(info: ClusterInfo) -> str | None:
    """The token that the dashboard asks for, if any; a local cluster's is in the file `info.token`."""
    return rest.token(info)
