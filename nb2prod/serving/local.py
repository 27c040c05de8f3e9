"""A release over HTTP without Ray: the same app under plain uvicorn, for small containers, edge and tests.

`python -m nb2prod.serving` and `nb2prod serve` are this.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.limits import LIMITS, Limits
from nb2prod.serving.loader import LoadedRelease, load_warm, settle, told
from nb2prod.serving.protocols import TABLE
from nb2prod.serving.routes import Table
from nb2prod.serving.slow import within
from nb2prod.serving.tracing import from_environment

DRAIN_S = 3.0
TICK_S = 0.05

logger = logging.getLogger("nb2prod.serving")


class CannotServe(Exception):
    """Nothing was served. `code` is one of docs/diagnostics.md; `lines` are the notebook's."""

    def __init__(self, message: str, *, code: str, hint: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Serve:
    """What to serve, and where. Without a `name`, the package's own.

    After SIGTERM everything is answered for `drain_s` seconds more, but whoever asks for readiness is told
    that it ends; then until nothing is under way.
    """

    package: Path
    name: str = ""
    version: int = 1
    host: str = "127.0.0.1"
    port: int = 8000
    drain_s: float = DRAIN_S
    grpc_port: int | None = None
    table: Table = TABLE
    limits: Limits = LIMITS


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served now, and where. `grpc` is "" without a port for it."""

    model_name: str
    version: int
    url: str
    grpc: str = ""

    def __str__(self) -> str:
        beside = f", gRPC at {self.grpc}" if self.grpc else ""
        return f"{self.model_name} version {self.version} answers at {self.url}{beside}"


def package_in(folder: Path) -> Path:
    """The package that a folder is, or that the MLflow model in it holds; CannotServe if there is none."""
    for found in (folder, *sorted(folder.glob("artifacts/*"))):
        if (found / "contract.json").is_file() and (found / "pipeline.py").is_file():
            return found
    what = "holds no package" if folder.is_dir() else "is no folder"
    hint = "Name a package's folder (with contract.json in it), or an MLflow model's (with MLmodel in it)."
    raise CannotServe(f"{folder} {what}", code="NB511", hint=hint)


def name_of(package: Path) -> str:
    """The name that a package gives itself."""
    try:
        manifest = json.loads((package / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):  # loading it says why
        return package.name
    return str(manifest.get("name") or package.name)


def serve(what: Serve, told: Callable[[Serving], None] = lambda serving: None) -> None:
    """Serve until SIGTERM or SIGINT; `told` hears of it once the port is open. CannotServe if it cannot.

    The port is taken first and opened last: only a release that has answered its example is asked.
    """
    if what.grpc_port is not None:
        _check_grpc(what.host, what.grpc_port)
    with _bound(what.host, what.port) as sock:
        host = Host(_loaded(what))
        settle()
        tracing = from_environment(os.environ)
        config = uvicorn.Config(
            application(host, table=what.table, tracing=tracing),
            access_log=False,
            http=within(what.limits.body_s),
            log_config=None,
            log_level=logging.WARNING,
            server_header=False,
            timeout_graceful_shutdown=int(what.limits.timeout_s) + 1,
        )
        _Server(config, host, what, told).run(sockets=[sock])
        if tracing is not None:
            tracing.close()


def _loaded(what: Serve) -> LoadedRelease:
    try:
        return load_warm(what.package, what.name or name_of(what.package), what.version, what.limits)
    except (Exception, SystemExit) as error:  # the release's own code: it may raise anything
        text, lines = told(error)
        raise CannotServe(
            f"{what.package} would not load: {text}",
            code="NB510",
            hint="A file of it is damaged: fetch the release again."
            if type(error).__name__ == "DamagedState"
            else "Its requirements.txt says what it needs to be installed.",
            lines=tuple(lines),
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound, and refuses connections until someone listens."""
    try:
        flags = socket.AI_PASSIVE
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=flags
        )[0]
        sock = socket.socket(family, kind, proto)
        # or the port could not be had again for a minute after its last connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        raise _no_port(host, port, error) from error
    return sock


def _check_grpc(host: str, port: int) -> None:
    """CannotServe now, not after a release was loaded for nothing."""
    if not all(map(importlib.util.find_spec, ("grpc", "google.protobuf"))):
        hint = "pip install grpcio protobuf, or leave --grpc-port out."
        raise CannotServe("gRPC needs grpcio and protobuf", code="NB500", hint=hint)
    _bound(host, port).close()


def _no_port(host: str, port: int, error: Exception) -> CannotServe:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return CannotServe(f"port {port} is taken", code="NB501", hint=f"Choose another: --port {port + 1}")
    hint = "Name an address of this machine (--host 127.0.0.1; 0.0.0.0 for all of them) and a free --port."
    return CannotServe(f"cannot listen on {host}, port {port}: {error}", code="NB500", hint=hint)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """uvicorn, but for signals: it would close its port at the first, and end by that signal."""

    def __init__(
        self, config: uvicorn.Config, host: Host, what: Serve, told: Callable[[Serving], None]
    ) -> None:
        super().__init__(config)
        self._host = host
        self._what = what
        self._told = told
        self._grpc: Any = None
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGTERM, self._drain)
            loop.add_signal_handler(signal.SIGINT, self._end)
        except (RuntimeError, ValueError):  # not the main thread: who runs it ends it
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        try:
            grpc = await self._start_grpc()
            await super().startup(sockets)
        except OSError as error:  # another process was bound as well, and listened first
            raise _no_port(self._what.host, self._what.port, error) from error
        release = self._host.release
        assert release is not None
        assert sockets
        address = sockets[0].getsockname()
        url = f"http://{_bracketed(address[0])}:{address[1]}"
        self._told(Serving(release.model_name, release.version, url, grpc))

    async def _start_grpc(self) -> str:
        if self._what.grpc_port is None:
            return ""
        from nb2prod.serving import rpc

        host, port = _bracketed(self._what.host), self._what.grpc_port
        try:
            self._grpc, port = await rpc.start(self._host, self._what.limits, f"{host}:{port}")
        except rpc.CannotListen as error:
            raise _no_port(self._what.host, port, OSError(errno.EADDRINUSE, str(error))) from error
        return f"{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and let what is under way be answered."""
        beside = [self._grpc.stop(self._what.limits.timeout_s)] if self._grpc is not None else []
        await asyncio.gather(super().shutdown(sockets), *beside)

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    def _drain(self) -> None:
        if self._draining is not None:
            self._end()
            return
        self._host.drains = True
        logger.info("SIGTERM: what is under way is answered, then it ends")
        self._draining = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        until = time.monotonic() + self._what.drain_s
        at_last = until + self._what.limits.timeout_s
        while time.monotonic() < until or (self.server_state.tasks and time.monotonic() < at_last):
            await asyncio.sleep(TICK_S)
        self.should_exit = True
