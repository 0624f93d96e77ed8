"""The upload over HTTP: each refusal has the right status and words, and leaves nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from support.shelf import fresh_root, token
from support.wheels import build, raw

from cogen_registry.admission.releases import scratch
from cogen_registry.app import create_app
from cogen_registry.blobs.disk import DiskStore
from cogen_registry.database.tables import Base, Publisher
from cogen_registry.service import Service
from cogen_registry.settings import Settings

Post = Callable[..., Any]


def everything(service: Service) -> Any:
    with service.sessions.read() as session:
        rows = {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
            if name not in ("tokens", "publishers")
        }
    store = service.blobs
    assert isinstance(store, DiskStore)
    left = [file for folder in (store.staging, scratch(service)) if folder.exists() for file in folder.iterdir()]
    assert not left
    return rows, sorted(store.names())


def refused(answer: Any, status: int, message: str) -> None:
    assert answer.status_code == status, answer.text
    output = answer.json()
    assert message in output["error"]
    assert "\n" not in output["error"]


def basic(headers: dict[str, str]) -> dict[str, str]:
    """The same token as twine and uv send it."""
    secret = headers["Authorization"].partition(" ")[2]
    return {"Authorization": "Basic " + base64.b64encode(f"__token__:{secret}".encode()).decode()}


def test_an_upload_needs_a_token(service: Service, post: Post, tmp_path: Path) -> None:
    path, before = build(tmp_path), everything(service)
    answer = post(path, headers={})
    refused(answer, 401, "authentication required")
    assert answer.headers["www-authenticate"].startswith("Basic")
    refused(post(path, headers={"Authorization": "Basic !!"}), 401, "unknown or expired token")
    refused(post(path, headers={"Authorization": "Bearer cogen_guess"}), 401, "unknown or expired token")
    refused(post(path, headers=token(service, "team", ["weights"])), 403, "has no scope 'packages'")
    refused(post(path, headers=token(service, "team", ["packages:cogen-plugin-wind"])), 403, "has no scope 'packages'")
    assert everything(service) == before
    assert post(path, headers=basic(token(service))).json()["state"] == "released"


def test_both_spellings_of_the_address_work(client: TestClient, service: Service, post: Post, tmp_path: Path) -> None:
    path = build(tmp_path)
    assert post(path).status_code == 200
    form = {":action": "file_upload", "name": "cogen-plugin-power", "version": "1.0", "filetype": "bdist_wheel"}
    again = client.post(
        "/legacy",
        data=form,
        files={"content": (path.name, path.read_bytes())},
        headers=token(service),
        follow_redirects=False,
    )
    assert (again.status_code, again.json()["state"]) == (200, "released")


def test_length_and_token_are_looked_at_before_the_form(client: TestClient, service: Service) -> None:
    """A body without a length, or with too much of it, is not read: these are no forms at all."""
    headers = token(service) | {"Content-Type": "multipart/form-data; boundary=x"}
    refused(client.post("/legacy/", content=iter([b"x" * 10]), headers=headers), 411, "has no Content-Length")
    with service.sessions.write() as session:
        team = session.scalar(select(Publisher).where(Publisher.name == "team"))
        assert team is not None
        team.limits = {"wheel": 1000, "metadata": 500}
    refused(
        client.post("/legacy/", content=b"x" * 1501, headers=headers), 413, "has 1,501 bytes, a wheel at most 1,000"
    )
    refused(client.post("/legacy/", content=b"x" * 1500, headers=headers), 400, "the form cannot be read")
    huge = {"Content-Length": str(10**12)} | headers
    refused(client.post("/legacy/", content=b"x", headers=huge), 413, "larger than")


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    more = f'; filename="{filename}"' if filename is not None else ""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


GOOD = (
    part(":action", b"file_upload")
    + part("filetype", b"bdist_wheel")
    + part("name", b"cogen-plugin-power")
    + part("version", b"1.0")
)


FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        ("application/json", b"{}", 415, "not a form with a file"),
        ("multipart/form-data", b"", 415, "not a form with a file"),
        (FORM, b"nonsense", 400, "the form cannot be read"),
        (FORM, b"", 400, "the form ends too early"),
        (FORM, GOOD + part("content", b"x", "a.whl"), 400, "the form ends too early"),
        (FORM, GOOD + b"--B--\r\n", 400, "has no file `content`"),
        (FORM, GOOD + part("content", b"x", "a.whl") * 2 + b"--B--\r\n", 400, "two files"),
        (FORM, part("a", b"") * 2001 + b"--B--\r\n", 400, "more than 2,000 fields"),
        (FORM, part("a", b"x" * 3_000_000) + b"--B--\r\n", 413, "the form's fields have"),
        (FORM, part("content", b"x", "a.whl") + b"--B--\r\n", 400, "this is not an upload"),
        (FORM, GOOD + part("content", b"x") + b"--B--\r\n", 400, "'' is not a wheel"),
        (FORM, GOOD + part("content", b"x", "../../../x.whl") + b"--B--\r\n", 400, "not a wheel's"),
    ],
)
def test_forms_that_are_none_are_refused(
    client: TestClient, service: Service, kind: str, body: bytes, status: int, message: str
) -> None:
    headers, before = token(service) | {"Content-Type": kind}, everything(service)
    refused(client.post("/legacy/", content=body, headers=headers), status, message)
    assert everything(service) == before


def test_a_form_is_read_however_it_is_cut(service: Service, tmp_path: Path) -> None:
    """Byte by byte, and at once: the same fields and the same file, one that holds the boundary's beginning too."""
    from cogen_registry.packages.form import UploadForm

    content = b"\r\n--\r\n--A\r\n\x00" * 20
    body = GOOD + part("description", "ä\r\n".encode() * 5) + part("content", content, "a.whl") + b"--B--\r\n"
    for size in (1, 7, len(body)):
        with service.blobs.stage() as staged:
            form = UploadForm(FORM, staged, 10_000, 10_000)
            for start in range(0, len(body), size):
                form.feed(body[start : start + size])
            form.close()
            assert (form.filename, staged.sha256) == ("a.whl", hashlib.sha256(content).hexdigest())
            assert form.fields["description"] == "ä\r\n" * 5
            assert form.fields["name"] == "cogen-plugin-power"


class TestAttacks:
    """What somebody with a valid token may try."""

    def test_packages_of_the_index_cannot_be_shadowed(self, service: Service, post: Post, tmp_path: Path) -> None:
        before = everything(service)
        for project in ("torch", "cogen-core", "requests"):
            path = build(tmp_path, project=project)
            refused(post(path), 400, "is not a plugin's name")
        assert everything(service) == before

    def test_a_released_version_cannot_be_replaced(self, service: Service, post: Post, tmp_path: Path) -> None:
        assert post(build(tmp_path)).status_code == 200
        before = everything(service)
        tagged = build(tmp_path, filename="cogen_plugin_power-1.0-1-py3-none-any.whl")
        refused(post(tagged), 400, "build tag")
        platform = build(tmp_path, filename="cogen_plugin_power-1.0-py3-none-linux_x86_64.whl")
        refused(post(platform), 400, "not for everybody")
        refused(post(build(tmp_path, version="1.0.0")), 409, "is there already")
        refused(post(build(tmp_path, summary="Other")), 409, "is there already")
        local = build(tmp_path, version="1.0+evil", filename="cogen_plugin_power-1.0+evil-py3-none-any.whl")
        refused(post(local), 400, "local version")
        assert everything(service) == before

    def test_names_cannot_be_stolen(self, service: Service, post: Post, tmp_path: Path) -> None:
        assert post(build(tmp_path)).status_code == 200
        before = everything(service)
        refused(post(build(tmp_path, version="9.0"), "thief"), 403, "belongs to another publisher")
        refused(post(build(tmp_path), "thief"), 403, "belongs to another publisher")
        refused(post(build(tmp_path, "p0wer"), "thief"), 403, "looks like cogen-plugin-power")
        refused(post(build(tmp_path, project="cogen-plugin-mine"), "thief"), 403, "belongs to cogen-plugin-power")
        other = build(tmp_path, "mine", module="cogen_plugin_power")
        refused(post(other, "thief"), 400, "is not cogen-plugin-mine's own")
        assert everything(service) == before

    def test_another_forms_wheel_is_refused(self, service: Service, post: Post, tmp_path: Path) -> None:
        before, path = everything(service), build(tmp_path)
        refused(post(path, name="cogen-plugin-wind"), 400, "the form is of cogen-plugin-wind 1.0")
        refused(post(path, version="2.0"), 400, "the form is of cogen-plugin-power 2.0")
        refused(
            post(path, filename="cogen_plugin_wind-1.0-py3-none-any.whl", name="cogen-plugin-wind"), 400, "is missing"
        )
        refused(post(path, sha256_digest="0" * 64), 400, "not the SHA-256 digest")
        refused(post(path, blake2_256_digest="0" * 64), 400, "not the BLAKE2 digest")
        refused(post(path, filetype="sdist", filename="cogen_plugin_power-1.0.tar.gz"), 400, "sdist is not a wheel")
        assert everything(service) == before

    def test_archives_that_lead_out_are_refused(self, service: Service, post: Post, tmp_path: Path) -> None:
        before = everything(service)
        for name in ("../../evil.py", "/tmp/evil.py", "cogen_plugin_power\\..\\..\\evil.py", "evil.pth"):
            answer = post(build(tmp_path, extra={name: b"import os\n"}))
            assert answer.status_code == 400
        refused(post(raw(tmp_path, "cogen_plugin_power-1.0-py3-none-any.whl", [])), 400, "is missing")
        assert everything(service) == before
        assert not list(service.settings.root.parent.rglob("evil*"))

    def test_an_upload_over_the_limit_is_cut_off(self, service: Service, post: Post, tmp_path: Path) -> None:
        """It may lie about nothing: the length is checked first, the bytes are counted, the sum is checked last."""
        path = build(tmp_path)
        size = path.stat().st_size
        before, headers = everything(service), token(service)
        for limits, message in (
            ({"wheel": size - 1}, f"the wheel is larger than {size - 1:,} bytes"),
            ({"wheel": 100, "metadata": 100}, "a wheel at most 100"),
            ({"publisher": size - 1}, "are beyond the limit"),
            ({"unpacked": 100}, "at most 100 are allowed"),
            ({"members": 3}, "at most 3 are allowed"),
        ):
            with service.sessions.write() as session:
                team = session.scalar(select(Publisher).where(Publisher.name == "team"))
                assert team is not None
                team.limits = limits
            refused(post(path, headers=headers), 413, message)
            assert everything(service) == before


def test_what_a_killed_process_unpacked_is_removed_at_the_start(tmp_path: Path) -> None:
    root = fresh_root(tmp_path / "root")
    (root / "scratch" / "cogen-wheel-x").mkdir(parents=True)
    (root / "scratch" / "cogen-wheel-x" / "half.py").write_text("x = ")
    with TestClient(create_app(Settings(root=root, embedder="none"))):
        assert not (root / "scratch").exists()


def test_the_signature_of_a_release(client: TestClient, service: Service, post: Post, tmp_path: Path) -> None:
    from cogen.spec.expert import ExpertSpec
    from cogen.trust import fingerprint, make_statement, new_key, prove_possession, sign_statement
    from cogen_registry.database.tables import Expert

    path, headers, url = build(tmp_path), token(service), "/api/v1/releases/cogen-plugin-power/1.0"
    post(path)
    pem = new_key(tmp_path / "key.pem")
    registered = client.post(
        "/api/v1/keys", json={"pem": pem, "proof": prove_possession(tmp_path / "key.pem", "team")}, headers=headers
    )
    assert registered.status_code == 201
    with service.sessions.read() as session:
        spec = ExpertSpec.model_validate(session.scalar(select(Expert.spec)))
    statement = make_statement(path, "team", [spec])
    body = {"statement": statement, "bundle": sign_statement(statement, tmp_path / "key.pem")}
    refused(client.put(f"{url}/signature", json=body), 401, "authentication required")
    refused(client.put(f"{url}/signature", json=body, headers=token(service, "other")), 403, "another publisher")
    old = {"statement": statement | {"version": "0.9"}, "bundle": body["bundle"]}
    refused(client.put(f"{url}/signature", json=old, headers=headers), 400, "differ in version")
    assert client.put(f"{url}/signature", json={"statement": 1}, headers=headers).status_code == 422
    signed = client.put(f"{url}/signature", json=body, headers=headers)
    assert signed.status_code == 200
    wanted = body | {"key": fingerprint(pem), "revoked": None}
    assert client.get(url).json()["signature"] == signed.json()["signature"] == wanted
    assert client.get("/api/v1/experts/power").json()["signed"] is True
