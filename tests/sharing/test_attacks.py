"""What `cogen add` refuses, and that nothing is left of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.hub import Registry
from support.trees import built, tree
from support.users import Users, publisher, token
from support.weights import adapter

from cogen import trust

#: The configuration of the tests' adapter with another alpha: valid, and not what was signed.
OTHER = adapter()["adapter_config.json"].decode().replace('"lora_alpha": 2', '"lora_alpha": 4')


@pytest.mark.usefixtures("quick")
def test_what_was_not_signed(registry: Registry, users: Users) -> None:
    """A wheel that bare twine uploaded: only --allow-unsigned takes it, and every place says so."""
    import requests

    wheel = built(tree(users("x").home / "plugin", "solar"), users("y").home)
    with wheel.open("rb") as file:
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": "cogen-plugin-solar",
            "version": "1.0",
        }
        answer = requests.post(
            f"{registry.url}/legacy/",
            data=fields,
            files={"content": (wheel.name, file)},
            auth=("__token__", token(registry, "bare")),
            timeout=30,
        )
    assert answer.status_code == 200, answer.text
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    before = user.trace()
    assert "is not signed" in user.refused("add", "solar")
    assert "is not signed" in user.refused("add", "solar", "--allow-unsigned", "--key", "sha256:" + "0" * 64)
    assert user.trace() == before
    output = user("add", "solar", "--allow-unsigned")
    assert output.code == 0
    assert "not signed" in output.error
    assert output.data["key"] is None
    assert "key" not in user.project.read_text().replace("[", "").split("\n")[0]
    assert "it is not signed" in user.ok("verify", "solar")["findings"][0]["notes"][0]


@pytest.mark.usefixtures("quick")
def test_a_key_that_changed_a_key_that_was_revoked(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "keys")
    first = team.ok("login", registry.url, "--token", token(registry, "keys"))["key"]
    tree(team.home / "plugin", "tidal")
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert "not with" in user.refused("add", "tidal", "--key", "sha256:" + "0" * 64)
    assert "fingerprint" in user.refused("add", "tidal", "--key", "abc", code=3)
    user.ok("add", "tidal", "--key", first[:40])

    # another key is nobody's by itself: neither the account nor the project takes it without the first one's signature
    trust.new_key(team.home / "other.pem")
    tree(team.home / "plugin", "tidal", "1.1")
    text = team.refused("publish", "plugin", "--yes", "--key", "other.pem")
    assert f"is bound to the key {first}" in text
    assert "cogen key rotate" in text
    assert user.ok("add", "tidal")["version"] == "1.0"  # it was refused before anything was sent

    second = team.ok("key", "rotate", "--yes")["new"]
    team.ok("login", registry.url, "--token", token(registry, "keys"))
    tree(team.home / "plugin", "tidal", "1.2")
    assert team.ok("publish", "plugin", "--yes")["key"] == second
    added = user.ok("add", "tidal")  # who knows the old key follows: it signed the new one
    assert (added["version"], added["key"]) == ("1.2", second)
    user.ok("verify", "tidal")

    team.ok("key", "revoke", second, "--yes")
    (finding,) = user("verify", "tidal").data["findings"]
    assert any("was revoked" in problem for problem in finding["problems"])
    stranger = users("stranger")
    stranger.ok("login", registry.url, "--read-only")
    assert "revoked" in stranger.refused("add", "tidal")
    assert stranger.installed() == []
    assert "revoked" in user("verify", "tidal", "--offline").data["findings"][0]["problems"][0]  # what was seen counts


@pytest.mark.usefixtures("quick")
def test_an_old_version_is_not_brought_back(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "olds")
    for version in ("1.0", "2.0"):
        tree(team.home / "plugin", "hydro", version)
        team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert user.ok("add", "hydro")["version"] == "2.0"
    text = user.refused("add", "hydro==1.0")
    assert "older than 2.0" in text
    assert "cogen remove hydro" in text
    shutil.rmtree(user.env / "share")  # the project's file alone remembers it, too
    assert "which cogen.toml names" in user.refused("add", "hydro==1.0")
    user.ok("remove", "hydro")
    assert user.ok("add", "hydro==1.0")["version"] == "1.0"
    assert user.ok("add", "hydro")["version"] == "2.0"
    assert user.installed() == ["cogen_plugin_hydro-2.0.dist-info"]
    assert "it has 2.0, 1.0" in user.refused("add", "hydro==3.0")


@pytest.mark.usefixtures("quick")
def test_tampering_in_the_registry(registry: Registry, users: Users) -> None:
    """Whoever owns the registry's disk and database still can't hand out other bytes."""
    from sqlalchemy import select

    from cogen_registry.database.tables import Entry, Release

    team = publisher(registry, users, "victim")
    folder = tree(team.home / "plugin", "coal", apart=True)
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    before = user.trace()

    def blob(sha256: str) -> Path:
        (path,) = (path for path in (registry.root / "blobs").rglob(sha256) if path.is_file())
        return path

    def refused_with(path: Path, *words: str) -> None:
        kept, mode = path.read_bytes(), path.stat().st_mode
        path.chmod(0o644)
        path.write_bytes(kept[:-9] + bytes(9))
        text = user.refused("add", "coal")
        assert any(word in text for word in words), text
        assert user.trace() == before
        path.write_bytes(kept)
        path.chmod(mode)
        user.forget_cache()

    with registry.service.sessions.read() as session:
        release = session.scalars(select(Release).where(Release.filename.like("%coal%"))).one()
        weights = session.scalars(select(Entry.sha256).where(Entry.path == "adapter_model.safetensors")).all()
        small = session.scalars(select(Entry.sha256).where(Entry.path == "cogen-manifest.json")).all()
        wheel = release.sha256
    refused_with(blob(wheel), "not the file that was published")
    refused_with(blob(weights[-1]), "not the file that was published")
    refused_with(blob(small[-1]), "is not the file that was published", "digest")
    for field, value, word in (
        ("statement", {"version": "9"}, "not the one that was signed"),
        ("key", None, "not registered"),
        ("bundle", {"dsseEnvelope": None}, "cannot be read"),
        ("sha256", None, "the signature is for sha256"),
    ):
        with registry.service.sessions.write() as session:
            release = session.scalars(select(Release).where(Release.filename.like("%coal%"))).one()
            old = getattr(release, field)
            new: Any = {**old, **value} if isinstance(value, dict) else "sha256:" + "0" * 64
            setattr(release, field, new if field != "sha256" else "0" * 64)
        assert word in user.refused("add", "coal")
        assert user.trace() == before
        with registry.service.sessions.write() as session:
            release = session.scalars(select(Release).where(Release.filename.like("%coal%"))).one()
            setattr(release, field, old)
    user.ok("add", "coal")
    assert json.loads((folder / "weights" / "adapter_config.json").read_text())


def test_weights_of_another_repository(tmp_path: Path) -> None:
    """A signed folder that somebody copied elsewhere, or that belongs to a later version, is found out."""
    from cogen.sharing.signatures import Trusted
    from cogen.sharing.weights import MANIFEST, _check_manifest, make_manifest
    from cogen.trust import TrustError

    place = tmp_path
    manifest = make_manifest("team/weights", "team", "cogen-plugin-x", "1.0")
    statement = {"publisher": "team", "version": "1.0"}
    trusted = Trusted("", "", statement, {}, False)
    (place / MANIFEST).write_text(json.dumps(manifest))
    _check_manifest(place / MANIFEST, "team/weights", trusted, "cogen-plugin-x")
    for change, message in (
        ({"repository": "team/other"}, "for the repository team/other"),
        ({"publisher": "evil"}, "for the publisher evil"),
        ({"project": "cogen-plugin-y"}, "for the project cogen-plugin-y"),
        ({"version": "1.1"}, "for version 1.1, which is newer"),
        ({"version": None}, "hold no cogen-manifest"),
    ):
        (place / MANIFEST).write_text(json.dumps(manifest | change))
        with pytest.raises(TrustError, match=message):
            _check_manifest(place / MANIFEST, "team/weights", trusted, "cogen-plugin-x")


@pytest.mark.usefixtures("quick")
def test_a_signature_that_does_not_cover_the_weights(registry: Registry, users: Users) -> None:
    """The publisher's own later commit with a changed file and the old model.sig: digest right, signature wrong."""
    from huggingface_hub import HfApi

    from cogen.checkpoints.digests import file_digest

    team = publisher(registry, users, "stale")
    folder = tree(team.home / "plugin", "stale", apart=True)
    team.ok("publish", "plugin", "--yes")
    api = HfApi(endpoint=registry.url, token=token(registry, "stale"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        commit = api.upload_file(
            path_or_fileobj=OTHER.encode(), path_in_repo="adapter_config.json", repo_id="stale/stale"
        )
    snapshot = folder / "weights"
    (snapshot / "adapter_config.json").write_text(OTHER)
    manifest = folder / "cogen_plugin_stale" / "expert.toml"
    (snapshot / "cogen-manifest.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "repository": "stale/stale",
                "publisher": "stale",
                "project": "cogen-plugin-stale",
                "version": "1.0",
            },
            indent=2,
            sort_keys=True,
        )
        + "\n"
    )
    import tomlkit

    document: Any = tomlkit.parse(manifest.read_text())
    document["model"].update({"revision": commit.oid, "file_digest": file_digest(snapshot)})
    manifest.write_text(tomlkit.dumps(document))
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "1.0"', 'version = "1.1"'))
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    text = user.refused("add", "stale")
    assert "the weights stale/stale: the signature does not hold" in text
    assert "adapter_config.json" in text
    assert user.trace() == {"installed": [], "receipts": [], "project": ""}
