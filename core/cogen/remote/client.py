"""Requests to one registry. The answers are another party's words: their size is bounded, their bytes are compared.

The token goes to the registry's own host alone; ``~/.netrc`` is not asked, neither for that host nor for one that a
redirect chose; proxies and ``REQUESTS_CA_BUNDLE`` are.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from cogen.errors import DigestError
from cogen.remote.errors import NotThere, RegistryError
from cogen.remote.fields import line
from cogen.trust.registries import Registry

if TYPE_CHECKING:
    import requests

#: Seconds to connect, and seconds without a byte.
TIMEOUT = (10.0, 60.0)
_MAX_JSON = 64 << 20
_CHUNK = 1 << 20
#: A download that breaks off is taken up so many times in a row, unless much came in between.
_ATTEMPTS = 5


class Client:
    """One registry; usable from one thread."""

    def __init__(self, registry: Registry, timeout: tuple[float, float] = TIMEOUT) -> None:
        self.registry, self.timeout = registry, timeout
        self._session: requests.Session | None = None

    @property
    def url(self) -> str:
        return self.registry.url

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON at ``path``.

        :raises NotThere: 404. :raises RegistryError: anything else that went wrong.
        """
        return self.send("GET", path, params={k: v for k, v in (params or {}).items() if v is not None})

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Any request whose answer is JSON (or empty: ``None``); ``options`` are those of :func:`requests.request`.

        :raises RegistryError: see :meth:`get`
        """
        with self._open(method, path, **options) as response:
            body = self._body(response)
        if not body:
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RegistryError(
                f"{self.url} answers {path} with something that is not JSON", hint="is this the URL of a registry?"
            ) from error

    def read(self, path: str, limit: int = _MAX_JSON) -> bytes:
        """The bytes at ``path``, at most ``limit``.

        :raises RegistryError: see :meth:`get`; also: there are more.
        """
        with self._open("GET", path) as response:
            return self._body(response, limit)

    def stream(self, path: str, size: int = _CHUNK) -> Iterator[bytes]:
        """The bytes at ``path`` as they come, in blocks of at most ``size``; the caller counts them.

        :raises RegistryError: see :meth:`get`; at once where the registry says no, later where the connection breaks.
        """
        return self._blocks(self._open("GET", path), size)

    def _blocks(self, response: requests.Response, size: int) -> Iterator[bytes]:
        import requests
        import urllib3

        with response:
            try:
                while block := response.raw.read1(size, decode_content=True):
                    yield block
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise self._unreachable(error) from error

    def download(
        self,
        path: str,
        target: Path,
        *,
        size: int,
        sha256: str | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> str:
        """Bring a file to ``target``; a connection that breaks is taken up where it was.

        :param size: of the file; one byte more and it is given up.
        :returns: its hex SHA-256.
        :raises DigestError: the bytes are others than was promised; ``target`` is gone then, as after any other error.
        """
        try:
            with target.open("wb") as file:
                part, failures = _Part(file, target.name, size, advance), 0
                while True:
                    before = part.done
                    if self._continue(path, part):
                        break
                    failures = 0 if part.done - before >= _CHUNK else failures + 1
                    if failures >= _ATTEMPTS:
                        raise RegistryError(
                            f"{self.url} broke off {target.name} after {part.done:,} of {size:,} bytes",
                            hint="check the network, and try again",
                        )
                    time.sleep(0.2 * failures)
            found = part.digest.hexdigest()
            if sha256 is not None and found != sha256:
                raise DigestError(
                    f"{target.name} is not the file that was published: sha256 {found[:12]}… where {sha256[:12]}… "
                    "was promised",
                    hint="it was altered on its way or at the registry: do not use it, and tell its operator",
                )
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return found

    def _continue(self, path: str, part: _Part) -> bool:
        """One request for the rest of a file; is it whole now?"""
        import requests
        import urllib3

        with self._open("GET", path, headers={"Range": f"bytes={part.done}-"} if part.done else {}) as response:
            resumed = response.headers.get("Content-Range", "").startswith(f"bytes {part.done}-")
            if part.done and not (response.status_code == 206 and resumed):
                part.restart()  # the server sends the whole file again
            try:
                while block := response.raw.read1(_CHUNK, decode_content=True):  # what came before it broke counts
                    part.write(block)
            except (requests.RequestException, urllib3.exceptions.HTTPError):
                return False
        return part.done == part.size

    # ---- inside ----------------------------------------------------------------------------------

    def _open(self, method: str, path: str, **options: Any) -> requests.Response:
        import requests

        options.setdefault("timeout", self.timeout)
        headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
        try:
            response = self._connection().request(
                method, self.url + path, stream=True, headers=headers, allow_redirects=method == "GET", **options
            )
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        if response.status_code >= 300:
            with response:
                raise self._refused(response, path)
        return response

    def _connection(self) -> requests.Session:
        if self._session is None:
            from cogen.remote.session import session

            token = self.registry.token
            self._session = session()
            self._session.headers["User-Agent"] = "cogen"

            def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
                if token and "Authorization" not in request.headers:
                    request.headers["Authorization"] = f"Bearer {token}"
                return request

            # A callable, so that requests does not look into ~/.netrc instead.
            self._session.auth = sign
        return self._session

    def _body(self, response: requests.Response, limit: int = _MAX_JSON) -> bytes:
        import requests

        parts, size = [], 0
        try:
            for block in response.iter_content(_CHUNK):
                size += len(block)
                if size > limit:
                    raise RegistryError(f"{self.url} answers with more than {limit:,} bytes", hint="tell its operator")
                parts.append(block)
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        return b"".join(parts)

    def _unreachable(self, error: Exception) -> RegistryError:
        import requests

        if isinstance(error, requests.exceptions.SSLError):
            if "WRONG_VERSION_NUMBER" in str(error):  # what answers doesn't speak TLS
                return RegistryError(f"{self.url} is not encrypted", hint="the URL should begin with http://")
            return RegistryError(
                f"the certificate of {self.url} is not trusted here: {_reason(error)}",
                hint="set REQUESTS_CA_BUNDLE to a PEM file with the public authorities and your own",
            )
        if isinstance(error, requests.Timeout):
            return RegistryError(f"{self.url} does not answer in time", hint="check the network, or try again later")
        if isinstance(error, requests.ConnectionError):
            return RegistryError(
                f"{self.url} cannot be reached: {_reason(error)}",
                hint="check the URL and the network; `cogen login URL` names another registry",
            )
        return RegistryError(f"the request to {self.url} failed: {_reason(error)}", hint="check the URL and try again")

    def _refused(self, response: requests.Response, path: str) -> RegistryError:
        status = response.status_code
        message, hint = _words(self._body(response, 1 << 20))
        if 300 <= status < 400:
            where = line(response.headers.get("Location", "another place"))
            return RegistryError(f"{self.url} has moved to {where}", hint=f"cogen login {where}", status=status)
        if status == 401:
            has = "the token is not accepted" if self.registry.token else "this needs a token"
            return RegistryError(
                f"{self.url}: {message or has}", hint=f"cogen login {self.url} --token TOKEN", status=status
            )
        if status == 404:
            return NotThere(
                message or f"{self.url} has no {path}", hint=hint or "is this the URL of a registry?", status=status
            )
        if status in (429, 502, 503, 504):
            return RegistryError(
                f"{self.url} is busy or down: {message or status}", hint=hint or "try again later", status=status
            )
        return RegistryError(
            f"{self.url} refused: {message or f'status {status}'}", hint=hint or "ask its operator", status=status
        )


class _Part:
    """A file that is being downloaded: hashed while it grows, and never larger than ``size``."""

    def __init__(self, file: IO[bytes], name: str, size: int, advance: Callable[[int], None]) -> None:
        self.file, self.name, self.size, self.advance = file, name, size, advance
        self.digest, self.done = hashlib.sha256(), 0

    def restart(self) -> None:
        self.digest, self.done = hashlib.sha256(), 0
        self.file.seek(0)
        self.file.truncate()

    def write(self, block: bytes) -> None:
        """:raises DigestError: this is more than there may be."""
        self.done += len(block)
        if self.done > self.size:
            raise DigestError(
                f"{self.name} is longer than the {self.size:,} bytes that were promised",
                hint="do not use it, and tell the registry's operator",
            )
        self.file.write(block)
        self.digest.update(block)
        self.advance(len(block))


def quoted(part: str) -> str:
    """One segment of a path."""
    return quote(part, safe="")


def _words(body: bytes) -> tuple[str | None, str | None]:
    """(message, hint) of an answer that says no: ours, or FastAPI's for a request that doesn't validate."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(value, dict):
        return None, None
    message, hint = value.get("error"), value.get("hint")
    detail = value.get("detail")
    if message is None and isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = detail[0].get("loc")
        place = ".".join(map(str, where[1:])) if isinstance(where, list) else "the request"
        message = f"{place}: {detail[0].get('msg')}"
    elif message is None and isinstance(detail, str):
        message = detail
    return _plain(message), _plain(hint)


def _plain(text: Any) -> str | None:
    """One printable line: a terminal must not obey what a server sends."""
    if not isinstance(text, str) or not text.strip():
        return None
    return line(text, 500)


def _reason(error: Exception) -> str:
    """The innermost reason that says something: requests wraps it three times."""
    inner: Any = error
    while True:
        following = getattr(inner, "reason", None) or next(
            (a for a in inner.args if isinstance(a, BaseException)), None
        )
        if not isinstance(following, BaseException) or following is inner:
            break
        inner = following
    text = str(inner).rpartition(": ")[2] if "object at 0x" in str(inner) else str(inner)
    return _plain(text) or type(error).__name__
