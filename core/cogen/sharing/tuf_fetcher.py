"""python-tuf's client over our own session: its proxies, authorities and token, never ``~/.netrc``."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from cogen.remote.client import Client
from cogen.remote.errors import RegistryError

_CHUNK = 1 << 16


class Fetcher(FetcherInterface):
    """:param patience: seconds that one document may take."""

    def __init__(self, client: Client, patience: float) -> None:
        self._client, self._patience = client, patience
        #: Bytes that came, of all documents.
        self.received = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        if not url.startswith(f"{self._client.url}/"):
            raise RegistryError(f"{url} is not of {self._client.url}", hint="tell the developers")
        try:
            blocks = self._client.stream(url.removeprefix(self._client.url), _CHUNK)
        except RegistryError as error:
            if error.status is not None and error.status in (403, 404):
                raise DownloadHTTPError(error.message, error.status) from error
            raise
        return self._counted(blocks, url)

    def _counted(self, blocks: Iterator[bytes], url: str) -> Iterator[bytes]:
        end = time.monotonic() + self._patience
        for block in blocks:
            self.received += len(block)
            if time.monotonic() > end:
                name = url.rpartition("/")[2]
                raise RegistryError(f"{self._client.url} is too slow with {name}", hint="try again later")
            yield block
