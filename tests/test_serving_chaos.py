"""Clients that leave, and a long time under load: an endpoint of a real cluster stays right, and small.

NB2PROD_LEAVERS says how many leave, NB2PROD_SOAK_S for how many seconds the load lasts.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from nb2prod import control
from tests.conftest import PATIENCE_S, Cluster
from tests.packages import write_release
from tests.test_control_endpoints import replica

LEAVERS = int(os.environ.get("NB2PROD_LEAVERS", "100"))
SOAK_S = float(os.environ.get("NB2PROD_SOAK_S", "6"))
LONG_S = 600.0
"""From how many seconds on memory must not grow by more than 2%: a short run is still filling its caches."""

CLIENTS = 16
RELOADS = 2
"""How often HAProxy is told of new replicas: of these, and of those that answer where no endpoint does."""

SHARE = 0.8
"""Of what it can bear."""

MODEL = """
import math
def model(pairs):
    sum(math.sqrt(i) for i in range(5_000))
    return [x * 2 + n for x, n in pairs]
"""

BROKEN = (b"", b"[", b"{}", b'{"instances": 3}', b'{"instances": [{"x": "one"}]}', b"\xff" * 1_000)


@pytest.fixture(scope="module")
def endpoint(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, psutil.Process]:
    """The endpoint's URL, and the process of its one replica."""
    release = write_release(tmp_path_factory.mktemp("chaos"), name="chaos", model=MODEL, batch_safe=True)
    return control.deploy(release, cluster.info, cluster.home, "chaos").url, replica(cluster, "chaos")


class Client:
    """One connection, kept alive: bytes there, status and body back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host, self.port, self.path = parts.hostname, parts.port, f"{parts.path}/predict"
        self.renewed = 0

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.transport.abort()

    def request(self, body: bytes) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def ask(self, body: bytes) -> tuple[int, Any]:
        """HAProxy ends idle connections at each of its reloads: then it is asked over a new one."""
        try:
            return await self._ask(body)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if getattr(error, "partial", b"") or self.renewed == RELOADS:
                raise
            self.renewed += 1
            await self.__aexit__()
            await self.__aenter__()
            return await self._ask(body)

    async def _ask(self, body: bytes) -> tuple[int, Any]:
        self.writer.write(self.request(body))
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length:")[2].split(maxsplit=1)[0]
            answer = await self.reader.readexactly(int(length))
        return int(head.split(maxsplit=2)[1]), json.loads(answer)


def rows(chance: random.Random) -> tuple[bytes, list[float]]:
    """A request, and what it must be answered."""
    asked = [(chance.randrange(9), chance.randrange(1, 9)) for _ in range(chance.randint(1, 4))]
    instances = [{"x": float(x), "n": n, "colour": "red"} for x, n in asked]
    return json.dumps({"instances": instances}).encode(), [x * 2.0 + n for x, n in asked]


async def asking(url: str, seed: int, on: Callable[[], Awaitable[bool]]) -> int:
    """How many requests one client made, each answered right, while `on`."""
    chance, count = random.Random(seed), 0
    async with Client(url) as client:
        while await on():
            body, expected = rows(chance)
            status, answer = await client.ask(body)
            assert (status, answer.get("predictions")) == (200, expected)
            count += 1
    return count


async def leave(url: str, seed: int) -> None:
    """Go in the middle of a request: before its end, or before its answer."""
    chance = random.Random(seed)
    async with Client(url) as client:
        request = client.request(rows(chance)[0])
        client.writer.write(request[: chance.randrange(1, len(request))] if seed % 2 else request)
        await client.writer.drain()
        await asyncio.sleep(chance.random() / 100)  # not to wait for anything: some go later than others


def test_clients_that_leave_disturb_nobody(endpoint: tuple[str, psutil.Process]) -> None:
    url, _ = endpoint

    async def everyone() -> list[int]:
        left = asyncio.Event()

        async def on() -> bool:
            return not left.is_set()

        staying = [asyncio.create_task(asking(url, seed, on)) for seed in range(CLIENTS)]
        for first in range(0, LEAVERS, 50):
            await asyncio.gather(*(leave(url, seed) for seed in range(first, min(first + 50, LEAVERS))))
        left.set()
        return await asyncio.gather(*staying)

    counts = asyncio.run(everyone())
    assert min(counts) > 0


def test_a_long_load_breaks_nothing_and_fills_no_memory(
    endpoint: tuple[str, psutil.Process], capsys: pytest.CaptureFixture[str]
) -> None:
    url, process = endpoint
    per_second = sum(asyncio.run(loaded(url, SOAK_S / 3))) / (SOAK_S / 3)
    before = used(process)
    counts = asyncio.run(loaded(url, SOAK_S, pause_s=CLIENTS / (SHARE * per_second)))
    after = used(process)
    rate, memory = sum(counts) / SOAK_S, f"{before / 1e6:.1f} → {after / 1e6:.1f} MB"
    with capsys.disabled():
        print(
            f" {sum(counts)} requests, {rate:.0f} a second of {per_second:.0f} that it bears: {memory}",
            end="",
        )
    assert min(counts) > 0
    assert after < before * (1.02 if SOAK_S >= LONG_S else 1.2)


def used(process: psutil.Process) -> int:
    return int(process.memory_full_info().uss)


async def loaded(url: str, seconds: float, pause_s: float = 0.0) -> Sequence[int]:
    """How many requests each client made, one every `pause_s` seconds; another sends what is refused."""
    until = time.monotonic() + seconds

    def every(pause: float) -> Callable[[], Awaitable[bool]]:
        due = time.monotonic()

        async def on() -> bool:
            nonlocal due
            due += pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            return time.monotonic() < until

        return on

    async def breaking(on: Callable[[], Awaitable[bool]]) -> None:
        async with Client(url) as client:
            number = 0
            while await on():
                status, _ = await client.ask(BROKEN[number % len(BROKEN)])
                assert status in (400, 422)
                number += 1

    clients = (asking(url, seed, every(pause_s)) for seed in range(CLIENTS))
    *counts, _ = await asyncio.gather(*clients, breaking(every(0.05)))
    return counts
