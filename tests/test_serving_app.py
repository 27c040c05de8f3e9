"""The ASGI app: in process under httpx, and under a real uvicorn where sockets matter."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from nb2prod.domain import Contract, Field
from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import load
from tests.conftest import eventually
from tests.packages import CONTRACT, write_package

ROW = {"x": 1.5, "n": 1, "colour": "red"}
VALUE = Contract(
    kind="values", request=("values",), fields=(Field("values", "any", "object", nullable=True),)
)
ECHO = "def model(values):\n    return values\n"
AS_IS = "def preprocess(values):\n    return values\n"

WAIT = """
import pathlib, time
def model(pairs):
    folder = pathlib.Path({folder!r})
    if pairs[0][1] == 7:
        (folder / "entered").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    return [{version} for pair in pairs]
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(load(write_package(tmp_path / "doubler"), "doubler", 1))


@pytest.fixture
def app(host: Host) -> App:
    return application(limited(host, max_body=2_000))


def limited(host: Host, **limits: Any) -> Host:
    """The host, its release within these limits."""
    assert host.release is not None
    host.release = replace(host.release, limits=Limits(**limits))
    return host


def ask(app: App, method: str, path: str, *, root_path: str = "", **how: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **how)

    return asyncio.run(once())


@contextmanager
def served(app: App, **options: Any) -> Iterator[str]:
    """The app under a real uvicorn; yields its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


# --- answers -------------------------------------------------------------------------------------


def test_predict(app: App) -> None:
    answer = ask(app, "POST", "/predict", json={"instances": [ROW, {**ROW, "x": None}]})
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "predictions": [4.0, None],
        "model_name": "doubler",
        "version": 1,
        "request_id": body["request_id"],
    }
    assert answer.headers["x-request-id"] == body["request_id"]
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("doubler", "1")


def test_the_request_id_is_the_callers(app: App) -> None:
    answer = ask(app, "POST", "/predict", json={"instances": [ROW]}, headers={"X-Request-Id": "mine"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    refused = ask(app, "POST", "/predict", content=b"?", headers={"X-Request-Id": "mine"})
    assert refused.json()["request_id"] == refused.headers["x-request-id"] == "mine"


def test_health(app: App) -> None:
    answer = ask(app, "GET", "/health")
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    head = ask(app, "HEAD", "/health")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/predict"), ("GET", "/openapi.json")]
)
def test_no_release_yet(method: str, path: str) -> None:
    answer = ask(application(Host(reason="version 3 would not load")), method, path)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "version 3 would not load"


AWKWARD = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, math.pi, 2.0**53 + 1, 1e22, 1e-7]


def test_floats_are_exact_to_the_bit(tmp_path: Path) -> None:
    package = write_package(tmp_path / "echo", contract=VALUE, model=ECHO, preprocess=AS_IS)
    app = application(Host(load(package, "echo", 1)))
    answer = ask(app, "POST", "/predict", content=json.dumps({"instances": AWKWARD}).encode())
    bits = [struct.pack("<d", value) for value in json.loads(answer.content)["predictions"]]
    assert bits == [struct.pack("<d", value) for value in AWKWARD]


def test_integers_beyond_64_bits_come_back(tmp_path: Path) -> None:
    model = "def model(values):\n    return [2**70 for value in values]\n"
    package = write_package(tmp_path / "big", contract=VALUE, model=model, preprocess=AS_IS)
    answer = ask(application(Host(load(package, "big", 1))), "POST", "/predict", json={"instances": [1]})
    assert answer.json()["predictions"] == [2**70]


def test_a_model_name_that_no_header_takes(host: Host, tmp_path: Path) -> None:
    app = application(Host(load(write_package(tmp_path / "p"), "Verspätung", 1)))
    answer = ask(app, "POST", "/predict", json={"instances": [ROW]})
    assert answer.json()["model_name"] == "Verspätung"
    assert answer.headers["x-model-name"] == "Versp%C3%A4tung"


# --- refusals ------------------------------------------------------------------------------------

NO_NAN = "NaN is not JSON; send null for a missing value"

BAD_BODIES = {
    "empty": (b"", 400, "the body is empty"),
    "not JSON": (b"x=1&n=2", 400, "(line 1, column 1)"),
    "cut off": (b'{"instances": [', 400, "(line 1, column"),
    "not UTF-8": (b'{"instances": ["\xff"]}', 400, ""),
    "NaN": (b'{"instances": [{"x": NaN}]}', 400, NO_NAN),
    "-Infinity": (b'{"instances": [-Infinity]}', 400, "-Infinity is not JSON"),
    "too deep": (b"[" * 1_500, 400, ""),
    "a list": (b"[1]", 422, "expected an object with `instances`, got a list"),
    "null": (b"null", 422, "got null"),
    "no instances": (b'{"instance": []}', 422, "instances: expected a list of instances"),
    "instances an object": (b'{"instances": {"x": 1}}', 422, "got an object"),
    "no instance": (b'{"instances": []}', 422, "at least one instance"),
    "too long": (b" " * 2_001, 413, "at most 2000 bytes"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body(app: App, name: str) -> None:
    body, status, detail = BAD_BODIES[name]
    answer = ask(app, "POST", "/predict", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["status"] == status
    assert detail in problem["detail"]


BAD_FIELDS = {
    "missing": ({"n": 1, "colour": "red"}, [("x", "a number", "nothing: it is missing")]),
    "extra": ({**ROW, "y": 1}, [("y", "no such field", "1")]),
    "wrong type": ({**ROW, "x": "1.5"}, [("x", "a number", '"1.5"')]),
    "null": ({**ROW, "n": None}, [("n", "an integer: never null", "null")]),
    "no category": ({**ROW, "colour": 3}, [("colour", "one of red, green", "3")]),
    "all at once": (
        {"n": 1.5, "colour": 3},
        [
            ("x", "a number", "nothing: it is missing"),
            ("n", "an integer", "1.5"),
            ("colour", "one of red, green", "3"),
        ],
    ),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_field(app: App, name: str) -> None:
    instance, errors = BAD_FIELDS[name]
    answer = ask(app, "POST", "/predict", json={"instances": [ROW, instance]})
    assert answer.status_code == 422
    found = [(e["instance"], e["field"], e["expected"], e["got"]) for e in answer.json()["errors"]]
    assert found == [(1, *error) for error in errors]


def test_an_unknown_path(app: App) -> None:
    answer = ask(app, "POST", "/predictions")
    assert answer.status_code == 404
    assert "POST /predict" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("GET", "/predict", "POST"), ("POST", "/health", "GET, HEAD")]
)
def test_a_wrong_method(app: App, method: str, path: str, allow: str) -> None:
    answer = ask(app, method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


def test_a_failing_model_tells_its_log_and_not_the_caller(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask(app, "POST", "/predict", json={"instances": [{**ROW, "n": 13}]})
    assert answer.status_code == 500
    assert not re.search(r"division|Traceback|model\.py", answer.text)
    assert answer.json()["request_id"] in answer.json()["detail"]
    assert "nb2prod logs" in answer.json()["detail"]
    assert answer.json()["request_id"] in caplog.text
    assert "notebook: doubler.ipynb, cell 3, line 2 (model.py:7)" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert ask(app, "POST", "/predict", json={"instances": [ROW]}).status_code == 200


@pytest.mark.parametrize("way", ["SystemExit(1)", "KeyboardInterrupt", "GeneratorExit", "StopIteration"])
def test_a_model_that_exits_does_not_end_the_process(tmp_path: Path, way: str) -> None:
    model = f"def model(pairs):\n    raise {way}\n"
    app = application(Host(load(write_package(tmp_path / "p", model=model), "quitter", 1)))
    assert ask(app, "POST", "/predict", json={"instances": [ROW]}).status_code == 500
    assert ask(app, "GET", "/health").status_code == 200


# --- what the notebook's data did not have -------------------------------------------------------

X, N, COLOUR = CONTRACT.fields
FRAME = Contract("frame", ("frame",), (X, N, replace(COLOUR, python="category")), example=CONTRACT.example)
PICKY = """
def model(frame):
    if frame.colour.isna().any() or (frame.x > 99).any():
        raise ValueError("Input contains NaN.")
    return [1 / (n - 13) for n in frame.n]
"""


@pytest.fixture
def picky(tmp_path: Path) -> App:
    package = write_package(tmp_path / "p", contract=FRAME, preprocess=AS_IS, model=PICKY)
    return application(Host(load(package, "picky", 1)))


def test_an_unknown_category_is_what_pandas_makes_of_it_and_is_counted(tmp_path: Path) -> None:
    model = "def model(frame):\n    return frame.colour.astype(object)\n"
    package = write_package(tmp_path / "p", contract=FRAME, preprocess=AS_IS, model=model)
    app = application(Host(load(package, "colours", 1)))
    answer = ask(app, "POST", "/predict", json={"instances": [ROW, {**ROW, "colour": "blue"}]})
    assert answer.json()["predictions"] == ["red", None]
    assert ask(app, "GET", "/health").json()["unseen"] == {"colour": 1}


def test_a_model_that_fails_on_what_is_unknown_says_what_that_is(
    picky: App, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**ROW, "x": 7.0}, {**ROW, "x": 100, "colour": "blue"}]
    answer = ask(picky, "POST", "/predict", json={"instances": rows})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [(e["instance"], e["field"], e["expected"], e["got"]) for e in answer.json()["errors"]] == [
        (1, "x", "a number from 0.0 to 9.0", "100"),
        (1, "colour", "one of red, green", '"blue"'),
    ]
    assert answer.json()["detail"].startswith(
        "the model fails on what the notebook's data did not have: instance 1, field 'x'"
    )
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Input contains NaN." in caplog.text


def test_a_model_that_fails_anyway_is_to_blame_itself(picky: App, caplog: pytest.LogCaptureFixture) -> None:
    row = {**ROW, "n": 13, "x": 10.0}
    for instance in (row, {**row, "x": 1.5}):
        assert ask(picky, "POST", "/predict", json={"instances": [instance]}).status_code == 500
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


# --- limits ---------------------------------------------------------------------------------------


def test_more_instances_than_are_taken(host: Host) -> None:
    app = application(limited(host, max_rows=3))
    assert ask(app, "POST", "/predict", json={"instances": [ROW] * 3}).status_code == 200
    answer = ask(app, "POST", "/predict", json={"instances": [ROW] * 4})
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "at most 3 instances are taken at a time, got 4",
    )


@pytest.mark.parametrize("header", ["", "0", "-1", "soon", "nan", "inf"])
def test_a_timeout_that_is_none(app: App, header: str) -> None:
    headers = {"x-request-timeout-ms": header}
    answer = ask(app, "POST", "/predict", json={"instances": [ROW]}, headers=headers)
    assert answer.status_code == (400 if header else 200)


def test_a_request_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with served(application(slow_host(tmp_path))) as url, ThreadPoolExecutor() as pool:
        headers = {"x-request-timeout-ms": "200"}
        asked = pool.submit(httpx.post, f"{url}/predict", json=SLOW, headers=headers, timeout=None)
        eventually((tmp_path / "entered").exists)
        # it waits behind the slow one, and must not wait longer than it said
        behind = pool.submit(
            httpx.post, f"{url}/predict", json={"instances": [ROW]}, headers=headers, timeout=None
        )
        for answer in (asked, behind):
            assert answer.result().status_code == 504
            assert "no answer within 0.2 s" in answer.result().json()["detail"]
        (tmp_path / "go").touch()
        assert httpx.post(f"{url}/predict", json={"instances": [ROW]}, timeout=None).json()[
            "predictions"
        ] == [1]


def test_when_too_many_wait_the_next_is_told_to_come_again(tmp_path: Path) -> None:
    host = limited(slow_host(tmp_path), max_waiting=2)
    app = application(host)
    with served(app) as url, ThreadPoolExecutor() as pool:
        asked = [pool.submit(httpx.post, f"{url}/predict", json=SLOW, timeout=None)]
        eventually((tmp_path / "entered").exists)
        for count in (1, 2):
            asked.append(pool.submit(httpx.post, f"{url}/predict", json={"instances": [ROW]}, timeout=None))
            eventually(lambda count=count: host.waiting == count)
        refused = httpx.post(f"{url}/predict", json={"instances": [ROW]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["detail"] == "2 requests wait for the model already"
        (tmp_path / "go").touch()
        assert [answer.result().status_code for answer in asked] == [200] * 3


def test_a_client_that_does_not_end_its_body(host: Host) -> None:
    with served(application(limited(host, body_s=0.2))) as url:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{")
            assert client.recv(1_000).startswith(b"HTTP/1.1 408")
        assert httpx.get(f"{url}/health").status_code == 200


# --- documents -----------------------------------------------------------------------------------


def test_openapi_says_what_the_contract_says(app: App) -> None:
    document = ask(app, "GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == {"instances": list(CONTRACT.example)}
    assert ask(app, "POST", "/predict", json=content["example"]).status_code == 200
    schema = content["schema"]["properties"]["instances"]["items"]
    assert schema == {
        "title": "instance",
        "type": "object",
        "required": ["x", "n", "colour"],
        "additionalProperties": False,
        "properties": {
            "x": {"type": ["number", "null"], "description": "seen: 0.0 to 9.0"},
            "n": {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            "colour": {"type": "string", "description": "one of red, green; others are missing"},
        },
    }


def test_the_page_has_only_links_that_answer_here(app: App) -> None:
    page = ask(app, "GET", "/flight/docs", root_path="/flight")
    assert page.status_code == 200
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(links) >= 3
    assert not any(re.match(r"/|\w+:", link) for link in links)
    for link in (*links, "docs/openapi.json"):
        assert ask(app, "GET", f"/flight/{link}", root_path="/flight").status_code == 200, link
    assert ask(app, "GET", "/docs/index.html").status_code == 404


def test_the_page_reads_the_document_as_3_0(app: App) -> None:
    document = ask(app, "GET", "/docs/openapi.json").json()
    assert (document["openapi"], document["servers"]) == ("3.0.3", [{"url": ".."}])
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    x = content["schema"]["properties"]["instances"]["items"]["properties"]["x"]
    assert (x["type"], x["nullable"]) == ("number", True)
    assert '"examples"' not in json.dumps(document)


# --- under a prefix ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "root_path", "prefix"),
    [
        ("/predict", "", ""),
        ("/flight_delays/predict", "/flight_delays", ""),
        ("/flight_delays/predict", "", "/flight_delays"),
        ("/api/flight_delays/predict", "/api/", "/flight_delays"),
        ("/predict", "/flight_delays", ""),
    ],
)
def test_any_prefix(host: Host, path: str, root_path: str, prefix: str) -> None:
    app = application(host, prefix=prefix)
    assert ask(app, "POST", path, root_path=root_path, json={"instances": [ROW]}).status_code == 200


def test_what_only_begins_like_the_prefix_is_elsewhere(host: Host) -> None:
    assert ask(application(host), "GET", "/flights/health", root_path="/flight").status_code == 404


def test_under_uvicorn_with_a_root_path(app: App) -> None:
    with served(app, root_path="/flight_delays") as url:
        assert httpx.get(f"{url}/health").json()["version"] == 1
        assert httpx.post(f"{url}/predict", json={"instances": [ROW]}).status_code == 200


# --- under load ----------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_not_read_without_end(app: App) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 1_000

    with served(app) as url, httpx.Client() as client:
        # the server hangs up on a client that goes on sending
        with suppress(httpx.TransportError):
            assert client.post(f"{url}/predict", content=endless()).status_code == 413
        assert client.get(f"{url}/health").status_code == 200


def test_a_client_that_still_sends_gets_its_answer(app: App) -> None:
    with served(app) as url, httpx.Client() as client:
        for body in (b" " * 9_000, iter([b" " * 1_000] * 9)):
            assert client.post(f"{url}/predict", content=body).status_code == 413


def test_a_client_that_asks_before_it_sends_is_told_at_once(app: App) -> None:
    with served(app) as url, socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as client:
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def slow_host(tmp_path: Path, version: int = 1) -> Host:
    model = WAIT.format(folder=str(tmp_path), version=version)
    return Host(load(write_package(tmp_path / f"slow{version}", model=model), "slow", version))


SLOW = {"instances": [{**ROW, "n": 7}]}


def test_a_model_at_work_does_not_block_health(tmp_path: Path) -> None:
    with served(application(slow_host(tmp_path))) as url, ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx.post, f"{url}/predict", json=SLOW, timeout=None)
        eventually((tmp_path / "entered").exists)
        assert httpx.get(f"{url}/health").status_code == 200
        assert not asked.done()
        (tmp_path / "go").touch()
        assert asked.result().json()["predictions"] == [1]


def test_a_client_that_leaves_hurts_nobody(tmp_path: Path) -> None:
    with served(application(slow_host(tmp_path))) as url, ThreadPoolExecutor() as pool:
        leaving = pool.submit(httpx.post, f"{url}/predict", json=SLOW, timeout=0.2)
        eventually((tmp_path / "entered").exists)
        waiting = [pool.submit(httpx.post, f"{url}/predict", json={"instances": [ROW]}) for _ in range(4)]
        with pytest.raises(httpx.ReadTimeout):
            leaving.result()
        (tmp_path / "go").touch()
        assert [answer.result().json()["predictions"] for answer in waiting] == [[1]] * 4


def test_a_swap_under_requests(tmp_path: Path) -> None:
    host, other = slow_host(tmp_path), slow_host(tmp_path, version=2).release
    assert other is not None
    old = host.release
    with served(application(host)) as url, ThreadPoolExecutor() as pool:
        begun = pool.submit(httpx.post, f"{url}/predict", json=SLOW, timeout=None)
        eventually((tmp_path / "entered").exists)
        host.swap(other)
        assert httpx.get(f"{url}/health").json()["version"] == 2
        later = pool.submit(httpx.post, f"{url}/predict", json={"instances": [ROW]}, timeout=None)
        (tmp_path / "go").touch()
        assert (begun.result().json()["predictions"], begun.result().json()["version"]) == ([1], 1)
        assert (later.result().json()["predictions"], later.result().json()["version"]) == ([2], 2)
    assert old is not None
    assert vars(old.runtime) == {}
