"""No body is larger than it may be, and no client may be so slow that it holds a place for nothing."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from cogen_registry.errors import Refused
from cogen_registry.settings import MB, Limits

Receive = Callable[[], Any]

_READING = ("GET", "HEAD", "OPTIONS")
_LARGE = "send less at a time, or ask the registry's operator for more"
_API = "/api/v1/"
_COMMIT = re.compile(r"/api/models/[^/]+/[^/]+/commit/")


class Guard:
    """ASGI middleware: counts a body while it streams; 413 beyond the limit of its path, 408 where it comes too slowly.

    The limits of a publisher are the handlers' business; these are of the service. What may be large is either
    streamed by its handler, once that knows who sends it, or (the expert API) not read without a token: FastAPI reads a
    body of JSON before anything of ours is called.

    :param required: see :func:`cogen_registry.auth.required`.
    """

    def __init__(self, app: Any, limits: Limits, required: Callable[[Request], Any]) -> None:
        self.app, self.limits, self.required = app, limits, required

    def allowed(self, path: str) -> int:
        if path.startswith("/lfs/"):
            return self.limits.weight
        if path.startswith("/legacy"):
            return self.limits.wheel + MB
        if path.startswith("/xet/"):
            return self.limits.commit + 64 * MB
        if _COMMIT.match(path):
            return self.limits.commit
        return self.limits.json_body * (4 if path.startswith(_API) else 1)

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.allowed(scope["path"])
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            await _answer(send, 413, f"the body is larger than {limit:,} bytes", _LARGE)
            return
        if scope["path"].startswith(_API) and scope["method"] not in _READING:
            try:
                await run_in_threadpool(self.required, Request(scope))
            except Refused as error:
                await _answer(send, error.status, error.message, error.hint, error.headers)
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
                    raise _Cut(413, f"the body is larger than {limit:,} bytes", _LARGE)
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


async def _answer(send: Any, status: int, message: str, hint: str, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": message, "hint": hint}).encode()
    said = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers = [(name.lower().encode(), value.encode()) for name, value in (said | dict(more or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
