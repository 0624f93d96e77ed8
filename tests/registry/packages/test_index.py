"""The simple index: PEP 503, 592, 658, 691, 700, and the files behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.shelf import put, token
from support.wheels import build

from cogen_registry.errors import Refused
from cogen_registry.packages.index import negotiate
from cogen_registry.service import Service

Post = Callable[..., Any]
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
QUARANTINED: dict[str, Any] = {"base": {"source": "pypi://far-away==1/x", "file_digest": "sha256:" + "0" * 64}}
PAGE = "/simple/cogen-plugin-power/"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        (JSON, JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
        (f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", JSON),  # pip
        (f"{JSON}, {HTML};q=0.2, text/html;q=0.01", JSON),  # uv
        (f"text/html;q=0.5, {HTML};q=0.9", HTML),
        (f"{JSON};q=0, {HTML}", HTML),
        (f"{JSON};q=x, {HTML};q=0.1", HTML),
        (f"application/json, {JSON.upper()};q=0.3", JSON),
    ],
)
def test_clients_get_the_form_that_they_want_most(accept: str, form: str) -> None:
    assert negotiate(accept).value == form


@pytest.mark.parametrize("accept", ["application/json", "image/png;q=1", f"{JSON};q=0"])
def test_other_forms_are_refused(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        negotiate(accept)
    assert refused.value.status == 406


def test_a_page_as_json(client: TestClient, post: Post, tmp_path: Path) -> None:
    paths = [build(tmp_path, version=version) for version in ("1.10", "1.9")]
    for path in paths:
        assert post(path).status_code == 200
    answer = client.get(PAGE, headers={"Accept": JSON})
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.headers["vary"] == "Accept"
    page = answer.json()
    assert page["meta"] == {"api-version": "1.1"}
    assert (page["name"], page["versions"]) == ("cogen-plugin-power", ["1.9", "1.10"])
    file = page["files"][1]
    assert (file["filename"], file["size"]) == (paths[0].name, paths[0].stat().st_size)
    assert file["hashes"] == {"sha256": hashlib.sha256(paths[0].read_bytes()).hexdigest()}
    assert file["requires-python"] == ">=3.8"
    assert file["upload-time"].endswith("Z")
    assert "yanked" not in file
    got = client.get(client.get(PAGE).url.join(file["url"]))
    assert got.content == paths[0].read_bytes()
    metadata = client.get(f"{got.url}.metadata")
    assert metadata.headers["content-type"] == "text/plain; charset=utf-8"
    assert file["core-metadata"] == {"sha256": hashlib.sha256(metadata.content).hexdigest()}
    assert metadata.text.startswith("Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: 1.10\n")


def test_a_page_as_html(client: TestClient, post: Post, tmp_path: Path) -> None:
    path = build(tmp_path)
    post(path)
    answer = client.get(PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f'href="../../files/{digest}/{path.name}#sha256={digest}"' in answer.text
    assert 'data-requires-python="&gt;=3.8"' in answer.text
    assert 'data-core-metadata="sha256=' in answer.text
    assert 'content="1.1"' in answer.text
    assert client.get(PAGE, headers={"Accept": HTML}).headers["content-type"] == HTML


def test_the_list_of_projects(client: TestClient, post: Post, tmp_path: Path) -> None:
    for id in ("wind", "power"):
        post(build(tmp_path, id))
    post(build(tmp_path, "hidden", **QUARANTINED))
    page = client.get("/simple/", headers={"Accept": JSON}).json()
    assert page == {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": "cogen-plugin-power"}, {"name": "cogen-plugin-wind"}],
    }
    assert '<a href="cogen-plugin-power/">cogen-plugin-power</a>' in client.get("/simple/").text


def test_names_are_sent_on_to_their_normal_form(client: TestClient, post: Post, tmp_path: Path) -> None:
    post(build(tmp_path))
    for asked in ("/simple/Cogen_Plugin.Power/", "/simple/cogen-plugin-power", "/simple/COGEN--plugin_power"):
        first = client.get(asked, follow_redirects=False)
        assert first.status_code == 301
        followed = client.get(asked)
        assert (followed.status_code, followed.url.path) == (200, PAGE)
    assert client.get("/simple", follow_redirects=False).status_code == 301
    assert client.get("/simple").url.path == "/simple/"


def test_what_is_not_there_is_not_found(client: TestClient, post: Post, tmp_path: Path) -> None:
    post(build(tmp_path))
    post(build(tmp_path, "hidden", **QUARANTINED))
    digest = hashlib.sha256((tmp_path / "cogen_plugin_power-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    for path in (
        "/simple/torch/",
        "/simple/cogen-plugin-hidden/",
        "/simple/..%2f..%2fetc/",
        f"/files/{digest}/other.whl",
        f"/files/{'0' * 64}/cogen_plugin_power-1.0-py3-none-any.whl",
        f"/files/{digest}/..%2fpasswd",
        "/files/x/y",
        f"/files/{digest}/.metadata",
    ):
        assert client.get(path).status_code == 404, path
    assert client.get("/simple/torch/").json() == {
        "error": "there is no project torch",
        "hint": "/simple/ lists all; check the spelling",
    }


def test_pages_are_sent_once(client: TestClient, post: Post, tmp_path: Path) -> None:
    """An ETag holds until the page changes, for each form."""
    post(build(tmp_path))
    tags = {}
    for accept in (JSON, HTML, "text/html"):
        answer = client.get(PAGE, headers={"Accept": accept})
        tags[accept] = answer.headers["etag"]
        again = client.get(PAGE, headers={"Accept": accept, "If-None-Match": f'"x", W/{tags[accept]}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tags[accept])
        head = client.head(PAGE, headers={"Accept": accept})
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tags[accept])
        assert head.headers["content-length"] == str(len(answer.content))
    post(build(tmp_path, version="2.0"))
    changed = client.get(PAGE, headers={"Accept": JSON, "If-None-Match": tags[JSON]})
    assert changed.status_code == 200
    assert changed.json()["versions"] == ["1.0", "2.0"]


def test_files_come_in_whole_and_in_part(client: TestClient, post: Post, tmp_path: Path) -> None:
    path = build(tmp_path)
    post(path)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    url, size = f"/files/{digest}/{path.name}", len(data)
    whole = client.get(url)
    assert whole.content == data
    assert whole.headers["etag"] == f'"{digest}"'
    assert whole.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"] == f'attachment; filename="{path.name}"'
    assert client.get(url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    head = client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")
    for asked, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=10-", 10, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=5-{size + 50}", 5, size),
        (f"bytes=-{size + 5}", 0, size),
    ):
        part = client.get(url, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, data[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert part.headers["content-length"] == str(stop - start)
    for asked in (
        "bytes=0-1,3-4",
        "bytes=" + ",".join(["0-1"] * 8000),
        "bytes=5-2",
        "bytes=x-",
        "bytes=-",
        "lines=1-2",
    ):
        ignored = client.get(url, headers={"Range": asked})
        assert (ignored.status_code, ignored.content) == (200, data)
    for asked in (f"bytes={size}-", "bytes=-0"):
        none = client.get(url, headers={"Range": asked})
        assert (none.status_code, none.headers["content-range"]) == (416, f"bytes */{size}")
    other = client.get(url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, data)


def test_yanked_files_say_so(client: TestClient, service: Service, post: Post, tmp_path: Path) -> None:
    """The reason is text: what a publisher writes there is no markup on anybody's page."""
    for version in ("1.0", "2.0"):
        post(build(tmp_path, version=version))
    reason = '"><script>alert(1)</script>'
    headers = token(service)
    answer = client.post("/api/v1/releases/cogen-plugin-power/1.0/yank", json={"reason": reason}, headers=headers)
    assert (answer.status_code, answer.json()["yanked"]) == (200, reason)
    client.post("/api/v1/releases/cogen-plugin-power/2.0.0/yank", json={}, headers=headers)
    page = client.get(PAGE, headers={"Accept": JSON}).json()
    assert [file["yanked"] for file in page["files"]] == [reason, True]
    text = client.get(PAGE).text
    assert "<script>" not in text
    assert 'data-yanked="&quot;&gt;&lt;script&gt;' in text
    assert 'data-yanked=""' in text
    shown = client.request("DELETE", "/api/v1/releases/cogen-plugin-power/1.0/yank", headers=headers)
    assert shown.json()["yanked"] is None
    assert "yanked" not in client.get(PAGE, headers={"Accept": JSON}).json()["files"][0]
    for asked, status in (({}, 401), (token(service, "other"), 403), (token(service, "team", ["weights"]), 403)):
        refused = client.post("/api/v1/releases/cogen-plugin-power/1.0/yank", json={"reason": "x"}, headers=asked)
        assert refused.status_code == status
    assert client.get("/api/v1/releases/cogen-plugin-power/1.0").json()["yanked"] is None


def test_a_quarantined_release_is_there_for_its_owner(
    client: TestClient, service: Service, post: Post, tmp_path: Path
) -> None:
    answer = post(build(tmp_path, **QUARANTINED)).json()
    assert answer == {
        "project": "cogen-plugin-power",
        "version": "1.0",
        "state": "quarantined",
        "reason": "pypi://far-away==1/x is not in this registry",
    }
    url = "/api/v1/releases/cogen-plugin-power/1.0"
    seen = client.get(url, headers=token(service)).json()
    assert (seen["state"], seen["reason"], seen["signature"]) == (answer["state"], answer["reason"], None)
    assert (seen["publisher"], seen["experts"]) == ("team", ["power"])
    assert client.get(seen["files"][0]["url"]).status_code == 404
    for headers in ({}, token(service, "other")):
        assert client.get(url, headers=headers).status_code == 404
    assert client.get(url, headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert client.get(PAGE).status_code == 404


def test_a_page_of_many_versions_is_one_statement(client: TestClient, service: Service) -> None:
    for number in range(30):
        put(service, "power", f"1.{number}")
    page = client.get(PAGE, headers={"Accept": JSON}).json()
    assert page["versions"] == [f"1.{number}" for number in range(30)]
