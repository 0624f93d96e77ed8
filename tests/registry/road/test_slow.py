"""Clients that are too slow are cut off, with a reason where they can still hear it; others are served meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.hub import lfs, tensors
from support.served import Served

#: Far beyond any patience of the server's; a client that is not cut off by then never will be.
_FOREVER = 60.0
DATA = tensors(1, 800_000)


class Dribbling(threading.Thread):
    """Sends ``first`` at once, then ten times a second a little: a byte, unless ``more`` is said.

    ``said``: what came back before the connection ended.
    """

    def __init__(self, url: str, first: bytes, more: int = 1) -> None:
        super().__init__(daemon=True)
        self.more = b"x" * more if first else b""
        self.parts, self.first, self.output, self.cut = urlsplit(url), first, b"", False

    def run(self) -> None:
        end = time.monotonic() + _FOREVER
        with socket.create_connection((self.parts.hostname, self.parts.port)) as connection:
            connection.sendall(self.first)
            connection.settimeout(0.1)
            while time.monotonic() < end:
                try:
                    data = connection.recv(65536)
                    self.output += data
                    if not data:
                        self.cut = True
                        return
                except TimeoutError:
                    pass
                except OSError:
                    self.cut = True
                    return
                try:
                    connection.send(self.more)
                except OSError:
                    continue  # what it said may still be there to read


def request(method: str, url: str, **headers: str) -> bytes:
    """A head; its body has a megabyte of which nothing is sent yet."""
    parts = urlsplit(url)
    lines = [f"{method} {parts.path}{f'?{parts.query}' if parts.query else ''} HTTP/1.1", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_headers_and_bodies_that_never_end(served: Served) -> None:
    hub = served.hub("slow")
    repo, token = hub.create("model"), hub.headers["Authorization"]
    place = hub.place(repo, DATA)
    grant = hub.send("GET", f"/api/models/{repo}/xet-write-token/main").json()
    xet = {"Authorization": f"Bearer {grant['accessToken']}"}
    form, long = {"Content_Type": "multipart/form-data; boundary=B"}, {"Content_Length": "1000000"}
    part = b'--B\r\nContent-Disposition: form-data; name="content"; filename="x.whl"\r\n\r\n'
    xorb = f"{grant['casUrl']}/v1/xorbs/default/{'a' * 64}"
    clients = {
        "says nothing": b"",
        "headers": b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ",
        "second headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX-Long: ",
        "wheel": request("POST", f"{served.url}/legacy/", Authorization=token, **form, **long) + part,
        "wheel of anybody": request("POST", f"{served.url}/legacy/", **form, **long) + part,
        "lfs": request("PUT", place, Content_Length=str(len(DATA))) + DATA[:5000],
        "lfs in chunks": request("PUT", place, Transfer_Encoding="chunked") + b"100000\r\n",
        "xorb": request("POST", xorb, **xet, **long),
        "shard": request("POST", f"{grant['casUrl']}/v1/shards", **xet, **long),
        "commit": request("POST", f"{served.url}/api/models/{repo}/commit/main", Authorization=token, **long),
        "json": request(
            "POST", f"{served.url}/api/v1/keys", Authorization=token, Content_Type="application/json", **long
        ),
    }
    before = served.files()
    fast = {"wheel of anybody": 500}  # as quick as it has to be, but without a token
    threads = {
        name: [Dribbling(served.url, first, fast.get(name, 1)) for _ in range(4)] for name, first in clients.items()
    }
    for thread in (one for group in threads.values() for one in group):
        thread.start()
    honest = 0
    while any(thread.is_alive() for group in threads.values() for thread in group):
        assert served.get("/healthz").status_code == 200
        assert served.get("/api/v1/experts").json()["total"] == 0
        honest += 1
    assert honest > 1
    for name, group in threads.items():
        for thread in group:
            assert thread.cut, name
            answers = thread.output.split(b"HTTP/1.1 ")[1:]
            status, body = answers[-1][:3], json.loads(answers[-1].partition(b"\r\n\r\n")[2])
            assert status == (b"401" if name == "wheel of anybody" else b"408"), (name, thread.output)
            assert body["error"]
            assert body["hint"]
            assert "\n" not in body["error"]
    _until(lambda: served.files() == before)
    hub.upload(repo, DATA)  # the same URL's bytes, by who is quicker
    served.healthy()


def test_more_silent_connections_than_there_are_places(served: Served) -> None:
    """The one that has waited for the longest time makes room."""
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection((urlsplit(served.url).hostname, urlsplit(served.url).port)))
        assert [served.get("/healthz").status_code for _ in range(5)] == [200] * 5


def test_a_reader_who_takes_nothing(served: Served) -> None:
    """Its connection ends, and with it the file that is open for it."""
    hub = served.hub("reader")
    repo, data = hub.create("model"), tensors(2, 4_000_000)
    hub.upload(repo, data)
    hub.committed(repo, lfs("model.safetensors", data))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((urlsplit(served.url).hostname, urlsplit(served.url).port))
        connection.sendall(request("GET", f"{served.url}/{repo}/resolve/main/model.safetensors"))
        _until(lambda: _blobs_open(served))
        _until(lambda: not _blobs_open(served))
        connection.settimeout(_FOREVER)
        got = 0
        try:
            while block := connection.recv(1 << 20):
                got += len(block)
        except ConnectionResetError:
            pass
    assert got < len(data)
    assert hub.fetch(repo, "model.safetensors").content == data
    served.healthy()


def _blobs_open(served: Served) -> list[str]:
    """Files of the blob store that the process has open."""
    folder = Path(f"/proc/{served.process.pid}/fd")
    if not folder.is_dir():
        pytest.skip("only Linux tells which files a process has open")
    found = []
    for handle in folder.iterdir():
        try:
            found.append(str(handle.readlink()))
        except FileNotFoundError:
            continue
    return [name for name in found if name.startswith(str(served.root / "blobs"))]


def _until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + _FOREVER
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
