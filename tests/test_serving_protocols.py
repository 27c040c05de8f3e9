"""One core, many protocols: each form of a request gets the answer that our own gets, or a clear refusal."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2prod.domain import Contract, Field
from nb2prod.serving import rpc, tensors
from nb2prod.serving.app import application
from nb2prod.serving.core import Columns
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.loader import load
from nb2prod.serving.messages import messages
from nb2prod.serving.protocols import mlflow
from tests.packages import write_package
from tests.test_serving_app import AS_IS, ask

ROWS = [{"x": 1.5, "n": 1, "colour": "red"}, {"x": None, "n": 2, "colour": "green"}]
ANSWERS = [4.0, None]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("protocols") / "p"
    return application(Host(load(write_package(folder), "doubler", 3)))


def of(folder: Path, contract: Contract, model: str) -> App:
    package = write_package(folder / "p", contract=contract, model=model, preprocess=AS_IS)
    return application(Host(load(package, "m", 1)))


def post(app: App, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(app, "POST", path, content=content, headers=sent)


# --- MLflow --------------------------------------------------------------------------------------

COLUMNS = {name: [row[name] for row in ROWS] for name in ("x", "n", "colour")}
SPLIT = {"columns": ["colour", "n", "x"], "index": [4, 7], "data": [["red", 1, 1.5], ["green", 2, None]]}
CSV = b"x,n,colour\r\n1.5,1,red\r\n,2,green\r\n"

INVOCATIONS = {
    "dataframe_split": ({"dataframe_split": SPLIT}, "application/json"),
    "dataframe_records": ({"dataframe_records": ROWS}, "application/json; charset=utf-8"),
    "instances": ({"instances": ROWS, "params": None}, "application/json"),
    "inputs": ({"inputs": COLUMNS, "params": {}}, ""),
    "CSV": (CSV, "text/csv"),
    "CSV with blank lines": (b"x,n,colour\n\n1.5,1,red\n,2,green\n\n\n", "text/csv"),
    "CSV with quotes and a byte order mark": (
        b'\xef\xbb\xbf"x","n","colour"\n"1.5","1","red"\n"",2,"green"\n',
        "text/csv; charset=utf-8",
    ),
}


@pytest.mark.parametrize("name", INVOCATIONS)
def test_mlflow_forms(app: App, name: str) -> None:
    body, kind = INVOCATIONS[name]
    answer = post(app, "/invocations", body, **({"content_type": kind} if kind else {}))
    assert (answer.status_code, answer.json()) == (200, {"predictions": ANSWERS})
    assert answer.headers["x-model-version"] == "3"


WRONG_INVOCATIONS = {
    "no form": ({"data": []}, "application/json", 422, "exactly one of dataframe_split"),
    "two forms": ({"instances": ROWS, "inputs": COLUMNS}, "application/json", 422, "instances and inputs"),
    "parameters": ({"instances": ROWS, "params": {"k": 1}}, "application/json", 422, "takes no parameters"),
    "a short row": (
        {"dataframe_split": {**SPLIT, "data": [["red", 1]]}},
        "application/json",
        422,
        "dataframe_split.data[0]: expected a list of 3, got a list of 2",
    ),
    "no columns": ({"dataframe_split": {"data": []}}, "application/json", 422, "dataframe_split.columns"),
    "ragged columns": ({"inputs": {**COLUMNS, "x": [1.0]}}, "application/json", 422, "lengths 1, 2"),
    "a wrong field": ({"instances": [{**ROWS[0], "n": 1.5}]}, "application/json", 422, "expected an integer"),
    "a wrong field of CSV": (b"x,n,colour\n1,one,red\n", "text/csv", 422, 'an integer, got "one"'),
    "a short line of CSV": (b"x,n,colour\n1,1\n", "text/csv", 400, "line 2 has 2 values for 3 columns"),
    "an empty CSV": (b"", "text/csv", 400, "the body is empty"),
    "no UTF-8": (b"x\n\xff", "text/csv", 400, "not CSV in UTF-8"),
    "no JSON": (b"{", "application/json", 400, "line 1"),
    "another column": (
        {"dataframe_split": {"columns": ["x", "n", "x"], "data": []}},
        "application/json",
        422,
        "a list of different names, got 'x' twice",
    ),
    "deep columns": (
        b'{"dataframe_split": {"columns": [' + b"[" * 1_000 + b"]" * 1_000 + b'], "data": []}}',
        "application/json",
        422,
        "different names, got a list of lists",
    ),
    "an empty object": ({"inputs": {}}, "application/json", 422, "got an empty object"),
    "no column": ({"inputs": {"x": 1}}, "application/json", 422, "got a number as 'x'"),
    "a column of CSV twice": (b"x,x,n,colour\n1,3,1,red\n", "text/csv", 400, "names the column 'x' twice"),
    "semicolons": (b"x;n;colour\n1;1;red\n", "text/csv", 400, "separated by commas here"),
    "brackets": (b"x,n,colour\n" + b"[" * 100_000 + b",1,red\n", "text/csv", 422, "expected a number"),
    "a value of CSV": (b"x,n,colour\n1,1," + b"a" * 200_000, "text/csv", 400, "(in line 2)"),
    "a line after a value of two": (
        b'x,n,colour\n1,1,"re\nd\n"\n1,1\n',
        "text/csv",
        400,
        "line 5 has 2 values",
    ),
    "another kind": (
        b"x",
        "application/x-parquet",
        415,
        "application/json, text/csv or application/vnd.apache.arrow.stream",
    ),
}


@pytest.mark.parametrize("name", WRONG_INVOCATIONS)
def test_mlflow_refusals(app: App, name: str) -> None:
    body, kind, status, message = WRONG_INVOCATIONS[name]
    answer = post(app, "/invocations", body, content_type=kind)
    assert answer.status_code == status
    assert message in answer.json()["message"]
    assert answer.json()["error_code"]


def test_mlflow_codes_say_who_is_to_blame(app: App) -> None:
    for kind, status in (("application/xml", 415), ("application/json", 400)):
        answer = post(app, "/invocations", b"x", content_type=kind)
        assert (answer.status_code, answer.json()["error_code"]) == (status, "BAD_REQUEST")
    late = post(app, "/invocations", {"instances": ROWS}, x_request_timeout_ms="0.000001")
    assert (late.status_code, late.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")


MANY = {
    "CSV": ("/invocations", b"n\n" + b"1\n" * 10_001 + b"and,more", "text/csv"),
    "a split": ("/invocations", {"dataframe_split": {"columns": ["n"], "data": [1] * 10_001}}, ""),
}


@pytest.mark.parametrize("name", MANY)
def test_rows_are_counted_before_they_are_made(app: App, name: str) -> None:
    path, body, kind = MANY[name]
    answer = post(app, path, body, content_type=kind)
    assert (answer.status_code, "at most 10000 instances" in answer.text) == (413, True)


def test_columns_are_counted_before_rows_are_made() -> None:
    counted = mlflow.rows_of_columns({"n": [1, 2], "x": [3, 4]})
    assert isinstance(counted, Columns)
    assert len(counted) == 2


BODIES = {
    "UTF-16": (json.dumps({"instances": []}).encode("utf-16"), "", 400, "UTF-16"),
    "latin-1": (
        '{"instances": ["grün"]}'.encode("latin-1"),
        "",
        400,
        "not UTF-8: invalid start byte at byte 18",
    ),
    "a byte order mark": (b"\xef\xbb\xbf{}", "", 400, "byte order mark"),
    "Arrow": (b"\xff\xff\xff\xff\0\0\0\0", "", 400, "looks like Arrow"),
    "CSV": (CSV, "text/csv", 415, "send CSV to /invocations"),
    "an Arrow file": (b"ARROW1\0\0", "Application/vnd.apache.Arrow.stream", 400, "pyarrow.ipc.new_stream"),
    "JSON as Arrow": (b'{"instances": []}', "application/vnd.apache.arrow.stream", 400, "looks like JSON"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_another_kind_is_told_what_it_is(app: App, name: str) -> None:
    body, kind, status, message = BODIES[name]
    answer = post(app, "/predict", body, content_type=kind)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_unknown_paths_are_refused_in_the_words_of_their_protocol(app: App) -> None:
    answer = ask(app, "GET", "/v2/models/doubler/nosuch" + "x" * 10_000)
    assert (answer.status_code, len(answer.content) < 1_500) == (404, True)
    assert "POST /v2/models/{model}/infer" in answer.json()["error"]
    verb = post(app, "/v1/models/doubler:classify", {})
    assert (verb.status_code, "POST goes to /v1/models/{model}:predict" in verb.json()["error"]) == (
        405,
        True,
    )
    assert ask(app, "GET", "/invocations").json()["message"] == "/invocations takes POST, not GET"
    assert ask(app, "GET", "/nosuch").json()["title"] == "No such path"


def test_grpc_says_what_is_wrong(tmp_path: Path) -> None:
    service, made = rpc.Service(Host(load(write_package(tmp_path / "p"), "doubler", 3))), messages()
    x, n = {"fp64_contents": [1.5]}, {"int64_contents": [1]}

    def ask_for(x: Any, shape: Sequence[int] = (1,), model: str = "doubler", **more: Any) -> Any:
        listed = [
            {"name": "x", "datatype": "FP64", "shape": shape, "contents": x},
            {"name": "n", "datatype": "INT64", "shape": [1], "contents": n},
            {"name": "colour", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"red"]}},
        ]
        request = made["ModelInferRequest"](model_name=model, inputs=listed, **more)
        answer = asyncio.run(service.answer("ModelInfer", request.SerializeToString(), {}))
        return answer.status, answer.body.decode("latin-1")

    assert ask_for(x)[0] == 200
    both = ask_for(x, raw_input_contents=[struct.pack("<d", 2.5), struct.pack("<q", 1), b"\3\0\0\0red"])
    assert both == (400, "x: expected either fp64_contents or raw_input_contents, got both")
    assert ask_for({"fp32_contents": [1]}) == (400, "x: FP64 comes in fp64_contents, got fp32_contents")
    assert ask_for(x, [1] * 2_000) == (400, "x: expected at most 32 sizes as shape, got 2000")
    assert ask_for(x, model="") == (404, "the request names no model; there is doubler")


@pytest.mark.parametrize("text", ["NaN", " NaN "])
def test_nan_in_json_is_null_where_clients_write_it(app: App, text: str) -> None:
    body = json.dumps({"instances": ROWS}).replace("null", text).encode()
    assert post(app, "/invocations", body).json() == {"predictions": ANSWERS}
    inputs = json.dumps({"inputs": INPUTS}).replace("null", text).encode()
    assert post(app, "/v2/models/doubler/infer", inputs).json()["outputs"] == [OUTPUT]
    assert post(app, "/predict", body).status_code == 400


@pytest.mark.parametrize(
    "text", ["Infinity", "-Infinity", "NaN, ", '"\\ud800", "y": NaN', "[" * 2_000 + "NaN"]
)
def test_but_nothing_else_that_is_no_json(app: App, text: str) -> None:
    body = json.dumps({"instances": ROWS}).replace("null", text).encode()
    assert post(app, "/invocations", body).status_code == 400
    utf16 = json.dumps({"instances": ROWS}).replace("null", "NaN").encode("utf-16")
    assert post(app, "/invocations", utf16).status_code == 400


def test_mlflow_forms_of_a_model_of_values(tmp_path: Path) -> None:
    contract = Contract("values", ("values",), (Field("values", "integer", "int"),))
    app = of(tmp_path, contract, "def model(values):\n    return [v * 2 for v in values]\n")
    bodies = [
        {"inputs": [1, 2]},
        {"instances": [1, 2]},
        {"dataframe_records": [{"v": 1}, {"v": 2}]},
        {"dataframe_split": {"columns": [0], "data": [[1], [2]]}},
    ]
    for body in bodies:
        assert post(app, "/invocations", body).json() == {"predictions": [2, 4]}
    assert post(app, "/invocations", b"v\n1\n2\n", content_type="text/csv").json() == {"predictions": [2, 4]}


def test_mlflow_health(app: App) -> None:
    assert ask(app, "GET", "/ping").status_code == 200
    assert ask(app, "GET", "/version").text.count(".") >= 1
    none = application(Host(reason="nothing is deployed yet"))
    assert ask(none, "GET", "/ping").status_code == 503


# --- TensorFlow Serving, KServe v1 ---------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models/doubler:predict", "/v1/models/doubler/versions/3:predict"])
def test_v1(app: App, path: str) -> None:
    assert post(app, path, {"instances": ROWS}).json() == {"predictions": ANSWERS}
    assert post(app, path, {"inputs": COLUMNS}).json() == {"outputs": ANSWERS}
    assert "error" in post(app, path, {"instances": [1]}).json()
    assert post(app, path, {}).status_code == 422
    assert ask(app, "GET", path).status_code == 405


def test_v1_describes(app: App) -> None:
    state = ask(app, "GET", "/v1/models/doubler").json()
    assert (state["name"], state["ready"]) == ("doubler", True)
    assert state["model_version_status"][0]["state"] == "AVAILABLE"
    assert ask(app, "GET", "/v1/models").json() == {"models": ["doubler"]}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/other:predict",
        "/v1/models/doubler/versions/2:predict",
        "/v2/models/other/infer",
        "/v2/models/doubler/versions/2/infer",
    ],
)
def test_another_model_or_version(app: App, path: str) -> None:
    answer = post(app, path, {"instances": ROWS, "inputs": []})
    assert answer.status_code == 404
    assert "does not answer here" in answer.json()["error"] or "there is no model" in answer.json()["error"]


# --- Open Inference Protocol ---------------------------------------------------------------------

INPUTS = [
    {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, None]},
    {"name": "n", "shape": [2, 1], "datatype": "INT64", "data": [[1], [2]]},
    {"name": "colour", "shape": [2], "datatype": "BYTES", "data": ["red", "green"]},
]
OUTPUT = {"name": "predictions", "shape": [2], "datatype": "FP64", "data": ANSWERS}


def binary(inputs: list[tuple[dict[str, Any], bytes]], **more: Any) -> tuple[bytes, int]:
    listed = [{**told, "parameters": {"binary_data_size": len(blob)}} for told, blob in inputs]
    head = json.dumps({"inputs": listed, **more}).encode()
    return head + b"".join(blob for _, blob in inputs), len(head)


BINARY = [
    ({"name": "x", "shape": [2], "datatype": "FP64"}, struct.pack("<2d", 1.5, math.nan)),
    ({"name": "n", "shape": [2, 1], "datatype": "INT32"}, struct.pack("<2i", 1, 2)),
    ({"name": "colour", "shape": [2], "datatype": "BYTES"}, b"\x03\0\0\0red\x05\0\0\0green"),
]


@pytest.mark.parametrize("path", ["/v2/models/doubler/infer", "/v2/models/doubler/versions/3/infer"])
def test_v2(app: App, path: str) -> None:
    answer = post(app, path, {"id": "42", "inputs": INPUTS})
    expected = {"model_name": "doubler", "model_version": "3", "id": "42", "outputs": [OUTPUT]}
    assert (answer.status_code, answer.json()) == (200, expected)


def test_v2_takes_whole_numbers_however_they_are_written(app: App) -> None:
    inputs = [INPUTS[0], {**INPUTS[1], "data": [[1.0], [2]]}, INPUTS[2]]
    assert post(app, "/v2/models/doubler/infer", {"inputs": inputs}).json()["outputs"] == [OUTPUT]


def test_v2_with_tensors_as_bytes_both_ways(app: App) -> None:
    body, length = binary(BINARY, parameters={"binary_data_output": True})
    answer = post(app, "/v2/models/doubler/infer", body, inference_header_content_length=str(length))
    end = int(answer.headers["inference-header-content-length"])
    (told,) = json.loads(answer.content[:end])["outputs"]
    assert told == {
        "name": "predictions",
        "shape": [2],
        "datatype": "FP64",
        "parameters": {"binary_data_size": 16},
    }
    found = struct.unpack("<2d", answer.content[end:])
    assert (found[0], math.isnan(found[1])) == (4.0, True)


def test_v2_gives_the_outputs_that_are_asked_for(tmp_path: Path) -> None:
    contract = Contract("values", ("values",), (Field("values", "number", "float"),))
    model = "def model(values):\n    return [{'p': v / 2, 'late': v > 1, 'why': ['a', v]} for v in values]\n"
    app = of(tmp_path, contract, model)
    inputs = [{"name": "any", "shape": [2], "datatype": "FP32", "data": [1, 3]}]
    found = post(app, "/v2/models/m/infer", {"inputs": inputs}).json()["outputs"]
    assert [(o["name"], o["datatype"], o["data"]) for o in found] == [
        ("p", "FP64", [0.5, 1.5]),
        ("late", "BOOL", [False, True]),
        ("why", "BYTES", ['["a",1.0]', '["a",3.0]']),
    ]
    wanted = [{"name": "late"}]
    assert post(app, "/v2/models/m/infer", {"inputs": inputs, "outputs": wanted}).json()["outputs"] == [
        found[1]
    ]
    none = post(app, "/v2/models/m/infer", {"inputs": inputs, "outputs": [{"name": "gone"}]})
    assert (none.status_code, none.json()["error"]) == (
        400,
        "there is no output gone; there are p, late, why",
    )


def test_v2_of_integers_beyond_64_bits(tmp_path: Path) -> None:
    contract = Contract("values", ("values",), (Field("values", "integer", "int"),))
    app = of(tmp_path, contract, "def model(values):\n    return [2**70 for v in values]\n")
    inputs = [{"name": "any", "shape": [1], "datatype": "INT64", "data": [1]}]
    (found,) = post(app, "/v2/models/m/infer", {"inputs": inputs}).json()["outputs"]
    assert (found["datatype"], found["data"]) == ("BYTES", [str(2**70)])


def test_v2_of_an_array(tmp_path: Path) -> None:
    contract = Contract("array", ("a",), (Field("a", "number", "float32"),), shape=(2, 2))
    app = of(tmp_path, contract, "def model(values):\n    return values.sum(axis=1)\n")
    flat = {"name": "a", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    for data in (flat, {**flat, "data": [[[1, 2], [3, 4]]]}):
        (found,) = post(app, "/v2/models/m/infer", {"inputs": [data]}).json()["outputs"]
        assert (found["shape"], found["data"]) == ([1, 2], [4.0, 6.0])
    blob = ({"name": "a", "shape": [1, 2, 2], "datatype": "FP16"}, struct.pack("<4e", 1, 2, 3, 4))
    body, length = binary([blob])
    answer = post(app, "/v2/models/m/infer", body, inference_header_content_length=str(length))
    assert answer.json()["outputs"][0]["data"] == [4.0, 6.0]
    (told,) = ask(app, "GET", "/v2/models/m").json()["inputs"]
    assert told == {"name": "a", "datatype": "FP64", "shape": [-1, 2, 2]}


X = INPUTS[0]
WRONG_V2 = {
    "no inputs": ({}, "inputs: expected a list of tensors"),
    "no name": ({"inputs": [{}]}, "an object with name"),
    "an unknown type": ({"inputs": [{**X, "datatype": "BF16"}]}, "as datatype, got 'BF16'"),
    "no shape": ({"inputs": [{**X, "shape": None}]}, "a list of sizes as shape"),
    "a negative size": ({"inputs": [{**X, "shape": [-1]}]}, "a list of sizes as shape"),
    "a size beyond Python's lists": ({"inputs": [{**X, "shape": [2**63]}]}, "a list of sizes as shape"),
    "too few values": ({"inputs": [{**X, "shape": [3]}]}, "shape [3] holds 3 values, got 2"),
    "no data": ({"inputs": [{**X, "data": 5}]}, "expected a list as data"),
    "bytes that are not there": (
        {"inputs": [{**X, "parameters": {"binary_data_size": 16}}]},
        "binary_data_size is 16, and 0 bytes are there",
    ),
    "no rows": ({"inputs": [{**X, "shape": [], "data": [1]}]}, "begins with the number of rows"),
    "one name twice": ({"inputs": [X, X]}, "two tensors have one name"),
    "other lengths": ({"inputs": [X, {**INPUTS[1], "shape": [1], "data": [1]}]}, "as many rows in each"),
    "a field is missing": ({"inputs": INPUTS[:2]}, "field 'colour': expected a string, got nothing"),
    "a wrong value": ({"inputs": [X, {**INPUTS[1], "data": [1.5, 2]}, INPUTS[2]]}, "got 1.5"),
    "too many sizes": ({"inputs": [{**X, "shape": [1] * 2000}]}, "at most 32 sizes as shape, got 2000"),
    "sizes of any number": ({"inputs": [{**X, "shape": [2**63 - 1] * 20_000}]}, "at most 32 sizes"),
    "empty lists in a row": ({"inputs": [{**X, "shape": [1, 20_000_000, 0], "data": []}]}, "20000001 lists"),
    "lists of one": (
        {"inputs": [{**X, "shape": [1, 50_000] + [1] * 30, "data": [1] * 50_000}]},
        "lists of 50000 values",
    ),
    "data and bytes": (
        {"inputs": [{**X, "parameters": {"binary_data_size": 0}}]},
        "either data or binary_data_size, got both",
    ),
    "beyond a datatype": (
        {"inputs": [{**X, "datatype": "INT8", "data": [1, 1000]}]},
        "INT8 is an integer from -128 to 127, got 1000",
    ),
    "below a datatype": ({"inputs": [{**X, "datatype": "UINT8", "data": [-1, 1]}]}, "to 255, got -1"),
    "a text of numbers": ({"inputs": [{**X, "data": [1, "2"]}]}, 'x: FP64 is a number, got "2"'),
    "no truth value": ({"inputs": [{**X, "datatype": "BOOL", "data": [1, 2]}]}, "true or false, got 2"),
    "an output without a name": ({"inputs": INPUTS, "outputs": [{}]}, "a list of objects with a name"),
    "outputs that are none": ({"inputs": INPUTS, "outputs": [1]}, "outputs: expected a list of objects"),
}


@pytest.mark.parametrize("name", WRONG_V2)
def test_v2_refusals(app: App, name: str) -> None:
    body, message = WRONG_V2[name]
    answer = post(app, "/v2/models/doubler/infer", body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert len(answer.content) < 1_500


@pytest.mark.parametrize("shape", [[20_000_000, 0], [2**63 - 1] * 30])
def test_v2_counts_rows_that_hold_nothing(app: App, shape: list[int]) -> None:
    answer = post(app, "/v2/models/doubler/infer", {"inputs": [{**X, "shape": shape, "data": []}]})
    assert (answer.status_code, f"got {shape[0]}" in answer.json()["error"]) == (413, True)


def test_v2_counts_rows_before_it_makes_them(app: App) -> None:
    told = [{"name": name, "shape": [40_000], "datatype": "BYTES"} for name in ("x", "n", "colour")]
    # no such elements are there: whoever looks into them says so
    body, length = binary([(one, b"\xff" * 10) for one in told])
    answer = post(app, "/v2/models/doubler/infer", body, inference_header_content_length=str(length))
    assert (answer.status_code, "got 40000" in answer.json()["error"]) == (413, True)


@pytest.mark.parametrize(
    ("length", "tail"), [("9999", b""), ("9" * 5_000, b""), ("x", b""), (None, b"left over")]
)
def test_v2_refuses_bytes_that_do_not_fit(app: App, length: str | None, tail: bytes) -> None:
    body, true = binary(BINARY)
    sent = length or str(true)
    answer = post(app, "/v2/models/doubler/infer", body + tail, inference_header_content_length=sent)
    assert answer.status_code == 400


def test_v2_describes(app: App) -> None:
    assert ask(app, "GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/doubler/ready"):
        assert ask(app, "GET", path).status_code == 200
    told = ask(app, "GET", "/v2/models/doubler/versions/3").json()
    assert [(i["name"], i["datatype"], i["shape"]) for i in told["inputs"]] == [
        ("x", "FP64", [-1]),
        ("n", "INT64", [-1]),
        ("colour", "BYTES", [-1]),
    ]
    none = application(Host())
    assert ask(none, "GET", "/v2/health/live").status_code == 200
    assert ask(none, "GET", "/v2/health/ready").status_code == 503


VALUES = st.one_of(
    st.lists(st.booleans(), min_size=1),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.floats(allow_infinity=False) | st.none(), min_size=1),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1),
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=1)
    ),
)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_tensors_come_back_as_bytes_and_as_json(values: list[Any]) -> None:
    tensor = tensors.of_column("t", values)
    plain = {"name": "t", "datatype": tensor.datatype, "shape": list(tensor.shape)}
    expected = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    blob = tensors.pack(tensor)
    told = {**plain, "parameters": {"binary_data_size": len(blob)}}
    back, rest = tensors.read(told, memoryview(blob))
    assert (back.tensor().rows(), len(rest)) == (expected, 0)
    assert tensors.read({**plain, "data": [*tensor.flat]}, memoryview(b""))[0].tensor().rows() == expected
