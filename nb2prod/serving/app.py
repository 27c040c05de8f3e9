"""A release over HTTP: a raw ASGI app, no framework.

    POST /predict         {"instances": [...]} → {"predictions": [...], "model_name", "version", "request_id"}
    GET  /health          200 with model and version once a release is loaded, else 503
    GET  /openapi.json    OpenAPI 3.1, from the release's contract
    GET  /docs            Swagger UI, served from here

Works under any prefix, in a Ray Serve replica and under plain uvicorn alike.
"""

from __future__ import annotations

import asyncio
from functools import partial

from nb2prod.serving import core, docs, native, openapi
from nb2prod.serving.core import named, no_release
from nb2prod.serving.host import Host, Work
from nb2prod.serving.http import (
    App,
    Disconnected,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    answer,
    inner_path,
    lifespan,
    problem,
    read_body,
    request_id,
    send_response,
)
from nb2prod.serving.loader import LoadedRelease

MAX_BODY = 10 * 2**20
"""Longest request body, in bytes, unless an app is given another limit."""

METHODS = {
    "/predict": ("POST",),
    "/health": ("GET", "HEAD"),
    "/openapi.json": ("GET", "HEAD"),
    "/docs": ("GET", "HEAD"),
}


def application(
    host: Host, *, prefix: str = "", max_body: int = MAX_BODY, echo_request_id: bool = True
) -> App:
    """The ASGI app over what `host` holds.

    `prefix` is a path that a proxy in front leaves on requests; ASGI's root_path needs none.
    `echo_request_id` is off where the server already returns x-request-id, as Ray Serve does.
    """

    predict = partial(core.predict, host)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            await serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        asked = request_id(scope)
        try:
            response = await _respond(
                host, predict, scope, receive, inner_path(scope, prefix), max_body, asked
            )
        except Refused as refused:
            response = refused.response
        except Disconnected:
            return
        if echo_request_id:
            response = _with_header(response, "x-request-id", asked)
        await send_response(send, response, body=scope["method"] != "HEAD")

    return app


async def _respond(
    host: Host, predict: Work, scope: Scope, receive: Receive, path: str, max_body: int, asked: str
) -> Response:
    _check_method(scope["method"], path, asked)
    if path == "/predict":
        body = await read_body(scope, receive, max_body)
        if body is None:
            raise Refused(problem(413, f"at most {max_body} bytes are taken", asked, ("connection", "close")))
        response: Response = await host.run(predict, native.call(body, asked))
        return response
    if path == "/docs":
        return docs.page()
    if path.startswith("/docs/") and path != "/docs/openapi.json":
        return await asyncio.to_thread(docs.asset, path.removeprefix("/docs/")) or _unknown(path, asked)
    return _describe(path, _loaded(host, asked))


def _check_method(method: str, path: str, asked: str) -> None:
    allowed = METHODS["/docs"] if path.startswith("/docs/") else METHODS.get(path)
    if allowed is None:
        raise Refused(_unknown(path, asked))
    if method not in allowed:
        allow = ", ".join(allowed)
        raise Refused(problem(405, f"{path} takes {allow}, not {method}", asked, ("allow", allow)))


def _unknown(path: str, asked: str) -> Response:
    known = ", ".join(f"{methods[0]} {name}" for name, methods in METHODS.items())
    return problem(404, f"there is no {path} here; there are {known}", asked)


def _loaded(host: Host, asked: str) -> LoadedRelease:
    release = host.release
    if release is None:
        raise no_release(host, asked)
    return release


def _describe(path: str, release: LoadedRelease) -> Response:
    if path == "/health":
        health = {"status": "ok", "model_name": release.model_name, "version": release.version}
        return answer(health, *named(release))
    document = openapi.document(release.model_name, release.version, release.contract, release.schema)
    return answer(openapi.as_3_0(document) if path == "/docs/openapi.json" else document)


def _with_header(response: Response, name: str, value: str) -> Response:
    return Response(response.status, response.body, response.content_type, (*response.headers, (name, value)))
