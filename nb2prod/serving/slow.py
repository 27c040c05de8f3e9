"""Clients that never come to an end, under plain uvicorn: none holds a connection or an answer for long.

The app bounds how long a body may take. What comes before it and after it only the protocol sees.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


def within(seconds: float) -> type[asyncio.Protocol]:
    """A protocol for uvicorn's option `http`: `seconds` for a request's head, and to take an answer."""
    return type("Bounded", (_Bounded,), {"seconds": seconds})


class _Bounded(HttpToolsProtocol):
    seconds: float

    _head: asyncio.TimerHandle | None = None
    _taken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn waits no more for a kept connection once a byte comes, line breaks before a request included
        cycle: RequestResponseCycle | None = self.cycle
        if self._head is None and (cycle is None or cycle.response_complete):
            self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._taken is not None:
            self._taken.cancel()
        self._taken = self.loop.call_later(self.seconds, self._abort_if_not_taken)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._taken is not None:
            self._taken.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _abort_if_not_taken(self) -> None:
        # to close would wait until all is sent
        if self.transport.get_write_buffer_size():
            self.transport.abort()
