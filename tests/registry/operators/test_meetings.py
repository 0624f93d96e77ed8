"""Where two parts meet that were written apart: take-downs, transfers and revocations against signed metadata."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support import shelf
from support.served import serving
from support.town import Town

from cogen_registry import cli


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("meetings")
    with serving(folder / "root", unpacked=100_000_000) as served:
        yield Town(served, folder)
        served.healthy()


def actions(town: Town) -> list[tuple[str, str]]:
    return [(one["action"], one["subject"]) for one in json.loads(town.served.command("log", "--json"))]


def test_every_command_of_every_part_is_there() -> None:
    """Two files once made a group `project`: one of them hid the other's commands."""
    groups = [one.name for one in cli.app.registered_groups]
    assert len(groups) == len(set(groups)), sorted(map(str, groups))
    command: Any = typer.main.get_command(cli.app)
    assert {"transfer", "link", "recover"} <= set(command.commands["project"].commands)
    assert {"revoke"} <= set(command.commands["key"].commands)


class TestAudit:
    def test_keys_of_the_registry(self, town: Town, tmp_path: Path) -> None:
        """Whatever is done with the operator's keys is in the log, with the keys that were at hand."""
        offline = town.served.root.with_name("root-offline")
        if not offline.exists():
            offline = shelf.offline()
        served = town.served
        served.command("renew", "--keys", str(offline))
        served.command("sign")
        new = tmp_path / "new"
        served.command("rotate-root", "--keys", str(offline), "--new", str(new), "--root-keys", "2")
        served.command("rotate-online", "--keys", str(new))
        time.sleep(0.1)
        done = [one for one in json.loads(served.command("log", "--json")) if one["action"].startswith("registry.")]
        assert [one["action"] for one in done] == [
            "registry.init",
            "registry.renew",
            "registry.sign",
            "registry.rotate-root",
            "registry.rotate-online",
        ]
        assert all(one["operator"] for one in done)
        assert len(done[1]["detail"]["keys"]) == 2
        assert done[3]["subject"] == served.command("status").split("\n")[0].split("\t")[1] or done[4]["subject"]
        served.command("check")

    def test_documents_of_a_project(self, town: Town) -> None:
        town.publish("team", "audited")
        assert ("project.keys", "cogen-plugin-audited") in actions(town)
        town.publish("team", "audited", "1.1")
        assert ("project.list", "cogen-plugin-audited") in actions(town)

    def test_recover_and_revoke(self, town: Town) -> None:
        town.publish("burnt", "attic")
        key = town.served.get("/api/v1/publishers/burnt").json()["keys"][0]["fingerprint"]
        output = town.served.command("project", "recover", "cogen-plugin-attic", "--reason", "the laptop burnt")
        assert "may be signed with new keys" in output
        town.served.command("key", "revoke", key, "--reason", "it burnt")
        assert actions(town)[-2:] == [("project.recover", "cogen-plugin-attic"), ("key.revoke", "burnt")]


def test_a_key_that_the_operator_revokes_is_revoked_on_every_page(town: Town) -> None:
    """Not only in the signed metadata: what is kept in memory is told, too."""
    town.publish("careless", "porch")
    get = town.served.get
    key = get("/api/v1/publishers/careless").json()["keys"][0]["fingerprint"]
    paths = ["/api/v1/publishers/careless", "/api/v1/experts/porch"]
    for path in paths:
        assert key in get(path).text
    page = get("/experts/porch", Accept="text/html").text
    assert "revoked" not in page
    town.served.command("key", "revoke", key, "--reason", "found on the street")
    end = time.monotonic() + 5
    while "revoked" not in get("/experts/porch", Accept="text/html").text:
        assert time.monotonic() < end, "the page does not say it"
        time.sleep(0.1)
    assert get("/api/v1/publishers/careless").json()["keys"][0]["revoked"]
    assert get("/api/v1/experts/porch").json()["signature"]["revoked"]


class TestTransfer:
    def test_what_was_published_before_is_installed_as_before(self, town: Town) -> None:
        """The API says who published it, the metadata whose the project is: both have to be right."""
        town.publish("old", "bridge")
        owner = town.user()
        owner.ok("add", "bridge")
        town.served.token("heir")
        output = town.served.command("project", "transfer", "cogen-plugin-bridge", "heir", "--reason", "they left")
        assert "project recover cogen-plugin-bridge" in output
        assert town.user().ok("add", "bridge")["publisher"] == "old"
        assert owner.ok("add", "bridge")["publisher"] == "old"
        (finding,) = owner.ok("verify", "bridge")["findings"]
        assert finding["problems"] == []
        assert "heir" in " ".join(finding["notes"])

    def test_the_new_owner_publishes(self, town: Town) -> None:
        from cogen.errors import CogenError

        town.publish("giver", "tunnel")
        owner = town.user()
        owner.ok("add", "tunnel")
        key = town.key("taker")
        town.served.command("project", "transfer", "cogen-plugin-tunnel", "taker")
        with pytest.raises(CogenError, match="is bound to the key"):
            town.publish("taker", "tunnel", "2.0")
        town.served.command("project", "recover", "cogen-plugin-tunnel", "--reason", "handed over to taker")
        town.publish("taker", "tunnel", "2.1")
        assert town.user().ok("add", "tunnel")["publisher"] == "taker"
        output = owner.refused("add", "tunnel")
        assert "belongs to taker now" in output
        from cogen.trust import fingerprint, public_key

        name = fingerprint(public_key(key, None))
        output = owner.refused("add", "tunnel", "--accept", "publisher")
        assert "handed over to taker" in output
        assert owner.ok("add", "tunnel", "--accept", "publisher", "--key", name)["publisher"] == "taker"


class TestTakenDown:
    def test_a_release_is_gone_from_the_signed_metadata_and_comes_back(self, town: Town) -> None:
        town.publish("shop", "sign", "1.0")
        town.publish("shop", "sign", "1.1")
        owner = town.user()
        owner.ok("add", "sign")
        town.served.command("takedown", "release", "cogen-plugin-sign==1.1", "--reason", "it is wrong")
        assert town.user().ok("add", "sign")["version"] == "1.0"
        assert "taken down: it is wrong" in town.user().refused("add", "sign==1.1")
        found = owner("verify", "sign")
        assert found.code == 1
        assert "taken down: it is wrong" in " ".join(found.data["findings"][0]["problems"])
        town.served.command("restore", "release", "cogen-plugin-sign==1.1")
        assert owner.ok("verify", "sign")["verified"]
        assert town.user().ok("add", "sign")["version"] == "1.1"

    def test_after_a_purge_the_project_goes_on(self, town: Town) -> None:
        """Its signed list still names what the operator purged; a new version is published all the same."""
        town.publish("forge", "anvil", "1.0")
        town.served.command("takedown", "release", "cogen-plugin-anvil==1.0", "--reason", "leaked", "--purge")
        town.publish("forge", "anvil", "1.1")
        assert town.user().ok("add", "anvil")["version"] == "1.1"
        assert "taken down: leaked" in town.user().refused("add", "anvil==1.0")
        town.shelf.clear()

    def test_all_of_a_publisher(self, town: Town) -> None:
        town.publish("crook", "lamp")
        town.served.command("takedown", "publisher", "crook", "--reason", "fraud")
        assert "lamp" in town.user().refused("add", "lamp")
        names = [
            one["name"]
            for one in town.served.get("/simple/", Accept="application/vnd.pypi.simple.v1+json").json()["projects"]
        ]
        assert "cogen-plugin-lamp" not in names
        assert "lamp" not in town.served.get("/api/v1/experts").text
        town.served.command("restore", "publisher", "crook")
        assert town.user().ok("add", "lamp")["publisher"] == "crook"
