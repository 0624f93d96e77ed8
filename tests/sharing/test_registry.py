"""Publishers and integrators against a real registry over a real socket, with real pip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import shelf
from support.hub import Registry, running
from support.trees import built, tree
from support.users import User

from cogen import trust
from cogen.checkpoints.sources import fetch

Users = Callable[[str], User]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("registry") / "root", verify_elsewhere=False) as opened:
        yield opened


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Users:
    def make(name: str) -> User:
        home = tmp_path / name
        home.mkdir()
        return User(home, monkeypatch, capsys)

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building without isolation, and without the checks: other tests do both."""
    monkeypatch.setattr(
        "cogen.sharing.publishing.publish.build_wheel", lambda folder, place: built(folder, Path(place) / "built")
    )
    monkeypatch.setattr("cogen.sharing.publishing.publish.check_wheel", lambda wheel: 1)


def token(registry: Registry, publisher: str) -> str:
    return shelf.token(registry.service, publisher)["Authorization"].removeprefix("Bearer ")


def publisher(registry: Registry, users: Users, name: str) -> User:
    user = users(name)
    user.ok("login", registry.url, "--token", token(registry, name), "--new-key")
    return user


@pytest.mark.parametrize("tool", ["uv", pytest.param("pip", marks=pytest.mark.slow)])
def test_publish_search_add_verify_remove(
    registry: Registry, users: Users, tool: str, request: pytest.FixtureRequest
) -> None:
    """The main path; with pip also the isolated build and the checks of conformance."""
    if tool == "uv":
        request.getfixturevalue("quick")
    acme = users("acme")
    told = acme.ok("login", registry.url, "--token", token(registry, "acme"), "--new-key")
    assert told["publisher"] == "acme"
    assert told["key"] == trust.fingerprint((acme.home / "config" / "keys" / "key.pub").read_text())
    name = f"grid-{tool}"
    module = name.replace("-", "_")
    tree(acme.home / "plugin", name, title=f"Grid of {tool}")
    published = acme.ok("publish", "plugin", "--yes")
    assert (published["state"], published["key"], published["experts"]) == ("released", told["key"], [name])
    assert published["checks"] >= (10 if tool == "pip" else 1)

    user = users("user")
    user.ok("login", registry.url, "--read-only")
    found = user.ok("search", "grid of", tool)
    assert [(one["id"], one["signed"]) for one in found["experts"][:1]] == [(name, True)]
    dry = user.ok("add", name, "--dry-run")
    assert (dry["installed"], dry["key"], user.installed()) == (False, told["key"], [])
    assert not user.project.exists()
    added = user.ok("add", name, "--with", tool)
    assert added["installed"]
    assert user.installed() == [f"cogen_plugin_{module}-1.0.dist-info"]
    text = user.project.read_text()
    for line in (
        f"[experts.cogen-plugin-{name}]", 'version = "1.0"', f'sha256 = "{published["sha256"]}"', 'publisher = "acme"',
        f'key = "{told["key"]}"', f'registry = "{registry.url}"',
    ):  # fmt: skip
        assert line in text.splitlines()
    finding = next(one for one in user.ok("verify")["findings"] if one["name"] == f"cogen-plugin-{name}")
    assert (finding["ok"], finding["publisher"], finding["key"]) == (True, "acme", told["key"])
    assert finding["notes"] == []

    package = user.packages / f"cogen_plugin_{module}"
    (package / "weights" / "adapter_model.safetensors").write_bytes(b"x")
    (package / "samples.jsonl").unlink()
    (package / "more.py").write_text("import os")
    said = user("verify", name)
    assert said.code == 1
    assert [problem.partition(",")[0] for problem in said.data["findings"][0]["problems"]] == [
        f"cogen_plugin_{module}/samples.jsonl: missing",
        f"cogen_plugin_{module}/weights/adapter_model.safetensors: altered",
        f"cogen_plugin_{module}/more.py: added",
    ]
    # the same version again: its files are replaced, which pip alone would not do; what was added stays in the way
    assert "more.py: added | delete that file" in user.refused("add", name, "--with", tool)
    (package / "more.py").unlink()
    user.ok("add", name, "--with", tool)
    user.ok("verify", name)

    user.ok("remove", name, "--with", tool)
    assert user.trace() == {"installed": [], "receipts": [], "project": ""}
    assert "not installed" in user.refused("remove", name, code=3)


@pytest.mark.usefixtures("quick")
def test_weights_apart_are_signed_pinned_and_verified(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go to the registry first, by the Hub's own client; the wheel pins the commit; nobody can swap them."""
    team = publisher(registry, users, "apart")
    folder = tree(team.home / "plugin", "wind", apart=True)
    published = team.ok("publish", "plugin", "--yes", "--weights", "apart/wind-weights")
    manifest = (folder / "cogen_plugin_wind" / "expert.toml").read_text()
    repository, revision = published["weights"]["wind"].removeprefix("hf://").split("@")
    assert repository == "apart/wind-weights"
    assert f'source = "hf://{repository}"' in manifest
    assert f'revision = "{revision}"' in manifest
    assert sorted(path.name for path in (folder / "weights").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert published["state"] == "released"

    user = users("user")
    user.ok("login", registry.url, "--read-only")
    added = user.ok("add", "wind")
    assert [(one["source"], one["signed"]) for one in added["weights"]] == [(f"hf://{repository}", True)]
    assert user.ok("verify", "wind")["findings"][0]["notes"] == []
    # ... and every verb that opens hf:// finds them there
    with monkeypatch.context() as patch:
        patch.setenv("COGEN_CONFIG", str(user.home / "config"))
        patch.setenv("COGEN_CACHE", str(user.home / "cache"))
        patch.setattr("sys.prefix", str(user.env))
        opened = fetch(f"hf://{repository}", revision=revision)
    (snapshot,) = (user.home / "cache" / "registry").glob("*/apart--wind-weights-*[!.lock]")
    assert opened == snapshot
    assert sorted(path.name for path in snapshot.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "cogen-manifest.json",
    ]  # fmt: skip
    (snapshot / "adapter_config.json").write_text("{}")
    problems = user("verify", "wind").data["findings"][0]["problems"]
    assert [problem.partition(",")[0] for problem in problems] == [
        f"weights {repository}: adapter_config.json: altered"
    ]

    # a second publish of the same: nothing is sent twice
    registry.seen.clear()
    again = team.ok("publish", "plugin", "--yes")
    assert again["sha256"] == published["sha256"]
    assert not [line for line in registry.seen if line.startswith(("POST /legacy", "PUT ")) or "/commit/" in line]


@pytest.mark.usefixtures("quick")
def test_what_was_not_signed(registry: Registry, users: Users) -> None:
    """A wheel that bare twine uploaded: only --allow-unsigned takes it, and every place says so."""
    import requests

    wheel = built(tree(users("x").home / "plugin", "solar"), users("y").home)
    with wheel.open("rb") as file:
        fields = {":action": "file_upload", "protocol_version": "1", "filetype": "bdist_wheel",
                  "name": "cogen-plugin-solar", "version": "1.0"}  # fmt: skip
        answer = requests.post(
            f"{registry.url}/legacy/", data=fields, files={"content": (wheel.name, file)},
            auth=("__token__", token(registry, "bare")), timeout=30,
        )  # fmt: skip
    assert answer.status_code == 200, answer.text
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    before = user.trace()
    assert "is not signed" in user.refused("add", "solar")
    assert "is not signed" in user.refused("add", "solar", "--allow-unsigned", "--key", "sha256:" + "0" * 64)
    assert user.trace() == before
    said = user("add", "solar", "--allow-unsigned")
    assert said.code == 0
    assert "not signed" in said.error
    assert said.data["key"] is None
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

    other = trust.new_key(team.home / "other.pem")
    tree(team.home / "plugin", "tidal", "1.1")
    team.ok("publish", "plugin", "--yes", "--key", "other.pem")
    before = user.trace()
    text = user.refused("add", "tidal")
    assert "the key of keys changed" in text
    assert f"--key {trust.fingerprint(other)}" in text
    assert user.trace() == before
    user.ok("add", "tidal", "--key", trust.fingerprint(other))
    user.ok("verify", "tidal")

    from cogen.remote import Client
    from cogen.trust.registries import Registry as Known

    client = Client(Known(registry.url, token(registry, "keys")))
    client.send("POST", f"/api/v1/keys/{trust.fingerprint(other)}/revoke")
    assert "revoked the key" in user("verify", "tidal").data["findings"][0]["problems"][0]
    stranger = users("stranger")
    stranger.ok("login", registry.url, "--read-only")
    assert "a key that keys revoked" in stranger.refused("add", "tidal")
    assert stranger.installed() == []
    user.ok("verify", "tidal", "--offline")


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
def test_names_that_are_not_there(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "names")
    tree(team.home / "plugin", "geothermal")
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert "did you mean geothermal" in user.refused("add", "geotermal")
    assert "is not NAME" in user.refused("add", "geo thermal>=1", code=3)
    assert user.ok("add", "Cogen_Plugin.Geothermal", "--dry-run")["project"] == "cogen-plugin-geothermal"
    assert user.trace() == {"installed": [], "receipts": [], "project": ""}


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


@pytest.mark.usefixtures("quick")
def test_an_add_that_fails_leaves_nothing(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    team = publisher(registry, users, "fails")
    tree(team.home / "plugin", "biogas")
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    before = user.trace()
    for place, error in (
        ("cogen.sharing.add.project.record", KeyboardInterrupt()),
        ("cogen.sharing.add.keep", OSError(28, "No space left on device", "x")),
    ):
        with monkeypatch.context() as patch:

            def fail(*_: Any, error: BaseException = error, **__: Any) -> None:
                raise error

            patch.setattr(place, fail)
            assert user("add", "biogas").code in (1, 130)
        assert user.trace() == before
    with monkeypatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
        patch.setenv("PIP_RETRIES", "0")
        patch.setattr("cogen.sharing.environment._run", _needs_more)
        assert "pip failed" in user.refused("add", "biogas")
    assert user.trace() == before
    user.ok("add", "biogas")


def _needs_more(command: list[str]) -> Any:
    from cogen.sharing.environment import InstallError

    raise InstallError("pip failed: no matching distribution", hint="your own index")


def test_login_with_what_is_wrong(registry: Registry, users: Users) -> None:
    user = users("user")
    assert "token is not known" in user.refused("login", registry.url, "--token", "cogen_wrong")
    assert "no token was given" in user.refused("login", registry.url, code=3)
    assert "not the URL" in user.refused("login", "registry", "--read-only", code=3)
    assert "no registry is configured" in user.refused("add", "power", code=3)
    assert not (user.home / "config").exists()
    (user.home / "key.pem").write_text("nonsense")
    good = token(registry, "wrong")
    assert "not a private key" in user.refused("login", registry.url, "--token", good, "--key", "key.pem")
    assert not (user.home / "config").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "place",
    [
        "hub.pin", "upload.upload_wheel", "upload.upload_signature", "upload.wait_until_visible",
    ],
)  # fmt: skip
def test_an_interrupted_publish_goes_on(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Weights first: whenever it stops, nobody sees half of it, and the same command ends it."""
    name = f"half-{place.partition('.')[2].replace('_', '-')}"
    team = publisher(registry, users, "half")
    tree(team.home / "plugin", name, apart=True)
    user = users("user")
    user.ok("login", registry.url, "--read-only")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"cogen.sharing.publishing.publish.{place}", stop)
        assert team("publish", "plugin", "--yes").code == 130
    said = user("add", name)
    assert (said.code == 0) == (place == "upload.wait_until_visible"), said.error
    told = team.ok("publish", "plugin", "--yes")
    assert told["state"] == "released"
    assert user.ok("add", name)["key"] == told["key"]
    assert [path.name for path in team.home.joinpath("plugin").iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("quick")
def test_quarantine_says_why(registry: Registry, users: Users) -> None:
    """A wheel that pins weights which nobody has stays invisible; the publisher hears why, others see nothing."""
    team = publisher(registry, users, "waits")
    folder = tree(team.home / "plugin", "fusion", apart=True)
    manifest = folder / "cogen_plugin_fusion" / "expert.toml"
    manifest.write_text(
        manifest.read_text().replace(
            'source = "file://weights"', f'source = "hf://waits/none"\nrevision = "{"1" * 40}"'
        )
    )
    said = team("publish", "plugin", "--yes", "--wait", "0")
    assert said.code == 1
    assert said.data["state"] == "quarantined"
    assert "hf://waits/none is not in this registry" in said.data["reason"]
    assert "in quarantine, nobody sees it" in said.error
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert "has no expert fusion" in user.refused("add", "fusion")


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_published(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "mistakes")
    tree(team.home / "plugin", "mine")
    assert "this needs a yes" in team.refused("publish", "plugin", code=3)
    assert "0 experts have weights" in team.refused("publish", "plugin", "--yes", "--weights", "a/b", code=3)
    dry = team.ok("publish", "plugin", "--dry-run")
    assert dry["state"] == "checked"
    assert "has no expert mine" in team.refused("add", "mine")
    team.ok("publish", "plugin", "--yes")
    tree(team.home / "plugin", "mine", summary="Other words")
    shutil.rmtree(team.home / "plugin" / "dist")
    assert "published before with other content" in team.refused("publish", "plugin", "--yes")
    other = publisher(registry, users, "thief")
    tree(other.home / "plugin", "mine", "2.0")
    assert "belongs to another publisher" in other.refused("publish", "plugin", "--yes")
    reader = users("reader")
    reader.ok("login", registry.url, "--read-only")
    tree(reader.home / "plugin", "theirs")
    assert "needs a token" in reader.refused("publish", "plugin", "--yes")


def test_weights_of_another_repository(tmp_path: Path) -> None:
    """A signed folder that somebody copied elsewhere, or that belongs to a later version, is found out."""
    from cogen.sharing.signatures import Trusted
    from cogen.sharing.weights import MANIFEST, _check_manifest, make_manifest
    from cogen.trust import TrustError

    place = tmp_path
    said = make_manifest("team/weights", "team", "cogen-plugin-x", "1.0")
    statement = {"publisher": "team", "version": "1.0"}
    trusted = Trusted("", "", statement, {}, False)
    (place / MANIFEST).write_text(json.dumps(said))
    _check_manifest(place / MANIFEST, "team/weights", trusted, "cogen-plugin-x")
    for change, message in (
        ({"repository": "team/other"}, "for the repository team/other"),
        ({"publisher": "evil"}, "for the publisher evil"),
        ({"project": "cogen-plugin-y"}, "for the project cogen-plugin-y"),
        ({"version": "1.1"}, "for version 1.1, which is newer"),
        ({"version": None}, "hold no cogen-manifest"),
    ):
        (place / MANIFEST).write_text(json.dumps(said | change))
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
            path_or_fileobj=b'{"peft_type": "other"}', path_in_repo="adapter_config.json", repo_id="stale/stale"
        )
    snapshot = folder / "weights"
    (snapshot / "adapter_config.json").write_text('{"peft_type": "other"}')
    manifest = folder / "cogen_plugin_stale" / "expert.toml"
    (snapshot / "cogen-manifest.json").write_text(
        json.dumps({"schema": 1, "repository": "stale/stale", "publisher": "stale", "project": "cogen-plugin-stale",
                    "version": "1.0"}, indent=2, sort_keys=True) + "\n"
    )  # fmt: skip
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


@pytest.mark.usefixtures("quick")
def test_to_the_hub_alone(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry speaks the Hub's protocol, so it stands for the Hub here: signed weights, pinned, and no wheel."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", registry.url)
    monkeypatch.setenv("HF_TOKEN", token(registry, "hubber"))
    team = users("hubber")
    folder = tree(team.home / "plugin", "hubbed", apart=True)
    told = team.ok("publish", "plugin", "--to", "hub", "--yes")
    assert told["weights"]["hubbed"].startswith("hf://hubber/hubbed@")
    assert 'source = "hf://hubber/hubbed"' in (folder / "cogen_plugin_hubbed" / "expert.toml").read_text()
    assert (team.home / "config" / "keys" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not (folder / "dist").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_to_pypi_by_the_users_own_twine(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry speaks PyPI's protocol, too."""
    for name, value in {
        "TWINE_REPOSITORY_URL": f"{registry.url}/legacy/", "TWINE_USERNAME": "__token__",
        "TWINE_PASSWORD": token(registry, "pypier"), "TWINE_NON_INTERACTIVE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    team = users("pypier")
    tree(team.home / "plugin", "pypied")
    team.ok("publish", "plugin", "--to", "pypi", "--yes")
    assert "POST /legacy/" in registry.seen
    assert "cogen-plugin-pypied" in team("search", "--registry", registry.url, "pypied").data["experts"][0]["project"]


@pytest.mark.usefixtures("quick")
def test_a_mirror_of_plain_files(registry: Registry, users: Users, tmp_path: Path) -> None:
    """What `cogen-registry export` writes, behind any web server: search, add and verify, with the same signatures."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    from cogen_registry.export import export

    team = publisher(registry, users, "mirrored")
    tree(team.home / "plugin", "offshore", apart=True)
    team.ok("publish", "plugin", "--yes")
    export(registry.service.settings, tmp_path / "mirror")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "mirror")))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        user = users("user")
        user.ok("login", f"http://127.0.0.1:{server.server_port}", "--read-only")
        assert user.ok("search", "offshore")["experts"][0]["id"] == "offshore"
        assert "did you mean offshore" in user.refused("add", "ofshore")
        assert user.ok("add", "cogen-plugin-offshore", "--dry-run")["experts"] == ["offshore"]
        added = user.ok("add", "offshore")
        assert (added["publisher"], added["weights"][0]["signed"]) == ("mirrored", True)
        assert user.ok("verify", "offshore")["findings"][0]["notes"] == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
