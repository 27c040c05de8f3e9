"""An endpoint's requests, from the replica's HTTP server straight to its app.

Ray Serve puts two tasks, a queue, several contexts and two new identifiers around each request of a replica:
as much work as a small prediction. It lets middlewares see a request before that. Ours asks the app itself,
and counts the request as Serve does: what autoscaling, draining and metrics go by stays true.
"""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from nb2prod.serving.http import App, Receive, Scope, Send

logger = logging.getLogger("nb2prod.serving")


class Direct:
    """The middleware. `through` is Serve's way to the replica, which all other requests go."""

    def __init__(self, through: App) -> None:
        self._through = through

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Serve asks under /-/ whether a replica is well; endpoints are asked by their names
        is_served = scope["type"] == "http" and not scope["path"].startswith("/-/")
        if is_served and self._own is not None and self._own.takes(scope):
            await self._own.answer(scope, receive, send)
        else:
            await self._through(scope, receive, send)

    @functools.cached_property
    def _own(self) -> _Own | None:
        # Serve tells of the replica only once its server has started: not before the first request
        return _own(self._through)


@dataclass(frozen=True, slots=True)
class _Own:
    """The replica in this process: its app, Serve's side of it, and what Serve counts requests by."""

    app: App
    side: Any
    request: Any

    def takes(self, scope: Scope) -> bool:
        """Whether a request is for the endpoint."""
        path: str = scope["path"]
        return not scope.get("root_path") and path.startswith(f"{self.side._route_prefix}/")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix, started = self.side._route_prefix, time.perf_counter()
        scope["root_path"] = prefix
        async with self.side._start_request(self.request):
            await self.app(scope, receive, send)
        took_ms = (time.perf_counter() - started) * 1000
        # the app answers whatever happens: to Serve no request is in error
        self.side._metrics_manager.record_request_metrics(route=prefix, latency_ms=took_ms, is_error=False)


def _own(through: App) -> _Own | None:
    """None in a process that holds no replica of an endpoint, and with a Ray that has its side elsewhere."""
    try:
        app = getattr(serve.get_replica_context().servable_object, "direct", None)
    except RayServeException:  # a proxy's process
        return None
    if app is None:
        return None
    try:
        from ray.serve._private.common import RequestMetadata, RequestProtocol

        side = through._app.__self__  # type: ignore[attr-defined]
        _ = side._route_prefix, side._start_request, side._metrics_manager.record_request_metrics
        request = RequestMetadata("", "", is_direct_ingress=True, _request_protocol=RequestProtocol.HTTP)
    except (ImportError, AttributeError, TypeError):
        logger.warning("requests go through Ray Serve's wrapper: this version of Ray is not known here")
        return None
    logger.info("requests go straight to the app, past Ray Serve's wrapper")
    return _Own(app, side, request)
