"""Which release answers in this process, and the one thread in which it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nb2prod.serving.loader import LoadedRelease, unload

logger = logging.getLogger("nb2prod.serving")

T = TypeVar("T")


class Host:
    """Holds the current release; `release` is None until there is one, and `reason` then says why.

    Releases run in one worker thread, one request at a time: the event loop stays free for /health,
    and a release that was swapped out is let go in that same thread, so never under a request.
    """

    def __init__(self, release: LoadedRelease | None = None, reason: str = "nothing is deployed yet") -> None:
        self.release = release
        self.reason = reason
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")

    def swap(self, release: LoadedRelease) -> None:
        """Let `release` answer from the next request on; from any thread."""
        old, self.release = self.release, release
        if old is not None:
            self._worker.submit(unload, old)

    async def run(self, work: Callable[[], T]) -> T:
        """`work` in the worker thread, after what was asked before. If the caller is cancelled while it
        waits, the work is dropped; once begun it is finished, and its result is dropped."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
