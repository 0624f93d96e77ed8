"""`cogen verify` without a registry: composites, what was not added, receipts that somebody edited."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install

from cogen import trust
from cogen.cli.main import main
from cogen.sharing.verify import compare, verify_receipt
from cogen.trust.receipts import Receipt, keep
from cogen.trust.registries import pin


def test_every_kind_of_change_is_one_line() -> None:
    before, now = {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}, {"a": "1" * 64, "b": "0" * 64, "c": None, "d": "4"}
    assert list(compare(before, now)) == [
        "b: altered, sha256 000000000000… where 222222222222… was verified",
        "c: missing",
        "d: added",
    ]


def test_composites(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the folder against its lock, by name."""
    from types import SimpleNamespace

    from cogen.artifacts.lock import LockedSource

    folder = tmp_path / "composite"
    folder.mkdir()
    for name, text in (("config.json", "{}"), ("model.safetensors", "x"), ("README.md", "any"), ("cogen.lock", "{}")):
        (folder / name).write_text(text)
    from cogen.artifacts import lock as room

    files = {name: digest for name, digest in room._digests(folder).items() if name != "cogen.lock"}
    source = LockedSource(
        distribution="d", version="1", publisher="acme", key="sha256:1", sha256="2", registry="https://r"
    )
    found = SimpleNamespace(files=files, created="2026-01-01T00:00:00Z", sources={"power": source})
    monkeypatch.setattr(room, "read_lock", lambda _: found)
    assert main(["verify", str(folder), "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["notes"] == ["made from power (d 1): signed by acme, key sha256:1"]
    (folder / "config.json").write_text("[]")
    (folder / "model.safetensors").unlink()
    (folder / "evil.py").write_text("1")
    (folder / "README.md").write_text("cards may change")
    assert main(["verify", str(folder)]) == 1
    answer = capsys.readouterr()
    assert [line.strip() for line in answer.out.splitlines()[1:4]] == [
        "config.json: altered",
        "evil.py: added",
        "model.safetensors: missing",
    ]
    assert "1 of 1 have changed since they were verified" in answer.err


def write_record(site: Path, info: Path) -> None:
    """As pip writes it."""
    lines = []
    for path in sorted(path for path in site.rglob("*") if path.is_file()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
        lines.append(f"{path.relative_to(site).as_posix()},sha256={digest},{path.stat().st_size}\n")
    (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))


def test_what_was_not_added_from_a_registry(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = install(site, "power")
    info = site / "cogen_plugin_power-1.0.dist-info"
    write_record(site, info)
    assert main(["verify", "power", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["files"], finding["key"], finding["kind"]) == (10, None, "data")
    assert "RECORD alone" in finding["notes"][0]
    (package / "__init__.py").write_text("x = 1")
    assert main(["verify", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["problems"][0].startswith("cogen_plugin_power/__init__.py: altered")
    assert finding["kind"] == "code"
    assert main(["verify", "nobody", "--json"]) == 3
    assert "not installed" in capsys.readouterr().out


@pytest.fixture
def receipt(home: Path) -> Receipt:
    """Of a signed distribution that is not installed any more."""
    public = trust.new_key(home / "key.pem")
    statement: dict[str, Any] = {
        "schema": 1,
        "project": "cogen-plugin-gone",
        "version": "1.0",
        "filename": "x.whl",
        "sha256": "ab" * 32,
        "size": 1,
        "publisher": "acme",
        "experts": [],
        "signed": "2026-01-01T00:00:00Z",
    }
    same = {
        name: statement[name] for name in ("schema", "project", "version", "filename", "sha256", "size", "publisher")
    }
    found = Receipt(
        **same,
        registry="https://r",
        key=trust.fingerprint(public),
        public_key=public,
        statement=statement,
        bundle=trust.sign_statement(statement, home / "key.pem"),
        experts=["gone"],
        files={},
        installer="pip",
        installed="2026-01-01T00:00:00Z",
    )
    keep(found)
    return found


def problems(receipt: Receipt, **changes: Any) -> list[str]:
    found = verify_receipt(receipt.model_copy(update=changes), online=False).problems
    assert found[0] == "it is not installed any more"
    return found[1:]


def test_a_receipt_that_was_edited(receipt: Receipt, home: Path) -> None:
    """Its signature was made with a key that this user knows, over exactly this wheel: everything else is noticed."""
    assert receipt.key is not None
    assert receipt.statement is not None
    pin("https://r", "acme", receipt.key)
    assert problems(receipt) == []
    assert problems(receipt, sha256="cd" * 32) == [f"the signature is for another sha256: {'ab' * 32}"]
    assert problems(receipt, version="2.0") == ["the signature is for another version: 1.0"]
    assert problems(receipt, bundle=None) == ["the receipt has lost its signature"]
    assert (
        problems(receipt, statement=receipt.statement | {"size": 2})[0]
        == "the statement is not the one that was signed"
    )
    other = trust.new_key(home / "other.pem")
    forged = {
        "key": trust.fingerprint(other),
        "public_key": other,
        "bundle": trust.sign_statement(receipt.statement, home / "other.pem"),
    }
    assert problems(receipt, **forged) == [f"the key {trust.fingerprint(other)} is none that you know of acme"]
    assert problems(receipt, public_key=other)[0] == "the receipt names another key than the one it holds"


def test_a_registry_that_is_away_is_a_note(receipt: Receipt) -> None:
    away = receipt.model_copy(update={"registry": "http://127.0.0.1:9"})
    notes = verify_receipt(away, online=True).notes
    assert any(note.startswith("the registry was not asked: http://127.0.0.1:9 cannot be reached") for note in notes)
