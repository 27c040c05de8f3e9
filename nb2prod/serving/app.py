"""A release over HTTP: a raw ASGI app, no framework.

    POST /predict         {"instances": [...]} → {"predictions": [...], "model_name", "version", "request_id"}
    GET  /health          200 with model and version once a release is loaded, else 503
    GET  /openapi.json    OpenAPI 3.1, from the release's contract
    GET  /docs            Swagger UI, served from here

Works under any prefix, in a Ray Serve replica and under plain uvicorn alike.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from contextlib import suppress
from typing import Any, NoReturn

import orjson

from nb2prod.serving import docs, openapi
from nb2prod.serving.host import Host
from nb2prod.serving.http import (
    App,
    Disconnected,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    answer,
    header_safe,
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

logger = logging.getLogger("nb2prod.serving")


def application(
    host: Host, *, prefix: str = "", max_body: int = MAX_BODY, echo_request_id: bool = True
) -> App:
    """The ASGI app over what `host` holds.

    `prefix` is a path that a proxy in front leaves on requests; ASGI's root_path needs none.
    `echo_request_id` is off where the server already returns x-request-id, as Ray Serve does.
    """

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
            response = await _respond(host, scope, receive, inner_path(scope, prefix), max_body, asked)
        except Refused as refused:
            response = refused.response
        except Disconnected:
            return
        if echo_request_id:
            response = _with_header(response, "x-request-id", asked)
        await send_response(send, response, body=scope["method"] != "HEAD")

    return app


async def _respond(
    host: Host, scope: Scope, receive: Receive, path: str, max_body: int, asked: str
) -> Response:
    _check_method(scope["method"], path, asked)
    if path == "/predict":
        body = await read_body(scope, receive, max_body)
        if body is None:
            raise Refused(problem(413, f"at most {max_body} bytes are taken", asked, ("connection", "close")))
        return await host.run(lambda: _predict(host, body, asked))
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
        raise Refused(problem(503, host.reason, asked, ("retry-after", "1")))
    return release


def _describe(path: str, release: LoadedRelease) -> Response:
    if path == "/health":
        health = {"status": "ok", "model_name": release.model_name, "version": release.version}
        return answer(health, *_named(release))
    document = openapi.document(release.model_name, release.version, release.contract, release.schema)
    return answer(openapi.as_3_0(document) if path == "/docs/openapi.json" else document)


def _named(release: LoadedRelease) -> tuple[tuple[str, str], ...]:
    return ("x-model-name", header_safe(release.model_name)), ("x-model-version", str(release.version))


def _with_header(response: Response, name: str, value: str) -> Response:
    return Response(response.status, response.body, response.content_type, (*response.headers, (name, value)))


# --- predict -------------------------------------------------------------------------------------


def _predict(host: Host, body: bytes, asked: str) -> Response:
    # Runs in the worker thread. The release is taken here, not when the request came: none that was
    # swapped out meanwhile is used, and none is let go while it is.
    try:
        release = _loaded(host, asked)
        instances = _instances(body, asked)
        return _answered(release, _call(release, instances, asked), asked)
    except Refused as refused:
        return refused.response


def _answered(release: LoadedRelease, predictions: list[Any], asked: str) -> Response:
    data = {
        "predictions": predictions,
        "model_name": release.model_name,
        "version": release.version,
        "request_id": asked,
    }
    return answer(data, *_named(release))


def _call(release: LoadedRelease, instances: Any, asked: str) -> list[Any]:
    try:
        predictions: list[Any] = release.predictor.predict(instances)
    except release.runtime.InvalidRequest as error:
        raise Refused(problem(422, str(error), asked, *_named(release), errors=error.problems)) from None
    except (Exception, SystemExit) as error:  # the notebook's own code: it may raise anything
        _log_failure(release, error, asked)
        detail = f"the model failed on this request; its log has the cause under {asked}: see `nb2prod logs`"
        raise Refused(problem(500, detail, asked, *_named(release))) from None
    return predictions


def _log_failure(release: LoadedRelease, error: BaseException, asked: str) -> None:
    where = "".join(f"\n  notebook: {line}" for line in release.runtime.notebook_lines(error))
    trace = "".join(traceback.format_exception(error)).rstrip()
    logger.error(
        "request %s: %s version %s failed%s\n%s", asked, release.model_name, release.version, where, trace
    )


def _instances(body: bytes, asked: str) -> Any:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse_body(body, error, asked)
    if not isinstance(data, dict):
        _refuse_shape(asked, "the body", "an object with `instances`", _kind(data))
    if "instances" not in data:
        _refuse_shape(asked, "instances", "a list of instances", "nothing: it is missing")
    return data["instances"]


def _refuse_shape(asked: str, field: str, expected: str, got: str) -> NoReturn:
    error = {"instance": None, "field": field, "expected": expected, "got": got}
    raise Refused(problem(422, f"{field}: expected {expected}, got {got}", asked, errors=[error]))


def _kind(data: Any) -> str:
    if data is None:
        return "null"
    names = {list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(data), "a number")


class _Constant(Exception):
    """The body holds NaN or an infinity."""


def _refuse_body(body: bytes, error: orjson.JSONDecodeError, asked: str) -> NoReturn:
    detail = f"{error.msg} (line {error.lineno}, column {error.colno})" if body else "the body is empty"
    try:
        with suppress(ValueError, RecursionError):
            json.loads(body, parse_constant=_refuse_constant)
    except _Constant as found:
        detail = f"{found} is not JSON; send null for a missing value"
    raise Refused(problem(400, detail, asked)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise _Constant(name)
