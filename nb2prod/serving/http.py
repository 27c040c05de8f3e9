"""Responses as values, and errors as RFC 9457 problem details."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"
PROBLEM = "application/problem+json"

DRAIN = 8
"""How much of a body that is too long is read and dropped, as a multiple of the limit."""

LONGEST = 1_000
"""Characters of what a refusal says."""

TITLES = {
    400: "The request cannot be read",
    404: "No such path",
    405: "Method not allowed",
    406: "No such kind of answer",
    408: "The body came too slowly",
    413: "The request is too large",
    415: "No such kind of body",
    422: "The request does not fit the contract",
    500: "The request failed",
    503: "No release can take it now",
    504: "It took too long",
}


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer to one request. Header names are lower case."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def with_header(self, name: str, value: str) -> Response:
        """The same with one header more."""
        return Response(self.status, self.body, self.content_type, (*self.headers, (name, value)))


class Refused(Exception):
    """The request gets no answer: `status` and `detail` say why, `errors` each wrong field of it.

    An error is a mapping: instance, field, expected, got.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *headers: tuple[str, str],
        errors: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        # what it repeats of the request may be of any length
        self.detail = detail if len(detail) <= LONGEST else f"{detail[:LONGEST]}..."
        self.headers = headers
        self.errors = [*errors]


class Disconnected(Exception):
    """The client left before its request was whole."""


def dumps(data: Any) -> bytes:
    """JSON, floats in the shortest form that reads back to the same bits."""
    try:
        return orjson.dumps(data)
    except orjson.JSONEncodeError:
        # integers beyond 64 bits: orjson refuses them, JSON does not
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def answer(data: Any, *headers: tuple[str, str], status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status, dumps(data), headers=headers)


def problem(refused: Refused, request_id: str) -> Response:
    """A refusal as an RFC 9457 problem."""
    data = {
        "type": "about:blank",
        "title": TITLES[refused.status],
        "status": refused.status,
        "detail": refused.detail,
        "errors": refused.errors,
        "request_id": request_id,
    }
    return Response(refused.status, dumps(data), PROBLEM, refused.headers)


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header; its name in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


_PLAIN = re.compile(r"[!-~]{1,128}")


_chance = random.Random(os.urandom(16))  # ids must differ, not be hard to guess


def plain_id(*asked: str | None) -> str:
    """The first of these that is short and plain enough for a log, else a new one."""
    return (
        next((text for text in asked if text and _PLAIN.fullmatch(text)), "")
        or f"{_chance.getrandbits(128):032x}"
    )


def request_id(scope: Scope) -> str:
    """The request's own x-request-id, if it is plain; else a new one."""
    return plain_id(header(scope, b"x-request-id"))


def header_safe(text: str) -> str:
    """Text for a header: what is not ASCII is percent-encoded, as a notebook's name may be anything."""
    return quote(text, safe=" !#$&'()*+,/:;=?@[]~")


def inner_path(scope: Scope, prefix: str = "") -> str:
    """The request's path without `root_path` and without `prefix`, wherever a server or proxy left them."""
    path: str = scope["path"]
    for mount in (scope.get("root_path") or "", prefix):
        mount = mount.rstrip("/")
        if mount and (path == mount or path.startswith(mount + "/")):
            path = path[len(mount) :]
    return path or "/"


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The request's body; None if it is longer than `limit` bytes, of which no more is kept.

    A body that is too long is read on and dropped, within bounds: a server that hangs up on a client
    which still sends takes its own answer back. Raises Disconnected.
    """
    length = header(scope, b"content-length") or ""
    declared = int(length) if length.isdecimal() else 0
    waits = header(scope, b"expect") is not None
    if declared > DRAIN * limit or (declared > limit and waits):
        return None
    body, size, more = bytearray(), 0, True
    while more and size <= DRAIN * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        size += len(message.get("body", b""))
        if size <= limit:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body) if size <= limit else None


def is_gone(receive: Receive) -> bool:
    """Whether the client has hung up, at no cost: uvicorn's `receive` is a method of what knows it.

    ASGI itself has only a wait for it, which takes a task of each request.
    """
    return getattr(getattr(receive, "__self__", None), "disconnected", None) is True


async def send_response(send: Send, response: Response, *, body: bool = True) -> None:
    """Send a response; without its body for HEAD."""
    headers = [
        (b"content-type", response.content_type.encode("latin-1")),
        (b"content-length", str(len(response.body)).encode()),
        *((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if body else b""})


async def lifespan(receive: Receive, send: Send) -> None:
    """The ASGI lifespan protocol, for an app that has nothing to do in it. Ray Serve insists on it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
