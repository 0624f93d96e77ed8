"""A proxy in front of a server that keeps every byte of every request, and a search through such bytes for text.

with recording(served.url) as proxy: …            clients talk to proxy.url
found_in(proxy.sent, needles(texts))              which runs of the texts left, in whatever packing
"""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import re
import tarfile
import threading
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: Of one connection alone.
_HOPS = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization"}
#: Words, and characters of Chinese, Japanese and Korean, of a run that counts as text that left.
WORDS, CHARACTERS = 8, 12
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]+")
#: Packings in packings that are opened.
_DEEPEST = 6


@dataclass
class Recorder:
    """``sent``: of each request, its line, headers and body, as they came."""

    url: str
    sent: list[bytes] = field(default_factory=list)


@contextmanager
def recording(url: str) -> Iterator[Recorder]:
    """Pass every request on to ``url`` and its answer back, until the block ends."""
    target = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else b""
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b"".join(self._chunks())
            recorder.sent.append(f"{self.requestline}\n{self.headers}".encode() + body)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOPS}
            if body:
                headers["Content-Length"] = str(len(body))
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=120)
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response_only(answer.status, answer.reason)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            for name, value in answer.getheaders():
                if name.lower() not in _HOPS | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    recorder = Recorder(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def needles(texts: Iterable[str]) -> set[str]:
    """Every run of 8 words, and of 12 characters of scripts without spaces."""
    return {run for text in texts for run in _runs(text)}


def found_in(blobs: Iterable[bytes], wanted: set[str]) -> set[str]:
    """Which of the runs stand in the blobs: as they are, escaped, encoded, compressed, or in archives."""
    return {run for blob in blobs for view in views(blob) for run in _runs(view) if run in wanted}


def views(blob: bytes, depth: int = 0) -> Iterator[str]:
    """A blob as text, in every way in which a reader could make text of it."""
    text = blob.decode("utf-8", "ignore")
    yield text
    if "\\u" in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    if "%" in text:
        yield urllib.parse.unquote(text, errors="ignore")
    for codec in ("utf-16-le", "gb18030"):
        if depth == 0:
            yield blob.decode(codec, "ignore")
    if depth < _DEEPEST:
        for inner in _opened(blob, text):
            yield from views(inner, depth + 1)


def _opened(blob: bytes, text: str) -> Iterator[bytes]:
    """What is packed in a blob, wherever it begins: members of zip and tar archives, gzip and zlib streams, base64."""
    start = blob.find(b"PK\x03\x04")
    if start >= 0:
        try:
            with zipfile.ZipFile(io.BytesIO(blob[start:])) as archive:
                yield from (archive.read(name) for name in archive.namelist())
        except zipfile.BadZipFile:
            pass
    for match in re.finditer(rb"\x1f\x8b\x08", blob):
        try:
            data = zlib.decompressobj(31).decompress(blob[match.start() :])
        except zlib.error:
            continue
        yield data
        try:
            with tarfile.open(fileobj=io.BytesIO(gzip.compress(data, 0)), mode="r:gz") as archive:
                opened = (archive.extractfile(member) for member in archive.getmembers() if member.isfile())
                yield from (file.read() for file in opened if file is not None)
        except tarfile.TarError:
            pass
    for found in re.findall(r"[A-Za-z0-9+/_-]{40,}={0,2}", text):
        with suppress(ValueError):
            yield base64.b64decode(found.replace("-", "+").replace("_", "/") + "==")


def _runs(text: str) -> Iterator[str]:
    words = re.findall(r"\w+", text.casefold())
    for start in range(len(words) - WORDS + 1):
        yield " ".join(words[start : start + WORDS])
    for match in _CJK.finditer("".join(text.split())):
        part = match[0]
        for start in range(len(part) - CHARACTERS + 1):
            yield part[start : start + CHARACTERS]
