"""Processes and ports of this machine: which are ours, who holds a port, how ours end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from nb2prod.errors import ClusterError

CLUSTER_ID = "NB2PROD_CLUSTER_ID"
"""The environment variable that every process of a cluster inherits.

Ray retitles its processes, which overwrites their environment in /proc unless SPT_NOENV is set.
"""

CLUSTER_HOME = "NB2PROD_CLUSTER_HOME"
"""The environment variable with the home of the project that a cluster belongs to."""

GRACE_S = 3.0
"""How long processes may take to end by themselves, in seconds, before they are killed."""

KILL_S = 30.0


def spawn(command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> psutil.Process:
    """Start a process in a session of its own, so that it outlives its starter; output goes to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # reaped when it ends, should we live longer: a zombie would look like a running cluster
    threading.Thread(target=child.wait, daemon=True).start()
    return psutil.Process(child.pid)


def alive(pid: int, created: float) -> bool:
    """Whether the process that had `pid` and was created at `created` (epoch seconds) still runs."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def members(cluster_id: str) -> list[psutil.Process]:
    """The running processes that carry a cluster's id, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            carries = process.environ().get(CLUSTER_ID) == cluster_id
            if carries and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            # ended meanwhile, or another user's
            continue
    return found


def end(cluster_id: str) -> int:
    """End every process that carries a cluster's id, and return how many there were.

    All are asked to end; what is left after GRACE_S is killed, and what they start meanwhile with it.
    Raises ClusterError if some survive even that.
    """
    ours = members(cluster_id)
    for process in ours:
        _signal(process, signal.SIGTERM)
    begun = time.monotonic()
    while left := members(cluster_id):
        waited = time.monotonic() - begun
        if waited > KILL_S:
            pids = ", ".join(str(process.pid) for process in left)
            raise ClusterError(f"these processes of the cluster do not end: {pids}", hint="Kill them.")
        if waited > GRACE_S:
            for process in left:
                _signal(process, signal.SIGKILL)
        time.sleep(0.05)
    return len(ours)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        # psutil compares the creation time first, so a reused pid is never signalled
        process.send_signal(number)
    except psutil.Error:
        return


def holder(port: int) -> str:
    """Who listens on a TCP port, in words, as far as this user may know."""
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        found = [c for c in listening if c.laddr and c.laddr.port == port]
    except psutil.Error:
        # macOS shows connections to root only
        found = []
    pid = next((c.pid for c in found if c.pid), None)
    if pid is None:
        return "a process of another user, or one in another container"
    try:
        process = psutil.Process(pid)
        home = process.environ().get(CLUSTER_HOME)
        whose = f", of the nb2prod cluster of {home}" if home else ""
        return f"{process.name()} (pid {pid}{whose})"
    except psutil.Error:
        return f"pid {pid}"


def taken(host: str, port: int) -> str | None:
    """Why nothing can listen on host and port, in words; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # two sockets may be bound to one port as long as neither listens
            probe.listen(1)
        except OSError as error:
            return error.strerror or str(error)
    return None


def free_ports(count: int) -> list[int]:
    """Different TCP ports, free on loopback at this moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
