"""Serve's gRPC server as `ingress.prepare` has it: at one address, and at a port that no other has."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import psutil
import pytest

from nb2prod.control.driver import GRPC
from nb2prod.control.environment import GRPC_HOST
from nb2prod.control.processes import free_ports
from nb2prod.serving.messages import SERVICE

# of Ray's own use of pydantic, as it is imported
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def confined(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private import grpc_util

    from nb2prod.serving import ingress

    monkeypatch.setenv(GRPC_HOST, "127.0.0.1")
    monkeypatch.setattr(grpc_util, "gRPCGenericServer", grpc_util.gRPCGenericServer)
    ingress.prepare()


async def started(port: int) -> Any:
    """A server as Serve starts one in a replica; it answers with the name of what it is asked."""
    from ray.serve._private import grpc_util
    from ray.serve.config import gRPCOptions

    def handlers(service_method: str, streaming_type: Any) -> Any:
        async def handle(data: bytes, context: Any) -> bytes:
            return service_method.encode()

        return handle

    options = gRPCOptions(port=port, grpc_servicer_functions=[GRPC], enable_reflection=False)
    loop = asyncio.get_running_loop()
    return (await grpc_util.start_grpc_server(handlers, options, event_loop=loop))[1]


@pytest.mark.usefixtures("confined")
def test_a_server_of_serve() -> None:
    (port,) = free_ports(1)

    async def run() -> tuple[set[str], bytes]:
        server = await started(port)
        try:
            listening = [c for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            with pytest.raises(RuntimeError, match="Failed to bind"):
                await started(port)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                answer = await channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"any bytes")
            return {c.laddr.ip for c in listening if c.laddr.port == port}, answer
        finally:
            await server.stop(None)

    addresses, answer = asyncio.run(run())
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert addresses
    assert answer == f"/{SERVICE}/ModelInfer".encode()
