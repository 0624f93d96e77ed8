"""No body is larger or deeper than it may be, and no client may be so slow that it holds a place for nothing."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cogen_registry.addresses import group
from cogen_registry.bodies import check_json
from cogen_registry.errors import Refused
from cogen_registry.failures import failure
from cogen_registry.settings import MB, Limits

_READING = ("GET", "HEAD", "OPTIONS")
_LARGE = "send less at a time, or ask the registry's operator for more"
_LATER = {"Retry-After": "5"}
_API = "/api/v1/"
#: Beside commits: bodies that their handlers read while they come.
_STREAMED = ("/lfs/", "/legacy", "/xet/")
_COMMIT = re.compile(r"/api/models/[^/]+/[^/]+/commit/")


class Guard:
    """ASGI middleware: counts a body while it streams; 413 beyond the limit of its path, 408 where it comes too slowly.

    The limits of a publisher are the handlers' business; these are of the service. What may be large is streamed by
    its handler, once that knows who sends it. Everything else is read here, whole, and looked through before a reader
    of JSON sees it (:mod:`cogen_registry.bodies`); of the expert API not without a token.

    :param required: see :func:`cogen_registry.auth.required`.
    :param on_refusal: answers a refused request for reading, with a page where a browser asks.
    :param proxied: clients share the connections of a proxy, so that their requests are counted instead.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        required: Callable[[Request], object],
        proxied: bool = False,
        on_refusal: Callable[[Request, Refused], Response] | None = None,
    ) -> None:
        self.app, self.limits, self.required, self.proxied, self.on_refusal = app, limits, required, proxied, on_refusal
        #: Requests that are under way, by client.
        self._busy: Counter[str] = Counter()

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = group(str((scope.get("client") or ("",))[0]))
        self._busy[client] += 1
        state = {"started": False}

        async def noted_send(message: Message) -> None:
            state["started"] = True
            await send(message)

        try:
            if self.proxied and self._busy[client] > self.limits.address:
                raise Refused(
                    429, "too many simultaneous requests from your address", hint="wait for answers", headers=_LATER
                )
            await self._guarded(scope, receive, noted_send)
        except _Cut as cut:
            if not state["started"]:
                await _answer(send, cut.status, cut.message, cut.hint)
        except Exception as error:
            refused = error if isinstance(error, Refused) else failure(error)
            if refused is None or state["started"]:
                raise
            if self.on_refusal is not None and scope["method"] in _READING:
                await self.on_refusal(Request(scope), refused)(scope, receive, send)
                return
            await _answer(send, refused.status, refused.message, refused.hint, refused.headers)
        finally:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, limit = scope["path"], self.allowed(scope["path"])
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise Refused(413, f"the body is larger than {limit:,} bytes", hint=_LARGE)
        if "\0" in path or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
            raise Refused(400, "the address holds a NUL", hint="see /docs for the available paths")
        counted = self._counted(receive, limit)
        if scope["method"] not in _READING:
            if path.startswith(_API):
                await run_in_threadpool(self.required, Request(scope))
            if not path.startswith(_STREAMED) and not _COMMIT.match(path):
                counted = await self._looked_through(headers.get(b"content-type", b""), counted)
        await self.app(scope, counted, send)

    async def _looked_through(self, kind: bytes, receive: Receive) -> Receive:
        """Read a whole body, check it if somebody will read it as JSON, and hand it on.

        :raises Refused: 400, 413
        """
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(400, "the connection ended too early", hint="send it again")
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if b"json" in kind.lower():
            await run_in_threadpool(check_json, bytes(body))
        started = False

        async def replayed() -> Message:
            nonlocal started
            if started:
                return await receive()
            started = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return replayed

    def _counted(self, receive: Receive, limit: int) -> Receive:
        seen, ended = 0, False
        mark, at_mark = time.monotonic(), 0

        async def counted() -> Message:
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


async def _answer(send: Send, status: int, message: str, hint: str, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": message, "hint": hint}).encode()
    basic = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers = [(name.lower().encode(), value.encode()) for name, value in (basic | dict(more or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
