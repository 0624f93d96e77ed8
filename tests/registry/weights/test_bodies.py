"""What is read of a body before it is known who sends it, and how much of one that is too large."""

from __future__ import annotations

import ast
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.hub import Hub, Registry, file

import cogen_registry
from cogen_registry.settings import MB, Limits

JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def hub(registry: Registry) -> Hub:
    return registry.hub("bodies")


def reported(url: str, path: str, *headers: str, method: str = "POST", body: bytes = b"") -> tuple[int, dict[str, str]]:
    """The answer to a head and the beginning of a body, while the rest of the body never comes."""
    parts = urlsplit(url)
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head + body)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
            data = connection.recv(65536)
            if not data:
                break
            answer += data
    top, _, rest = answer.partition(b"\r\n\r\n")
    output: dict[str, str] = json.loads(rest)
    assert "\n" not in output["error"]
    assert output["hint"]
    return int(top.split()[1]), output


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/api/repos/create", MB),
        ("/api/validate-yaml", MB),
        ("/api/models/bodies/x/paths-info/main", MB),
        ("/api/models/bodies/x/preupload/main", MB),
        ("/bodies/x.git/info/lfs/objects/batch", MB),
        ("/api/v1/keys", 4 * MB),
        ("/api/models/bodies/x/commit/main", 64 * MB),
        ("/legacy/", 257 * MB),
        ("/nowhere", MB),
    ],
)
def test_a_body_that_is_too_large_is_not_read(registry: Registry, hub: Hub, path: str, most: int) -> None:
    """Whoever sends it. With its length first: at once; in chunks: when it has gone too far."""
    token = f"Authorization: {hub.headers['Authorization']}"
    for headers in ([], [token]):
        status, output = reported(registry.url, path, JSON, f"Content-Length: {most + 1}", *headers)
        assert (status, output["error"]) == (413, f"the body is larger than {most:,} bytes")
    if most <= 4 * MB and path != "/nowhere":  # nobody reads that one
        chunk = b"%x\r\n" % (most + 1) + b" " * (most + 1) + b"\r\n"
        status, output = reported(registry.url, path, JSON, token, "Transfer-Encoding: chunked", body=chunk)
        assert (status, output["error"]) == (413, f"the body is larger than {most:,} bytes")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/keys"),
        ("POST", "/api/v1/composites"),
        ("POST", "/api/v1/experts/x/1/evaluations"),
        ("PUT", "/api/v1/releases/x/1/signature"),
        ("POST", "/api/models/bodies/x/commit/main"),
    ],
)
def test_who_has_no_token_is_told_before_the_body_comes(registry: Registry, method: str, path: str) -> None:
    for token in ((), ("Authorization: Bearer cogen_made-up",)):
        for length in (("Content-Length: 1000000",), ("Transfer-Encoding: chunked",)):
            status, output = reported(registry.url, path, JSON, *length, *token, method=method)
            assert status == 401
            assert "token" in output["error"]


def test_bodies_that_are_as_large_as_they_may_be(registry: Registry, hub: Hub) -> None:
    """They come to whoever reads them, who has reasons of its own to refuse these."""
    blank = b" " * (MB - 2) + b"{}"
    assert (
        hub.send("POST", "/api/repos/create", data=blank, headers={"Content-Type": "application/json"}).status_code
        == 422
    )
    whole = b" " * (4 * MB - 2) + b"{}"
    assert hub.send("POST", "/api/v1/keys", data=whole, headers={"Content-Type": "application/json"}).status_code == 422
    repo = hub.create("large")
    files = [file(f"notes-{number}.md", "x" * 1_000_000) for number in range(9)]
    assert sum(len(json.dumps(one)) for one in files) > 8 * MB
    hub.committed(repo, *files)


def test_limits_are_the_operators(registry: Registry) -> None:
    assert Limits(json_body=10).json_body == 10
    with pytest.raises(ValueError, match="json"):
        Limits.model_validate({"json": 10})


def test_every_refusal_has_a_hint() -> None:
    """Wherever it is written; a default would let one be forgotten."""
    forms = {"Refused": 3, "hub_error": 3, "not_found": 2, "refusal": 5}
    seen, bare = dict.fromkeys(forms, 0), []
    for path in Path(cogen_registry.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name not in forms:
                continue
            seen[name] += 1
            hints = [word.value for word in node.keywords if word.arg == "hint"] + node.args[forms[name] - 1 :][:1]
            if not hints or (isinstance(hints[0], ast.Constant) and not hints[0].value):
                bare.append(f"{path.name}:{node.lineno}")
    assert bare == []
    assert min(seen.values()) > 1


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere/at/all",
        "/simple/none/",
        "/files/0/none.whl",
        "/api/v1/experts/none",
        "/api/v1/evaluations/9/evidence",
        "/api/v1/publishers/none",
        "/api/v1/composites/none/none",
        "/api/v1/releases/none/1",
        "/api/models/none/none",
        "/api/v1/experts/none/not-a-version",
        "/none/none/resolve/main/config.json",
        "/static/none.css",
    ],
)
def test_what_is_not_there(registry: Registry, hub: Hub, path: str) -> None:
    answer = hub.send("GET", path)
    assert answer.status_code == 404
    assert answer.json()["hint"]
