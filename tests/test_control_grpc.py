"""Endpoints on a real cluster, asked over gRPC by an unmodified Triton client and by hand."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from nb2prod import control
from nb2prod.control import processes
from nb2prod.domain import Endpoint, Release
from nb2prod.shells import render
from tests.conftest import Cluster, eventually
from tests.packages import write_release
from tests.test_control_endpoints import replica
from tests.test_serving_app import WAIT
from tests.test_serving_clients import inputs, request_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLAIN = {"application": "plain"}

Make = Callable[..., Release]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes releases of `doubler`, each with the next version."""
    folder, versions = tmp_path_factory.mktemp("grpc"), itertools.count(1)
    return lambda **how: write_release(folder, version=next(versions), **how)


@pytest.fixture(scope="module")
def endpoints(cluster: Cluster, make: Make) -> dict[str, Endpoint]:
    """Two beside each other; both serve a model `doubler`, and the second has its factor 3."""
    factors = {"plain": 2.0, "tripled": 3.0}
    return {
        name: control.deploy(make(factor=factor), cluster.info, cluster.home, name)
        for name, factor in factors.items()
    }


@pytest.fixture(scope="module")
def stub(endpoints: dict[str, Endpoint]) -> Iterator[Any]:
    with grpc.insecure_channel(endpoints["plain"].grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def triton(endpoints: dict[str, Endpoint]) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(endpoints["plain"].grpc) as client:
        yield client


def first(found: Any) -> float:
    return float(found.as_numpy("predictions")[0])


def asked(name: str = "plain", n: int = 1, **change: Any) -> Any:
    made = request_of()
    made.model_name = name
    made.inputs[1].contents.uint_contents[0] = n
    for member, value in change.items():
        setattr(made, member, value)
    return made


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The status with which a call fails, and its details."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def test_where_it_answers(cluster: Cluster, endpoints: dict[str, Endpoint]) -> None:
    found = control.status(cluster.info, cluster.home)
    told = {s.endpoint.name: s.endpoint.grpc for s in found}
    for name, endpoint in endpoints.items():
        assert endpoint.grpc == told[name] == f"127.0.0.1:{cluster.info.grpc_port}"
    assert f"gRPC at {cluster.info.grpc}" in render.statuses(found)


# --- which endpoint ------------------------------------------------------------------------------


def test_the_models_name_is_the_endpoints(triton: Any) -> None:
    assert first(triton.infer("plain", inputs(tritonclient.grpc))) == 4.0
    assert first(triton.infer("tripled", inputs(tritonclient.grpc))) == 5.5


def test_metadata_name_the_endpoint(triton: Any) -> None:
    for name, right in (("plain", 4.0), ("tripled", 5.5)):
        for model in ("doubler", name):
            found = triton.infer(model, inputs(tritonclient.grpc), headers={"application": name})
            assert first(found) == right


def test_one_channel_to_all_at_once(triton: Any) -> None:
    def ask(i: int) -> float:
        return first(triton.infer(("plain", "tripled")[i % 2], inputs(tritonclient.grpc)))

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(ask, range(200))] == [4.0, 5.5] * 100


def test_a_request_that_is_longer_than_any_buffer(triton: Any) -> None:
    made = []
    for name, datatype, values in (
        ("x", "FP64", np.full(9_999, 1.5)),
        ("n", "INT64", np.full(9_999, 1)),
        ("colour", "BYTES", np.full(9_999, "red", object)),
    ):
        one = tritonclient.grpc.InferInput(name, [9_999], datatype)
        one.set_data_from_numpy(values)
        made.append(one)
    found = triton.infer("tripled", made)
    np.testing.assert_array_equal(found.as_numpy("predictions"), np.full(9_999, 5.5))


def test_what_is_asked_of_the_server(triton: Any) -> None:
    # by an endpoint at first, by the front once it runs
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.get_server_metadata().name == "nb2prod"


@pytest.mark.parametrize("headers", [PLAIN, None])
def test_what_triton_asks_before(triton: Any, headers: dict[str, str] | None) -> None:
    about = triton.get_model_metadata("plain", headers=headers)
    assert [(one.name, one.datatype, [*one.shape]) for one in about.inputs] == [
        ("x", "FP64", [-1]),
        ("n", "INT64", [-1]),
        ("colour", "BYTES", [-1]),
    ]
    assert about.name == "doubler"
    assert triton.is_model_ready("plain", headers=headers)
    assert triton.is_model_ready("plain", about.versions[0], headers=headers)
    assert triton.is_server_ready(headers=headers)


def test_a_compressed_message_needs_metadata(triton: Any) -> None:
    def ask(**how: Any) -> Any:
        return triton.infer("plain", inputs(tritonclient.grpc), compression_algorithm="gzip", **how)

    assert first(ask(headers=PLAIN)) == 4.0

    def told() -> bool:
        with pytest.raises(InferenceServerException) as caught:
            ask()
        return "application: plain" in str(caught.value)

    # by the front, once it runs
    eventually(told)


# --- answers and refusals ------------------------------------------------------------------------


def test_values_instead_of_bytes(stub: Any) -> None:
    sent = [("x-request-id", "mine"), ("traceparent", TRACE)]
    found, call = stub.ModelInfer.with_call(asked("tripled", id="42"), metadata=sent)
    assert np.frombuffer(found.raw_output_contents[0]).tolist() == [5.5]
    assert (found.id, found.model_name) == ("42", "doubler")
    back = dict(call.trailing_metadata())
    assert (back["x-request-id"], back["traceparent"]) == ("mine", TRACE)


def wrong_type() -> Any:
    made = asked()
    made.inputs[2].datatype = "BF16"
    return made


REFUSED = {
    "another version": (asked(model_version="9999"), {}, "NOT_FOUND", "version 9999 of doubler"),
    "another model": (asked(), {"application": "tripled"}, "NOT_FOUND", "there is no model plain here"),
    "no such application": (asked(), {"application": "gone"}, "NOT_FOUND", "'gone' not found"),
    "a wrong tensor": (wrong_type(), {}, "INVALID_ARGUMENT", "as datatype, got 'BF16'"),
    "no time": (asked(), {"x-request-timeout-ms": "0"}, "INVALID_ARGUMENT", "expected milliseconds"),
    "a model that fails": (asked(n=13), {"x-request-id": "mine"}, "INTERNAL", "under mine"),
    "too long": (
        request_of(raw_input_contents=[b" " * (11 * 2**20)]),
        PLAIN,
        "RESOURCE_EXHAUSTED",
        "at most 10485760 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal(stub: Any, name: str) -> None:
    request, sent, code, text = REFUSED[name]
    found = refused(lambda: stub.ModelInfer(request, metadata=[*sent.items()]))
    assert (found[0], text in found[1]) == (code, True), found


def test_a_message_that_is_none(endpoints: dict[str, Endpoint]) -> None:
    with grpc.insecure_channel(endpoints["plain"].grpc) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        found = refused(lambda: method(b"\xff\xff", metadata=[*PLAIN.items()]))
    assert found == ("INVALID_ARGUMENT", "the message is no ModelInferRequest")


def test_an_unknown_model_is_told_which_exist(stub: Any) -> None:
    def told() -> str:
        # until the front runs, an endpoint tells its own model
        code, details = refused(lambda: stub.ModelInfer(asked("gone")))
        assert code == "NOT_FOUND"
        return details if "endpoints" in details else ""

    assert "plain, tripled" in eventually(told)


def test_a_client_that_gives_up_leaves_the_replica_at_work(
    cluster: Cluster, stub: Any, make: Make, tmp_path: Path
) -> None:
    waits = make(model=WAIT.format(folder=str(tmp_path), version=5))
    control.deploy(waits, cluster.info, cluster.home, "waits")
    assert refused(lambda: stub.ModelInfer(asked("waits", n=7), timeout=0.5))[0] == "DEADLINE_EXCEEDED"
    eventually((tmp_path / "entered").exists)
    sent = [("x-request-timeout-ms", "100")]
    assert refused(lambda: stub.ModelInfer(asked("waits"), metadata=sent)) == (
        "DEADLINE_EXCEEDED",
        "no answer within 0.1 s; the model may still be at work on it",
    )
    (tmp_path / "go").touch()
    found = stub.ModelInfer(asked("waits"), timeout=60)
    assert np.frombuffer(found.raw_output_contents[0], "int64").tolist() == [5]


# --- what changes under it -----------------------------------------------------------------------


def test_deploys_drop_nothing_of_a_channel(cluster: Cluster, stub: Any, make: Make) -> None:
    seen, stop = list[Any](), threading.Event()

    def load() -> None:
        while not stop.is_set():
            found = stub.ModelInfer(asked(), timeout=60)
            seen.append((found.model_version, np.frombuffer(found.raw_output_contents[0])[0]))

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(load) for _ in range(4)]
        try:
            releases = [make(), make(factor=4.0)]
            eventually(lambda: len(seen) > 50)
            control.deploy(releases[0], cluster.info, cluster.home, "beside")
            control.deploy(releases[1], cluster.info, cluster.home, "plain")
            eventually(lambda: seen[-1][0] == str(releases[1].version))
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert {value for version, value in seen if version == str(releases[1].version)} == {7.0}
    assert {value for version, value in seen if version != str(releases[1].version)} == {4.0}


def kill(cluster: Cluster, name: str) -> None:
    killed = replica(cluster, name)
    killed.send_signal(signal.SIGKILL)
    eventually(lambda: not processes.alive(killed.pid, killed.create_time()))


def test_a_replica_that_starts_again(cluster: Cluster, stub: Any, make: Make) -> None:
    release = make()
    control.deploy(release, cluster.info, cluster.home, "killed")
    kill(cluster, "killed")
    codes = set()

    def answered() -> Any:
        try:
            return stub.ModelInfer(asked("killed"), timeout=60)
        except grpc.RpcError as error:
            codes.add(error.code())
            return None

    assert np.frombuffer(eventually(answered).raw_output_contents[0]).tolist() == [4.0]
    # never that there is no such endpoint
    assert codes <= {grpc.StatusCode.UNAVAILABLE}
    shutil.rmtree(release.path)
    kill(cluster, "killed")

    def told() -> bool:
        code, details = refused(lambda: stub.ModelInfer(asked("killed"), timeout=60))
        assert code == "UNAVAILABLE", details
        return f"version {release.version} would not load" in details

    eventually(told)
    ready = service_pb2.ModelReadyRequest(name="killed")
    assert stub.ModelReady(ready).ready is False
    control.deploy(make(), cluster.info, cluster.home, "killed")
    assert stub.ModelReady(ready).ready is True
