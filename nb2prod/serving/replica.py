"""The Ray Serve deployment: a host of releases that follows its endpoint's routing table.

The table is a JSON file, written by atomic rename; its first route names the release that serves.
Who deploys broadcasts `prepare` and, once every replica has answered well and the table is written,
`activate`; a replica that misses a broadcast finds the table changed within POLL_S.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve

from nb2prod.serving import rpc
from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.ingress import Methods
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import LoadedRelease, load_warm, settle, told, trace_of, unload
from nb2prod.serving.tracing import from_environment

POLL_S = 1.0
RETRY_S = 15.0
"""How long a table whose release would not load is left alone, in seconds, unless it changes."""

MAX_ONGOING = 1_000
"""Requests that one replica takes at a time; they wait for its worker thread."""

CPUS = 0.05
"""What a replica books of its node: a laptop must have room for many endpoints, mostly idle ones."""

logger = logging.getLogger("nb2prod.serving")


@serve.ingress()
class Replica(Methods):
    """One replica of an endpoint. `table` is the path of the endpoint's routing table.

    Without a table it waits, empty, for its first release. With one whose release will not load it
    answers 503 with the reason, tries again, and takes another release. It has no `check_health`: Ray
    Serve would not start a replica that fails it, and none could be given a release that loads.
    """

    def __init__(self, table: str) -> None:
        _log_to_serve()
        self._table = Path(table)
        self._host = Host()
        self.answers = rpc.Service(self._host, alias=self._table.stem).answer
        self._tracing = from_environment(os.environ)
        self.direct = application(self._host, tracing=self._tracing)
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._generation = 0
        self._wanted = 0
        self._prepared: LoadedRelease | None = None
        self._failed: tuple[int, float] = (0, 0.0)
        self._follow()
        threading.Thread(target=self._poll, name="table", daemon=True).start()

    def __serve_build_asgi_app__(self) -> App:
        # for requests that come through Ray Serve's wrapper, which returns x-request-id itself
        return application(self._host, echo_request_id=False, tracing=self._tracing)

    async def prepare(self, generation: int, route: Mapping[str, Any]) -> dict[str, Any]:
        """Load and warm a release beside the one that serves; nothing else changes.

        Returns {"seconds"} or, where the release's code or state failed, {"error", "traceback", "lines"}.
        """
        return await asyncio.to_thread(self._prepare, generation, route)

    async def activate(self, generation: int) -> dict[str, Any]:
        """Let the prepared release serve: {"model_name", "version"} of what serves now."""
        return await asyncio.to_thread(self._activate, generation)

    async def discard(self) -> None:
        """Let go of a prepared release, or of one that is still loading: it will not serve."""
        await asyncio.to_thread(self._discard)

    def _prepare(self, generation: int, route: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        self._discard()
        self._wanted = generation
        try:
            # no lock is held: loading may hang, and must then hang nothing else
            release = _load(route)
        except (Exception, SystemExit) as error:  # the release's own code: it may raise anything
            logger.error("version %s would not load\n%s", route["version"], traceback.format_exc())
            return _told(error)
        with self._lock:
            if self._wanted != generation:
                unload(release)
                return _told(TimeoutError("it loaded only after it was given up"))
            self._prepared = release
        return {"seconds": time.perf_counter() - started}

    def _activate(self, generation: int) -> dict[str, Any]:
        with self._lock:
            if self._prepared is not None and self._wanted == generation:
                release, self._prepared = self._prepared, None
                self._serve(generation, release)
        self._follow()
        serving = self._host.release
        return {
            "model_name": serving.model_name if serving else None,
            "version": serving.version if serving else None,
        }

    def _discard(self) -> None:
        with self._lock:
            release, self._prepared, self._wanted = self._prepared, None, 0
        if release is not None:
            unload(release)

    def _serve(self, generation: int, release: LoadedRelease) -> None:
        self._host.swap(release)
        self._generation, self._failed = generation, (0, 0.0)
        settle()
        logger.info("%s version %s serves (generation %s)", release.model_name, release.version, generation)

    # -- the table

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_S)
            try:
                self._follow()
            except Exception:  # the thread is the safety net: it must outlive any surprise
                logger.exception("the routing table could not be followed")

    def _follow(self) -> None:
        """Serve what the table names, unless it is served already."""
        with self._following:
            table = _read(self._table)
            if table is None or table["generation"] == self._generation or self._waits(table["generation"]):
                return
            generation, route = table["generation"], table["routes"][0]
            try:
                release = _load(route)
            except (Exception, SystemExit) as error:  # the release's own code: it may raise anything
                self._failed = generation, time.monotonic() + RETRY_S
                self._host.reason = f"version {route['version']} would not load: {_told(error)['error']}"
                logger.error("%s\n%s", self._host.reason, traceback.format_exc())
                return
            with self._lock:
                self._serve(generation, release)

    def _waits(self, generation: int) -> bool:
        return self._failed[0] == generation and time.monotonic() < self._failed[1]


def _load(route: Mapping[str, Any]) -> LoadedRelease:
    limits = Limits.among(route.get("limits", {}))
    return load_warm(route["path"], route["model_name"], route["version"], limits)


def _told(error: BaseException) -> dict[str, Any]:
    text, lines = told(error)
    return {"error": text, "traceback": trace_of(error), "lines": lines}


def _read(table: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(table.read_bytes())
    except FileNotFoundError:
        return None
    return data


def _log_to_serve() -> None:
    """Send our log where Ray Serve writes the replica's own, which `nb2prod logs` reads."""
    ours = logging.getLogger("nb2prod")
    ours.parent = logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)


def build(table: str, *, num_replicas: int = 1) -> Any:
    """The Ray Serve application of one endpoint: its ingress, fused with pre-, model and postprocess."""
    deployment = serve.deployment(
        Replica,
        name="Release",
        num_replicas=num_replicas,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options={"num_cpus": CPUS},
        logging_config={"enable_access_log": False},
        graceful_shutdown_timeout_s=20,
    )
    return deployment.bind(table)
