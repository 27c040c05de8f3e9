"""Which release answers in this process, and where: in one worker thread, or at once on the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
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

SLOW_S = 0.05
"""A release that once holds the event loop for longer than this, in seconds, has the worker thread from then on."""


class Host:
    """Holds the current release; `release` is None until there is one, and `reason` then says why.

    `drains` says that this process is about to end: it answers, but nobody should send it more.

    Releases run in one worker thread, never two requests at once: the event loop stays free for /health. What
    comes while the thread is at work waits, and is then taken together: no timer holds a request back, and the
    busier, the more go together. While they come one by one, a quick release runs on the event loop itself: to
    change threads would take a good part of its time.
    """

    def __init__(self, release: LoadedRelease | None = None, reason: str = "nothing is deployed yet") -> None:
        self.release = release
        self.reason = reason
        self.drains = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._lock = threading.Lock()
        self._at_work = threading.Lock()
        self._waiting: deque[tuple[Work, Any, asyncio.Future[Any]]] = deque()
        self._busy = False
        self._one_by_one = True
        self._slow: LoadedRelease | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for the release."""
        return len(self._waiting)

    def swap(self, release: LoadedRelease) -> None:
        """Let `release` answer from the next request on; from any thread."""
        old, self.release = self.release, release
        if old is not None:
            self._worker.submit(self._let_go, old)

    async def run(self, work: Work, request: Any, *, brief: bool = True) -> Any:
        """The result of `work` for a request. `work` gets what waits for it together.

        One that is not `brief` is the worker thread's. If the caller is cancelled while it waits, the request is
        dropped; once begun it is finished, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting.append((work, request, future))
            begin, self._busy = not self._busy, True
        if begin and brief and self._one_by_one and self._is_quick():
            # not at once: what else has come by now is seen first
            loop.call_soon(self._drain_here, loop)
        elif begin:
            self._worker.submit(self._drain)
        return await future

    def _is_quick(self) -> bool:
        release = self.release
        return release is not None and release.quick and release is not self._slow

    def _drain_here(self, loop: Loop) -> None:
        """Run a request that is the only one on the event loop."""
        again = len(self._waiting) > 1
        if not again:
            release, began = self.release, time.perf_counter()
            again = self._run_waiting(loop)
            if time.perf_counter() - began > SLOW_S:
                self._slow = release
        if again:
            self._worker.submit(self._drain)

    def _drain(self) -> None:
        if self._run_waiting():
            # behind what else the worker is to do: letting go of a release
            self._worker.submit(self._drain)

    def _run_waiting(self, here: Loop | None = None) -> bool:
        """Run what waits, in the thread of the loop `here` or in the worker's; whether others came meanwhile."""
        with self._lock:
            taken, self._waiting = self._waiting, deque()
        with self._at_work:
            for work in dict.fromkeys(work for work, _, _ in taken):
                # a client that left has cancelled its future
                asked = [(request, f) for w, request, f in taken if w is work and not f.cancelled()]
                if asked:
                    _do(work, asked, here)
        with self._lock:
            self._one_by_one = len(taken) == 1
            self._busy = bool(self._waiting)
            return self._busy

    def _let_go(self, release: LoadedRelease) -> None:
        with self._at_work:
            unload(release)


def _do(work: Work, asked: Sequence[tuple[Any, asyncio.Future[Any]]], here: Loop | None) -> None:
    futures = [future for _, future in asked]
    try:
        settle = partial(_settle, futures, work([request for request, _ in asked]))
    except Exception as error:  # whoever waits must hear of it
        settle = partial(_fail, futures, error)
    for loop in {future.get_loop() for future in futures}:
        if loop is here:
            settle(loop)
            continue
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
