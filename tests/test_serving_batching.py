"""Requests that wait together: one call of the model where that is proven safe; answers never cross."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nb2prod.serving.app import application
from nb2prod.serving.core import Call
from nb2prod.serving.host import Host
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import load
from nb2prod.serving.protocols import ROUTES
from nb2prod.serving.routes import Table, post
from tests.conftest import eventually
from tests.packages import write_package
from tests.test_serving_app import served

MODEL = """
import pathlib, time
FOLDER = pathlib.Path({folder!r})
def model(pairs):
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{{len(pairs)}}\\n")
    for number, go in ((7, "go"), (8, "go on")):
        if pairs[0][1] == number:
            (FOLDER / f"entered {{number}}").touch()
            while not (FOLDER / go).exists():
                time.sleep(0.01)
    return [x * 2 + n + 0 / (n - 13) for x, n in pairs]
"""


def broken(*error: object) -> Any:
    raise RuntimeError("nobody foresaw this")


BROKEN = Table(
    (
        *ROUTES,
        post("/unreadable", lambda request, body: Call(request.asked, broken, broken)),
        post("/unsayable", lambda request, body: Call(request.asked, lambda release: [row(1.0)], broken)),
        post("/uncallable", broken),
    )
)
"""Also with mistakes of ours."""


def row(x: float, n: int = 1) -> dict[str, Any]:
    return {"x": x, "n": n, "colour": "red"}


class Held:
    """An endpoint whose model is at work for one request until it is let go."""

    def __init__(self, folder: Path, url: str, pool: ThreadPoolExecutor) -> None:
        self.folder, self.url, self.pool = folder, url, pool
        self.first = self.ask([row(0.0, 7)])
        eventually((folder / "entered 7").exists)

    def ask(self, instances: Sequence[Any], path: str = "/predict", **how: Any) -> Future[httpx.Response]:
        return self.pool.submit(
            httpx.post, f"{self.url}{path}", json={"instances": instances}, **{"timeout": None, **how}
        )

    def wait(self, host: Host, count: int) -> None:
        """Until so many requests wait."""
        eventually(lambda: host.waiting == count)

    def go(self, on: str = "") -> None:
        (self.folder / f"go{on}").touch()

    def calls(self) -> list[int]:
        """How many rows the model was asked for, call by call."""
        return [int(line) for line in (self.folder / "calls").read_text().split()]


@contextmanager
def held(folder: Path, *, batch_safe: bool | None = True, **limits: int) -> Iterator[tuple[Host, Held]]:
    package = write_package(folder / "p", model=MODEL.format(folder=str(folder)), batch_safe=batch_safe)
    host = Host(load(package, "doubler", 1, Limits(**limits)))
    with served(application(host, table=BROKEN)) as url, ThreadPoolExecutor(80) as pool:
        asked = Held(folder, url, pool)
        try:
            yield host, asked
        finally:
            asked.go(" on")
            asked.go()


ALONE = [1, 1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(("batch_safe", "calls"), [(True, [1, 12]), (False, ALONE), (None, ALONE)])
def test_what_waits_goes_together_if_that_is_proven(
    tmp_path: Path, batch_safe: bool | None, calls: list[int]
) -> None:
    with held(tmp_path, batch_safe=batch_safe) as (host, endpoint):
        asked = []
        for count in (1, 2, 3, 1, 2, 3):
            asked.append(endpoint.ask([row(len(asked) + i / 10) for i in range(count)]))
            endpoint.wait(host, len(asked))
        endpoint.go()
        assert endpoint.first.result().json()["predictions"] == [7.0]
        for number, answer in enumerate(asked):
            count = (1, 2, 3)[number % 3]
            expected = [(number + i / 10) * 2 + 1 for i in range(count)]
            assert answer.result().json()["predictions"] == expected
        assert endpoint.calls() == calls


def test_a_bad_request_fails_alone(tmp_path: Path) -> None:
    with held(tmp_path) as (host, endpoint):
        good = [endpoint.ask([row(1.0), row(2.0)]) for _ in range(3)]
        breaking = endpoint.ask([row(1.0), row(2.0, 13)])
        wrong = endpoint.ask([row(1.0), {"x": "one"}])
        no_json = endpoint.pool.submit(httpx.post, f"{endpoint.url}/predict", content=b"[", timeout=None)
        endpoint.wait(host, 6)
        endpoint.go()
        assert [answer.result().json()["predictions"] for answer in good] == [[3.0, 5.0]] * 3
        assert [answer.result().status_code for answer in (breaking, wrong, no_json)] == [500, 422, 400]
        assert {error["instance"] for error in wrong.result().json()["errors"]} == {1}
        assert breaking.result().json()["request_id"] in breaking.result().json()["detail"]


def test_a_mistake_of_ours_fails_its_own_request_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with held(tmp_path) as (host, endpoint):
        good = [endpoint.ask([row(1.0)]) for _ in range(3)]
        bad = [endpoint.ask([], path) for path in ("/unreadable", "/unsayable", "/uncallable")]
        endpoint.wait(host, 5)
        endpoint.go()
        assert [answer.result().json()["predictions"] for answer in good] == [[3.0]] * 3
        for answer in bad:
            assert answer.result().status_code == 500
            problem = answer.result().json()
            assert problem["request_id"] in problem["detail"]
            assert f"request {problem['request_id']}" in caplog.text
    assert caplog.text.count("RuntimeError: nobody foresaw this") == 3


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "type('Panic', (BaseException,), {})"])
def test_whatever_a_model_raises_the_next_request_is_answered(tmp_path: Path, error: str) -> None:
    model = (
        f"def model(pairs):\n    if pairs[0][1] == 5:\n        raise {error}\n    return [0.0] * len(pairs)\n"
    )
    host = Host(load(write_package(tmp_path / "p", model=model), "raiser", 1))
    with served(application(host)) as url:
        # beyond the notebook's data: then it is asked once more
        for x in (1.0, 99.0):
            assert httpx.post(f"{url}/predict", json={"instances": [row(x, 5)]}).status_code == 500
        assert httpx.post(f"{url}/predict", json={"instances": [row(1.0)]}).json()["predictions"] == [0.0]


def test_who_is_not_asked_together_does_not_wait_for_the_last(tmp_path: Path) -> None:
    with held(tmp_path, batch_safe=False) as (host, endpoint):
        first = endpoint.ask([row(1.0)])
        endpoint.wait(host, 1)
        last = endpoint.ask([row(2.0, 8)])
        endpoint.wait(host, 2)
        endpoint.go()
        assert first.result().json()["predictions"] == [3.0]
        eventually((tmp_path / "entered 8").exists)
        endpoint.go(" on")
        assert last.result().json()["predictions"] == [12.0]


def test_what_nobody_waits_for_any_more_is_not_computed(tmp_path: Path) -> None:
    with held(tmp_path, batch_safe=False) as (host, endpoint):
        before = endpoint.ask([row(1.0, 8)])
        endpoint.wait(host, 1)
        late = endpoint.ask([row(2.0)] * 2, headers={"x-request-timeout-ms": "2000"})
        endpoint.wait(host, 2)
        after = endpoint.ask([row(3.0)] * 3)
        endpoint.wait(host, 3)
        endpoint.go()
        assert late.result().status_code == 504
        endpoint.go(" on")
        assert [len(a.result().json()["predictions"]) for a in (before, after)] == [1, 3]
        assert endpoint.calls() == [1, 1, 3]


def test_a_client_that_leaves_while_it_waits_disturbs_nobody_and_costs_nothing(tmp_path: Path) -> None:
    with held(tmp_path) as (host, endpoint):
        leaving = [endpoint.ask([row(9.0)], timeout=0.5) for _ in range(3)]
        staying = [endpoint.ask([row(float(i))]) for i in range(5)]
        for client in leaving:
            with pytest.raises(httpx.ReadTimeout):
                client.result()
        endpoint.wait(host, 8)
        # the server's loop sees to what comes in the order in which it comes: it knows by then who left
        assert httpx.get(f"{endpoint.url}/health").is_success
        endpoint.go()
        assert [answer.result().json()["predictions"] for answer in staying] == [
            [i * 2.0 + 1] for i in range(5)
        ]
        assert endpoint.calls() == [1, 5]


def test_no_call_grows_without_bound(tmp_path: Path) -> None:
    with held(tmp_path, batch_rows=10) as (host, endpoint):
        asked = []
        for count in (4, 4, 4, 25, 3):
            asked.append(endpoint.ask([row(1.0)] * count))
            endpoint.wait(host, len(asked))
        endpoint.go()
        assert [len(answer.result().json()["predictions"]) for answer in asked] == [4, 4, 4, 25, 3]
        # a request is never split: one that is longer goes alone
        assert endpoint.calls() == [1, 8, 4, 25, 3]


def test_answers_never_cross(tmp_path: Path) -> None:
    host = Host(load(write_package(tmp_path / "p"), "doubler", 1))
    chance = random.Random(0)
    bodies = [
        [row(chance.random() * 9, chance.choice((1, 2, 3, 13))) for _ in range(chance.randint(1, 9))]
        for _ in range(400)
    ]

    def ask(url: str, rows: list[dict[str, Any]], client: httpx.Client) -> None:
        answer = client.post(f"{url}/predict", content=json.dumps({"instances": rows}))
        if any(r["n"] == 13 for r in rows):
            assert answer.status_code == 500
        else:
            assert answer.json()["predictions"] == [r["x"] * 2.0 + r["n"] for r in rows]

    with served(application(host)) as url, ThreadPoolExecutor(16) as pool, httpx.Client() as client:
        for done in [pool.submit(ask, url, rows, client) for rows in bodies]:
            done.result()
