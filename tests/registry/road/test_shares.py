"""One address has a share of the connections, whatever it does with them; everybody else is answered."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.served import Served, serving

FORM = (
    b"POST /legacy/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
    b"Content-Length: 1000000\r\n\r\n--B"
)
#: What a client can do that takes no account, and holds a connection.
SLOW = {
    "says nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ",
    "half a body": FORM,
    "half a body of JSON": b"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{",
    "half a body in chunks": b"POST /legacy/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nx",
    "idle after an answer": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With the defaults of a real service: a slow client has half a minute."""
    with serving(tmp_path_factory.mktemp("shares") / "root") as opened:
        yield opened
        opened.healthy()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """127.0.0.9 is its proxy; one client may have five requests at once."""
    root = tmp_path_factory.mktemp("behind") / "root"
    settings = root.with_name("proxies.toml")
    settings.write_text('proxies = ["127.0.0.9"]\n[limits]\naddress = 5\nslow_seconds = 20\n')
    with serving(root, "--settings", str(settings)) as opened:
        yield opened
        opened.healthy()


def ask(served: Served, path: str, source: str = "127.0.0.1", **headers: str) -> http.client.HTTPResponse:
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20, source_address=(source, 0))
    connection.request("GET", path, headers={"Connection": "close"} | headers)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def slow(served: Served, stack: ExitStack, first: bytes, count: int, source: Callable[[int], str]) -> None:
    parts = urlsplit(served.url)
    for number in range(count):
        place = (parts.hostname, parts.port)
        connection = stack.enter_context(socket.create_connection(place, source_address=(source(number), 0)))
        if first:
            try:
                connection.sendall(first)
            except OSError:
                continue  # it was turned away


@pytest.mark.parametrize("kind", SLOW)
def test_three_hundred_slow_connections_of_one_address(served: Served, kind: str) -> None:
    """Others are answered, and the address itself is, too: what it only holds makes room."""
    with ExitStack() as stack:
        slow(served, stack, SLOW[kind], 300, lambda _: "127.0.0.1")
        for source in ("127.0.0.2", "127.0.0.1") * 5:
            for path in ("/healthz", "/simple/", "/", "/api/v1/experts"):
                assert ask(served, path, source).status == 200, (kind, source, path)


@pytest.mark.parametrize("kind", ["half a body", "half a head"])
def test_three_hundred_slow_connections_of_thirty_addresses(served: Served, kind: str) -> None:
    with ExitStack() as stack:
        slow(served, stack, SLOW[kind], 300, lambda number: f"127.0.1.{number % 30 + 1}")
        for source in ("127.0.0.2", "127.0.1.1") * 5:
            assert ask(served, "/healthz", source).status == 200


def test_the_slowest_goes_first(tmp_path: Path) -> None:
    """Who sends more than the others keeps its connection when others of its address come."""
    with serving(tmp_path / "root", address=10) as served, ExitStack() as stack:
        parts = urlsplit(served.url)
        head = FORM.replace(b"--B", b"").replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
        worker = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
        worker.sendall(head)
        worker.settimeout(20)
        assert worker.recv(65536).startswith(b"HTTP/1.1 100")
        worker.sendall(b"--B" + b"x" * 200_000)
        assert ask(served, "/healthz", "127.0.0.2").status == 200  # by then it was read
        slow(served, stack, FORM, 30, lambda _: "127.0.0.1")
        for _ in range(20):
            assert ask(served, "/healthz").status == 200
        worker.sendall(b"x" * (1_000_000 - 200_003))
        assert worker.recv(65536).startswith(b"HTTP/1.1 401")


def test_an_address_that_is_at_work_everywhere_is_told(tmp_path: Path) -> None:
    """Where none of its connections waits for it, another one gets one line, and its own limit is the reason."""
    with serving(tmp_path / "root", address=3) as served, ExitStack() as stack:
        parts = urlsplit(served.url)
        block = b"GET /api/v1/index.json HTTP/1.1\r\nHost: x\r\n\r\n"
        hold = [stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(3)]
        for connection in hold:
            connection.sendall(block * 50)  # one after the other: there is always one under way
        seen = {ask(served, "/healthz", "127.0.0.1").status for _ in range(20)}
        assert seen <= {200, 429}
        assert ask(served, "/healthz", "127.0.0.2").status == 200


class TestProxy:
    def test_its_clients_have_shares(self, behind: Served) -> None:
        """One client behind the proxy has its share of requests; another one behind it is answered."""
        head = FORM.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 203.0.113.7")
        with ExitStack() as stack:
            slow(behind, stack, head, 12, lambda _: "127.0.0.9")
            forwarded = {"X-Forwarded-For": "203.0.113.7"}
            until(lambda: ask(behind, "/healthz", "127.0.0.9", **forwarded).status == 429)
            reported = ask(behind, "/healthz", "127.0.0.9", **forwarded)
            assert reported.status == 429
            assert reported.headers["Retry-After"]
            output = json.loads(reported.body)  # type: ignore[attr-defined]
            assert output["error"]
            assert output["hint"]
            assert ask(behind, "/healthz", "127.0.0.9", **{"X-Forwarded-For": "203.0.113.8"}).status == 200
            assert ask(behind, "/healthz", "127.0.0.2").status == 200

    def test_nobody_else_is_believed(self, behind: Served) -> None:
        """Who is not a configured proxy can't hide behind names."""
        with ExitStack() as stack:
            for number in range(20):
                head = FORM.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 198.51.100.%d" % number)
                slow(behind, stack, head, 1, lambda _: "127.0.0.3")
            parts = urlsplit(behind.url)
            local, remote = f":{parts.port:04X}", "0300007F:"  # 127.0.0.3, as Linux lists it

            def held() -> int:
                lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
                return sum(one[1].endswith(local) and one[2].startswith(remote) and one[3] == "01" for one in lines)

            seen = [held()]
            until(lambda: seen.append(held()) or seen[-1] <= 5)  # type: ignore[func-returns-value]
            assert max(seen) > 0
            assert ask(behind, "/healthz", "127.0.0.2", **{"X-Forwarded-For": "198.51.100.1"}).status == 200

    def test_the_scheme_is_the_proxys(self, behind: Served) -> None:
        """Links of the index are what the client of the proxy can open."""
        forwarded = {"X-Forwarded-Proto": "https", "Host": "models.example.org"}
        page = ask(behind, "/", "127.0.0.9", **forwarded).body.decode()  # type: ignore[attr-defined]
        assert "https://models.example.org" in page
        page = ask(behind, "/", "127.0.0.2", **forwarded).body.decode()  # type: ignore[attr-defined]
        assert "https://models.example.org" not in page


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
