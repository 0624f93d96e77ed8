"""No body is larger than it may be, and no client may be so slow that it holds a place for nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from cogen_registry.settings import MB, Limits

Receive = Callable[[], Any]


class Guard:
    """ASGI middleware: counts a body while it streams; 413 beyond the limit of its path, 408 where it comes too slowly.

    The limits of a publisher are the handlers' business; these are of the service.
    """

    def __init__(self, app: Any, limits: Limits) -> None:
        self.app, self.limits = app, limits

    def allowed(self, path: str) -> int:
        if path.startswith("/lfs/"):
            return self.limits.weight
        if path.startswith("/legacy"):
            return self.limits.wheel + MB
        return self.limits.json_body + (64 * MB if path.startswith("/xet/") else 0)

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.allowed(scope["path"])
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            await _answer(send, 413, f"the body is larger than {limit:,} bytes", "ask the registry's operator")
            return
        state = {"started": False, "failed": None}

        async def guarded_send(message: Any) -> None:
            if state["failed"]:
                return
            state["started"] = True
            await send(message)

        try:
            await self.app(scope, self._counted(receive, limit), guarded_send)
        except _Cut as cut:
            if not state["started"]:
                await _answer(send, cut.status, cut.message, cut.hint)

    def _counted(self, receive: Receive, limit: int) -> Receive:
        seen, ended = 0, False
        mark, at_mark = time.monotonic(), 0

        async def counted() -> Any:
            nonlocal seen, ended, mark, at_mark
            if ended:  # the next message is the end of the connection: it may take as long as the answer does
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.limits.slow_seconds)
            except TimeoutError:
                raise _Cut(408, "the body came too slowly", "try again on a better connection") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if seen > limit:
                    raise _Cut(413, f"the body is larger than {limit:,} bytes", "ask the registry's operator")
                moment = time.monotonic()
                if moment - mark > self.limits.slow_seconds:
                    if not ended and seen - at_mark < self.limits.slow_bytes:
                        raise _Cut(408, "the body came too slowly", "try again on a better connection")
                    mark, at_mark = moment, seen
            return message

        return counted


class _Cut(BaseException):
    """Not an ``Exception``: nobody between the stream and the guard may take it for something else."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


async def _answer(send: Any, status: int, message: str, hint: str) -> None:
    body = json.dumps({"error": message, "hint": hint}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
