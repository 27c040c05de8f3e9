"""The Open Inference Protocol over gRPC, beside HTTP and over the same core. Needs grpcio and protobuf.

ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata, ModelInfer. Tensors come as values or as
raw bytes, and are answered as raw bytes. A refusal is a gRPC status with the words that HTTP has for it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from nb2prod.serving import core, tensors
from nb2prod.serving.core import Call, loaded, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, plain_id
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.messages import SERVICE, messages
from nb2prod.serving.protocols import v2
from nb2prod.serving.protocols.v1 import check
from nb2prod.serving.routes import Request
from nb2prod.serving.tensors import BadTensor, Tensor
from nb2prod.serving.tracing import trace_id, valid

CODES = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

LONGEST = 600
"""Characters of a status's details: clients refuse trailers over 8 kB, where one may take 12 bytes."""

Method = Callable[[Any, Any], Awaitable[Any]]


class CannotListen(Exception):
    """The port cannot be had."""


async def start(host: Host, limits: Limits, address: str) -> tuple[Any, int]:
    """A server that answers at `address`, and its port; CannotListen."""
    options = [
        ("grpc.max_receive_message_length", limits.max_body),
        ("grpc.max_send_message_length", -1),
        # two servers at one port would each get half of the requests
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_handlers(Service(host)),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListen(str(error)) from error
    await server.start()
    return server, port


def _handlers(service: Service) -> Any:
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _parsed(service.messages[f"{name}Request"], method),
            response_serializer=lambda response: response.body,
        )
        for name, method in service.methods().items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _parsed(message: Any, method: Method) -> Method:
    """A method that takes bytes: what gRPC itself makes of broken ones is an unknown error."""

    async def call(data: bytes, context: Any) -> Any:
        try:
            request = message.FromString(data)
        except DecodeError:
            await _abort(context, 400, f"the message is no {message.DESCRIPTOR.name}")
        return await method(request, context)

    return call


class Service:
    """The methods of the service; each gives a Response whose body is the message."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.messages = messages()
        self._predict = partial(core.predict, host)

    def methods(self) -> dict[str, Method]:
        """Each by its name."""
        told = {name: partial(self._tell, name, tell) for name, tell in TOLD.items()}
        return {**told, "ModelInfer": self._infer}

    async def _tell(
        self, name: str, tell: Callable[[Any, Host], Mapping[str, Any]], request: Any, context: Any
    ) -> Response:
        try:
            members = tell(request, self._host)
        except Refused as refused:
            await _abort(context, refused.status, refused.detail)
        return _response(self.messages[f"{name}Response"](**members))

    async def _infer(self, request: Any, context: Any) -> Response:
        sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        asked = plain_id(sent.get("x-request-id"), request.id)
        render = partial(_answer, self.messages["ModelInferResponse"], request)
        trace = trace_id(valid(sent.get("traceparent")))
        call = Call(asked, partial(_instances, request), render, _refused, trace)
        left, limits = context.time_remaining(), core.limits_of(self._host)
        seconds = limits.timeout_s if left is None else min(left, limits.timeout_s)
        try:
            response = await core.ask(self._host, self._predict, call, seconds, limits)
        except Refused as refused:
            response = _refused(refused, asked)
        if response.status != 200:
            await _abort(context, response.status, response.body.decode())
        return response


def _response(message: Any) -> Response:
    return Response(200, message.SerializeToString(), "application/grpc")


def _refused(refused: Refused, asked: str) -> Response:
    return Response(refused.status, refused.detail.encode(), "text/plain")


async def _abort(context: Any, status: int, detail: str) -> None:
    await context.abort(CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT), detail[:LONGEST])


# --- what describes it ---------------------------------------------------------------------------


def _is_ready(host: Host) -> bool:
    return host.release is not None and not host.drains


def _named(request: Any) -> Request:
    version = {"version": request.version} if request.version else {}
    return Request("", {}, {"model": request.name, **version})


def _model_ready(request: Any, host: Host) -> Mapping[str, Any]:
    if not _is_ready(host):
        return {"ready": False}
    check(_named(request), ready(host))
    return {"ready": True}


def _server(request: Any, host: Host) -> Mapping[str, Any]:
    return {"name": "nb2prod", "version": importlib.metadata.version("nb2prod")}


def _model(request: Any, host: Host) -> Mapping[str, Any]:
    release = loaded(host)
    check(_named(request), release)
    return v2.metadata(release)


TOLD: dict[str, Callable[[Any, Host], Mapping[str, Any]]] = {
    "ServerLive": lambda request, host: {"live": True},
    "ServerReady": lambda request, host: {"ready": _is_ready(host)},
    "ModelReady": _model_ready,
    "ServerMetadata": _server,
    "ModelMetadata": _model,
}


# --- infer ---------------------------------------------------------------------------------------


def _instances(request: Any, release: LoadedRelease) -> Any:
    version = {"version": request.model_version} if request.model_version else {}
    check(Request("", {}, {"model": request.model_name, **version}), release)
    try:
        return v2.rows_of(v2.distinct(_inputs(request)), release)
    except BadTensor as error:
        raise Refused(400, str(error)) from None


def _inputs(request: Any) -> list[Tensor]:
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadTensor(f"raw_input_contents: {len(raw)} for {len(request.inputs)} inputs")
    blobs: Sequence[bytes | None] = raw or [None] * len(request.inputs)
    return [_input(one, blob) for one, blob in zip(request.inputs, blobs, strict=True)]


def _input(one: Any, blob: bytes | None) -> Tensor:
    told = {"name": one.name, "datatype": one.datatype, "shape": [*one.shape]}
    if blob is not None:
        told["parameters"] = {"binary_data_size": len(blob)}
        return tensors.read(told, memoryview(blob))[0]
    values = getattr(one.contents, CONTENTS.get(one.datatype, "bytes_contents"))
    try:
        told["data"] = [str(v, "utf-8") if isinstance(v, bytes) else v for v in values]
    except UnicodeDecodeError as error:
        raise BadTensor(f"{one.name}: an element is not UTF-8: {error}") from None
    return tensors.read(told, memoryview(b""))[0]


def _answer(message: Any, request: Any, release: LoadedRelease, predictions: list[Any]) -> Response:
    wanted = [one.name for one in request.outputs]
    found = v2.wanted_of(predictions, wanted)
    outputs = [{"name": t.name, "datatype": t.datatype, "shape": t.shape} for t in found]
    made = message(
        model_name=release.model_name,
        model_version=str(release.version),
        id=request.id,
        outputs=outputs,
        raw_output_contents=[tensors.pack(tensor) for tensor in found],
    )
    return _response(made)
