"""Publishers and integrators against a real registry over a real socket, with real installers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support import sigstore
from support.hub import Registry
from support.trees import tree
from support.users import Users, publisher, token

from cogen import trust
from cogen.checkpoints.sources import fetch
from cogen.trust.identities import CONFIG, TOKEN


@pytest.mark.parametrize("tool", ["uv", pytest.param("pip", marks=pytest.mark.slow)])
def test_publish_search_add_verify_remove(
    registry: Registry, users: Users, tool: str, request: pytest.FixtureRequest
) -> None:
    """The main path; with pip also the isolated build and the checks of conformance."""
    if tool == "uv":
        request.getfixturevalue("quick")
    acme = users("acme")
    answer = acme.ok("login", registry.url, "--token", token(registry, "acme"), "--new-key")
    assert answer["publisher"] == "acme"
    assert answer["key"] == trust.fingerprint((acme.home / "config" / "keys" / "key.pub").read_text())
    name = f"grid-{tool}"
    module = name.replace("-", "_")
    tree(acme.home / "plugin", name, title=f"Grid of {tool}")
    published = acme.ok("publish", "plugin", "--yes")
    assert (published["state"], published["key"], published["experts"]) == ("released", answer["key"], [name])
    assert published["checks"] >= (10 if tool == "pip" else 1)

    user = users("user")
    user.ok("login", registry.url, "--read-only")
    found = user.ok("search", "grid of", tool)
    assert [(one["id"], one["signed"]) for one in found["experts"][:1]] == [(name, True)]
    dry = user.ok("add", name, "--dry-run")
    assert (dry["installed"], dry["key"], user.installed()) == (False, answer["key"], [])
    assert not user.project.exists()
    added = user.ok("add", name, "--with", tool)
    assert added["installed"]
    assert user.installed() == [f"cogen_plugin_{module}-1.0.dist-info"]
    text = user.project.read_text()
    for line in (
        f"[experts.cogen-plugin-{name}]",
        'version = "1.0"',
        f'sha256 = "{published["sha256"]}"',
        'publisher = "acme"',
        f'key = "{answer["key"]}"',
        f'registry = "{registry.url}"',
    ):
        assert line in text.splitlines()
    finding = next(one for one in user.ok("verify")["findings"] if one["name"] == f"cogen-plugin-{name}")
    assert (finding["ok"], finding["publisher"], finding["key"]) == (True, "acme", answer["key"])
    assert finding["notes"] == []

    package = user.packages / f"cogen_plugin_{module}"
    (package / "weights" / "adapter_model.safetensors").write_bytes(b"x")
    (package / "samples.jsonl").unlink()
    (package / "more.py").write_text("import os")
    output = user("verify", name)
    assert output.code == 1
    assert [problem.partition(",")[0] for problem in output.data["findings"][0]["problems"]] == [
        f"cogen_plugin_{module}/more.py: added",
        f"cogen_plugin_{module}/samples.jsonl: missing",
        f"cogen_plugin_{module}/weights/adapter_model.safetensors: altered",
        "it holds code",
    ]
    # the same version again: its files are replaced, which pip alone would not do; what nobody installed is in the way
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
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
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
    # ([!.lock] in a pattern would be one character that is none of these five, and a commit may end in "c")
    found = (user.home / "cache" / "registry").glob("*/apart--wind-weights-*")
    (snapshot,) = [path for path in found if path.suffix != ".lock"]
    assert opened == snapshot
    assert sorted(path.name for path in snapshot.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "cogen-manifest.json",
    ]
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
    assert "unknown or expired token" in user.refused("login", registry.url, "--token", "cogen_wrong")
    assert "no token was given" in user.refused("login", registry.url, code=3)
    assert "not the URL" in user.refused("login", "registry", "--read-only", code=3)
    assert "no registry is configured" in user.refused("add", "power", code=3)
    assert not (user.home / "config").exists()
    (user.home / "key.pem").write_text("nonsense")
    good = token(registry, "wrong")
    assert "not a private key" in user.refused("login", registry.url, "--token", good, "--key", "key.pem")
    assert not (user.home / "config").exists()


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


@pytest.mark.usefixtures("quick")
def test_a_team_signs_as_somebody(
    registry: Registry, users: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Sigstore, without a key: wheel and weights; whoever signs next has to be the same."""
    with sigstore.running(tmp_path) as (ours, file):
        monkeypatch.setenv(CONFIG, str(file))
        monkeypatch.setenv(TOKEN, ours.token("alice@example.org"))
        team = users("keyless")
        team.ok("login", registry.url, "--token", token(registry, "keyless"))
        tree(team.home / "plugin", "fjord", apart=True)
        assert "exclude each other" in team.refused("publish", "plugin", "--yes", "--identity", "--key", "k", code=3)
        published = team.ok("publish", "plugin", "--yes", "--identity")
        alice = trust.Identity("alice@example.org", ours.issuer)
        assert (published["state"], published["key"]) == ("released", alice.fingerprint)
        assert published["identity"] == str(alice)
        assert not (team.home / "config" / "keys").exists()
        assert ours.entries == 5  # who it is, the weights, the wheel; the project's root and list

        # who adds needs neither a token nor the log, only its roots
        monkeypatch.delenv(TOKEN)
        user = users("user")
        user.ok("login", registry.url, "--read-only")
        (known,) = user("search", "fjord").data["experts"][:1]
        assert known["signed"]
        added = user.ok("add", "fjord")
        assert (added["key"], added["weights"][0]["signed"]) == (alice.fingerprint, True)
        (finding,) = user.ok("verify", "fjord")["findings"]
        assert (finding["ok"], finding["key"], finding["signer"]) == (True, alice.fingerprint, str(alice))
        assert ours.entries == 5

        # somebody else with the team's token
        monkeypatch.setenv(TOKEN, ours.token("mallory@example.org"))
        tree(team.home / "plugin", "fjord", version="2.0", apart=True)
        assert "needs its signature" in team.refused("publish", "plugin", "--yes", "--identity")
        monkeypatch.delenv(TOKEN)
        assert user.ok("add", "fjord")["version"] == "1.0"
        assert user.ok("verify", "fjord")["findings"][0]["ok"]

        # without the roots nothing is taken for verified
        monkeypatch.setenv(CONFIG, str(tmp_path / "none"))
        assert "cannot be used" in users("other").refused("add", "fjord", "--registry", registry.url)


@pytest.mark.usefixtures("quick")
def test_what_was_taken_down_or_is_new_is_shown(registry: Registry, users: Users) -> None:
    """`cogen verify` gives the operator's reason, and shows a root that it sees for the first time."""
    from cogen_registry.cli import main

    team = publisher(registry, users, "dunes")
    tree(team.home / "plugin", "dunes")
    team.ok("publish", "plugin", "--yes")
    user = users("reader")
    user.ok("login", registry.url, "--read-only")
    user.ok("add", "dunes")
    shutil.rmtree(user.home / "config" / "tuf")
    (finding,) = user.ok("verify", "dunes")["findings"]
    assert any("trusting the root sha256:" in note for note in finding["notes"])
    (finding,) = user.ok("verify", "dunes")["findings"]
    assert finding["notes"] == []
    root = str(registry.service.settings.root)
    assert main(["takedown", "expert", "dunes", "--reason", "it names patients", "--root", root]) == 0
    output = user("verify", "dunes")
    assert output.code == 1
    assert "was taken down: it names patients" in output.data["findings"][0]["problems"][0]
    assert main(["restore", "expert", "dunes", "--root", root]) == 0
    user.ok("verify", "dunes")


@pytest.mark.usefixtures("quick")
def test_a_dry_run_of_publish_needs_no_registry(users: Users) -> None:
    user = users("newcomer")
    tree(user.home / "plugin", "meadow")
    assert user.ok("publish", "plugin", "--dry-run")["experts"] == ["meadow"]
    assert "no registry is configured" in user.refused("publish", "plugin", "--yes", code=3)
