"""The Open Inference Protocol over gRPC, beside HTTP and over the same core. Needs grpcio and protobuf.

ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata, ModelInfer. Tensors come as values or as
raw bytes, and are answered as raw bytes. A refusal is a gRPC status with the words that HTTP has for it.
Here with a server of its own; `ingress` has it in a replica, where Ray Serve listens.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from nb2prod.serving import core, tensors
from nb2prod.serving.core import Call, loaded, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, plain_id
from nb2prod.serving.limits import HEADER, Limits
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.messages import SERVICE, messages
from nb2prod.serving.protocols import v2
from nb2prod.serving.protocols.v1 import check
from nb2prod.serving.routes import Request
from nb2prod.serving.tensors import BadTensor
from nb2prod.serving.tracing import TRACEPARENT, trace_id, valid

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

Sent = Mapping[str, str]
"""A call's metadata."""

Answer = Callable[[str, bytes, Sent], Awaitable[Response]]
"""From a method's name, a message and metadata to the response."""


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
    # bytes in, bytes out: what gRPC itself makes of a broken message is an unknown error
    methods = {name: grpc.unary_unary_rpc_method_handler(partial(_call, service, name)) for name in METHODS}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def _call(service: Service, name: str, data: bytes, context: Any) -> bytes:
    response = await service.answer(name, data, sent(context), context.time_remaining())
    return settle(response, context)


def sent(context: Any) -> Sent:
    """The metadata that are text."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def settle(response: Response, context: Any) -> bytes:
    """The message of a response, once the call's status and metadata are set to it."""
    context.set_trailing_metadata(list(response.headers))
    if response.status == 200:
        return response.body
    context.set_code(CODES.get(response.status, grpc.StatusCode.INVALID_ARGUMENT))
    context.set_details(response.body.decode()[:LONGEST])
    return b""


def refused(refused: Refused, asked: str) -> Response:
    """A refusal as a response."""
    return Response(refused.status, refused.detail.encode(), "text/plain")


class Service:
    """The methods of the service. A model has the name of its release, and here also the name `alias`."""

    def __init__(self, host: Host, alias: str = "") -> None:
        self._host = host
        self._alias = alias
        self._messages = messages()

    async def answer(self, name: str, data: bytes, sent: Sent, left: float | None = None) -> Response:
        """The response of a method to a message; the caller waits for `left` seconds, if that is known."""
        asked, parent = plain_id(sent.get("x-request-id")), valid(sent.get(TRACEPARENT))
        limits = core.limits_of(self._host)
        try:
            if len(data) > limits.max_body:
                raise Refused(413, f"at most {limits.max_body} bytes are taken")
            request = read(self._messages, name, data)
            if name == "ModelInfer":
                asked = plain_id(sent.get("x-request-id"), request.id)
                seconds = limits.seconds(sent.get(HEADER.decode(), ""))
                seconds = seconds if left is None else min(seconds, left)
                response = await self._infer(request, asked, trace_id(parent), seconds)
            else:
                members = TOLD[name](request, self._host, self._alias)
                response = respond(self._messages[f"{name}Response"](**members))
        except Refused as error:
            response = refused(error, asked)
        except Exception:  # a mistake of ours: it is told as all others are
            response = refused(Refused(500, core.broken(asked, "could not be answered")), asked)
        response = replace(response, headers=(("x-request-id", asked),))
        return response.with_header(TRACEPARENT, parent) if parent else response

    async def _infer(self, request: Any, asked: str, trace: str, seconds: float) -> Response:
        render = partial(_answer, self._messages["ModelInferResponse"], request)
        call = Call(asked, partial(_instances, request, self._alias), render, refused, trace)
        return await core.ask(self._host, call, seconds)


def read(messages: Mapping[str, Any], method: str, data: bytes) -> Any:
    """The request of a method; Refused 400 if the message is none."""
    message = messages[f"{method}Request"]
    try:
        return message.FromString(data)
    except DecodeError:
        raise Refused(400, f"the message is no {message.DESCRIPTOR.name}") from None


def model_of(request: Any) -> str:
    """The model that a request names."""
    name: str = getattr(request, "model_name", "") or getattr(request, "name", "")
    return name


def respond(message: Any) -> Response:
    """A message as a response."""
    return Response(200, message.SerializeToString(), "application/grpc")


# --- what describes it ---------------------------------------------------------------------------


def _is_ready(host: Host) -> bool:
    return host.release is not None and not host.drains


def _check(name: str, version: str, alias: str, release: LoadedRelease) -> None:
    names = {"model": release.model_name if alias and name == alias else name}
    check(Request("", {}, {**names, "version": version} if version else names), release)


def _model_ready(request: Any, host: Host, alias: str) -> Mapping[str, Any]:
    if not _is_ready(host):
        return {"ready": False}
    _check(request.name, request.version, alias, ready(host))
    return {"ready": True}


def _model(request: Any, host: Host, alias: str) -> Mapping[str, Any]:
    release = loaded(host)
    _check(request.name, request.version, alias, release)
    return v2.metadata(release)


def about() -> Mapping[str, Any]:
    """What ServerMetadata answers."""
    return {"name": "nb2prod", "version": importlib.metadata.version("nb2prod")}


TOLD: dict[str, Callable[[Any, Host, str], Mapping[str, Any]]] = {
    "ServerLive": lambda request, host, alias: {"live": True},
    "ServerReady": lambda request, host, alias: {"ready": _is_ready(host)},
    "ModelReady": _model_ready,
    "ServerMetadata": lambda request, host, alias: about(),
    "ModelMetadata": _model,
}

METHODS = (*TOLD, "ModelInfer")


# --- infer ---------------------------------------------------------------------------------------


def _instances(request: Any, alias: str, release: LoadedRelease) -> Any:
    _check(request.model_name, request.model_version, alias, release)
    return v2.rows_of(v2.distinct(_inputs(request)), release)


def _inputs(request: Any) -> list[tensors.Sent]:
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadTensor(f"raw_input_contents: {len(raw)} for {len(request.inputs)} inputs")
    blobs: Sequence[bytes | None] = raw or [None] * len(request.inputs)
    return [_input(one, blob) for one, blob in zip(request.inputs, blobs, strict=True)]


def _input(one: Any, blob: bytes | None) -> tensors.Sent:
    told = {"name": one.name, "datatype": one.datatype, "shape": [*one.shape]}
    there = [field.name for field, _ in one.contents.ListFields()]
    if blob is not None:
        if there:
            raise BadTensor(f"{one.name}: expected either {there[0]} or raw_input_contents, got both")
        return tensors.read({**told, "parameters": {"binary_data_size": len(blob)}}, memoryview(blob))[0]
    sent = tensors.read({**told, "data": []}, memoryview(b""))[0]
    wanted = CONTENTS[one.datatype]
    if there not in ([], [wanted]):
        raise BadTensor(f"{one.name}: {one.datatype} comes in {wanted}, got {', '.join(there)}")
    return replace(sent, values=partial(_contents, one, wanted))


def _contents(one: Any, wanted: str) -> Iterable[Any]:
    values = getattr(one.contents, wanted)
    if wanted != "bytes_contents":
        return values  # type: ignore[no-any-return]
    try:
        return [str(value, "utf-8") for value in values]
    except UnicodeDecodeError as error:
        raise BadTensor(f"{one.name}: an element is not UTF-8: {error}") from None


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
    return respond(made)
