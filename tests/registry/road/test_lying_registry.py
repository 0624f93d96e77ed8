"""What a registry may try that lies, or that somebody broke into: nobody installs anything else than was signed.

After every attack the service answers, what was published before is there byte for byte, what somebody installed before
verifies, and nothing of the attack takes room (``standing`` in conftest.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.town import Town, lying
from support.users import User

from cogen import trust

pytestmark = pytest.mark.usefixtures("standing")


class TestTampering:
    def test_on_the_disk_of_the_registry(self, town: Town) -> None:
        """Its owner can change bytes, but nobody takes them for what was signed; and the operator's check sees them."""
        weights = f"/team/grid/resolve/{town.pinned['grid', '1.1']}/adapter_model.safetensors"
        wheel = next(path for path in town.shelf if path.endswith(f"/{town.wheels['grid', '1.1'].path.name}"))
        blobs = {oid: town.served.root / "blobs" / oid[:2] / oid for oid in (town.shelf[weights], town.shelf[wheel])}
        kept = {oid: blob.read_bytes() for oid, blob in blobs.items()}
        try:
            for oid, blob in blobs.items():  # the weights first: their wheel is still right
                blob.write_bytes(kept[oid][:-9] + bytes(9))
                user = town.user()
                assert "not the file that was published" in user.refused("add", "grid")
                assert user.trace() == {"installed": [], "receipts": [], "project": ""}
            output = town.served.command("check", code=1)
            assert all(f"(blob {oid})" in output for oid in blobs)
            assert "2 damaged" in output
        finally:
            for oid, blob in blobs.items():
                blob.write_bytes(kept[oid])

    @pytest.mark.parametrize("where", ["/resolve/", "/files/"])
    def test_on_its_way(self, town: Town, where: str) -> None:
        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            ours = where in path and path.endswith((".safetensors", ".whl"))
            return headers, body[:-9] + bytes(9) if ours else body

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            assert "not the file that was published" in user.refused("add", "grid")
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}


class TestReplay:
    def test_the_client_goes_back_to_no_old_version(self, town: Town, owner: User) -> None:
        assert "older than 1.1" in owner.refused("add", "grid==1.0")

    def test_a_registry_that_shows_old_as_newest(self, town: Town) -> None:
        """What it signed names the newest: that one is asked for."""
        old = town.served.get("/api/v1/experts/grid/1.0").content

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            return headers, old if path == "/api/v1/experts/grid" else body

        with lying(town.served, change) as liar:
            assert town.user(liar.url).ok("add", "grid")["version"] == "1.1"

    def test_a_registry_that_leaves_out_the_newest(self, town: Town) -> None:
        old = town.served.get("/api/v1/experts/grid/1.0").content
        lost = json.dumps({"error": "there is no such version", "hint": "none"}).encode()

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            output = {"/api/v1/experts/grid": old, "/api/v1/experts/grid/1.1": lost, "/simple/grid/": lost}
            return headers, output.get(path, body)

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            assert "a form that is not known" in user.refused("add", "grid")
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}

    def test_a_registry_that_calls_old_new(self, town: Town) -> None:
        output = json.loads(town.served.get("/api/v1/experts/grid/1.0").content)
        output["version"] = "9.0"
        output["file"]["filename"] = "cogen_plugin_grid-9.0-py3-none-any.whl"

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            return headers, json.dumps(output).encode() if path == "/api/v1/experts/grid" else body

        with lying(town.served, change) as liar:  # nobody who asks for the newest gets it, nor who asks for 9.0
            user = town.user(liar.url)
            assert "has no expert grid in version 9.0" in user.refused("add", "grid==9.0")
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}
            assert user.ok("add", "grid", "--dry-run")["version"] == "1.1"

    def test_a_registry_that_calls_old_new_under_that_version(self, town: Town) -> None:
        output = json.loads(town.served.get("/api/v1/experts/grid/1.0").content)
        output["version"] = "9.0"

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            return headers, json.dumps(output).encode() if path == "/api/v1/experts/grid/1.1" else body

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            assert "asked for grid==1.1" in user.refused("add", "grid==1.1")
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}


class TestForging:
    """The client believes none of it, whoever runs the registry."""

    @pytest.mark.parametrize("what", ["statement", "bundle", "key"])
    def test_a_registry_that_forges(self, town: Town, what: str) -> None:
        other = town.folder / f"forger-{what}.pem"
        pem = trust.new_key(other)

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            output: Any = json.loads(body) if path.startswith("/api/v1/") else None
            if path.startswith("/api/v1/experts/grid"):
                if what == "statement":
                    output["signature"]["statement"]["sha256"] = "0" * 64
                elif what == "bundle":
                    _, output["signature"]["bundle"] = town.signature(town.wheels["grid", "1.1"], "team", other)
                elif what == "key":
                    output["signature"]["key"] = trust.fingerprint(pem)
            return headers, body if output is None else json.dumps(output).encode()

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            text = user.refused("add", "grid")
            assert any(words in text for words in ("signature", "signed")), text
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}

    def test_a_registry_that_puts_its_own_key_in_place_of_a_known_one(self, town: Town, owner: User) -> None:
        """All of it forged consistently: who knows the key notices; who doesn't compares fingerprints."""
        other = town.folder / "consistent.pem"
        pem = trust.new_key(other)
        statement, bundle = town.signature(town.wheels["grid", "1.1"], "team", other)

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            output: Any = json.loads(body) if path.startswith("/api/v1/") else None
            if path == "/api/v1/experts/grid":
                output["signature"] |= {"statement": statement, "bundle": bundle, "key": trust.fingerprint(pem)}
            elif path == "/api/v1/publishers/team":
                output["keys"] = [{"fingerprint": trust.fingerprint(pem), "pem": pem, "revoked": None}]
            return headers, body if output is None else json.dumps(output).encode()

        true = trust.fingerprint(trust.public_key(town.key("team"), None))
        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            for options in ([], ["--key", true], ["--allow-unsigned"]):
                assert "is not registered as a key of cogen-plugin-grid" in user.refused("add", "grid", *options)
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}

    def test_a_registry_that_lists_other_keys(self, town: Town) -> None:
        """The project's own documents say whose keys they are; what a page of the API says is nobody's word."""
        pem = trust.new_key(town.folder / "listed.pem")

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            if path != "/api/v1/publishers/team":
                return headers, body
            output = json.loads(body)
            output["keys"] = [{"fingerprint": trust.fingerprint(pem), "pem": pem, "revoked": None}]
            return headers, json.dumps(output).encode()

        with lying(town.served, change) as liar:
            added = town.user(liar.url).ok("add", "grid", "--dry-run")
            assert added["key"] == trust.fingerprint(trust.public_key(town.key("team"), None))


class TestHostileRegistry:
    """Paths in what a registry says: the Hub's own client takes ETags for file names, ours takes nothing for one."""

    UP = "../../../../pwned"

    def test_headers(self, town: Town) -> None:
        """Whatever they say, the bytes lie where our client put them, or nowhere."""

        def change(path: str, headers: dict[str, str], body: bytes) -> Any:
            evil = {
                "ETag": f'"{self.UP}"',
                "X-Repo-Commit": self.UP,
                "X-Linked-Etag": f'"{self.UP}"',
                "X-Linked-Size": "1",
                "Content-Disposition": f'attachment; filename="{self.UP}"',
            }
            return {
                name: value for name, value in headers.items() if name.lower() not in [one.lower() for one in evil]
            } | evil, body

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            user.ok("add", "grid")
            assert self.strays(town) == []

    @pytest.mark.parametrize(
        "path", ["../../evil.json", "/tmp/evil.json", "a\\..\\evil.json", "C:evil.json", "a//b.json"]
    )
    def test_names_of_files(self, town: Town, path: str) -> None:
        def change(asked: str, headers: dict[str, str], body: bytes) -> Any:
            if "/tree/" not in asked:
                return headers, body
            output = json.loads(body)
            return headers, json.dumps([output[0] | {"type": "file", "path": path}, *output]).encode()

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            assert "a repository holds the path" in user.refused("add", "grid")
            assert user.trace() == {"installed": [], "receipts": [], "project": ""}
            assert self.strays(town) == []

    @pytest.mark.parametrize("name", ["../evil-1.0-py3-none-any.whl", "/tmp/evil.whl", "evil.exe", "a b.whl"])
    def test_the_name_of_a_wheel(self, town: Town, name: str) -> None:
        def change(asked: str, headers: dict[str, str], body: bytes) -> Any:
            if asked != "/api/v1/experts/grid":
                return headers, body
            output = json.loads(body)
            output["file"]["filename"] = name
            return headers, json.dumps(output).encode()

        with lying(town.served, change) as liar:
            user = town.user(liar.url)
            assert "in a form that is not known" in user.refused("add", "grid")
            assert self.strays(town) == []

    def test_our_own_headers_are_plain(self, town: Town) -> None:
        """An ETag is hex digits and nothing else, whatever a path or a tag is called."""
        for path in town.shelf:
            assert town.served.get(path).headers["ETag"].strip('"').isalnum()

    def strays(self, town: Town) -> list[Path]:
        return [path for top in (town.folder, Path("/tmp")) for path in top.glob("*evil*")] + [
            path for path in town.folder.rglob("*") if "pwned" in path.name or "evil" in path.name
        ]
