"""Whose upload is next: publishers take turns, however many uploads one of them has waiting."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

from cogen_registry.errors import Refused
from cogen_registry.service import Service

Result = TypeVar("Result")
_LATER = {"Retry-After": "10"}


class Turns:
    """Work on uploads that takes a worker, a thread or a writer: ``at_once`` together, in threads of its own.

    Who waits holds no thread: reads go on whatever is uploaded. One publisher has half of the places at most,
    so that the next one waits for no more than one piece of work.

    :param waiting: how many uploads of one publisher may wait, and :param all_waiting: of all together.
    """

    def __init__(self, at_once: int, waiting: int, all_waiting: int) -> None:
        self._at_once, self._waiting, self._all_waiting = at_once, waiting, all_waiting
        self._lock = threading.Lock()
        #: Publisher → those that wait, the next publisher first.
        self._queues: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()
        self._active: dict[int, int] = {}
        self._limiters: dict[int, anyio.CapacityLimiter] = {}

    async def run(self, publisher: int, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do the work in a thread once it is its turn.

        :raises Refused: 429, the publisher has too many waiting; 503, all together have.
        """
        async with self.turn(publisher):
            return await anyio.to_thread.run_sync(partial(work, *arguments), limiter=self._limiter())

    @asynccontextmanager
    async def turn(self, publisher: int) -> AsyncIterator[None]:
        """A place of ``at_once``, for work that has its own thread. :raises Refused: as :meth:`run`."""
        await self._enter(publisher)
        try:
            yield
        finally:
            with self._lock:
                self._leave(publisher)

    async def _enter(self, publisher: int) -> None:
        with self._lock:
            if not self._queues and self._may(publisher):
                self._active[publisher] = self._active.get(publisher, 0) + 1
                return
            queue = self._queues.get(publisher, ())
            if len(queue) >= self._waiting:
                raise Refused(
                    429,
                    f"{self._waiting} uploads of yours are already waiting to be read",
                    hint="wait for those, and send fewer at once",
                    headers=_LATER,
                )
            if sum(map(len, self._queues.values())) >= self._all_waiting:
                raise Refused(503, "too many uploads wait to be read", hint="try again later", headers=_LATER)
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queues.setdefault(publisher, deque()).append(future)
            self._next()
        try:
            await future
        except asyncio.CancelledError:
            with self._lock:
                waiting = self._queues.get(publisher)
                if waiting is not None and future in waiting:
                    waiting.remove(future)
                    if not waiting:
                        del self._queues[publisher]
                else:  # it was its turn at this very moment
                    self._leave(publisher)
            raise

    def _may(self, publisher: int) -> bool:
        everybody, own = sum(self._active.values()), self._active.get(publisher, 0)
        return everybody < self._at_once and own < max(1, self._at_once // 2)

    def _leave(self, publisher: int) -> None:
        self._active[publisher] -= 1
        if not self._active[publisher]:
            del self._active[publisher]
        self._next()

    def _next(self) -> None:
        """Give free places to those that wait, one a publisher and round."""
        for publisher in list(self._queues):
            if sum(self._active.values()) >= self._at_once:
                return
            if not self._may(publisher):
                continue
            queue = self._queues.pop(publisher)
            future = queue.popleft()
            if queue:  # behind the others
                self._queues[publisher] = queue
            self._active[publisher] = self._active.get(publisher, 0) + 1
            future.get_loop().call_soon_threadsafe(_wake, future)

    def _limiter(self) -> anyio.CapacityLimiter:
        """Threads beside those of readers; a limiter belongs to one event loop."""
        loop = id(asyncio.get_running_loop())
        if loop not in self._limiters:
            self._limiters[loop] = anyio.CapacityLimiter(self._at_once)
        return self._limiters[loop]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def turns_of(service: Service) -> Turns:
    """Those of one service: twice as many as workers, since an upload is more than its reading."""
    limits = service.settings.limits
    return service.components.get_or_make(Turns, lambda: Turns(2 * limits.workers, limits.waiting, 16 * limits.waiting))
