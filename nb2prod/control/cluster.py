"""The cluster of a project: started, found and ended. Nothing here imports Ray.

A local cluster is a Ray head and a resident driver, `agent`, in processes of their own which outlive
their starter; <home>/cluster.json says which. With RAY_ADDRESS set that cluster is used instead, and
none is started or ended.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from nb2prod.control import environment, link, processes, tables
from nb2prod.errors import ClusterError

UP_S = 180.0
"""How long a cluster may take to come up, in seconds: a slow disk reads Ray's files for a minute."""

REACH_S = 5.0
"""How long RAY_ADDRESS may take to accept a connection, in seconds."""

LOG_LINES = 15

LOCAL = "cluster.json"
EXTERNAL = "external-cluster.json"
"""The records in a home: of its own cluster, and of the last one that RAY_ADDRESS named."""

EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A cluster. `host`, `port`, `grpc_port` (0 if none): where its endpoints answer. `dashboard`: a URL,
    "" if unknown.

    A local one has `pid` and `created` (epoch seconds) of its head, `folder` (its temporary files) and
    `token` (a file). An external one is what RAY_ADDRESS named.
    """

    id: str
    address: str
    host: str
    port: int
    dashboard: str
    pid: int = 0
    created: float = 0.0
    folder: str = ""
    token: str = ""
    external: bool = False
    grpc_port: int = 0

    @property
    def url(self) -> str:
        """Where the endpoints answer, as seen from this machine."""
        return f"http://{self._near}:{self.port}"

    @property
    def grpc(self) -> str:
        """Where they answer over gRPC, as seen from this machine; "" if nowhere."""
        return f"{self._near}:{self.grpc_port}" if self.grpc_port else ""

    @property
    def _near(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def socket(self) -> Path | None:
        """The agent's socket; None for an external cluster, which has no agent of ours."""
        return Path(self.folder) / "agent.sock" if self.folder else None


def find(home: Path) -> ClusterInfo | None:
    """The cluster of a project if it runs, else None. With RAY_ADDRESS set: the one that was reached."""
    if address := os.environ.get("RAY_ADDRESS"):
        info = _recorded(home / EXTERNAL)
        return info if info is not None and info.address == address else None
    info = _recorded(home / LOCAL)
    return info if info is not None and processes.alive(info.pid, info.created) else None


def up(
    home: Path, host: str = "127.0.0.1", port: int = 8000, *, grpc_port: int = 0, limit_s: float = UP_S
) -> ClusterInfo:
    """The cluster of a project, started if it does not run; then its endpoints are on their way back.

    gRPC is at `grpc_port`, or else at the port after `port`.
    Raises ClusterError: NB501 if a port is taken (nothing was started then), NB500 if the cluster does
    not come up within `limit_s` seconds or RAY_ADDRESS cannot be reached.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home, limit_s):
        if address := os.environ.get("RAY_ADDRESS"):
            return find(home) or _record(home / EXTERNAL, _external(address))
        if (info := find(home)) is not None:
            return info
        _clear(home)
        grpc_port = grpc_port or beside(port)
        _check_port(host, port, "--port")
        _check_port(host, grpc_port, "--grpc-port")
        try:
            return _start(home, host, port, grpc_port, limit_s)
        except _Ended:
            # Ray gives its node 30 s to register, with no setting: a busy machine may need a second try
            return _start(home, host, port, grpc_port, limit_s)


def down(home: Path) -> bool:
    """End the project's local cluster and all its processes, and no other; False if there was none.

    A cluster that RAY_ADDRESS names is only forgotten.
    """
    if os.environ.get("RAY_ADDRESS"):
        (home / EXTERNAL).unlink(missing_ok=True)
        return False
    if not (home / LOCAL).exists():
        return False
    with _locked(home, UP_S):
        return _clear(home)


def _locked(home: Path, limit_s: float) -> AbstractContextManager[None]:
    busy = ClusterError("another `nb2prod up` or `down` is still at work here", hint="Wait for it to end.")
    return tables.lock(home / "cluster.lock", limit_s, busy)


# --- the record ----------------------------------------------------------------------------------


def _recorded(file: Path) -> ClusterInfo | None:
    try:
        return ClusterInfo(**json.loads(file.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        # none, or one that another version of nb2prod wrote
        return None


def _record(file: Path, info: ClusterInfo) -> ClusterInfo:
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(asdict(info), indent=1) + "\n", "utf-8")
    scratch.replace(file)
    return info


def _clear(home: Path) -> bool:
    """End what a record speaks of, be it only leftovers, and forget it; whether anything had to end."""
    info = _recorded(home / LOCAL)
    ended = 0
    if info is not None:
        ended = processes.end(info.id)
        shutil.rmtree(info.folder, ignore_errors=True)
        Path(info.token).unlink(missing_ok=True)
    (home / LOCAL).unlink(missing_ok=True)
    return ended > 0


# --- a local cluster -----------------------------------------------------------------------------


def beside(port: int) -> int:
    """The port for gRPC beside one for HTTP, as Triton has it."""
    return port + 1 if port < 65_535 else port - 1


def _check_port(host: str, port: int, option: str) -> None:
    reason = processes.taken(host, port)
    if reason is None:
        return
    if "in use" not in reason:
        hint = "Choose another host or port."
        raise ClusterError(f"nothing can listen on {host}:{port}: {reason}", code="NB501", hint=hint)
    raise ClusterError(
        f"port {port} is taken by {processes.holder(port)}",
        code="NB501",
        hint=f"Free it, or choose another: nb2prod up {option} {_free_after(host, port)}",
    )


def _free_after(host: str, port: int) -> int:
    """A port above this one that can be had together with the next; 8000 if there is none."""
    pairs = ((p, p + 1) for p in range(port + 1, 65_535))
    return next((pair[0] for pair in pairs if not any(processes.taken(host, p) for p in pair)), 8000)


def _start(home: Path, host: str, port: int, grpc_port: int, limit_s: float) -> ClusterInfo:
    # Unix sockets need a short path: not in the home, nor in a long TMPDIR as macOS has
    folder = Path(tempfile.mkdtemp(prefix="nb2prod-", dir="/tmp"))
    ports = environment.Ports.free()
    info = ClusterInfo(
        id=secrets.token_hex(8),
        address=f"127.0.0.1:{ports.gcs}",
        host=host,
        port=port,
        dashboard=f"http://127.0.0.1:{ports.dashboard}",
        folder=str(folder),
        token=str(environment.new_token(home / "ray-token")),
        grpc_port=grpc_port,
    )
    env = environment.local(info.id, home, folder, Path(info.token), ports, host)
    # before anything runs, so that `down` finds all of it, whatever happens to us
    _record(home / LOCAL, info)
    tables.move(home, info.url, info.grpc)
    try:
        head = processes.spawn(environment.head_command(folder, ports), env, folder, folder / "head.log")
        info = _record(home / LOCAL, replace(info, pid=head.pid, created=head.create_time()))
        _await(info, [head, _start_agent(info, home)], limit_s)
    except BaseException:
        _clear(home)
        raise
    return info


def _start_agent(info: ClusterInfo, home: Path) -> psutil.Process:
    folder = Path(info.folder)
    command = [*environment.python("nb2prod.control.agent"), json.dumps(asdict(info)), str(home)]
    env = environment.driver(info.id, Path(info.token))
    return processes.spawn(command, env, folder, folder / "agent.log")


def revive_agent(info: ClusterInfo, home: Path) -> None:
    """Start a local cluster's agent again, should it have died. Raises ClusterError."""
    with _locked(home, UP_S):
        assert info.socket is not None
        if not processes.alive(info.pid, info.created):
            raise ClusterError("the cluster has ended", hint="Start it again: nb2prod up")
        if not link.answers(info.socket):
            _await(info, [_start_agent(info, home)], UP_S)


def _await(info: ClusterInfo, started: list[psutil.Process], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    assert info.socket is not None
    while not link.answers(info.socket):
        if not all(processes.alive(process.pid, process.create_time()) for process in started):
            raise _not_up(info, "the cluster ended while it was starting", _Ended)
        if time.monotonic() > deadline:
            raise _not_up(info, f"the cluster did not come up within {limit_s:.0f} s")
        time.sleep(0.05)


class _Ended(ClusterError):
    """A cluster's process ended before the cluster was up."""


def _not_up(info: ClusterInfo, what: str, kind: type[ClusterError] = ClusterError) -> ClusterError:
    logs = [Path(info.folder) / name for name in ("head.log", "agent.log")]
    tail = "\n".join(f"{log.name}: {line}" for log in logs for line in _tail(log))
    return kind(f"{what}\n{tail}".rstrip(), hint="Try again; `nb2prod doctor` looks at the machine.")


def _tail(log: Path) -> list[str]:
    with suppress(OSError):
        return [line for line in log.read_text("utf-8", "replace").splitlines() if line][-LOG_LINES:]
    return []


# --- RAY_ADDRESS ---------------------------------------------------------------------------------


def _external(address: str) -> ClusterInfo:
    """The cluster at an address, reached once. Raises ClusterError if it does not answer."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    # else "auto" or another scheme: only Ray knows where that is
    if host and port.isdigit():
        _probe(address, host.strip("[]"), int(port))
    found = link.once("describe", {"address": address, "host": "127.0.0.1", "port": 8000}, UP_S)
    if host and found["host"] in EVERYWHERE:
        found["host"] = host.strip("[]")
    return ClusterInfo(id="", address=address, external=True, **found)


def _probe(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), REACH_S).close()
    except OSError as error:
        raise ClusterError(
            f"RAY_ADDRESS is {address}, and nothing answers there: {error.strerror or error}",
            hint="Start that cluster, or unset RAY_ADDRESS to use a local one.",
        ) from error
