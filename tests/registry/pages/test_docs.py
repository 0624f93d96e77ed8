"""/docs is our own page: nothing of it comes from elsewhere; OpenAPI says what is refused, and who needs a token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.shelf import fresh_root

from cogen_registry.app import create_app
from cogen_registry.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    root: Path = fresh_root(tmp_path_factory.mktemp("docs") / "root")
    with TestClient(create_app(Settings(root=root, embedder="none"))) as opened:
        yield opened


def test_the_page_names_every_operation_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', answer.text)
    assert loaded
    assert all(one.startswith("/static/") for one in loaded)
    assert all(client.get(one).status_code == 200 for one in loaded)
    assert not re.search(r"<script(?![^>]*src=)", answer.text)
    for path, item in client.get("/openapi.json").json()["paths"].items():
        for method in item:
            assert f"{method.upper()} {path}" in answer.text


def test_each_operation_names_its_refusals_and_its_security(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"token", "password"}
    assert set(document["components"]["schemas"]["Error"]["properties"]) == {"error", "hint"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            wanted = {"400", "401", "404", "413", "422", "429", "503"} | (set() if method == "get" else {"403", "507"})
            assert wanted <= set(operation["responses"]), path
            for status, output in operation["responses"].items():
                if status >= "400":
                    schema = output["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}
            needs = {} not in operation["security"]
            proven = method != "get" and not path.startswith("/_/oidc/")  # these prove an identity in the body
            assert needs == (proven or path.endswith("/whoami"))
            if needs:
                filled = re.sub(r"\{\w+\}", "1", path)
                assert client.request(method, filled).status_code == 401, path
