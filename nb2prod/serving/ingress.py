"""How requests come in where Ray Serve runs: HTTP past its wrapper, gRPC as it has it: its own server in
every replica, and a method of the deployment for each rpc.

HAProxy, which stands before them, is told in `control.haproxy` which call goes to which endpoint.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import grpc
from ray.serve._private import grpc_util
from starlette.middleware import Middleware

from nb2prod.serving import rpc
from nb2prod.serving.direct import Direct
from nb2prod.serving.messages import SERVICE

HOST = "NB2PROD_GRPC_HOST"
"""The environment variable that says where Serve's gRPC servers listen."""

MAX_MESSAGE = 64 * 2**20
"""Bytes of a message that are read at all; `Limits` say which are taken."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in bytes, as Serve wants one."""

    body: bytes

    def SerializeToString(self) -> bytes:
        """The bytes."""
        return self.body


class Methods:
    """The rpcs of the Open Inference Protocol, by name; `answers` answers them."""

    answers: rpc.Answer

    async def _settled(self, name: str, data: bytes, context: Any) -> Message:
        response = await self.answers(name, data, rpc.sent(context))
        # set, not raised: Serve logs what is raised with its traceback
        return Message(rpc.settle(response, context))

    async def ServerLive(self, data: bytes, grpc_context: Any) -> Message:
        """Whether there is a server."""
        return await self._settled("ServerLive", data, grpc_context)

    async def ServerReady(self, data: bytes, grpc_context: Any) -> Message:
        """Whether to send requests."""
        return await self._settled("ServerReady", data, grpc_context)

    async def ModelReady(self, data: bytes, grpc_context: Any) -> Message:
        """Whether to send requests to a model."""
        return await self._settled("ModelReady", data, grpc_context)

    async def ServerMetadata(self, data: bytes, grpc_context: Any) -> Message:
        """What the server is."""
        return await self._settled("ServerMetadata", data, grpc_context)

    async def ModelMetadata(self, data: bytes, grpc_context: Any) -> Message:
        """What a model takes and gives."""
        return await self._settled("ModelMetadata", data, grpc_context)

    async def ModelInfer(self, data: bytes, grpc_context: Any) -> Message:
        """Predictions."""
        return await self._settled("ModelInfer", data, grpc_context)


def add_to_server(servicer: Any, server: Any) -> None:
    """What Serve takes as the service: names alone, behind which it puts its own way to a deployment.

    Messages stay bytes, so that Serve need not pickle them.
    """
    methods = {name: grpc.unary_unary_rpc_method_handler(None) for name in rpc.METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


class _Server(grpc_util.gRPCGenericServer):  # type: ignore[misc]
    """Serve's server, listening where it is told to, at a port of its own.

    Serve's listens on all interfaces. It also means to share its port with none, but says so in a text
    where gRPC wants a number: replicas of two clusters would get each other's calls.
    """

    def __init__(self, factory: Any, *, extra_options: Any = None) -> None:
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE)]
        super().__init__(factory, extra_options=options)

    def add_insecure_port(self, address: str) -> int:
        """Listen at the port of the address."""
        port: int = super().add_insecure_port(f"{os.environ[HOST]}:{address.rpartition(':')[2]}")
        return port


def prepare() -> list[Middleware]:
    """Have this process's gRPC servers listen where HOST says; the middlewares for HTTP.

    Serve calls it (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH) in each process that is about to listen.
    """
    grpc_util.gRPCGenericServer = _Server
    return [Middleware(Direct)]
