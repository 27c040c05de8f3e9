"""Which release answers in this process, and the one thread in which it does."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from nb2prod.serving.http import Disconnected
from nb2prod.serving.loader import LoadedRelease, unload

Loop = asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request that waits for its result. `gone` says whether its client went."""

    request: Any
    future: asyncio.Future[Any]
    gone: Callable[[], bool]

    @property
    def left(self) -> bool:
        """Whether nobody wants the result any more: the client went, or its time is over."""
        return self.future.cancelled() or self.gone()


Done = Sequence[tuple[Waiting, Any]]
"""Requests and their results."""

Work = Callable[["Host", Sequence[Waiting]], Iterator[Done]]
"""Gives the results of requests, as they come."""

_Asked = tuple[Work, "Host", Waiting]


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

    async def run(self, work: Work, request: Any, gone: Callable[[], bool] = lambda: False) -> Any:
        """The result of `work` for a request, in the worker thread. `work` gets what waits for it together.

        If the caller is cancelled while it waits, the request is dropped; if its client is `gone` when its
        turn comes, Disconnected is raised. Once begun it is finished, and its result is dropped.
        """
        waiting = Waiting(request, asyncio.get_running_loop().create_future(), gone)
        self._queue.put((work, self, waiting))
        return await waiting.future


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
    asked = [one for one in taken if isinstance(one, tuple)]
    for work, host in dict.fromkeys(one[:2] for one in asked):
        _do(work, host, [waiting for w, _, waiting in asked if w is work])
    for old in taken:
        if isinstance(old, LoadedRelease):
            with suppress(Exception):  # what its code may do now must not end the thread
                unload(old)
    return None not in taken


def _do(work: Work, host: Host, asked: Sequence[Waiting]) -> None:
    try:
        if there := [one for one in asked if not one.left]:
            for done in work(host, there):
                _settle(done, asyncio.Future.set_result)
        if left := [(one, Disconnected()) for one in asked if one.left]:
            _settle(left, asyncio.Future.set_exception)
    except BaseException as error:  # whoever waits must hear of it, and the thread must live
        told = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        _settle([(one, told) for one in asked], asyncio.Future.set_exception)


def _settle(done: Done, how: Callable[[asyncio.Future[Any], Any], None]) -> None:
    for loop in {one.future.get_loop() for one, _ in done}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_in, loop, done, how)


def _settle_in(loop: Loop, done: Done, how: Callable[[asyncio.Future[Any], Any], None]) -> None:
    for one, found in done:
        if one.future.get_loop() is loop and not one.future.done():
            how(one.future, found)
