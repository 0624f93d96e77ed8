"""Connections of clients that are too slow, or too many: uvicorn itself waits for headers and readers without end.

What a body may take is :mod:`cogen_registry.limits`' business.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cogen_registry.addresses import group, is_in, networks
from cogen_registry.settings import Limits

#: Seconds that a connection may take to hear that there is no place for it.
_TURNED = 2.0
#: Seconds in which a new connection is expected to say something, and the bytes a second that it may be worth.
_JUST, _SPEED = 1.0, 4096.0


def _raw(status: str, message: str, hint: str, more: str = "") -> bytes:
    body = json.dumps({"error": message, "hint": hint}).encode()
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\n{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


_LATER = "retry-after: 5\r\n"
_TOO_SLOW = _raw("408 Request Timeout", "the headers came too slowly", "try again on a better connection")
_MALFORMED = _raw("400 Bad Request", "this is not a request of HTTP/1.1", "headers of more than 64 KB are none either")
_YOURS = _raw("429 Too Many Requests", "your address has too many connections open", "close some of them", _LATER)
_FULL = _raw("503 Service Unavailable", "there is no place for another connection", "try again in a moment", _LATER)


def _at_once(transport: Any) -> None:
    """Headers and body of an answer are two writes. asyncio lets the second go at once (TCP_NODELAY) only on sockets
    that say that they are TCP's, which those of a listener made by hand don't: it would wait for the client, 40 ms.
    """
    opened = transport.get_extra_info("socket")
    if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def watched(limits: Limits, proxies: Sequence[str] = ()) -> type[asyncio.Protocol]:
    """uvicorn's protocol of HTTP, for ``uvicorn.Config(http=…)``, with an end to whoever keeps it waiting.

    - Headers that are not there ``slow_seconds`` after the connection, or after their first byte: 408.
    - An answer of which fewer than ``slow_bytes`` are taken in ``slow_seconds``: the connection is given up.
    - An address that has ``address`` connections gets another one in place of its own that waits for its client, the
      slowest one; where none does: 429. ``proxies`` have many clients, and are not counted.
    - At ``requests`` connections a new one takes such a place of the address that has most; where there is none: 503.

    Who only holds places keeps nobody out, and nobody holds more than a share.
    """
    trusted = networks(proxies)

    class Watched(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        _headers: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None
        #: Since when there has been no request; 0: there is one.
        _idle = 0.0
        #: Of the request that is under way, or of the last one: when it began, and the bytes of it that came.
        _begun, _came = 0.0, 0
        #: What this connection is told instead of being served.
        _turned: bytes | None = None
        address = ""

        def connection_made(self, transport: Any) -> None:
            _at_once(transport)
            peer = transport.get_extra_info("peername")
            self.address = group(str(peer[0])) if peer else ""
            proxy = bool(peer) and is_in(str(peer[0]), trusted)
            self._turned = _place(self.connections, limits, "" if proxy else self.address, self.loop.time())
            if self._turned is not None:
                self.transport = transport
                self._headers = self.loop.call_later(_TURNED, transport.abort)
                return
            super().connection_made(transport)
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            if self._turned is not None:
                self._turn_away()
                return
            if self._free():
                self._begun, self._came = self._begun or self.loop.time(), self._came if self._headers else 0
                if self._headers is None:
                    self._wait_for_headers()
            self._came += len(data)
            super().data_received(data)
            if not self._free():
                self._idle = 0.0
                self._stop("_headers")

        def eof_received(self) -> None:
            if self._turned is None:
                super().eof_received()

        def on_response_complete(self) -> None:
            self._idle, self._begun = self.loop.time(), 0.0
            super().on_response_complete()
            if not self._free():  # one that came meanwhile
                self._idle = 0.0

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop("_headers")
            self._stop("_reader")
            if self._turned is None:
                super().connection_lost(exc)

        def pause_writing(self) -> None:
            if self._turned is None:
                super().pause_writing()
                self._wait_for_reader()

        def resume_writing(self) -> None:
            if self._turned is None:
                super().resume_writing()
                self._stop("_reader")

        def send_400_response(self, msg: str) -> None:
            self.transport.write(_MALFORMED)
            self.transport.close()

        def waits(self, now: float) -> tuple[int, float, float] | None:
            """How much this connection is worth, the least one first; ``None``: the service is at work for it.

            First those without a request, by their age; then requests that still come, the slowest ones; then answers
            that are not taken. Who has just come, and whose request may lie in the network's buffers, is taken for a
            client that is not quick.
            """
            if self._idle:
                return (1, _SPEED, self._idle) if now - self._idle < _JUST else (0, 0.0, self._idle)
            if self.cycle is not None and self.cycle.more_body:
                return 1, self._came / max(now - self._begun, 0.1), self._begun
            return (2, 0.0, self._begun) if self._reader is not None else None

        def _turn_away(self) -> None:
            self.transport.write(self._turned or b"")
            if self.transport.can_write_eof():
                self.transport.write_eof()  # to close at once would throw away what was said

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


def _place(connections: set[Any], limits: Limits, address: str, now: float) -> bytes | None:
    """Make a place for a connection from this address ("": of a proxy); what it is told if there is none."""
    own = [one for one in connections if address and one.address == address]
    if len(own) >= limits.address and not _give_up(own, now):
        return _YOURS
    if len(connections) + 1 >= limits.requests:
        holders = Counter(one.address for one in connections)
        for holder, _ in holders.most_common():
            if _give_up([one for one in connections if one.address == holder], now):
                return None
        return _FULL
    return None


def _give_up(connections: list[Any], now: float) -> bool:
    """End the one that waits for its client and is worth least; whether there is one."""
    waiting = [(worth, one) for one in connections if (worth := one.waits(now)) is not None]
    if not waiting:
        return False
    victim = min(waiting, key=lambda pair: pair[0])[1]
    victim.connections.discard(victim)
    victim.transport.abort()
    return True
