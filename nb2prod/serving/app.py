"""A release over HTTP: a raw ASGI app, no framework; `protocols` says what it answers.

Works under any prefix, in a Ray Serve replica and under plain uvicorn alike.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from nb2prod.serving import core
from nb2prod.serving.core import Refuse
from nb2prod.serving.host import Host
from nb2prod.serving.http import (
    App,
    Disconnected,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    inner_path,
    is_gone,
    lifespan,
    read_body,
    request_id,
    send_response,
)
from nb2prod.serving.limits import HEADER, Limits
from nb2prod.serving.protocols import TABLE
from nb2prod.serving.routes import Request, Table
from nb2prod.serving.tracing import TRACEPARENT, Tracing, trace_id, traceparent

CLOSE = ("connection", "close")


def application(
    host: Host,
    *,
    prefix: str = "",
    table: Table = TABLE,
    echo_request_id: bool = True,
    tracing: Tracing | None = None,
) -> App:
    """The ASGI app over what `host` holds.

    `prefix` is a path that a proxy in front leaves on requests; ASGI's root_path needs none.
    `echo_request_id` is off where the server already returns x-request-id, as Ray Serve does.
    """
    return _Application(host, prefix, table, echo_request_id, tracing)


@dataclass(frozen=True, slots=True)
class _Application:
    host: Host
    prefix: str
    table: Table
    echo_request_id: bool
    tracing: Tracing | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, parent = request_id(scope), traceparent(scope)
        try:
            if self.tracing is not None:
                respond = partial(self._respond, scope, receive, asked)
                response = await self.tracing.answer(scope, self._name(scope), asked, respond)
            else:
                response = await self._respond(scope, receive, asked, parent)
                if parent:
                    response = response.with_header(TRACEPARENT, parent)
        except Disconnected:
            return
        if self.echo_request_id:
            response = response.with_header("x-request-id", asked)
        await send_response(send, response, body=scope["method"] != "HEAD")

    async def _respond(self, scope: Scope, receive: Receive, asked: str, parent: str) -> Response:
        refuse: Refuse | None = None
        path = inner_path(scope, self.prefix)
        try:
            route, names = self.table.find(scope["method"], path)
            refuse = route.refuse
            request = Request(asked, dict(scope["headers"]), names)
            if route.calls is None:
                return route.tell(request, self.host)
            if request.header(b"content-encoding") not in ("", "identity"):
                raise Refused(415, "bodies are not compressed here: send it without content-encoding")
            limits = core.limits_of(self.host)
            seconds = limits.seconds(request.header(HEADER))
            body = await _body(scope, receive, limits)
            call = route.calls(request, body)
            if parent:
                call = replace(call, trace=trace_id(parent))
            return await core.ask(self.host, call, seconds, partial(is_gone, receive))
        except Refused as refused:
            return (refuse or self.table.refuse(path))(refused, asked)
        except Disconnected:
            raise
        except Exception:  # a mistake of ours: it is told as all others are
            failed = Refused(500, core.broken(asked, "could not be answered"))
            return (refuse or self.table.refuse(path))(failed, asked)

    def _name(self, scope: Scope) -> str:
        """What a span is called: the path as its route has it, so that there are few."""
        method: str = scope["method"]
        try:
            return f"{method} {self.table.find(method, inner_path(scope, self.prefix))[0].path}"
        except Refused:
            return method


async def _body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    try:
        async with asyncio.timeout(limits.body_s):
            body = await read_body(scope, receive, limits.max_body)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {limits.body_s:g} s", CLOSE) from None
    if body is None:
        raise Refused(413, f"at most {limits.max_body} bytes are taken", CLOSE)
    return body
