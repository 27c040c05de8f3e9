"""Mutated bodies over all protocols: refused or answered, never a 5xx, never a hang.

NB2PROD_BODIES says how many are tried.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nb2prod.domain import Contract, Field
from nb2prod.serving import arrow, rpc
from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import load
from nb2prod.serving.messages import SERVICE, messages
from nb2prod.serving.protocols import ROUTES, vertex
from nb2prod.serving.routes import Table
from tests.packages import CONTRACT, write_package
from tests.test_serving_app import AS_IS, VALUE
from tests.test_serving_arrow import FRAME, TABLE, as_json, stream
from tests.test_serving_arrow import ROWS as FRAME_ROWS

BODIES = int(os.environ.get("NB2PROD_BODIES", "2000"))
HANG_S = 20.0
LONG = 5_000
"""Bodies that are longer are changed as bytes only: they would grow without end."""

LIMITS = Limits(max_body=200_000, max_rows=500)

NESTED = Contract(
    "records",
    ("rows",),
    (
        Field("when", "datetime", "Timestamp", nullable=True),
        Field("where", "record", "dict", parts=(Field("zip", "string", "str"), Field("m", "map", "dict",
              parts=(Field("", "integer", "int"),), optional=True))),
        Field("tags", "list", "list", parts=(Field("", "number", "float32", nullable=True),)),
    ),
)  # fmt: skip

MODELS: dict[str, tuple[Contract, str, list[Any]]] = {
    # none of them fails on what keeps its contract
    "records": (CONTRACT, "return [row['n'] for row in x]", list(CONTRACT.example)),
    "frame": (FRAME, "return x['n'].tolist()", as_json(FRAME_ROWS)["instances"]),
    "array": (
        Contract("array", ("a",), (Field("a", "number", "float32", nullable=True),), shape=(2, 2)),
        "return x",
        [[[1, 2], [3, None]]],
    ),
    # what comes is what goes: answers of any kind
    "echo": (VALUE, "return x", [1, "a", None, [1.5, {"b": []}]]),
    "text": (Contract("text", ("t",), (Field("t", "string", "str"),)), "return x", ["a", "ü"]),
    "nested": (
        NESTED,
        "return [str(row) for row in x]",
        [{"when": "2020-01-01", "where": {"zip": "1", "m": {"a": 1}}, "tags": [1.5, None]}],
    ),
}


@dataclass(frozen=True)
class Asked:
    """A request that is answered as it is."""

    path: str
    headers: dict[str, str]
    body: bytes


def requests_of(name: str, rows: list[Any]) -> Iterator[Asked]:
    """One in each form of each protocol that its rows can take."""

    def made(path: str, body: Any, **headers: str) -> Asked:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return Asked(path, {key.replace("_", "-"): value for key, value in headers.items()}, content)

    yield made("/predict", {"instances": rows})
    yield made("/predict", {"instances": rows}, accept=arrow.STREAM)
    yield made("/vertex", {"instances": rows, "parameters": {}})
    yield made("/v1/models/m:predict", {"instances": rows})
    yield made("/invocations", {"inputs": rows}, accept=arrow.STREAM)
    yield made("/invocations", {"instances": rows, "params": {}}, content_type="application/json")
    if isinstance(rows[0], dict):
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        split = {"columns": [*columns], "data": [[*row.values()] for row in rows]}
        yield made("/invocations", {"dataframe_split": split})
        yield made("/invocations", {"dataframe_records": rows})
        yield made("/v1/models/m/versions/1:predict", {"inputs": columns})
    if name in ("records", "frame"):
        texts = [["" if value is None else str(value) for value in row.values()] for row in rows]
        lines = [",".join(line) for line in ([*rows[0]], *texts)]
        yield made("/invocations", "\n".join(lines).encode(), content_type="text/csv")
    if name == "records":
        inputs = [
            {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
            {"name": "n", "shape": [2, 1], "datatype": "INT64", "data": [[1], [2]]},
            {"name": "colour", "shape": [2], "datatype": "BYTES", "data": ["red", "green"]},
        ]
        yield made("/v2/models/m/infer", {"inputs": inputs, "outputs": [{"name": "predictions"}]})
        blobs = [np.array([1.5, 2.5]).tobytes(), np.array([1, 2]).tobytes(), b"\3\0\0\0red\5\0\0\0green"]
        for one, blob in zip(inputs, blobs, strict=True):
            del one["data"]
            one["parameters"] = {"binary_data_size": len(blob)}
        head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
        length = {"inference_header_content_length": str(len(head))}
        yield made("/v2/models/m/infer", head + b"".join(blobs), **length)
        yield made("/predict", stream(pa.Table.from_pylist(rows)), content_type=arrow.STREAM)
    if name == "frame":
        yield made("/predict", stream(TABLE), content_type=arrow.STREAM, accept=arrow.STREAM)
        yield made("/invocations", stream(TABLE), content_type=arrow.STREAM)
    if name == "array":
        a = {"name": "a", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
        yield made("/v2/models/m/infer", {"inputs": [a]})
    if name in ("echo", "text"):
        a = {"name": "a", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
        yield made("/v2/models/m/infer", {"inputs": [a], "parameters": {"binary_data_output": True}})


ASKED = [(name, asked) for name, (_, _, rows) in MODELS.items() for asked in requests_of(name, rows)]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    folder = tmp_path_factory.mktemp("fuzz")
    found = {}
    for name, (contract, body, _) in MODELS.items():
        model = f"def model(x):\n    {body}\n"
        package = write_package(folder / name, contract=contract, model=model, preprocess=AS_IS)
        found[name] = Host(load(package, "m", 1, LIMITS))
    return found


@pytest.fixture(scope="module")
def apps(hosts: dict[str, Host]) -> dict[str, App]:
    table = Table((*ROUTES, *vertex.routes("/alive", "/vertex")))
    return {name: application(host, table=table) for name, host in hosts.items()}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


async def respond(app: App, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """The app's answer, without a client between."""
    headers = [(key.encode(), value.encode("latin-1")) for key, value in asked.headers.items()]
    scope = {"type": "http", "method": "POST", "path": asked.path, "headers": headers}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": asked.body}

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(HANG_S):
        await app(scope, receive, send)
    start, body = sent
    return start["status"], {str(k, "latin-1"): str(v, "latin-1") for k, v in start["headers"]}, body["body"]


# --- mutations -----------------------------------------------------------------------------------

Mutate = Callable[[bytes], bytes]

SPECIAL = [
    "NaN",
    "1e999",
    "-1e999",
    "9" * 400,
    "-0",
    "1e-400",
    '"\\ud800"',
    "[" * 3_000,
    "[" * 900 + "]" * 900,
    "{}",
    "[]",
    "null",
    "true",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.binary(max_size=8) | st.sampled_from(SPECIAL).map(str.encode)


@st.composite
def bytes_changed(draw: st.DrawFn) -> Mutate:
    """Bytes cut out, put in, said twice or turned."""
    kind = draw(st.sampled_from(["cut", "put", "twice", "end", "turn"]))
    at, size = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    piece = draw(PIECES)

    def mutate(body: bytes) -> bytes:
        i = int(at * len(body))
        head, middle, tail = body[:i], body[i : i + size], body[i + size :]
        turned = bytes(b ^ (1 << size % 8) for b in middle[:1]) + middle[1:]
        return {
            "cut": head + tail,
            "put": head + piece + body[i:],
            "twice": head + middle * 3 + tail,
            "end": head,
            "turn": head + turned + tail,
        }[kind]

    return mutate


@st.composite
def json_changed(draw: st.DrawFn) -> Mutate:
    """A part of a JSON body replaced, removed or wrapped; bodies of other kinds as they are."""
    kind = draw(st.sampled_from(["value", "remove", "wrap", "many", "key"]))
    value, steps = draw(VALUES), draw(st.lists(st.integers(0, 5), max_size=6))

    def mutate(body: bytes) -> bytes:
        try:
            data = {"": json.loads(body)} if len(body) < LONG else {}
        except (ValueError, RecursionError):
            return body
        if not data:
            return body
        holder: Any = data
        key: Any = ""
        for step in steps:
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            holder = inner
            key = [*inner][step % len(inner)] if isinstance(inner, dict) else step % len(inner)
        if kind == "remove" and key != "":
            del holder[key]
        elif kind == "key" and isinstance(holder, dict) and key != "":
            holder[str(value)[:9]] = holder.pop(key)
        else:
            new = {"value": value, "wrap": [holder[key]], "many": [holder[key]] * 600}
            holder[key] = new.get(kind, value)
        return json.dumps(data[""]).encode("utf-8", "surrogatepass")

    return mutate


MUTATIONS = st.lists(bytes_changed() | json_changed(), min_size=1, max_size=3)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "accept", "inference-header-content-length", "content-length", "content-encoding",
         "x-request-id", "traceparent"]
    ),
    st.sampled_from(["", "application/json", "text/csv", arrow.STREAM, "0", "10", "-1", "99999", "a" * 200]),
    max_size=2,
)  # fmt: skip

quick = settings(
    deadline=None, max_examples=BODIES, suppress_health_check=[*HealthCheck], print_blob=True, database=None
)


@pytest.mark.parametrize(("name", "asked"), ASKED, ids=[f"{n} {a.path}" for n, a in ASKED])
def test_as_they_are_they_are_answered(
    apps: dict[str, App], runner: asyncio.Runner, name: str, asked: Asked
) -> None:
    status, _, body = runner.run(respond(apps[name], asked))
    assert status == 200, body


@quick
@given(st.sampled_from(ASKED), MUTATIONS, HEADERS)
def test_mutated_they_are_answered_or_refused(
    apps: dict[str, App],
    runner: asyncio.Runner,
    asked: tuple[str, Asked],
    mutations: list[Mutate],
    headers: dict[str, str],
) -> None:
    name, one = asked
    body = one.body
    for mutate in mutations:
        body = mutate(body)
    changed = Asked(one.path, {**one.headers, **headers}, body)
    status, got, answer = runner.run(respond(apps[name], changed))
    assert status < 500, (name, changed, answer)
    assert int(got["content-length"]) == len(answer)
    if got["content-type"].startswith("application/") and got["content-type"].endswith("json"):
        orjson.loads(answer)
    if got["content-type"] == arrow.STREAM:
        pa.ipc.open_stream(answer).read_all().validate(full=True)


# --- gRPC ----------------------------------------------------------------------------------------


def grpc_request() -> bytes:
    made = messages()["ModelInferRequest"](model_name="m", id="1")
    for name, datatype in (("x", "FP64"), ("n", "INT64"), ("colour", "BYTES")):
        made.inputs.add(name=name, datatype=datatype, shape=[1])
    made.inputs[0].contents.fp64_contents.append(1.5)
    made.inputs[1].contents.int64_contents.append(1)
    made.inputs[2].contents.bytes_contents.append(b"red")
    data: bytes = made.SerializeToString()
    return data


@settings(quick, max_examples=max(BODIES // 10, 1))
@given(st.lists(bytes_changed(), min_size=1, max_size=3))
def test_mutated_messages(hosts: dict[str, Host], runner: asyncio.Runner, mutations: list[Mutate]) -> None:
    body = grpc_request()
    for mutate in mutations:
        body = mutate(body)

    async def ask() -> grpc.StatusCode:
        server, port = await rpc.start(hosts["records"], LIMITS, "127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                try:
                    await method(body, timeout=HANG_S)
                except grpc.aio.AioRpcError as error:
                    return error.code()
            return grpc.StatusCode.OK
        finally:
            await server.stop(None)

    code = runner.run(ask())
    taken = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert code in taken, body
