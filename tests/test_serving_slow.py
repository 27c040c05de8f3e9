"""Clients that send byte by byte, or never read: under plain uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.loader import load
from nb2prod.serving.slow import within
from tests.conftest import eventually
from tests.packages import write_package
from tests.processes import serving
from tests.test_serving_app import AS_IS, ECHO, SLOW, VALUE, slow_host

SOON_S = 0.3
HEAD = b"GET /health HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    package = write_package(
        tmp_path_factory.mktemp("slow") / "p", contract=VALUE, model=ECHO, preprocess=AS_IS
    )
    return application(Host(load(package, "echo", 1)))


@contextmanager
def served(app: App, http: type[asyncio.Protocol]) -> Iterator[tuple[int, uvicorn.Server]]:
    """The app under a real uvicorn: its port, and the server."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", http=http))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1], server
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@contextmanager
def connected(port: int, *, buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as client:
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", port))
        client.settimeout(0.02)
        yield client


def ended(client: socket.socket, drip: bytes) -> bool:
    """Whether the server has ended the connection; if not, a byte more was sent."""
    try:
        if client.recv(1_000) == b"":
            return True
    except TimeoutError:
        pass
    except ConnectionError:
        return True
    try:
        client.sendall(drip)
    except ConnectionError:
        return True
    return False


DRIPS = {"nothing": (b"", b""), "a head": (HEAD, b"a"), "line breaks": (b"\r\n", b"\r\n")}


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("name", DRIPS)
def test_a_head_that_does_not_end(app: App, name: str, kept: bool) -> None:
    begun, drip = DRIPS[name]
    with served(app, within(SOON_S)) as (port, server), connected(port) as client:
        if kept:
            client.sendall(HEAD + b"\r\n")
            eventually(lambda: server.server_state.total_requests == 1)
        client.sendall(begun)
        eventually(lambda: ended(client, drip))
        eventually(lambda: not server.server_state.connections)
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_a_head_that_comes_slowly_and_ends_is_answered(app: App) -> None:
    with served(app, within(60)) as (port, _), connected(port) as client:
        for byte in HEAD:
            client.sendall(bytes([byte]))
        client.settimeout(None)
        client.sendall(b"\r\n")
        assert client.recv(1_000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("ends", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_an_answer_that_is_never_read(app: App, ends: bytes) -> None:
    body = b'{"instances": ["%s"]}' % (b"a" * 8_000_000)
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n" % (ends, len(body))
    with served(app, within(SOON_S)) as (port, server), connected(port, buffer=4_096) as client:
        client.settimeout(None)
        client.sendall(head + body)
        eventually(lambda: server.server_state.total_requests == 1)
        eventually(lambda: not server.server_state.connections)


def test_a_model_may_take_longer_than_a_client(tmp_path: Path) -> None:
    slow = application(slow_host(tmp_path))
    with served(slow, within(SOON_S)) as (port, _), ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx.post, f"http://127.0.0.1:{port}/predict", json=SLOW, timeout=None)
        eventually((tmp_path / "entered").exists)
        with connected(port) as later:
            eventually(lambda: ended(later, b"a"))
        (tmp_path / "go").touch()
        assert asked.result().json()["predictions"] == [1]


def test_it_is_so_when_a_package_is_served(tmp_path: Path) -> None:
    with serving(write_package(tmp_path / "p"), "--body-s", str(SOON_S)) as it:
        with connected(httpx.URL(it.url).port or 0) as client:
            eventually(lambda: ended(client, b""))
        assert httpx.get(f"{it.url}/health").status_code == 200
