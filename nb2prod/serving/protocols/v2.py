"""The Open Inference Protocol, REST, with binary tensors: what KServe and Triton speak.

GET  /v2, /v2/health/live, /v2/health/ready
GET  /v2/models/{model}[/versions/{version}][/ready]
POST /v2/models/{model}[/versions/{version}]/infer

One tensor for each field of a row; else one for the values. A nested field comes as BYTES of JSON.

Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from nb2prod.serving import tensors
from nb2prod.serving.bodies import Rows, json_object, said_twice
from nb2prod.serving.core import Call, loaded, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, answer, dumps
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.protocols.v1 import check
from nb2prod.serving.routes import Request, get, post
from nb2prod.serving.tensors import BadTensor, Sent, Tensor

OUTPUT = "predictions"
"""The name of predictions that are no records."""

LENGTH = "inference-header-content-length"

DATATYPES = {"integer": "INT64", "number": "FP64", "boolean": "BOOL"}
NESTED = ("record", "map", "any")


# --- infer ---------------------------------------------------------------------------------------


def _infer(request: Request, body: bytes) -> Call:
    read = _Read(request, body)
    return Call(request.asked, read.instances, read.answer, _refused)


class _Read:
    """A request, and what it wants of its answer."""

    def __init__(self, request: Request, body: bytes) -> None:
        self._request = request
        self._body = body
        self._id = request.asked
        self._wanted: Mapping[str, bool] = {}
        self._binary = False

    def instances(self, release: LoadedRelease) -> Any:
        check(self._request, release)
        data, blob = self._parts()
        if isinstance(data.get("id"), str):
            self._id = data["id"]
        self._binary = _flag(data, "binary_data_output")
        self._wanted = _wanted(data, self._binary)
        return rows_of(_inputs(data, blob), release)

    def _parts(self) -> tuple[dict[str, Any], memoryview]:
        length = self._request.header(LENGTH.encode())
        if not length:
            return json_object(self._body, nan=True), memoryview(b"")
        # of a number that is long enough Python makes none
        if not length.isdecimal() or len(length) > 18 or int(length) > len(self._body):
            raise Refused(400, f"{LENGTH} is {length!r:.40}; the body has {len(self._body)} bytes")
        end = int(length)
        return json_object(self._body[:end], nan=True), memoryview(self._body)[end:]

    def answer(self, release: LoadedRelease, predictions: list[Any]) -> Response:
        listed, blobs = [], []
        for tensor in wanted_of(predictions, self._wanted):
            data: dict[str, Any] = {
                "name": tensor.name,
                "shape": tensor.shape,
                "datatype": tensor.datatype,
            }
            if self._wanted.get(tensor.name, self._binary):
                blobs.append(tensors.pack(tensor))
                data["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                data["data"] = tensor.flat
            listed.append(data)
        told = {
            "model_name": release.model_name,
            "model_version": str(release.version),
            "id": self._id,
            "outputs": listed,
        }
        if not blobs:
            return answer(told, *named(release))
        head = dumps(told)
        headers = (*named(release), (LENGTH, str(len(head))))
        return Response(200, b"".join([head, *blobs]), "application/octet-stream", headers)


def _flag(data: Any, name: str) -> bool:
    parameters = data.get("parameters")
    return isinstance(parameters, dict) and parameters.get(name) is True


def _wanted(data: Mapping[str, Any], binary: bool) -> dict[str, bool]:
    """Outputs by name, and whether as bytes; empty if all are wanted."""
    listed = data.get("outputs") or []
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in listed
    ):
        raise BadTensor("outputs: expected a list of objects with a name")
    return {one["name"]: _flag(one, "binary_data") or binary for one in listed}


def _inputs(data: Mapping[str, Any], blob: memoryview) -> list[Sent]:
    listed = data.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise BadTensor("inputs: expected a list of tensors")
    found = []
    for one in listed:
        tensor, blob = tensors.read(one, blob)
        found.append(tensor)
    if len(blob):
        raise BadTensor(f"inputs: {len(blob)} bytes belong to no tensor")
    return distinct(found)


def distinct(found: list[Sent]) -> list[Sent]:
    """The tensors of a request; BadTensor if two have one name."""
    if twice := said_twice([tensor.name for tensor in found]):
        raise BadTensor(f"inputs: two tensors have one name: {twice}")
    return found


def rows_of(found: Sequence[Sent], release: LoadedRelease) -> Rows:
    """The instances that the tensors of a request hold; BadTensor."""
    if not found:
        raise BadTensor("inputs: expected a list of tensors")
    if not release.predictor.takes_records and len(found) > 1:
        raise BadTensor(f"inputs: expected one tensor, got {_names(found)}")
    lengths = {len(tensor) for tensor in found}
    if len(lengths) > 1:
        raise BadTensor(f"inputs: expected as many rows in each tensor, got {sorted(lengths)}")
    return Rows(lengths.pop(), partial(_rows, found))


def _rows(found: Sequence[Sent], release: LoadedRelease) -> list[Any]:
    fields = release.contract["fields"]
    if not release.predictor.takes_records:
        deeper = len(release.contract["shape"])
        return _values(found[0].tensor(), fields[0] if fields else {}, deeper)
    kinds = {field["name"]: field for field in fields}
    columns = {sent.name: _values(sent.tensor(), kinds.get(sent.name, {}), 0) for sent in found}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(tensor: Tensor, field: Mapping[str, Any], deeper: int) -> list[Any]:
    """A value for each row. A column of shape [n, 1] is one of [n]."""
    dtype = field.get("dtype")
    single = not deeper and dtype != "list" and tensor.shape[1:] == (1,)
    rows = list(tensor.flat) if single else tensor.rows()
    return [_unpacked(row) for row in rows] if dtype in NESTED and tensor.datatype == "BYTES" else rows


def _unpacked(text: Any) -> Any:
    with suppress(ValueError, TypeError):
        return orjson.loads(text)
    return text


def wanted_of(predictions: Sequence[Any], wanted: Collection[str]) -> list[Tensor]:
    """Predictions as tensors, those that are wanted, or all; Refused 400 if there is none of a name."""
    found = _outputs(predictions)
    if unknown := set(wanted) - {tensor.name for tensor in found}:
        raise Refused(400, f"there is no output {min(unknown)}; there are {_names(found)}")
    return [tensor for tensor in found if not wanted or tensor.name in wanted]


def _outputs(predictions: Sequence[Any]) -> list[Tensor]:
    if all(isinstance(one, dict) for one in predictions) and len({tuple(one) for one in predictions}) == 1:
        return [tensors.of_column(name, [one[name] for one in predictions]) for name in predictions[0]]
    return [tensors.of_column(OUTPUT, predictions)]


def _names(found: Sequence[Tensor | Sent]) -> str:
    return ", ".join(tensor.name for tensor in found)


def _refused(refused: Refused, asked: str) -> Response:
    status = 400 if refused.status == 422 else refused.status
    return answer({"error": refused.detail, "request_id": asked}, *refused.headers, status=status)


# --- what describes it ---------------------------------------------------------------------------


def _server(request: Request, host: Host) -> Response:
    version = importlib.metadata.version("nb2prod")
    return answer({"name": "nb2prod", "version": version, "extensions": ["binary_tensor_data"]})


def _live(request: Request, host: Host) -> Response:
    return answer({"live": True})


def _ready(request: Request, host: Host) -> Response:
    release = ready(host)
    check(request, release)
    return answer({"name": release.model_name, "ready": True}, *named(release))


def _model(request: Request, host: Host) -> Response:
    release = loaded(host)
    check(request, release)
    return answer(metadata(release), *named(release))


def metadata(release: LoadedRelease) -> dict[str, Any]:
    """What the protocol tells of a model."""
    return {
        "name": release.model_name,
        "versions": [str(release.version)],
        "platform": "nb2prod",
        "inputs": _asked_for(release),
        "outputs": _given(release),
    }


def _asked_for(release: LoadedRelease) -> list[dict[str, Any]]:
    fields, shape = release.contract["fields"], release.contract["shape"]
    if release.predictor.takes_records:
        return [_metadata(field["name"], field, ()) for field in fields]
    return [_metadata(release.contract["request"][0], fields[0] if fields else {}, shape)]


def _given(release: LoadedRelease) -> list[dict[str, Any]]:
    found = release.contract["answer"] or {}
    if found.get("dtype") == "record":
        return [_metadata(part["name"], part, ()) for part in found["parts"]]
    return [_metadata(OUTPUT, found, ())]


def _metadata(name: str, field: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    if field.get("dtype") == "list" and field["parts"]:
        shape, field = (*shape, field["length"] or -1), field["parts"][0]
    return {"name": name, "datatype": DATATYPES.get(field.get("dtype", ""), "BYTES"), "shape": [-1, *shape]}


ROUTES = (
    get("/v2", _server, _refused),
    get("/v2/health/live", _live, _refused),
    get("/v2/health/ready", _ready, _refused),
    get("/v2/models/{model}", _model, _refused),
    get("/v2/models/{model}/ready", _ready, _refused),
    get("/v2/models/{model}/versions/{version}", _model, _refused),
    get("/v2/models/{model}/versions/{version}/ready", _ready, _refused),
    post("/v2/models/{model}/infer", _infer, _refused),
    post("/v2/models/{model}/versions/{version}/infer", _infer, _refused),
)
