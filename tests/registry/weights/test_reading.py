"""What reads a repository: trees, pages of them, ranges, headers that a client or a browser goes by."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from support.hub import Hub, Registry, deleted, file, lfs, sha256, tensors


@pytest.fixture(scope="module")
def hub(registry: Registry) -> Hub:
    return registry.hub("reader")


@pytest.fixture(scope="module")
def repo(hub: Hub) -> str:
    made = hub.create("model")
    hub.upload(made, DATA)
    hub.committed(made, file("config.json", "{}"), lfs("weights/model.safetensors", DATA))
    hub.committed(made, file("weights/deep/notes.txt", "one"))
    hub.committed(made, file("config.json", '{"a": 1}'))
    return made


DATA = tensors(1, 100, 10)


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tree(hub: Hub, repo: str, rest: str = "") -> list[dict[str, Any]]:
    answer = hub.send("GET", f"/api/models/{repo}/tree/main{rest}")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


def test_a_tree_names_small_files_as_git_does_and_large_ones_as_lfs_does(hub: Hub, repo: str) -> None:
    assert [(item["type"], item["path"]) for item in tree(hub, repo)] == [
        ("file", "config.json"),
        ("directory", "weights"),
    ]
    assert [item["path"] for item in tree(hub, repo, "/weights")] == ["weights/deep", "weights/model.safetensors"]
    items = {item["path"]: item for item in tree(hub, repo, "?recursive=true")}
    assert list(items) == [
        "config.json",
        "weights",
        "weights/deep",
        "weights/deep/notes.txt",
        "weights/model.safetensors",
    ]
    assert items["config.json"] == {"type": "file", "path": "config.json", "size": 8, "oid": git_sha1(b'{"a": 1}')}
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(DATA)}\nsize {len(DATA)}\n".encode()
    large = items["weights/model.safetensors"]
    assert large["oid"] == git_sha1(pointer)
    assert large["lfs"] == {"oid": sha256(DATA), "size": len(DATA), "pointerSize": len(pointer)}
    assert all("xetHash" not in item for item in items.values())


def test_pages_of_a_tree_follow_their_link(hub: Hub, repo: str) -> None:
    url: str | None = f"{hub.url}/api/models/{repo}/tree/main?recursive=true&limit=2"
    found: list[str] = []
    pages = 0
    while url:
        answer = hub.send("GET", url)
        found += [item["path"] for item in answer.json()]
        url, pages = answer.links.get("next", {}).get("url"), pages + 1
    assert pages == 3
    assert found == [item["path"] for item in tree(hub, repo, "?recursive=true")]


def test_expand_says_which_commit_brought_each_file(hub: Hub, repo: str) -> None:
    log = [one["id"] for one in hub.send("GET", f"/api/models/{repo}/commits/main").json()]
    items = {item["path"]: item["lastCommit"]["id"] for item in tree(hub, repo, "?recursive=true&expand=true")}
    assert items == {
        "config.json": log[0],
        "weights": log[1],
        "weights/deep": log[1],
        "weights/deep/notes.txt": log[1],
        "weights/model.safetensors": log[2],
    }


def test_commits_come_in_pages(hub: Hub, repo: str) -> None:
    first = hub.send("GET", f"/api/models/{repo}/commits/main?limit=3")
    second = hub.send("GET", first.links["next"]["url"])
    assert [one["title"] for one in first.json() + second.json()] == ["test", "test", "test", "initial commit"]
    assert "next" not in second.links


def test_paths_are_asked_for_as_json_or_as_a_form(hub: Hub, repo: str) -> None:
    for body in (
        {"json": {"paths": ["weights", "nothing", "config.json"]}},
        {"data": {"paths": ["weights", "config.json"]}},
    ):
        answer = hub.send("POST", f"/api/models/{repo}/paths-info/main", **body)
        assert [item["path"] for item in answer.json()] == ["weights", "config.json"]
    assert hub.send("POST", f"/api/models/{repo}/paths-info/main", json=["x"]).status_code == 400


def test_anybody_reads(registry: Registry, repo: str) -> None:
    stranger = Hub(registry.url, {}, "nobody")
    assert stranger.fetch(repo, "config.json").content == b'{"a": 1}'
    revoked = Hub(registry.url, {"Authorization": "Bearer cogen_revoked"}, "nobody")
    assert revoked.fetch(repo, "config.json").status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=-99999999", 0, None),
    ],
)
def test_one_range(hub: Hub, repo: str, asked: str, start: int, stop: int | None) -> None:
    answer = hub.fetch(repo, "weights/model.safetensors", Range=asked)
    assert answer.status_code == 206
    assert answer.content == DATA[start:stop]
    first = len(DATA) + start if start < 0 else start
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=" + ",".join("0-" for _ in range(500)),
        "bytes=99999999-",
        "bytes=5-2",
        "bytes=-",
        "bytes=-0",
        "bytes=a-b",
        "lines=1-2",
        "bytes=0-" + "9" * 400,
    ],
)
def test_ranges_that_nobody_needs(hub: Hub, repo: str, asked: str) -> None:
    answer = hub.fetch(repo, "weights/model.safetensors", Range=asked)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_a_range_of_other_bytes_than_the_client_has_is_the_whole_file(hub: Hub, repo: str) -> None:
    path = "weights/model.safetensors"
    tag = hub.fetch(repo, path).headers["etag"]
    assert hub.fetch(repo, path, **{"Range": "bytes=5-", "If-Range": tag}).status_code == 206
    assert hub.fetch(repo, path, **{"Range": "bytes=5-", "If-Range": '"0"'}).content == DATA


def test_headers_of_a_file(hub: Hub, repo: str) -> None:
    """The client takes the ETag for a file name, and a browser must neither show nor guess what a file is."""
    commit = hub.send("GET", f"/api/models/{repo}").json()["sha"]
    for path, oid in (("config.json", git_sha1(b'{"a": 1}')), ("weights/model.safetensors", sha256(DATA))):
        head = hub.send("HEAD", f"/{repo}/resolve/main/{path}")
        got = hub.fetch(repo, path)
        assert head.content == b""
        for answer in (head, got):
            assert answer.headers["etag"] == f'"{oid}"'
            assert answer.headers["x-repo-commit"] == commit
            assert answer.headers["content-length"] == str(len(got.content))
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment;")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not any("xet" in name.lower() for name in answer.headers)
    assert head.headers["x-linked-etag"] == f'"{sha256(DATA)}"'
    assert head.headers["x-linked-size"] == str(len(DATA))


def test_a_name_with_quotes_of_another_alphabet_stays_one_header(hub: Hub) -> None:
    repo = hub.create("names")
    hub.committed(repo, file("a'; größe.txt", "x"))
    output = hub.fetch(repo, "a'%3B%20gr%C3%B6%C3%9Fe.txt").headers["content-disposition"]
    assert output == "attachment; filename=\"a___gr__e.txt\"; filename*=UTF-8''a%27%3B%20gr%C3%B6%C3%9Fe.txt"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/team/nothing/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/team/nothing", "RepoNotFound"),
        ("/reader/MODEL/resolve/main/config.json", "RepoNotFound"),
        ("/reader/model/resolve/v9/config.json", "RevisionNotFound"),
        ("/reader/model/resolve/main/nothing", "EntryNotFound"),
        ("/reader/model/resolve/main/weights", "EntryNotFound"),
        ("/reader/model/resolve/main/..%2F..%2F..%2Furl.key", "EntryNotFound"),
        ("/reader/model/resolve/main/%2Fetc%2Fpasswd", "EntryNotFound"),
        ("/api/models/reader/model/tree/main/nothing", "EntryNotFound"),
        ("/api/models/reader/model/tree/main/..%2F..", "EntryNotFound"),
    ],
)
def test_what_is_not_there(hub: Hub, repo: str, path: str, code: str) -> None:
    answer = hub.send("GET", path)
    assert answer.status_code == 404
    assert answer.headers["x-error-code"] == code
    assert ("x-repo-commit" in answer.headers) is (code == "EntryNotFound")


def test_commits_and_tags_stay_what_they_were(hub: Hub) -> None:
    repo = hub.create("history")
    first = hub.committed(repo, file("config.json", "{}"), file("old/a.txt", "a"), file("old/b.txt", "b"))
    assert hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"}).status_code == 200
    second = hub.committed(repo, file("config.json", "[]"), deleted("old", folder=True), parent=first)
    assert hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"}).status_code == 409
    for revision, config, old in (("main", b"[]", 404), (second, b"[]", 404), ("v1", b"{}", 200), (first, b"{}", 200)):
        assert hub.fetch(repo, "config.json", revision).content == config
        assert hub.fetch(repo, "old/a.txt", revision).status_code == old
    refs = hub.send("GET", f"/api/models/{repo}/refs").json()
    assert [(one["name"], one["targetCommit"]) for one in refs["branches"] + refs["tags"]] == [
        ("main", second),
        ("v1", first),
    ]


def test_the_same_content_again_is_no_new_commit(registry: Registry, hub: Hub) -> None:
    """A client that lost the answer sends its commit again."""
    repo = hub.create("again")
    first = hub.committed(repo, file("config.json", "{}"))
    with registry.unchanged():
        assert hub.committed(repo, file("config.json", "{}")) == first


def test_a_commit_is_heard_of(registry: Registry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases wait for weights; what they say never undoes the commit."""
    from cogen_registry.admission import releases

    asked: list[str] = []

    def waiting(service: object, key: str) -> None:
        asked.append(key)
        raise RuntimeError("a bug")

    monkeypatch.setattr(releases, "recheck_waiting", waiting)
    repo, serial = hub.create("Heard"), registry.service.serial
    hub.committed(repo, file("config.json", "{}"))
    assert asked == ["reader/heard"]
    assert registry.service.serial == serial + 1
    assert hub.fetch(repo, "config.json").content == b"{}"
