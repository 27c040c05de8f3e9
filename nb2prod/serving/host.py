"""Which release answers in this process, and the one thread in which it does."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from nb2prod.serving.loader import LoadedRelease, unload

Loop = asyncio.AbstractEventLoop
Work = Callable[["Host", Sequence[Any]], Sequence[Any]]
"""From requests to as many results, in their order."""

_Asked = tuple[Work, "Host", Any, "asyncio.Future[Any]"]


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
        # quicker than an executor by a third of what it takes to change threads and back
        self._queue: SimpleQueue[_Asked | LoadedRelease | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._queue,), name="predict", daemon=True).start()
        weakref.finalize(self, self._queue.put, None)

    @property
    def waiting(self) -> int:
        """How many requests wait for the worker thread."""
        return self._queue.qsize()

    def swap(self, release: LoadedRelease) -> None:
        """Let `release` answer from the next request on; from any thread."""
        old, self.release = self.release, release
        if old is not None:
            self._queue.put(old)

    async def run(self, work: Work, request: Any) -> Any:
        """The result of `work` for a request, in the worker thread. `work` gets what waits for it together.

        If the caller is cancelled while it waits, the request is dropped; once begun it is finished, and its
        result is dropped.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put((work, self, request, future))
        return await future


def _work(queue: SimpleQueue[_Asked | LoadedRelease | None]) -> None:
    """The worker thread, until it takes None."""
    while _work_once(queue):
        pass


def _work_once(queue: SimpleQueue[_Asked | LoadedRelease | None]) -> bool:
    """See to what waits, or to what comes first: requests, and releases to let go of."""
    taken = [queue.get()]
    with suppress(Empty):
        while True:
            taken.append(queue.get_nowait())
    # a client that left has cancelled its future
    asked = [one for one in taken if isinstance(one, tuple) and not one[-1].cancelled()]
    for work, host in dict.fromkeys(one[:2] for one in asked):
        there = [(request, future) for w, _, request, future in asked if w is work]
        _do(partial(work, host, [request for request, _ in there]), [future for _, future in there])
    for old in taken:
        if isinstance(old, LoadedRelease):
            with suppress(Exception):  # what its code may do now must not end the thread
                unload(old)
    return None not in taken


def _do(work: Callable[[], Sequence[Any]], futures: Sequence[asyncio.Future[Any]]) -> None:
    try:
        settle = partial(_settle, futures, work())
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
