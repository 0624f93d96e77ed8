"""The client of a registry: what it says when something is wrong, and what it never believes."""

from __future__ import annotations

import hashlib
import socket
import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from support.servers import send, serving

from cogen.errors import DigestError
from cogen.remote import Client, NotThere, RegistryError
from cogen.trust.registries import Registry

DATA = bytes(range(256)) * 40


def client(url: str, token: str | None = "secret", timeout: float = 5.0) -> Client:
    return Client(Registry(url, token), timeout=(timeout, timeout))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RegistryError, match=f"127.0.0.1:{port} cannot be reached: .*refused") as caught:
        client(f"http://127.0.0.1:{port}").get("/x")
    assert "cogen login" in str(caught.value.hint)


def test_no_such_host() -> None:
    with pytest.raises(RegistryError, match="cannot be reached"):
        client("http://registry.invalid").get("/x")


def test_no_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError, match="does not answer in time"):
            client(url, timeout=0.2).get("/x")


def test_tls_where_there_is_none() -> None:
    with serving(lambda handler: send(handler, {})) as server, pytest.raises(RegistryError) as caught:
        client(server.url.replace("http:", "https:")).get("/x")
    assert caught.value.message == f"{server.url.replace('http:', 'https:')} is not encrypted"
    assert caught.value.hint == "the URL should begin with http://"


def test_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except (ssl.SSLError, OSError):
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(RegistryError, match=r"certificate of https://.* is not trusted here") as caught:
            client(f"https://127.0.0.1:{listening.getsockname()[1]}").get("/x")
        thread.join()
    assert caught.value.hint == "set REQUESTS_CA_BUNDLE to a PEM file with the public authorities and your own"


@pytest.mark.parametrize(
    ("status", "body", "message", "hint"),
    [
        (401, {"error": "this token is not known, or no longer"}, "token is not known", "cogen login"),
        (401, b"", "token is not accepted", "cogen login"),
        (403, {"error": "this token has no scope 'keys'", "hint": "ask"}, "no scope", "ask"),
        (404, {"error": "there is no expert 'x'", "hint": None}, "there is no expert 'x'", "URL"),
        (404, b"<html>nginx</html>", "has no /x", "URL of a registry"),
        (413, {"error": "too large", "hint": "smaller"}, "too large", "smaller"),
        (422, {"detail": [{"loc": ["body", "pem"], "msg": "too long"}]}, "pem: too long", "operator"),
        (500, b"oops", "status 500", "operator"),
        (503, b"", "busy or down", "later"),
        (400, {"error": "a\x1b[31m\nb\r" + "c" * 9000}, r"refused: a \[31m b c", "operator"),
        (400, [1], "status 400", "operator"),
    ],
)
def test_refusals_are_one_line_with_a_hint(status: int, body: Any, message: str, hint: str) -> None:
    with (
        serving(lambda handler: send(handler, body, status)) as server,
        pytest.raises(RegistryError, match=message) as c,
    ):
        client(server.url).get("/x")
    assert hint in str(c.value.hint)
    assert c.value.message.isprintable()
    assert len(c.value.message) < 700
    assert c.value.status == status
    assert isinstance(c.value, NotThere) == (status == 404)


def test_other_web_sites_are_not_registries() -> None:
    with serving(lambda handler: send(handler, b"<html>")) as server, pytest.raises(RegistryError, match="not JSON"):
        client(server.url).get("/x")


def test_an_upload_follows_no_redirect_and_a_download_leaves_the_token_at_home() -> None:
    with serving(lambda handler: send(handler, {"a": 1})) as other:
        there = other.url.replace("127.0.0.1", "localhost")
        with serving(lambda handler: send(handler, b"", 302, Location=f"{there}/y")) as server:
            assert client(server.url).get("/x") == {"a": 1}
            assert "Authorization" in server.seen[0][1]
            assert "Authorization" not in other.seen[0][1]
            with pytest.raises(RegistryError, match="has moved"):
                client(server.url).send("POST", "/x", json={})
            assert len(other.seen) == 1


@pytest.mark.parametrize("token", ["secret", None])
def test_netrc_is_not_asked_for_a_host_that_a_redirect_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """Two servers under two names; the file has a password of each, and a default."""
    (tmp_path / "netrc").write_text(
        "machine localhost login me password other\nmachine 127.0.0.1 login me password mine\n"
        "default login any password body\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(lambda handler: send(handler, DATA)) as far:
        elsewhere = far.url.replace("127.0.0.1", "localhost")
        with serving(lambda handler: send(handler, {}, 302, Location=f"{elsewhere}{handler.path}")) as near:
            opened = client(near.url, token)
            assert opened.read("/x") == DATA
            opened.download("/y", tmp_path / "y", size=len(DATA))
            sent = f"Bearer {token}" if token else None
            assert [headers.get("Authorization") for _, headers in near.seen] == [sent, sent]
    assert [line for line, _ in far.seen] == ["GET /x", "GET /y"]
    assert all("Authorization" not in headers for _, headers in far.seen)


def test_netrc_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(lambda handler: send(handler, {})) as server:
        client(server.url).get("/x")
        client(server.url, token=None).get("/x")
    assert server.seen[0][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.seen[1][1]


class Breaking:
    """Sends ``step`` bytes of what is asked for, then hangs up; with ``ranges`` it obeys them."""

    def __init__(self, data: bytes, step: int, ranges: bool = True) -> None:
        self.data, self.step, self.ranges = data, step, ranges

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        body = self.data[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.step])


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    with serving(Breaking(DATA, 4000)) as server:
        found = client(server.url).download(
            "/f", tmp_path / "f", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest()
        )
    assert found == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "f").read_bytes() == DATA
    assert [headers.get("Range") for _, headers in server.seen] == [None, "bytes=4000-", "bytes=8000-"]


def test_a_server_without_ranges_starts_again_and_is_given_up(tmp_path: Path) -> None:
    with serving(Breaking(DATA, 4000, ranges=False)) as server, pytest.raises(RegistryError, match="broke off f"):
        client(server.url).download("/f", tmp_path / "f", size=len(DATA))
    assert len(server.seen) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [len(DATA) - 1, 0])
def test_one_byte_more_than_promised_is_refused(tmp_path: Path, size: int) -> None:
    with serving(lambda handler: send(handler, DATA)) as server, pytest.raises(DigestError, match="longer than"):
        client(server.url).download("/f", tmp_path / "f", size=size)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_than_promised_are_refused(tmp_path: Path) -> None:
    with serving(lambda handler: send(handler, DATA)) as server, pytest.raises(DigestError, match="not the file"):
        client(server.url).download("/f", tmp_path / "f", size=len(DATA), sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    with serving(lambda handler: send(handler, b"")) as server:
        client(server.url).download("/f", tmp_path / "f", size=0, sha256=hashlib.sha256().hexdigest())
    assert (tmp_path / "f").read_bytes() == b""


def test_a_bounded_answer() -> None:
    with serving(lambda handler: send(handler, DATA)) as server:
        assert client(server.url).read("/f", len(DATA)) == DATA
        with pytest.raises(RegistryError, match="more than"):
            client(server.url).read("/f", len(DATA) - 1)
