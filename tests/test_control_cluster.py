"""Local clusters: started once, found, ended, and nothing else touched."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from nb2prod import control
from nb2prod.control import environment, haproxy, processes
from nb2prod.control.cluster import beside
from nb2prod.errors import ClusterError
from tests.conftest import Cluster, eventually
from tests.packages import write_release

ROW = {"x": 1.5, "n": 1, "colour": "red"}
FRONT = haproxy.FRONT
OTHER = "NB2PROD_TEST_OTHER_RAY"


@pytest.fixture
def held_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def temporary_folders() -> set[Path]:
    return set(Path("/tmp").glob("nb2prod-*"))


# --- before anything is started ------------------------------------------------------------------


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path, held_port: int) -> None:
    before = temporary_folders()
    with pytest.raises(ClusterError, match=f"port {held_port} is taken by .*pid {os.getpid()}") as caught:
        control.up(tmp_path, port=held_port)
    assert caught.value.code == "NB501"
    assert "--port" in str(caught.value.hint)
    assert not (tmp_path / "cluster.json").exists()
    assert temporary_folders() == before


def test_a_port_for_grpc_that_is_taken(tmp_path: Path, held_port: int) -> None:
    with pytest.raises(ClusterError, match=f"port {held_port} is taken") as caught:
        control.up(tmp_path, port=processes.free_ports(1)[0], grpc_port=held_port)
    assert caught.value.code == "NB501"
    found = re.fullmatch(r".* nb2prod up --grpc-port (\d+)", str(caught.value.hint))
    assert found
    assert processes.taken("127.0.0.1", int(found[1])) is None
    assert [beside(8000), beside(65_535)] == [8001, 65_534]
    assert not (tmp_path / "cluster.json").exists()


def test_a_host_that_is_not_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"nothing can listen on 203\.0\.113\.1:8000") as caught:
        control.up(tmp_path, host="203.0.113.1")
    assert caught.value.code == "NB501"


def test_no_cluster(tmp_path: Path) -> None:
    assert control.find(tmp_path) is None
    assert control.down(tmp_path) is False
    assert control.status(None, tmp_path) == ()


def test_a_stale_record_whose_pid_another_process_has(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    record = {
        "id": "0123456789abcdef",
        "address": "127.0.0.1:1",
        "host": "127.0.0.1",
        "port": 1,
        "dashboard": "",
        "pid": os.getpid(),
        "created": psutil.Process().create_time() - 60,
        "folder": str(tmp_path / "gone"),
        "token": str(tmp_path / "token"),
    }
    (tmp_path / "cluster.json").write_text(json.dumps(record))
    assert control.find(tmp_path) is None
    assert control.down(tmp_path) is False
    assert not (tmp_path / "cluster.json").exists()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"id": 1}'])
def test_an_unreadable_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    assert control.find(tmp_path) is None
    assert control.down(tmp_path) is False


def test_the_url_is_one_to_ask_from_here() -> None:
    info = control.ClusterInfo("", "", "0.0.0.0", 8000, "")
    assert info.url == "http://127.0.0.1:8000"
    assert info.grpc == ""
    info = control.ClusterInfo("", "", "::1", 8000, "", grpc_port=8001)
    assert (info.url, info.grpc) == ("http://[::1]:8000", "[::1]:8001")


def test_haproxy_shows_its_statistics_on_loopback_only_and_waits_within_bounds() -> None:
    config = (
        "global\n    nbthread 1\ndefaults\n    mode http\n    timeout client 3600s\n"
        "frontend prometheus\n    bind :9101\n    mode http\n"
        "frontend http_frontend\n    bind *:8000\n"
        "listen stats\n  bind *:8404\n  stats enable\n"
    )
    assert haproxy.corrected(config) == (
        "global\n    nbthread 1\n"
        "defaults\n    timeout http-request 30s\n    mode http\n    timeout client 3600s\n"
        "frontend prometheus\n    bind 127.0.0.1:9101\n    mode http\n"
        "frontend http_frontend\n    bind *:8000\n"
        "listen stats\n  bind 127.0.0.1:8404\n  stats enable\n"
    )


def test_haproxy_names_the_endpoint_of_a_grpc_call() -> None:
    config = (
        "frontend http_frontend\n    mode http\n"
        "frontend grpc_frontend\n    bind 127.0.0.1:8001 proto h2\n    mode http\n    log global\n"
        "    acl is_grpc-a req.hdr(application) -m str a\n    use_backend grpc-a if is_grpc-a\n"
        "    acl is_grpc-b req.hdr(application) -m str b\n    use_backend grpc-b if is_grpc-b\n"
        "backend grpc-a\n    mode http\n"
    )
    front = "    acl is_grpc-f req.hdr(application) -m str nb2prod.front\n"
    for text, rest in (
        (config, "a"),
        (config.replace("backend grpc-a\n", f"{front}backend grpc-a\n"), FRONT),
    ):
        added = [line for line in haproxy.by_model_name(text).splitlines() if line not in text.splitlines()]
        assert len(added) == 4
        assert " -m str a b" in added[2]
        assert f"set-header application {rest} if " in added[3]


def test_haproxy_knows_no_grpc_where_there_is_none() -> None:
    for config in ("frontend http_frontend\n    mode http\n", "frontend grpc_frontend\n    mode http\n"):
        assert haproxy.by_model_name(config) == config


# --- a cluster -----------------------------------------------------------------------------------


def test_a_cluster_that_does_not_come_up_leaves_nothing(tmp_path: Path) -> None:
    before = temporary_folders()
    with pytest.raises(ClusterError, match=r"did not come up within 1 s") as caught:
        control.up(tmp_path, port=processes.free_ports(1)[0], limit_s=1)
    assert caught.value.code == "NB500"
    assert not (tmp_path / "cluster.json").exists()
    assert temporary_folders() == before


def test_up_again_is_the_same_cluster(cluster: Cluster) -> None:
    assert control.up(cluster.home, port=cluster.info.port) == cluster.info
    assert control.find(cluster.home) == cluster.info


def test_the_token_is_its_owners_alone(cluster: Cluster) -> None:
    token = Path(cluster.info.token)
    assert token.parent == cluster.home
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(cluster.info.folder).stat().st_mode) == 0o700


def test_all_listens_on_loopback(cluster: Cluster) -> None:
    # HAProxy may just be handing its port to its next process, and a replica that is just starting has
    # not its title yet: what is wrong for good stays wrong
    assert eventually(lambda: {cluster.info.port, cluster.info.grpc_port} <= _ports(cluster))
    assert eventually(lambda: not _elsewhere(cluster))


def _ports(cluster: Cluster) -> set[int]:
    """The ports at which the cluster's processes listen."""
    return {a[1] for process in processes.members(cluster.info.id) for a in _listening(process)[1]}


def _elsewhere(cluster: Cluster) -> list[tuple[str, list[tuple[str, int]]]]:
    """Processes that listen beyond loopback, and where; a replica may, at one port."""
    found = []
    for process in processes.members(cluster.info.id):
        title, addresses = _listening(process)
        abroad = [a for a in addresses if a[0] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")]
        # Ray's port for calls between replicas, behind the token: see control/environment.py
        if len(abroad) > ("ServeReplica" in title):
            found.append((title, abroad))
    return found


def _listening(process: psutil.Process) -> tuple[str, set[tuple[str, int]]]:
    """A process's title, and the addresses it listens on; nothing of one that has ended meanwhile."""
    try:
        found = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        return " ".join(process.cmdline()), {(address.ip, address.port) for address in found if address}
    except psutil.Error:
        return "", set()


# --- down, and a crash ---------------------------------------------------------------------------


@pytest.fixture
def unrelated(tmp_path: Path) -> Iterator[list[psutil.Process]]:
    """A Ray that is not ours, as anyone might run it; its processes."""
    with ExitStack() as left:
        folder = Path(left.enter_context(_short_folder()))
        ports = environment.Ports.free()
        unlike = {"--block": "--verbose", "--include-dashboard=true": "--include-dashboard=false"}
        command = [unlike.get(part, part) for part in environment.head_command(folder, ports)]
        hook = {"RAY_START_HOOK": "nb2prod.control.hook.trim"}
        env = {**os.environ, **environment.reachable(), **hook, OTHER: "1", "SPT_NOENV": "1"}
        subprocess.run(command, env=env, check=True, capture_output=True)
        try:
            yield _carrying(OTHER)
        finally:
            for process in _carrying(OTHER):
                _kill(process)
            eventually(lambda: not _carrying(OTHER))


def _up_elsewhere(home: Path, port: int) -> subprocess.Popen[bytes]:
    code = (
        f"from pathlib import Path; from nb2prod import control; control.up(Path({str(home)!r}), port={port})"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment.reachable())


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="other-", dir="/tmp", ignore_cleanup_errors=True)


def _kill(process: psutil.Process) -> None:
    # a Ray worker ends by itself once its raylet has been killed, perhaps before its turn comes
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _carrying(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if name in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_cluster_of_its_own_through_a_crash_to_its_end(
    cluster: Cluster, unrelated: list[psutil.Process], tmp_path: Path
) -> None:
    home, (port,) = tmp_path / ".nb2prod", processes.free_ports(1)
    try:
        # two at once: one starts it, the other finds it; and it outlives both
        ups = [_up_elsewhere(home, port) for _ in range(2)]
        assert [started.wait() for started in ups] == [0, 0]
        info = control.find(home)
        assert info is not None
        endpoint = control.deploy(write_release(tmp_path), info, home, "doubler")

        for process in processes.members(info.id):
            _kill(process)
        eventually(lambda: control.find(home) is None)
        assert [s.state for s in control.status(control.find(home), home)] == ["down"]

        again = control.up(home, port=port)
        assert again.id != info.id
        assert not Path(info.folder).exists()
        assert [s.state for s in control.restore(again, home)] == ["healthy"]
        asked = httpx.post(f"{endpoint.url}/predict", json={"instances": [ROW]})
        assert asked.json()["predictions"] == [4.0]

        others = {p.pid for p in (*unrelated, *processes.members(cluster.info.id))}
        assert control.down(home) is True
        assert processes.members(again.id) == []
        assert not Path(again.folder).exists()
        assert not (home / "cluster.json").exists()
        assert {p.pid for p in (*_carrying(OTHER), *processes.members(cluster.info.id))} >= others
        assert control.down(home) is False
    finally:
        control.down(home)
