"""How our local Ray clusters are set up: environment and command line.

Ray reads its levers from the environment of its processes, so all of it stands here. What listens:
HTTP and gRPC on the host asked for (and each replica's own HTTP port with it); everything else on loopback,
except one port of each replica, for calls between replicas, which Ray opens on all interfaces and
gives no setting for. It refuses callers without the cluster's token.
"""

from __future__ import annotations

import os
import secrets
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from nb2prod.control import haproxy
from nb2prod.control.processes import CLUSTER_HOME, CLUSTER_ID, free_ports

GRPC_HOST = "NB2PROD_GRPC_HOST"
"""The environment variable that says where Serve's own gRPC servers listen: see serving/ingress.py."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of a cluster beside those of HTTP and gRPC. Ray's defaults would meet another Ray's."""

    gcs: int
    dashboard: int
    agent: int
    dashboard_metrics: int
    fallback: int
    fallback_grpc: int
    haproxy_stats: int
    haproxy_metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Ports that are free now."""
        return cls(*free_ports(8))


def local(cluster_id: str, home: Path, folder: Path, token: Path, ports: Ports, host: str) -> dict[str, str]:
    """The environment of a local cluster of the project in `home`. `folder` is its temporary one.

    What the caller's environment says of Ray's tuning stays; what makes the cluster ours does not.
    """
    ours = {CLUSTER_HOME: str(home.resolve())}
    return driver(cluster_id, token) | ours | _ports(ports) | _proxy(folder, ports, host)


def driver(cluster_id: str, token: Path) -> dict[str, str]:
    """The environment of a process that connects to a local cluster."""
    return _tuning() | _kept() | _identity(cluster_id, token) | reachable()


def _kept() -> dict[str, str]:
    """This environment without what says which Ray to use and how to enter it (RAY_ADDRESS,
    RAY_AUTH_TOKEN, …). RAY_SERVE_… and Ray's internal settings, in lower case, are tuning."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("RAY_") or key.startswith("RAY_SERVE_") or key[4:5].islower()
    }


def _tuning() -> dict[str, str]:
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # a buffer would hold back what `nb2prod logs` shows; with access logs off, little is written
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 2**20),
        # how long a replica waits, when it ends, for a load balancer to notice: ours is told at once
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # how long a busy machine may take to start a proxy before Serve kills it and starts another
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        # Ray's default of 15 lets anything else on the machine slow a prediction down
        "RAY_worker_niceness": "0",
    }


def _identity(cluster_id: str, token: Path) -> dict[str, str]:
    return {
        CLUSTER_ID: cluster_id,
        # keeps the environment readable when Ray retitles its processes: `down` finds ours by it
        "SPT_NOENV": "1",
        # off: 127.0.0.1 is this node's address, so Ray's own ports listen there alone (as on macOS)
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _ports(ports: Ports) -> dict[str, str]:
    return {
        "RAY_START_HOOK": "nb2prod.control.hook.trim",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "nb2prod.serving.ingress.prepare",
    }


def _proxy(folder: Path, ports: Ports, host: str) -> dict[str, str]:
    binary = haproxy.find()
    if binary is None or os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "0":
        return {"RAY_SERVE_ENABLE_HA_PROXY": "0", GRPC_HOST: f"[{host}]" if ":" in host else host}
    script = haproxy.script(folder)
    # Ray puts a directory with a name of 56 characters between folder and file, and HAProxy a suffix
    # behind its socket's name, of which the system takes 107 bytes
    files = folder / "h"
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # HAProxy alone asks the replicas
        GRPC_HOST: "127.0.0.1",
        haproxy.BINARY: binary,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script or binary),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(files / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(files / "s"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(files / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(files),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(files / "state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
    }


def reachable() -> dict[str, str]:
    """PYTHONPATH with the directory that nb2prod was imported from, unless it is installed."""
    root = str(Path(__file__).resolve().parents[2])
    installed = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    if root in installed:
        return {}
    rest = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([root, rest]) if rest else root}


def head_command(folder: Path, ports: Ports) -> list[str]:
    """The command that runs a head: it stays, and if one of Ray's processes dies, all end with it."""
    options = {
        "node-ip-address": "127.0.0.1",
        "port": ports.gcs,
        "include-dashboard": "true",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports.dashboard,
        "dashboard-agent-listen-port": ports.agent,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "temp-dir": folder / "ray",
        # it would only copy replicas' output to drivers
        "include-log-monitor": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [*python("ray.scripts.scripts"), "start", "--head", "--block", "--disable-usage-stats", *flags]


def python(module: str) -> list[str]:
    """The command that runs a module with this Python, and with nothing of the working directory."""
    return [sys.executable, "-P", "-m", module]


def new_token(path: Path) -> Path:
    """A new cluster's token, in a file that only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path
