"""What answers where no endpoint does: names the endpoints that exist, over HTTP and over gRPC.

Ray's own answers here are plain text that sends the reader on to /-/routes. Over gRPC it also answers what
is asked of the server and not of a model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import serve

from nb2prod.serving import rpc
from nb2prod.serving.http import (
    App,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    answer,
    inner_path,
    lifespan,
    plain_id,
    problem,
    request_id,
    send_response,
)
from nb2prod.serving.ingress import Methods
from nb2prod.serving.messages import messages


@serve.ingress()
class Front(Methods):
    """The application at "/". `tables` is the directory of the endpoints' routing tables."""

    def __init__(self, tables: str) -> None:
        self._tables = Path(tables)
        self.answers = Calls(self._tables).answer

    def __serve_build_asgi_app__(self) -> App:
        return application(self._tables)


def application(tables: Path) -> App:
    """The ASGI app: GET / lists the endpoints, anything else is a 404 that names them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            endpoints = await asyncio.to_thread(_endpoints, tables)
            await send_response(send, _respond(scope, endpoints), body=scope["method"] != "HEAD")
        else:
            await send({"type": "websocket.close", "code": 1003})

    return app


UNREACHED = (
    "the call did not reach the endpoint {0}: it does not run yet, or the message is compressed, so that "
    "its name could not be seen on the way; then send it as metadata, application: {0}"
)


class Calls:
    """What is answered over gRPC: that there is a server, and which models there are."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables
        self._messages = messages()

    async def answer(self, name: str, data: bytes, sent: rpc.Sent) -> Response:
        """The response of a method to a message."""
        if name in SERVER:
            return rpc.respond(self._messages[f"{name}Response"](**SERVER[name]()))
        names = [item["name"] for item in await asyncio.to_thread(_endpoints, self._tables)]
        try:
            asked = rpc.model_of(rpc.read(self._messages, name, data))
            if asked in names:
                raise Refused(503, UNREACHED.format(asked))
            known = ", ".join(names) or "none yet"
            raise Refused(404, f"no endpoint answers for a model {asked!r:.80}; the endpoints are: {known}")
        except Refused as refused:
            return rpc.refused(refused, plain_id(sent.get("x-request-id")))


SERVER: dict[str, Callable[[], Mapping[str, Any]]] = {
    "ServerLive": lambda: {"live": True},
    "ServerReady": lambda: {"ready": True},
    "ServerMetadata": rpc.about,
}


def _respond(scope: Scope, endpoints: list[dict[str, Any]]) -> Response:
    path = inner_path(scope)
    if path == "/" and scope["method"] in ("GET", "HEAD"):
        return answer({"endpoints": endpoints})
    names = ", ".join(f"/{item['name']}" for item in endpoints) or "none yet"
    refused = Refused(404, f"no endpoint answers at {path}; the endpoints are: {names}")
    return problem(refused, request_id(scope))


def _endpoints(tables: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted(tables.glob("*.json")):
        try:
            table = json.loads(file.read_bytes())
        except FileNotFoundError:
            # deleted since it was listed
            continue
        route = table["routes"][0]
        served = {"model_name": route["model_name"], "version": route["version"]}
        found.append({"name": table["name"], "url": f"/{table['name']}", **served})
    return found


def build(tables: str) -> Any:
    """The Ray Serve application to run at route_prefix "/"; it books no CPU."""
    deployment = serve.deployment(
        Front,
        name="Front",
        max_ongoing_requests=1_000,
        ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
    )
    return deployment.bind(tables)
