"""What no honest client sends: each is refused, and nothing of it stays."""

from __future__ import annotations

import datetime
import json
import pickle
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from sqlalchemy import update
from support.hub import Hub, Registry, deleted, file, lfs, sha256, tensors

from cogen_registry.auth import digest
from cogen_registry.database.tables import Possession, Token, now
from cogen_registry.service import Service
from cogen_registry.weights.signing import UrlSigner, key_of

DATA = tensors(2, 50, 10)


@pytest.fixture(scope="module")
def hub(registry: Registry) -> Hub:
    return registry.hub("honest")


@pytest.fixture(scope="module")
def repo(hub: Hub) -> str:
    """A repository with one file of weights."""
    made = hub.create("model")
    hub.upload(made, DATA)
    hub.committed(made, lfs("model.safetensors", DATA), file("config.json", "{}"))
    return made


def output(answer: requests.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert words in body["error"], body
    assert "\n" not in body["error"]


class TestPossession:
    """Knowing a hash is not having the bytes."""

    def test_naming_the_blob_of_another_repository(self, registry: Registry, hub: Hub, repo: str) -> None:
        rival = registry.hub("rival")
        theirs, mine = rival.create("model"), hub.create("second")
        with registry.unchanged():
            for thief, target in ((rival, theirs), (hub, mine)):
                output(
                    thief.commit(target, lfs("model.safetensors", DATA)), 400, "were not uploaded to this repository"
                )
                (item,) = thief.batch(target, (sha256(DATA), len(DATA)))
                assert "upload" in item["actions"]  # not "it is here already"
                unknown = thief.commit(target, lfs("model.safetensors", DATA + b"x"))
                output(unknown, 400, "were not uploaded to this repository")

    def test_claiming_another_size(self, registry: Registry, hub: Hub, repo: str) -> None:
        with registry.unchanged():
            output(hub.commit(repo, lfs("other.safetensors", DATA, size=5)), 400, "were not uploaded")

    def test_writing_where_somebody_else_lives(self, registry: Registry, hub: Hub, repo: str) -> None:
        rival = registry.hub("rival")
        with registry.unchanged():
            for method, path, body in (
                ("POST", "/api/repos/create", {"name": "model", "organization": "honest"}),
                ("POST", f"/api/models/{repo}/commit/main", {}),
                ("POST", f"/api/models/{repo}/preupload/main", {"files": []}),
                ("POST", f"/api/models/{repo}/tag/main", {"tag": "v1"}),
                ("POST", f"/api/models/{repo}/branch/dev", {}),
                ("POST", f"/{repo}.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
                ("GET", f"/api/models/{repo}/xet-write-token/main", None),
            ):
                output(rival.send(method, path, json=body), 403, "honest belongs to another publisher")
                output(Hub(registry.url, {}, "").send(method, path, json=body), 401, "authentication required")

    def test_a_token_without_the_scope(self, registry: Registry, hub: Hub, repo: str) -> None:
        narrow = registry.hub("honest", ["packages"])
        with registry.unchanged():
            output(narrow.commit(repo, file("a.json", "{}")), 403, "no scope 'weights'")


class TestSignedUrls:
    """Bound to repository, token, hash, size and time."""

    def test_other_bytes(self, registry: Registry, hub: Hub, repo: str) -> None:
        data = tensors(30, 50)
        url = hub.place(repo, data)
        with registry.unchanged():
            output(hub.put(url, data[:-1] + b"x"), 400, "are not those")
            output(hub.put(url, data + b"x"), 400, "bytes instead of")
            output(hub.put(url, data[:-1]), 400, "bytes instead of")
            output(hub.put(url, iter([data, data])), 400, "has more than")  # chunked: no length is said
            output(hub.put(url, iter([data[:10]])), 400, "are not those")
        assert hub.put(url, iter([data[:10], data[10:]])).status_code == 200
        assert hub.put(url, data).status_code == 200  # the same again

    def test_forged(self, registry: Registry, hub: Hub, repo: str) -> None:
        data, other = tensors(31, 50), tensors(32, 50)
        url = hub.place(repo, data)
        query = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        second = hub.create("forged")
        numbers = {hub.place(name, other).split("/lfs/")[1].split("/")[0] for name in (repo, second)}
        with registry.unchanged():
            for number in numbers:
                for oid, changes in (
                    (sha256(other), {}),
                    (sha256(data), {"size": len(data) + 1}),
                    (sha256(data), {"expires": int(query["expires"]) + 1}),
                    (sha256(data), {"token": int(query["token"]) + 1}),
                    (sha256(data), {"signature": "0" * 64}),
                    (sha256(data), {"signature": "ä"}),
                    ("../../url.key", {}),
                ):
                    asked = query | changes
                    answer = requests.put(f"{registry.url}/lfs/{number}/{oid}", params=asked, data=other, timeout=30)
                    assert answer.status_code == (404 if "/" in oid else 403)
        number = url.split("/lfs/")[1].split("/")[0]
        (elsewhere,) = numbers - {number}
        with registry.unchanged():
            output(hub.put(url.replace(f"/lfs/{number}/", f"/lfs/{elsewhere}/"), data), 403, "not valid, or no longer")

    def test_too_old(self, registry: Registry, hub: Hub, repo: str) -> None:
        data = tensors(33, 50)
        url = hub.place(repo, data)
        number = url.split("/lfs/")[1].split("/")[0]
        token = parse_qs(urlsplit(url).query)["token"][0]
        past = int(time.time()) - 1
        signature = UrlSigner(key_of(registry.root, registry.service.sessions)).sign(
            "lfs", number, token, sha256(data), len(data), past
        )
        old = f"{registry.url}/lfs/{number}/{sha256(data)}?size={len(data)}&token={token}&expires={past}"
        with registry.unchanged():
            output(hub.put(f"{old}&signature={signature}", data), 403, "not valid, or no longer")

    def test_of_a_revoked_token(self, registry: Registry, repo: str) -> None:
        leaving, data = registry.hub("honest"), tensors(34, 50)
        url = leaving.place(repo, data)
        grant = leaving.send("GET", f"/api/models/{repo}/xet-write-token/main").json()
        revoke(registry.service, leaving)
        with registry.unchanged():
            output(leaving.put(url, data), 403, "no longer valid")
            output(leaving.commit(repo, file("a.json", "{}")), 401, "unknown or expired token")
            headers = {"Authorization": f"Bearer {grant['accessToken']}"}
            answer = requests.post(f"{grant['casUrl']}/v1/shards", data=b"x", headers=headers, timeout=30)
            output(answer, 401, "not valid, or no longer")

    def test_the_key_is_secret(self, registry: Registry) -> None:
        key = registry.root / "url.key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert len(key.read_bytes()) == 32

    def test_a_connection_that_ends_in_the_middle(self, registry: Registry, hub: Hub, repo: str) -> None:
        data = tensors(35, 1000, 1000)
        url = urlsplit(hub.place(repo, data))
        with registry.unchanged():
            with socket.create_connection((url.hostname, url.port or 80)) as connection:
                head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
                connection.sendall(head.encode() + data[: len(data) // 2])
                until(lambda: bool(registry.state()["staged"]))
            until(lambda: not registry.state()["staged"])
        assert hub.put(hub.place(repo, data), data).status_code == 200


class TestContent:
    """The bytes have to be what the name says."""

    @pytest.mark.parametrize(
        ("path", "data", "words"),
        [
            ("model.safetensors", pickle.dumps({"a": [1, 2, 3]}), "a pickle in disguise"),
            ("model.safetensors", b"cos\nsystem\n(S'true'\ntR.", "a pickle in disguise"),
            ("model.safetensors", b"PK\x03\x04" + bytes(100), "a zip archive in disguise"),
            ("config.json", pickle.dumps({"a": 1}), "a pickle in disguise"),
            ("config.json", b"{", "JSON"),
            ("notes.txt", b"\x00\x01\x02", "not UTF-8 text"),
            ("model.safetensors", struct.pack("<Q", 1 << 40) + b"{}", "not a whole safetensors file"),
            ("model.safetensors", DATA[:-1], "not a valid safetensors file"),
            ("model.safetensors", DATA + b"tail", "not a valid safetensors file"),
            ("model.safetensors", b"", "safetensors"),
        ],
    )
    def test_something_else_in_disguise(
        self, registry: Registry, hub: Hub, repo: str, path: str, data: bytes, words: str
    ) -> None:
        """However it is sent: within the commit, or by LFS."""
        with registry.unchanged():
            output(hub.commit(repo, file("good.json", "{}"), file(path, data)), 400, words)
        with registry.unchanged():
            if data:
                hub.upload(repo, data)
                output(hub.commit(repo, file("good.json", "{}"), lfs(path, data)), 400, words)

    def test_a_header_that_names_a_tensor_twice(self, registry: Registry, hub: Hub, repo: str) -> None:
        """The library reads the last of them; another reader might take the first."""
        one = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        header = f"{{{one},{one}}}".encode()
        data = struct.pack("<Q", len(header)) + header + bytes(4)
        with registry.unchanged():
            hub.upload(repo, data)
            output(hub.commit(repo, lfs("model.safetensors", data)), 400, "appears twice")

    def test_good_bytes_stay_where_a_bad_name_is_refused(self, hub: Hub, repo: str) -> None:
        """The weights of a repository are not lost because somebody commits them as text."""
        output(hub.commit(repo, lfs("weights.txt", DATA)), 400, "UTF-8")
        assert hub.fetch(repo, "model.safetensors").content == DATA


class TestCommits:
    @pytest.mark.parametrize(
        "path",
        [
            "../../x.json",
            "/etc/x.json",
            "a/../x.json",
            "C:/x.json",
            "a\\x.json",
            "a\u202ex.json",
            "a\u0000.json",
            "\ud800.json",
            "CONFIG.JSON",
            "config.json/x.json",
        ],
    )
    def test_paths_with_a_trick(self, registry: Registry, hub: Hub, repo: str, path: str) -> None:
        with registry.unchanged():
            for line in (file(path, "{}"), lfs(path, DATA)):
                answer = hub.commit(repo, file("good.json", "{}"), line)
                assert answer.status_code == 400
                assert answer.json()["error"]

    def test_somebody_was_faster(self, registry: Registry, hub: Hub) -> None:
        repo = hub.create("fast")
        first = hub.committed(repo, file("a.json", "{}"))
        hub.committed(repo, file("b.json", "{}"))
        with registry.unchanged():
            output(hub.commit(repo, file("c.json", "{}"), parent=first), 412, "main has moved on")

    @pytest.mark.parametrize(
        "line",
        [
            b"{",
            b"[]",
            b'{"key": "file"}',
            b'{"key": "other", "value": {}}',
            b'{"key": "file", "value": {"path": "a.json"}}',
            b'{"key": "file", "value": {"path": 7, "content": ""}}',
            b"[" * 100_000,
            b"\xff\xfe",
            b'{"key": "file", "value": {"path": "a.json", "content": "!!", "encoding": "base64"}}',
            b'{"key": "file", "value": {"path": "a.json", "content": "", "encoding": "rot13"}}',
            b'{"key": "lfsFile", "value": {"path": "a.safetensors", "oid": "../../x", "algo": "sha256", "size": 1}}',
            b'{"key": "lfsFile", "value": {"path": "a.safetensors", "oid": "' + b"0" * 64 + b'", "size": -5}}',
            b'{"key": "lfsFile", "value": {"path": "a.safetensors", "oid": "' + b"0" * 64 + b'", "size": 1e400}}',
        ],
    )
    def test_lines_that_are_none(self, registry: Registry, hub: Hub, repo: str, line: bytes) -> None:
        with registry.unchanged():
            answer = hub.commit(repo, file("good.json", "{}"), line)
            assert answer.status_code == 400
            assert "line" in answer.json()["error"] or "base64" in answer.json()["error"]

    def test_a_small_file_that_is_large(self, registry: Registry, hub: Hub, repo: str) -> None:
        with registry.unchanged():
            output(hub.commit(repo, file("a.txt", b"a" * (11 << 20))), 413, "more than 10,485,760 bytes")
            output(hub.commit(repo, b'{"key": "' + b"a" * (15 << 20)), 413, "more than 10,485,760 bytes")

    def test_more_changes_than_a_commit_may_have(self, registry: Registry, hub: Hub, repo: str) -> None:
        lines = b"\n".join(json.dumps(deleted(f"{number}.json")).encode() for number in range(5001))
        with registry.unchanged():
            output(hub.commit(repo, lines), 413, "more than 5,000 changes")

    def test_what_nobody_may_say_in_a_summary(self, hub: Hub) -> None:
        repo = hub.create("summary")
        header = {"key": "header", "value": {"summary": "a\0b\ud800" + "x" * 600, "description": "\x1b[31m"}}
        hub.committed(repo, json.dumps(header).encode(), file("a.json", "{}"))
        newest = hub.send("GET", f"/api/models/{repo}/commits/main").json()[0]
        assert newest["title"] == "ab" + "x" * 498
        assert newest["message"] == "[31m"

    @pytest.mark.parametrize("name", ["a/b", "..", "a..b", "-a", "a.git", "a b", "ä", "a" * 97, "", "a.", "x.ipynb"])
    def test_names_of_repositories(self, registry: Registry, hub: Hub, name: str) -> None:
        with registry.unchanged():
            answer = hub.send("POST", "/api/repos/create", json={"name": name})
            output(answer, 400, "can't be a repository's name")

    def test_names_that_differ_by_case_alone(self, registry: Registry, hub: Hub, repo: str) -> None:
        with registry.unchanged():
            output(hub.send("POST", "/api/repos/create", json={"name": "MODEL"}), 400, "differs by case alone")

    @pytest.mark.parametrize("tag", ["", "main", "a/b", "../x", "0" * 40, "HEAD", "a..b", "-x", "v 1", "x" * 101])
    def test_names_of_tags(self, registry: Registry, hub: Hub, repo: str, tag: str) -> None:
        with registry.unchanged():
            answer = hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": tag})
            assert answer.status_code in (400, 409)


class TestLimits:
    @pytest.fixture
    def poor(self, registry: Registry) -> Iterator[Hub]:
        """A publisher who may store 10,000 bytes, in files of 6,000."""
        hub = registry.hub("poor")
        registry.limit("poor", publisher=10_000, weight=6_000)
        yield registry.hub("poor")
        registry.limit("poor")
        assert hub

    def test_more_than_a_publisher_may_store(self, registry: Registry, poor: Hub) -> None:
        repo, data = poor.create("model"), tensors(40, 1000)
        poor.upload(repo, data)
        poor.committed(repo, lfs("a.safetensors", data))
        other, large = tensors(41, 1480), tensors(42, 2000)
        with registry.unchanged():
            small, too_many, too_large = poor.batch(
                repo, (sha256(b"x"), 1), (sha256(other), len(other)), (sha256(large), len(large))
            )
            assert "upload" in small["actions"]
            assert (too_many["error"]["code"], too_large["error"]["code"]) == (413, 413)
            assert "beyond the limit of 10,000" in too_many["error"]["message"]
            assert "larger than 6,000" in too_large["error"]["message"]
            output(poor.commit(repo, file("a.txt", "a" * 6_000)), 413, "beyond the limit of 10,000")
            samples = {"files": [{"path": "model.safetensors", "size": 7_000}]}
            output(poor.send("POST", f"/api/models/{repo}/preupload/main", json=samples), 413, "larger than 6,000")

    def test_urls_that_each_alone_would_be_kept(self, registry: Registry, poor: Hub) -> None:
        """What is on its way counts, and so does what came in since the URL was made."""
        repo = registry.hub("poor").create("many")
        blobs = [tensors(43 + number, 600) for number in range(3)]
        urls = [poor.place(repo, data) for data in blobs]
        answers = [poor.put(url, data) for url, data in zip(urls, blobs, strict=True)]
        assert [answer.status_code for answer in answers] == [200, 200, 413]
        assert sha256(blobs[2]) not in registry.state()["blobs"]

    def test_uploads_that_no_commit_names_end(self, registry: Registry, hub: Hub) -> None:
        repo, data = hub.create("pending"), tensors(50, 70)
        hub.upload(repo, data)
        assert sha256(data) in registry.state()["blobs"]
        with registry.service.sessions.write() as session:
            old = now() - datetime.timedelta(days=2)
            session.execute(update(Possession).where(Possession.sha256 == sha256(data)).values(created=old))
        hub.batch(repo)
        assert sha256(data) not in registry.state()["blobs"]
        output(hub.commit(repo, lfs("a.safetensors", data)), 400, "were not uploaded")


def revoke(service: Service, hub: Hub) -> None:
    secret = hub.headers["Authorization"].removeprefix("Bearer ")
    with service.sessions.write() as session:
        session.execute(update(Token).where(Token.digest == digest(secret)).values(revoked=now()))


def until(true: Callable[[], Any]) -> None:
    """Wait for what another thread does."""
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_yaml_of_a_readme(hub: Hub) -> None:
    good = {"content": "---\nlicense: mit\n---\n# x", "repoType": "model"}
    assert hub.send("POST", "/api/validate-yaml", json=good).json() == {"errors": [], "warnings": []}
    for bad in ("---\na: [\n---\n", "---\n- a\n---\n", "---\n!!python/object/apply:os.system [ls]\n---\n"):
        answer = hub.send("POST", "/api/validate-yaml", json={"content": bad, "repoType": "model"})
        assert answer.status_code == 400
        assert "not valid YAML" in answer.json()["errors"][0]["message"]
