"""Files of a shard are put together beside the request: a client that gave up and asks again finds it going on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import text

from cogen_registry.database.sessions import Sessions

#: Keys are hashed to the number of a lock with this seed, so that nobody else's locks are met.
_SEED = 11


class Jobs:
    """A few at once, so that long ones don't take all threads of the service.

    A client may ask again at another replica: that one waits until the first is done, or dead, and then finds done what
    was done.
    """

    def __init__(self, sessions: Sessions, workers: int = 2) -> None:
        self._sessions = sessions
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="shard")
        # Of the kind that a thread may take twice: work that is done already calls `_forget` at once.
        self._lock, self._running = threading.RLock(), dict[str, Future[None]]()

    async def run(self, key: str, work: Callable[[], None]) -> None:
        """Do the work of this key, or wait for the one that does it already; raises what it raises."""
        with self._lock:
            future = self._running.get(key)
            if future is None:
                future = self._running[key] = self._pool.submit(self._alone, key, work)
                future.add_done_callback(lambda done: self._forget(key))
        await asyncio.shield(asyncio.wrap_future(future))

    def _alone(self, key: str, work: Callable[[], None]) -> None:
        if not self._sessions.postgresql:
            work()
            return
        with self._sessions.bare() as session:  # the lock goes with the transaction, and that with its process
            number = "SELECT pg_advisory_xact_lock(hashtextextended(:key, :seed))"
            session.execute(text(number), {"key": key, "seed": _SEED})
            work()

    def _forget(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
