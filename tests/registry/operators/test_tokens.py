"""Tokens: scopes are chosen, an end is the rule, and the last use is known."""

from __future__ import annotations

import datetime
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from support.shelf import fresh_root

from cogen_registry.cli import main


@pytest.fixture
def root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    found = str(fresh_root(tmp_path / "root"))
    assert main(["publisher", "add", "team", "--root", found]) == 0
    capsys.readouterr()
    return found


def row(root: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Cells of the newest token."""
    capsys.readouterr()
    assert main(["token", "list", "team", "--root", root]) == 0
    return capsys.readouterr().out.splitlines()[-1].split("\t")


def test_scopes_are_chosen(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "new", "team", "--root", root]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "error: no scope was given for the token",
        "hint: --scope one of packages, weights, evaluations, keys, packages:PROJECT; or --scope all",
    ]
    for scope in ("everything", "weights:x", "", "keys:a", "ALL", "packages,weights"):
        assert main(["token", "new", "team", "--root", root, "--scope", scope]) == 1
        assert "is no scope" in capsys.readouterr().err
    for project in ("", "*", "cogen-plugin-*", "a, b", "../x", "-", "a:b", "cogen-plugin-\uff57ard"):
        assert main(["token", "new", "team", "--root", root, "--scope", f"packages:{project}"]) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"error: {project!r} names no project",
            "hint: packages:cogen-plugin-power is for that project alone, packages for all projects of the publisher",
        ]
    chosen = ["--scope", "weights", "--scope", "packages:Cogen_Plugin.Power", "--scope", "weights"]
    assert main(["token", "new", "team", "--root", root, *chosen]) == 0
    assert row(root, capsys)[3] == "weights packages:cogen-plugin-power"
    assert main(["token", "new", "team", "--root", root, "--scope", "all"]) == 0
    assert row(root, capsys)[3] == "packages weights evaluations keys"


def test_a_publisher_comes_with_its_first_token(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Three commands start a registry: init, publisher add, serve."""
    assert main(["publisher", "add", "grid", "--root", root, "--scope", "everything"]) == 1
    assert "is no scope" in capsys.readouterr().err
    assert main(["publisher", "add", "grid", "--root", root, "--scope", "all"]) == 0  # nothing was left
    assert re.fullmatch(r"cogen_\S{40,}\n", capsys.readouterr().out)
    assert main(["token", "list", "grid", "--root", root]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[3] == "packages weights evaluations keys"
    assert main(["publisher", "add", "tide", "--root", root]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("options", "days"), [([], 90), (["--days", "7"], 7), (["--no-expiry"], None)])
def test_a_token_ends(root: str, capsys: pytest.CaptureFixture[str], options: list[str], days: int | None) -> None:
    length = datetime.timedelta(days=days or 0)
    before = datetime.datetime.now(datetime.UTC)
    assert main(["token", "new", "team", "--root", root, "--scope", "all", *options]) == 0
    secret = capsys.readouterr().out
    assert secret.startswith("cogen_")
    assert len(secret.splitlines()) == 1
    state = row(root, capsys)[2]
    if days is None:
        assert state == "valid"
    else:
        ends = {before + length, datetime.datetime.now(datetime.UTC) + length}
        assert state in {f"valid until {moment:%Y-%m-%d}" for moment in ends}
    assert main(["log", "--json", "--root", root]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [one["action"] for one in rows] == ["registry.init", "publisher.add", "token.new"]
    assert secret.strip() not in json.dumps(rows)


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e9"])
def test_days_that_are_none(root: str, capsys: pytest.CaptureFixture[str], days: str) -> None:
    assert main(["token", "new", "team", "--root", root, "--scope", "all", "--days", days]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_last_use_is_known(own_desk: Any) -> None:
    desk = own_desk
    desk.served.token("team")
    assert desk.command("token", "list").splitlines()[-1].endswith("never used")
    assert desk.ask("GET", "/api/v1/whoami", "team").status_code == 200
    end = time.monotonic() + 30
    while "last used" not in (output := desk.command("token", "list")):
        assert time.monotonic() < end, output
        time.sleep(0.5)
