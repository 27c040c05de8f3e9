"""Request ids and trace contexts go in, come out and stand in the log; spans go where one asks for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nb2prod.serving import tracing
from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.loader import load
from tests.packages import write_package
from tests.processes import serving
from tests.test_serving_app import ROW, ask

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ROWS = {"instances": [ROW]}
FAILS = {"instances": [{**ROW, "n": 13}]}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("traced") / "doubler")


@pytest.fixture(scope="module")
def app(package: Path) -> App:
    return application(Host(load(package, "doubler", 1)))


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["a", "a" * 128, "A-1_2.3:/=+", "{}"])
def test_a_plain_request_id_is_kept(app: App, asked: str) -> None:
    answer = ask(app, "POST", "/predict", json=ROWS, headers={"x-request-id": asked})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == asked


@pytest.mark.parametrize("asked", ["", "a" * 129, "a b", "ü", "a\x00", "a\x1b[31m"])
def test_any_other_is_replaced(app: App, asked: str) -> None:
    headers = [(b"x-request-id", asked.encode("latin-1"))]
    answer = ask(app, "POST", "/predict", json=ROWS, headers=headers)
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "parent", [PARENT, PARENT[:-2] + "00", "01" + PARENT[2:], "cc" + PARENT[2:] + "-more"]
)
def test_a_valid_traceparent_comes_back(app: App, parent: str) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/health"), ("GET", "/none")):
        assert ask(app, method, path, headers={"traceparent": parent}).headers["traceparent"] == parent


WRONG = {
    "nothing": "",
    "a short id": PARENT[:-4],
    "capitals": PARENT.upper(),
    "no hex": PARENT.replace("4bf9", "zbf9"),
    "version ff": "ff" + PARENT[2:],
    "more than version 00 has": PARENT + "-more",
    "no trace": PARENT.replace(TRACE, "0" * 32),
    "no parent": PARENT.replace("00f067aa0ba902b7", "0" * 16),
    "without end": "cc" + PARENT[2:] + "-" + "x" * 5_000,
}


@pytest.mark.parametrize("name", WRONG)
def test_none_is_made_where_it_is_not(app: App, name: str) -> None:
    answer = ask(app, "POST", "/predict", json=ROWS, headers={"traceparent": WRONG[name]})
    assert answer.status_code == 200
    assert "traceparent" not in answer.headers


def test_the_log_of_a_failure_names_the_trace(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        ask(app, "POST", "/predict", json=FAILS, headers={"traceparent": PARENT, "x-request-id": "mine"})
        ask(app, "POST", "/predict", json=FAILS, headers={"x-request-id": "other"})
    assert f"request mine (trace {TRACE}): doubler version 1 failed" in caplog.text
    assert "request other: doubler version 1 failed" in caplog.text


# --- spans ---------------------------------------------------------------------------------------


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector: its URL, and the requests that it got."""
    got: list[Any] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def test_spans_are_sent_where_the_environment_says(package: Path) -> None:
    with collector() as (url, got):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        with serving(package, "--drain-s", "0", **environ) as served:
            with httpx.Client(base_url=served.url, headers={"traceparent": PARENT}) as client:
                found = client.post("/v1/models/doubler:predict", json=ROWS, headers={"x-request-id": "mine"})
                assert client.post("/predict", json=FAILS).status_code == 500
            own = httpx.get(f"{served.url}/health").headers["traceparent"]
            code, errors = served.end()
    assert (code, f"(trace {TRACE})" in errors) == (0, True)
    assert {path for path, _ in got} == {"/v1/traces"}
    resources = [resource for _, one in got for resource in one.resource_spans]
    about = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert about["service.name"] == "nb2prod"
    spans = {s.name: s for r in resources for scoped in r.scope_spans for s in scoped.spans}
    assert spans.keys() == {"POST /v1/models/{model}:predict", "POST /predict", "GET /health"}
    span = spans["POST /v1/models/{model}:predict"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, "00f067aa0ba902b7")
    assert found.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert {a.key: a.value.string_value for a in span.attributes}["nb2prod.request_id"] == "mine"
    assert spans["POST /predict"].status.code == 2
    own_trace, own_span = spans["GET /health"].trace_id.hex(), spans["GET /health"].span_id.hex()
    assert own[:53] == f"00-{own_trace}-{own_span}-"


def test_a_collector_that_does_not_answer_hurts_nobody(package: Path) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with serving(package, "--drain-s", "0", **environ) as served:
        assert httpx.post(f"{served.url}/predict", json=ROWS).status_code == 200
        assert served.end()[0] == 0


def test_an_exporter_that_is_not_installed_is_told(package: Path) -> None:
    with serving(package, "--drain-s", "0", OTEL_TRACES_EXPORTER="zipkin_json") as served:
        assert httpx.post(f"{served.url}/predict", json=ROWS).status_code == 200
        code, errors = served.end()
    assert (code, "no spans are sent: no exporter is called zipkin_json" in errors) == (0, True)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, False),
    ],
)
def test_what_asks_for_spans(environ: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environ) is wanted
