"""A blob as an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Sending(StreamingResponse):
    """Closes what it reads from when the client goes away, too: left alone, a file stays open until Python collects it.

    :param blocks: of :meth:`cogen_registry.blobs.store.BlobStore.read`.
    """

    def __init__(self, blocks: Iterator[bytes], *more: Any, **options: Any) -> None:
        super().__init__(blocks, *more, **options)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # No thread is in the middle of a block here: a cancelled task waits for its thread.
            if hasattr(self._blocks, "close"):
                self._blocks.close()
