"""A release over HTTP: a raw ASGI app, no framework; `protocols` says what it answers.

Works under any prefix, in a Ray Serve replica and under plain uvicorn alike.
"""

from __future__ import annotations

from functools import partial

from nb2prod.serving import core
from nb2prod.serving.core import Refuse
from nb2prod.serving.host import Host, Work
from nb2prod.serving.http import (
    App,
    Disconnected,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    inner_path,
    lifespan,
    problem,
    read_body,
    request_id,
    send_response,
)
from nb2prod.serving.protocols import TABLE
from nb2prod.serving.routes import Request

MAX_BODY = 10 * 2**20
"""Longest request body, in bytes, unless an app is given another limit."""


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
            path = inner_path(scope, prefix)
            response = await _respond(host, predict, scope, receive, path, max_body, asked)
        except Disconnected:
            return
        if echo_request_id:
            response = response.with_header("x-request-id", asked)
        await send_response(send, response, body=scope["method"] != "HEAD")

    return app


async def _respond(
    host: Host, predict: Work, scope: Scope, receive: Receive, path: str, max_body: int, asked: str
) -> Response:
    refuse: Refuse = problem
    try:
        route, names = TABLE.find(scope["method"], path)
        refuse = route.refuse
        request = Request(asked, dict(scope["headers"]), names)
        if route.calls is None:
            assert route.told is not None
            return route.told(request, host)
        body = await read_body(scope, receive, max_body)
        if body is None:
            raise Refused(413, f"at most {max_body} bytes are taken", ("connection", "close"))
        response: Response = await host.run(predict, route.calls(request, body))
    except Refused as refused:
        return refuse(refused, asked)
    return response
