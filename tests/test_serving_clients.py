"""Clients as others wrote them get right answers: Triton's, MLflow's, curl as SageMaker and Vertex AI ask."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc
import tritonclient.http
from mlflow.models import convert_input_example_to_serving_input
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from nb2prod.domain import Contract, Field
from tests.conftest import eventually
from tests.packages import write_package
from tests.processes import Served, failed, serving
from tests.test_serving_app import WAIT

X = np.array([1.5, np.nan])
N = np.array([1, 2])
ONES = "def model(a):\n    return [1] * len(a)\n"
COLOUR = np.array(["red", "green"], dtype=object)
ANSWERS = [4.0, np.nan]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("clients") / "doubler")


@pytest.fixture(scope="module")
def served(package: Path) -> Iterator[Served]:
    with serving(package, "--version", "3", "--grpc-port", "0") as found:
        yield found


# --- Triton --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(served.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def rpc(served: Served) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        yield client


def inputs(module: Any, **binary: bool) -> list[Any]:
    found = []
    for name, values, datatype in (("x", X, "FP64"), ("n", N, "INT64"), ("colour", COLOUR, "BYTES")):
        one = module.InferInput(name, [2], datatype)
        one.set_data_from_numpy(values, **binary)
        found.append(one)
    return found


@pytest.mark.parametrize("bytes_in", [True, False])
@pytest.mark.parametrize("bytes_out", [True, False, None])
def test_triton_over_http(http: Any, bytes_in: bool, bytes_out: bool | None) -> None:
    wanted = None
    if bytes_out is not None:
        wanted = [tritonclient.http.InferRequestedOutput("predictions", binary_data=bytes_out)]
    asked = inputs(tritonclient.http, binary_data=bytes_in)
    found = http.infer("doubler", asked, outputs=wanted, request_id="42", model_version="3")
    if bytes_out is False:
        # null in JSON: its as_numpy has nothing for it
        assert found.get_output("predictions")["data"] == [4.0, None]
    else:
        np.testing.assert_array_equal(found.as_numpy("predictions"), ANSWERS)
    assert found.get_response()["id"] == "42"


def test_triton_over_grpc(rpc: Any) -> None:
    wanted = [tritonclient.grpc.InferRequestedOutput("predictions")]
    for outputs in (None, wanted):
        found = rpc.infer("doubler", inputs(tritonclient.grpc), outputs=outputs, request_id="42")
        np.testing.assert_array_equal(found.as_numpy("predictions"), ANSWERS)
    response = found.get_response()
    assert (response.id, response.model_name, response.model_version) == ("42", "doubler", "3")


@pytest.mark.parametrize("name", ["http", "rpc"])
def test_what_triton_asks_before(name: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(name)
    as_json = {"as_json": True} if name == "rpc" else {}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("doubler")
    assert client.is_model_ready("doubler", "3")
    assert client.get_server_metadata(**as_json)["name"] == "nb2prod"
    about = client.get_model_metadata("doubler", **as_json)
    assert [(one["name"], one["datatype"], [*map(int, one["shape"])]) for one in about["inputs"]] == [
        ("x", "FP64", [-1]),
        ("n", "INT64", [-1]),
        ("colour", "BYTES", [-1]),
    ]
    assert about["versions"] == ["3"]


@pytest.mark.parametrize("name", ["http", "rpc"])
def test_what_triton_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(name)
    module = tritonclient.http if name == "http" else tritonclient.grpc
    refusals: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.infer("other", inputs(module)), "there is no model other"),
        (lambda: client.infer("doubler", inputs(module), model_version="9"), "version 9 of doubler"),
        (lambda: client.infer("doubler", inputs(module)[:2]), "field 'colour': expected a string"),
        (
            lambda: client.infer("doubler", inputs(module), outputs=[module.InferRequestedOutput("gone")]),
            "there is no output gone; there are predictions",
        ),
        (lambda: client.get_model_metadata("other"), "there is no model other"),
    ]
    for ask, message in refusals:
        with pytest.raises(InferenceServerException, match=message):
            ask()


def test_triton_asks_many_at_a_time(rpc: Any) -> None:
    def ask(i: int) -> Any:
        one = inputs(tritonclient.grpc)
        one[1].set_data_from_numpy(np.array([20 + i, 2]))
        return rpc.infer("doubler", one).as_numpy("predictions")[0]

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(ask, range(200))] == [3.0 + 20 + i for i in range(200)]


def test_triton_compresses_and_is_told(http: Any) -> None:
    with pytest.raises(InferenceServerException, match="content-encoding"):
        http.infer("doubler", inputs(tritonclient.http), request_compression_algorithm="gzip")


# --- gRPC, by hand -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def request_of(**more: Any) -> Any:
    made = service_pb2.ModelInferRequest(model_name="doubler", **more)
    for name, datatype, values in (("x", "FP32", [1.5]), ("n", "UINT8", [1]), ("colour", "BYTES", [b"red"])):
        one = made.inputs.add(name=name, datatype=datatype, shape=[1])
        kind = {"FP32": "fp32_contents", "UINT8": "uint_contents", "BYTES": "bytes_contents"}[datatype]
        getattr(one.contents, kind).extend(values)
    return made


def test_values_instead_of_bytes(stub: Any) -> None:
    found = stub.ModelInfer(request_of())
    assert np.frombuffer(found.raw_output_contents[0]).tolist() == [4.0]


def broken(**change: Any) -> Any:
    made = request_of()
    for name, value in change.items():
        setattr(made.inputs[2], name, value)
    return made


def with_bytes(*raw: bytes) -> Any:
    made = request_of(raw_input_contents=raw)
    for one in made.inputs:
        one.ClearField("contents")
    return made


BROKEN = {
    "an unknown type": (broken(datatype="BF16"), "as datatype, got 'BF16'"),
    "no inputs": (service_pb2.ModelInferRequest(model_name="doubler"), "inputs: expected a list of tensors"),
    "one name twice": (broken(name="x"), "two tensors have one name"),
    "too few bytes": (with_bytes(b"", b"", b""), "shape [1] holds 1 values, got 0"),
    "bytes for some": (with_bytes(b""), "raw_input_contents: 1 for 3 inputs"),
    "values and bytes": (request_of(raw_input_contents=[b"", b"", b""]), "or raw_input_contents, got both"),
    "half a value": (with_bytes(b"abc", b"a", b""), "no whole number of FP32"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tensors(stub: Any, name: str) -> None:
    request, message = BROKEN[name]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert (caught.value.code(), message in caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    ), caught.value.details()


def test_texts_that_are_none(stub: Any) -> None:
    made = request_of()
    made.inputs[2].contents.bytes_contents[0] = b"\xff"
    with pytest.raises(grpc.RpcError, match="not UTF-8"):
        stub.ModelInfer(made)


def test_a_model_that_fails(stub: Any) -> None:
    made = request_of()
    made.inputs[1].contents.uint_contents[0] = 13
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(made, metadata=[("x-request-id", "mine")])
    assert (caught.value.code(), "under mine" in caught.value.details()) == (grpc.StatusCode.INTERNAL, True)


def test_details_that_are_too_long_for_a_client(tmp_path: Path) -> None:
    field = Field("a", "category", "str", categories=("é" * 4_500,))
    contract = Contract("array", ("a",), (field,), shape=(1,))
    package = write_package(tmp_path / "doubler", contract=contract, model=ONES)
    strict = ("--grpc-port", "0", "--unseen", "refuse")
    with serving(package, *strict) as wide, grpc.insecure_channel(wide.grpc) as channel:
        made = service_pb2.ModelInferRequest(model_name="doubler")
        made.inputs.add(name="a", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"x")
        with pytest.raises(grpc.RpcError) as caught:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(made)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "expected one of é" in caught.value.details()


def test_a_message_that_is_too_long(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_of(raw_input_contents=[b" " * (11 * 2**20)]))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_is_under_way_over_grpc_is_answered(tmp_path: Path) -> None:
    model = WAIT.format(folder=str(tmp_path), version=5)
    package = write_package(tmp_path / "doubler", model=model)
    with serving(package, "--grpc-port", "0", "--drain-s", "0") as slow, ThreadPoolExecutor() as pool:
        with grpc.insecure_channel(slow.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            made = request_of()
            made.inputs[1].contents.uint_contents[0] = 7
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(made, timeout=0.3)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            eventually((tmp_path / "entered").exists)
            asked = pool.submit(stub.ModelInfer, request_of(), timeout=60)
            eventually(lambda: httpx.get(f"{slow.url}/health").status_code == 200)
            slow.process.terminate()
            (tmp_path / "go").touch()
            assert np.frombuffer(asked.result().raw_output_contents[0], "int64").tolist() == [5]
        assert slow.process.wait(60) == 0


def test_a_port_for_grpc_that_is_taken(served: Served, package: Path) -> None:
    port = served.grpc.rpartition(":")[2]
    code, errors = failed(package, "--port", "0", "--grpc-port", port)
    assert (code, f"NB501 port {port} is taken" in errors) == (3, True)


# --- MLflow --------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"x": [1.5, None], "n": [1, 2], "colour": ["red", "green"]})


COLUMNS = {"x": [1.5, None], "n": [1, 2], "colour": ["red", "green"]}


@pytest.mark.parametrize(
    "data",
    [FRAME, json.dumps({"inputs": COLUMNS}), json.dumps({"instances": FRAME.to_dict("records")})],
    ids=["frame", "columns", "NaN in JSON"],
)
def test_mlflows_own_client(served: Served, data: Any) -> None:
    url = httpx.URL(served.url)
    client = ScoringServerClient(url.host, url.port)
    client.wait_server_ready(timeout=10)
    found = client.invoke(data).get_predictions()
    assert found.columns.tolist() == [0]
    np.testing.assert_array_equal(found[0].to_numpy("float64"), ANSWERS)


def test_the_payloads_that_mlflow_makes_of_examples(served: Served) -> None:
    for example in (FRAME.dropna(), FRAME.dropna().to_dict("records")):
        payload = convert_input_example_to_serving_input(example)
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{served.url}/invocations", content=payload, headers=headers)
        assert answer.json() == {"predictions": [4.0]}, payload


# --- platforms -----------------------------------------------------------------------------------

SAGEMAKER = """
set -eu
curl -sS --fail --max-time 2 $URL/ping
printf '1.5,1,red\\n' | sed '1i x,n,colour' \\
  | curl -sS --fail --max-time 60 $URL/invocations -H 'Content-Type: text/csv' -H 'Accept: application/json' --data-binary @-
curl -sS --fail $URL/invocations -H 'Content-Type: application/json' \\
  -d '{"instances": [{"x": 1.5, "n": 1, "colour": "red"}]}'
"""  # noqa: E501

VERTEX = """
set -eu
curl -sS --fail -o /dev/null $URL/health/of/vertex
curl -sS --fail $URL/predict/of/vertex -H 'Content-Type: application/json' \\
  -d '{"instances": [{"x": 1.5, "n": 1, "colour": "red"}], "parameters": {}}'
"""


def script(text: str, url: str) -> str:
    done = subprocess.run(
        ["bash", "-c", text],
        env={"URL": url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_sagemakers_script(package: Path) -> None:
    with serving("serve", SM_MODEL_DIR=str(package), SAGEMAKER_BIND_TO_PORT="0") as served:
        assert script(SAGEMAKER, served.url) == '{"predictions":[4.0]}' * 2


def test_vertexs_script(package: Path) -> None:
    environ = {
        "AIP_HTTP_PORT": "0",
        "AIP_HEALTH_ROUTE": "/health/of/vertex",
        "AIP_PREDICT_ROUTE": "/predict/of/vertex",
    }
    with serving(package, **environ) as served:
        assert script(VERTEX, served.url) == '{"predictions":[4.0]}'
