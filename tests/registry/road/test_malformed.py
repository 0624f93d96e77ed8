"""Requests that no client makes, over real sockets: the answer is a fault of the client, or the connection ends."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from support.served import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("malformed") / "root", slow_seconds=2.0) as opened:
        opened.hub("team").create("model")
        yield opened
        opened.healthy()


def say(served: Served, data: bytes) -> bytes:
    """What comes back until the connection ends; or, where nobody asked for its end, one whole answer."""
    parts, output = urlsplit(served.url), b""
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.settimeout(30)
        try:
            connection.sendall(data)
            while block := connection.recv(65536):
                output += block
                if b"Connection: close" not in data and is_whole(output):
                    break
        except OSError:
            pass
    return output


def is_whole(output: bytes) -> bool:
    """Is this an answer with all bytes that it announced?"""
    start, _, body = output.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", start)
    return length is not None and len(body) >= int(length[1])


def head(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers, b"", b""])


FORM = b"Content-Type: multipart/form-data; boundary="
JSON = b"Content-Type: application/json"
BODIES = {
    "NUL": b'{"name": "a\\u0000b"}',
    "raw NUL": b'{"name": "a\0"}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "not UTF-8": b'{"name": "\xff"}',
    "deep": b"[" * 100_000,
    "a number": b'{"name": 1e999}',
    "nothing": b"",
    "a huge number": b'{"name": ' + b"9" * 5000 + b"}",
    "NaN": b'{"name": NaN}',
    "a list": b"[]",
    "null": b"null",
    "twice": b'{"name": "a", "name": "b"}',
    "a mark": b'\xef\xbb\xbf{"name": "a"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
}
REQUESTS: dict[str, bytes] = {
    "a line": b"\0\xff\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": head(b"BREW /"),
    "a long method": head(b"A" * 70_000 + b" /"),
    "a long path": head(b"GET /" + b"a" * 60_000),
    "a longer path": head(b"GET /" + b"a" * 200_000),
    "a raw byte": head(b"GET /\xff"),
    "NUL in the path": head(b"GET /simple/%00/"),
    "NUL in a page's path": head(b"GET /experts/a%00b"),
    "NUL in the query": head(b"GET /experts?q=%00"),
    "NUL in a name": head(b"GET /experts?%00=1"),
    "line breaks in the path": head(b"GET /a%0d%0ab/c%0d%0aX:%20y/resolve/main/z"),
    "not UTF-8 in the path": head(b"GET /experts/%ff%fe"),
    "a surrogate in the path": head(b"GET /simple/%ed%a0%80/"),
    "a broken escape": head(b"GET /experts/%zz%"),
    "dots": head(b"GET /static/%2e%2e%2f%2e%2e%2fsettings.py"),
    "two slashes": head(b"GET //evil.example/%2e%2e"),
    "a whole URL": head(b"GET http://evil.example/"),
    "a star": head(b"OPTIONS *"),
    "many headers": head(b"GET /", *[b"X-%d: y" % n for n in range(3000)]),
    "long headers": head(b"GET /", b"X: " + b"y" * 300_000),
    "a header with a control": head(b"GET /", b"X: \x01"),
    "a header without a name": head(b"GET /", b": y"),
    "two lengths": head(b"POST /legacy/", b"Content-Length: 1", b"Content-Length: 2"),
    "a negative length": head(b"POST /legacy/", b"Content-Length: -1"),
    "a huge length": head(b"POST /legacy/", b"Content-Length: " + b"9" * 30),
    "a longer length": head(b"POST /legacy/", b"Content-Length: " + b"9" * 5000),
    "a length of words": head(b"POST /legacy/", b"Content-Length: ten"),
    "length and chunks": head(b"POST /legacy/", b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "broken chunks": head(b"POST /legacy/", b"Transfer-Encoding: chunked") + b"zz\r\nabc\r\n",
    "a huge chunk": head(b"POST /api/repos/create", b"Transfer-Encoding: chunked") + b"f" * 15 + b"\r\n",
    "another coding": head(b"POST /legacy/", b"Transfer-Encoding: gzip"),
    "an upgrade": head(b"GET /", b"Upgrade: websocket", b"Connection: Upgrade"),
    "a strange token": head(b"GET /api/v1/whoami", b"Authorization: Basic \xff\xfe"),
    "a token of nothing": head(b"GET /api/v1/whoami", b"Authorization: Bearer"),
    "a token of NUL": head(b"GET /api/v1/whoami", b"Authorization: Basic AAAAOgAA"),
    "strange ranges": head(b"GET /static/x", b"Range: bytes=-,,9999999999999999999999-"),
    "a strange Accept": head(b"GET /simple/", b"Accept: ;;;q=,,/*;q=\xff"),
    "an Accept of words": head(b"GET /simple/", b"Accept: text/html;q=nan"),
    "strange etags": head(b"GET /", b"If-None-Match: " + b'W/"' * 5000),
    "a strange Host": head(b"GET /").replace(b"Host: x", b"Host: <script>"),
    "a Host of a port": head(b"GET /").replace(b"Host: x", b"Host: [::1"),
    "a Host of nonsense": head(b"GET /simple/").replace(b"Host: x", b"Host: a:99999999"),
    "a strange content type": head(b"POST /legacy/", b"Content-Type: ;;=\xff", b"Content-Length: 1") + b"x",
    "a long boundary": head(b"POST /legacy/", FORM + b"b" * 60_000, b"Content-Length: 3") + b"abc",
    "an empty boundary": head(b"POST /legacy/", FORM + b'""', b"Content-Length: 3") + b"abc",
    "a boundary of controls": head(b"POST /legacy/", FORM + b'"\t"', b"Content-Length: 3") + b"abc",
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("token", [False, True], ids=["anybody", "a publisher"])
def test_requests(served: Served, name: str, token: bool) -> None:
    data = REQUESTS[name]
    if token and b"Authorization" not in data:
        header = f"Host: x\r\nAuthorization: Bearer {served.token('team')}".encode()
        data = data.replace(b"Host: x", header, 1)
    refused(say(served, data))
    assert served.get("/healthz").status_code == 200


KINDS = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=B",
    "text/plain",
    "application/merge-patch+json",
    "json",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(served: Served, name: str, kind: str) -> None:
    body = BODIES[name]
    token = f"Authorization: Bearer {served.token('team')}".encode()
    for line in (
        b"POST /api/repos/create",
        b"POST /api/v1/composites",
        b"POST /api/v1/keys",
        b"POST /api/validate-yaml",
        b"POST /api/models/team/model/paths-info/main",
        b"POST /api/models/team/model/tag/main",
        b"POST /team/model.git/info/lfs/objects/batch",
        b"POST /api/models/team/model/commit/main",
        b"POST /api/v1/releases/x/1/yank",
        b"PUT /api/v1/releases/x/1/signature",
    ):
        length = b"Content-Length: %d" % len(body)
        output = say(served, head(line, token, b"Content-Type: " + kind.encode(), length) + body)
        refused(output)


def refused(output: bytes) -> None:
    """Nothing of 5xx; where it was a fault, one line and a hint."""
    answers = re.findall(rb"^HTTP/1\.1 (\d+)", output, re.MULTILINE)
    for status in answers:
        assert int(status) < 500, output[:1000]
    if answers and int(answers[-1]) >= 400 and b"application/json" in output.lower():
        body = output.rpartition(b"\r\n\r\n")[2]
        found = json.loads(body)
        assert found.get("error") or found.get("errors")
        assert "\n" not in str(found.get("error"))
