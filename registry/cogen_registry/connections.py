"""Connections of clients that are too slow: uvicorn waits for headers, and for readers, as long as they like.

What a body may take is :mod:`cogen_registry.limits`' business.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cogen_registry.settings import Limits

_BODY = json.dumps({"error": "the headers came too slowly", "hint": "try again on a better connection"}).encode()
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


def watched(limits: Limits) -> type[asyncio.Protocol]:
    """uvicorn's protocol of HTTP, for ``uvicorn.Config(http=…)``, with an end to whoever keeps it waiting.

    - Headers that are not there ``slow_seconds`` after the connection, or after their first byte: 408.
    - An answer of which fewer than ``slow_bytes`` are taken in ``slow_seconds``: the connection is given up.
    - At as many connections as there may be, a new one takes the place of the one that has been without a request
      for the longest time: who only holds places keeps nobody out.
    """

    class Watched(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        _headers: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None
        #: Since when there has been no request; 0: there is one.
        _idle = 0.0

        def connection_made(self, transport: Any) -> None:
            if len(self.connections) + 1 >= limits.requests:
                _make_room(self.connections)
            super().connection_made(transport)
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            if self._free() and self._headers is None:
                self._wait_for_headers()
            super().data_received(data)
            if not self._free():
                self._idle = 0.0
                self._stop("_headers")

        def on_response_complete(self) -> None:
            self._idle = self.loop.time()
            super().on_response_complete()
            if not self._free():  # one that came meanwhile
                self._idle = 0.0

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop("_headers")
            self._stop("_reader")
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._wait_for_reader()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop("_reader")

        def _free(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _stop(self, timer: str) -> None:
            handle = getattr(self, timer)
            if handle is not None:
                handle.cancel()
                setattr(self, timer, None)

        def _wait_for_headers(self) -> None:
            self._idle = self.loop.time()
            self._headers = self.loop.call_later(limits.slow_seconds, self._no_headers)

        def _no_headers(self) -> None:
            self._headers = None
            if self._free() and not self.transport.is_closing():
                self.transport.write(_TOO_SLOW)
                self.transport.close()

        def _wait_for_reader(self) -> None:
            left = self.transport.get_write_buffer_size()
            self._reader = self.loop.call_later(limits.slow_seconds, self._no_reader, left)

        def _no_reader(self, before: int) -> None:
            if before - self.transport.get_write_buffer_size() < limits.slow_bytes:
                self.transport.abort()  # to close it would wait until all is written
            else:
                self._wait_for_reader()

    return Watched


def _make_room(connections: set[Any]) -> None:
    idle = [one for one in connections if getattr(one, "_idle", 0.0)]
    if idle:
        victim = min(idle, key=lambda one: one._idle)
        connections.discard(victim)
        victim.transport.abort()
