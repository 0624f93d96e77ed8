"""A project's file and the receipts are pins: another registry, publisher or key stops a colleague's `cogen add`."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support import shelf
from support.hub import Registry, running
from support.trees import tree
from support.users import Users, publisher, token

from cogen import trust
from cogen_registry.database.tables import Expert, Project, Publisher

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A second registry, with keys of its own."""
    monkeypatch.setattr(shelf, "fresh_root", lambda root: shelf.initialise(root) or root)
    with running(tmp_path / "other", verify_elsewhere=False) as opened:
        yield opened


def signed_again(registry: Registry) -> None:
    """A new timestamp."""
    signer = registry.service.signer
    assert signer is not None
    with registry.service.sessions.write() as session:
        signer.sign_timestamp(session)


def nothing(user: Any, project: str = "") -> dict[str, Any]:
    return {"installed": [], "receipts": [], "project": project}


def test_another_registry(registry: Registry, other: Registry, users: Users) -> None:
    """The same project by the same key elsewhere: still not what the project's file names."""
    team = publisher(registry, users, "twice")
    tree(team.home / "plugin", "dam")
    key = team.ok("publish", "plugin", "--yes")["key"]
    team.ok("login", other.url, "--token", token(other, "twice"))
    assert team.ok("publish", "plugin", "--yes")["key"] == key
    first = users("first")
    first.ok("login", registry.url, "--read-only")
    first.ok("add", "dam")
    written = first.project.read_text()
    assert 'root = "sha256:' in written

    colleague = users("colleague")  # a machine that has never seen either
    shutil.copy(first.project, colleague.project)
    text = colleague.refused("add", "dam", "--registry", other.url)
    assert f"comes from {other.url} now; cogen.toml names {registry.url}" in text
    assert "--accept registry" in text
    assert colleague.trace() == nothing(colleague, written)
    assert "one of registry, publisher" in colleague.refused("add", "dam", "--accept", "all", code=3)
    colleague.ok("add", "dam", "--registry", other.url, "--accept", "registry")
    assert other.url in colleague.project.read_text()
    first.ok("login", other.url, "--read-only")  # this environment's receipt is a pin, too
    first.project.unlink()
    assert "this environment names" in first.refused("add", "dam")


def test_a_renamed_publisher_and_a_key_that_is_first_seen(registry: Registry, users: Users) -> None:
    """The registry gives the project to somebody else, under whose name no key was seen yet."""
    team = publisher(registry, users, "before")
    tree(team.home / "plugin", "weir")
    team.ok("publish", "plugin", "--yes")
    first, colleague = users("first"), users("colleague")
    for user in (first, colleague):
        user.ok("login", registry.url, "--read-only")
    first.ok("add", "weir")
    shutil.copy(first.project, colleague.project)
    written = colleague.project.read_text()
    thief = publisher(registry, users, "after")
    with registry.service.sessions.write() as session:
        row = session.scalars(select(Project).where(Project.name == "cogen-plugin-weir")).one()
        row.publisher_id = session.scalars(select(Publisher.id).where(Publisher.name == "after")).one()
        session.execute(update(Expert).where(Expert.expert == "weir").values(publisher="after"))
    for user in (first, colleague):
        text = user.refused("add", "weir")
        assert "belongs to after now" in text
        assert "--accept publisher" in text
        # and whoever accepts that has not accepted another key
        assert "the signature is for publisher before" in user.refused("add", "weir", "--accept", "publisher")
    tree(thief.home / "plugin", "weir", "2.0")
    assert "is bound to the key" in thief.refused("publish", "plugin", "--yes")
    assert colleague.trace() == nothing(colleague, written)
    (finding,) = first("verify", "weir").data["findings"]
    assert "it belongs to after now, not to before" in finding["problems"]


def test_a_key_that_the_projects_file_does_not_name(registry: Registry, users: Users) -> None:
    """A CI without settings: the key of cogen.toml counts, and follows where its owner signed a new one."""
    team = publisher(registry, users, "turns")
    tree(team.home / "plugin", "lock")
    old = team.ok("publish", "plugin", "--yes")["key"]
    first = users("first")
    first.ok("login", registry.url, "--read-only")
    first.ok("add", "lock")
    new = team.ok("key", "rotate", "--yes")["new"]
    tree(team.home / "plugin", "lock", "1.1")
    team.ok("publish", "plugin", "--yes")
    ci = users("ci")
    shutil.copy(first.project, ci.project)
    assert ci.ok("add", "lock", "--registry", registry.url)["key"] == new
    forged = users("forged")
    forged.project.write_text(first.project.read_text().replace(old, "sha256:" + "3" * 64))
    text = forged.refused("add", "lock", "--registry", registry.url)
    assert "the key of cogen-plugin-lock changed" in text
    assert f"--key {new}" in text
    forged.ok("add", "lock", "--registry", registry.url, "--key", new)


def test_a_stolen_key_is_exchanged_revoked_and_its_releases_signed_again(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "burgled")
    tree(team.home / "plugin", "sluice")
    old = team.ok("publish", "plugin", "--yes")["key"]
    user, late = users("user"), users("late")
    for one in (user, late):
        one.ok("login", registry.url, "--read-only")
    user.ok("add", "sluice")
    new = team.ok("key", "rotate", "--yes")["new"]
    team.ok("key", "revoke", old, "--yes")
    assert "was revoked" in late.refused("add", "sluice")
    (finding,) = user("verify", "sluice").data["findings"]
    assert any("burgled revoked the key that signed it" in problem for problem in finding["problems"])
    output = team.ok("key", "revoke", old, "--resign", "--yes")  # the same again does what was left out
    assert (output["signed_again"], output["unusable"]) == (["cogen-plugin-sluice 1.0"], [])
    assert late.ok("add", "sluice")["key"] == new
    assert user.ok("add", "sluice")["key"] == new
    assert user.ok("verify", "sluice")["verified"]
    shown = {one["fingerprint"]: (bool(one["revoked"]), one["own"]) for one in team.ok("key", "list")["keys"]}
    assert shown == {old: (True, False), new: (False, True)}
    assert sorted(path.name for path in (team.home / "config" / "keys").glob("*.pem")) == [
        f"key-{old.removeprefix('sha256:')[:16]}.pem",
        "key.pem",
    ]


def test_what_was_asked_for_is_what_comes(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for tumour 1.0, the registry answers with another project, expert or version: all of it signed."""
    team = publisher(registry, users, "swaps")
    for id, version in (("tumour", "1.0"), ("rotten", "7.0")):
        tree(team.home / id, id, version)
        team.ok("publish", id, "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    from cogen.remote.client import Client

    get, answers = Client.get, {}

    def swapped(client: Client, path: str, params: Any = None) -> Any:
        return get(client, answers.get(path, path), params)

    monkeypatch.setattr(Client, "get", swapped)
    for asked in ("tumour==1.0", "tumour", "cogen-plugin-tumour", "cogen-plugin-tumour==1.0"):
        for path in ("/api/v1/experts/tumour", "/api/v1/experts/tumour/1.0"):
            answers[path] = "/api/v1/experts/rotten/7.0"
        text = user.refused("add", asked)
        assert (
            f"asked for {asked.partition('==')[0]}, {registry.url} answers with rotten of cogen-plugin-rotten" in text
        )
        assert user.trace() == nothing(user)
    answers.clear()
    tree(team.home / "tumour", "tumour", "1.1")
    team.ok("publish", "tumour", "--yes")
    answers["/api/v1/experts/tumour/1.0"] = "/api/v1/experts/tumour/1.1"
    assert "asked for tumour==1.0" in user.refused("add", "tumour==1.0")
    assert user.trace() == nothing(user)


def test_a_registry_of_an_older_version(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs nothing: who knew it otherwise never falls back, who is new has to ask for it."""
    from cogen_registry.errors import Refused
    from cogen_registry.names import reading

    team = publisher(registry, users, "olden")
    tree(team.home / "plugin", "mill")
    team.ok("publish", "plugin", "--yes")
    knows, new = users("knows"), users("new")
    knows.ok("login", registry.url, "--read-only")

    def gone(*_: Any) -> Any:
        raise Refused(404, "there is no such page", hint="none")

    monkeypatch.setattr(reading, "role", gone)
    assert "leaves out signed metadata" in knows.refused("add", "mill", "--allow-unverified-registry")
    assert "leaves out signed metadata" in knows.refused("login", registry.url, "--read-only")
    output = new("login", registry.url, "--read-only")
    assert (output.code, output.data["root"]) == (0, None)
    assert "signs nothing" in output.error
    text = new.refused("add", "mill")
    assert "signs nothing" in text
    assert "--allow-unverified-registry" in text
    assert new.ok("add", "mill", "--allow-unverified-registry")["version"] == "1.0"
    assert "root" not in new.project.read_text()
    assert new.ok("verify", "mill")["verified"]


def test_verify_says_that_a_registry_stands_still(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is altered here, and yet nobody knows whether a key was revoked since."""
    from cogen_registry.metadata import signer

    team = publisher(registry, users, "still")
    tree(team.home / "plugin", "pond")
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    user.ok("add", "pond")
    with monkeypatch.context() as patch:
        patch.setitem(signer.VALID, "timestamp", datetime.timedelta(seconds=-1))
        signed_again(registry)
        output = user("verify", "pond")
        assert output.code == 1
        (problem,) = output.data["findings"][0]["problems"]
        assert "signed is too old: timestamp.json is expired" in problem
        assert user.ok("verify", "pond", "--offline")["verified"]
    signed_again(registry)
    assert user.ok("verify", "pond")["verified"]


def test_show_keeps_the_claim_apart(registry: Registry, users: Users) -> None:
    """The manifest says "acme" of itself; the account that signed it is another one."""
    team = publisher(registry, users, "account")
    tree(team.home / "plugin", "brook")
    team.ok("publish", "plugin", "--yes")
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    key = user.ok("add", "brook")["key"]
    shown = user.ok("show", "brook")
    assert shown["verified"] == {"publisher": "account", "registry": registry.url, "key": key}
    assert shown["publisher"] != "account"


def test_login_compares_the_root(registry: Registry, users: Users) -> None:
    user = users("user")
    wrong = "sha256:" + "4" * 64
    assert f"not {wrong}" in user.refused("login", registry.url, "--read-only", "--root-key", wrong)
    assert "not a fingerprint" in user.refused("login", registry.url, "--read-only", "--root-key", "abc", code=3)
    assert not (user.home / "config").exists()
    output = user.ok("login", registry.url, "--read-only")
    assert (output["root"][:7], output["root_known"]) == ("sha256:", False)
    assert user.ok("login", registry.url, "--read-only")["root_known"]
    answer = users("again").ok("login", registry.url, "--read-only", "--root-key", output["root"])
    assert answer["root"] == output["root"]


def test_searching_imports_no_library_for_signatures(registry: Registry, tmp_path: Path) -> None:
    """Nor one that only `cogen-core[fuse]` brings: whoever only looks around waits for none of them."""
    script = (
        "import sys\n"
        "from cogen.cli.main import main\n"
        "codes = [main(['search', 'x']), main(['verify'])]\n"
        "heavy = {'tuf', 'securesystemslib', 'model_signing', 'sigstore', 'torch', 'transformers', 'numpy'}\n"
        "print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    env = os.environ | {"COGEN_CONFIG": str(tmp_path / "c"), "COGEN_CACHE": str(tmp_path / "d")}
    env["COGEN_REGISTRY"] = registry.url
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stderr.splitlines()[-1] == "[0, 0] []"


def test_a_stolen_token_adds_no_key(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "robbed")
    tree(team.home / "plugin", "quay")
    true = team.ok("publish", "plugin", "--yes")["key"]
    thief = users("thief")
    stolen = token(registry, "robbed")
    assert "needs its signature" in thief.refused("login", registry.url, "--token", stolen, "--new-key")
    listed = team.ok("key", "list")["keys"]
    assert [(one["fingerprint"], one["projects"]) for one in listed] == [(true, ["cogen-plugin-quay"])]
    assert json.loads(json.dumps(listed))[0]["own"]
    assert trust.fingerprint(listed[0]["key"]) == true
