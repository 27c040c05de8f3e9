"""Which release answers in this process, and the one thread in which it does."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from nb2prod.serving.loader import LoadedRelease, unload

Loop = asyncio.AbstractEventLoop
Work = Callable[[Sequence[Any]], Sequence[Any]]
"""From requests to as many results, in their order."""


class Host:
    """Holds the current release; `release` is None until there is one, and `reason` then says why.

    `drains` says that this process is about to end: it answers, but nobody should send it more.

    Releases run in one worker thread: the event loop stays free for /health, and a release that was swapped
    out is let go in that same thread, so never under a request. What comes while the thread is at work waits,
    and is then taken together: no timer holds a request back, and the busier, the more go together.
    """

    def __init__(self, release: LoadedRelease | None = None, reason: str = "nothing is deployed yet") -> None:
        self.release = release
        self.reason = reason
        self.drains = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Work, Any, asyncio.Future[Any]]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many requests wait for the worker thread."""
        return len(self._waiting)

    def swap(self, release: LoadedRelease) -> None:
        """Let `release` answer from the next request on; from any thread."""
        old, self.release = self.release, release
        if old is not None:
            self._worker.submit(unload, old)

    async def run(self, work: Work, request: Any) -> Any:
        """The result of `work` for a request, in the worker thread. `work` gets what waits for it together.

        If the caller is cancelled while it waits, the request is dropped; once begun it is finished, and its
        result is dropped.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((work, request, future))
            begin, self._busy = not self._busy, True
        if begin:
            self._worker.submit(self._drain)
        return await future

    def _drain(self) -> None:
        with self._lock:
            taken, self._waiting = self._waiting, deque()
        for work in dict.fromkeys(work for work, _, _ in taken):
            # a client that left has cancelled its future
            there = [
                (request, future) for w, request, future in taken if w is work and not future.cancelled()
            ]
            if there:
                _do(work, there)
        with self._lock:
            again = self._busy = bool(self._waiting)
        if again:
            # behind what else the worker is to do: letting go of a release
            self._worker.submit(self._drain)


def _do(work: Work, asked: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
    futures = [future for _, future in asked]
    try:
        settle = partial(_settle, futures, work([request for request, _ in asked]))
    except Exception as error:  # whoever waits must hear of it
        settle = partial(_fail, futures, error)
    for loop in {future.get_loop() for future in futures}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, loop)


def _settle(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any], loop: Loop) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.get_loop() is loop and not future.done():
            future.set_result(result)


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception, loop: Loop) -> None:
    for future in futures:
        if future.get_loop() is loop and not future.done():
            future.set_exception(error)
