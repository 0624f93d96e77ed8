"""`cogen-registry publisher list`, `token list` and `revoke`, `quarantine`: what an operator sees."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from support.shelf import fresh_root, open_service, put

from cogen_registry.auth import new_token
from cogen_registry.cli import chosen_settings, main
from cogen_registry.database.tables import Publisher, Release, now
from cogen_registry.errors import Refused
from cogen_registry.readonly import open_readonly
from cogen_registry.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two publishers; the second has a release in quarantine."""
    root = tmp_path / "root"
    service = open_service(root)
    put(service, "power", team="utility")
    put(service, "clinic", team="hospital")
    with service.sessions.write() as session:
        release = session.scalars(select(Release).where(Release.filename.startswith("cogen_plugin_clinic"))).one()
        release.state, release.reason = "quarantined", "hf://hospital/clinic@0 is not in this registry"
        release.created = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)
    service.close()
    return root


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_publishers_and_what_they_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publisher", "set", "utility", "--root", str(root), "--limit", "wheel=1000"]) == 0
    assert main(["publisher", "list", "--root", str(root)]) == 0
    hospital, utility = lines(capsys)
    assert hospital == ["hospital", "1,234 bytes", "-", "Hospital", "1,234 wheels; 2 rows"]
    assert utility == ["utility", "1,234 bytes", "wheel=1000", "Utility", "1,234 wheels; 2 rows"]


def test_tokens_are_revoked_by_their_number(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yesterday = now() - datetime.timedelta(days=1)
    with open_readonly(Settings(root=root)) as service, service.sessions.write() as session:
        team = session.scalars(select(Publisher).where(Publisher.name == "utility")).one()
        secret = new_token(session, team, ["packages", "keys"], "build machine", yesterday)
        new_token(session, team, ["evaluations"])
    assert main(["token", "list", "utility", "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert secret not in printed
    old, new = (line.split("\t") for line in printed.splitlines())
    assert old[1:] == ["utility", f"expired {yesterday:%Y-%m-%d}", "packages keys", "build machine", "never used"]
    assert new[1:] == ["utility", "valid", "evaluations", "-", "never used"]
    for name in (new[0], secret):
        assert main(["token", "revoke", name, "--root", str(root)]) == 0
    assert main(["token", "list", "--root", str(root)]) == 0
    assert [line[2] for line in lines(capsys)] == [f"revoked {now():%Y-%m-%d}"] * 2
    assert main(["token", "list", "hospital", "--root", str(root)]) == 0
    assert lines(capsys) == []


@pytest.mark.parametrize("name", ["12345", "cogen_unknown", "9" * 40])
def test_a_token_that_is_not_there(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "revoke", name, "--root", str(root)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: this token is not known",
        "hint: `cogen-registry token list` has the numbers",
    ]


def test_what_is_in_quarantine_and_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--root", str(root)]) == 0
    ((release, publisher, since, reason),) = lines(capsys)
    assert release.startswith("cogen-plugin-clinic ")
    assert (publisher, since) == ("hospital", "2026-03-01 12:30")
    assert reason == "hf://hospital/clinic@0 is not in this registry"


def test_lists_of_a_root_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["quarantine"], ["token", "list"], ["publisher", "list"]):
        assert main([*verb, "--root", str(tmp_path / "nothing")]) == 1
        assert "has no registry in it" in capsys.readouterr().err


def test_settings_come_from_a_file_and_options_win(tmp_path: Path) -> None:
    """An option that was not given leaves what the file says."""
    file = tmp_path / "settings.toml"
    file.write_text('title = "Tidal models"\nurl = "https://one.example.org"\n[limits]\nwheel = 5\n')
    options = {"root": tmp_path, "title": None, "url": "https://two.example.org", "blobs": None}
    chosen = chosen_settings(file, options)
    assert (chosen.title, chosen.url, chosen.limits.wheel) == ("Tidal models", "https://two.example.org", 5)
    assert chosen.limits.weight == chosen_settings(None, {"root": tmp_path}).limits.weight
    assert chosen_settings(None, {"root": tmp_path}).title == "CoGen registry"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", "Expected '=' after a key"),
        ("slow = 1", "slow: Extra inputs are not permitted"),
        ("[limits]\nwheel = 'much'", "limits.wheel: Input should be a valid integer"),
        (None, "No such file or directory"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, text: str | None, reason: str) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Refused) as caught:
        chosen_settings(file, {"root": tmp_path})
    assert caught.value.message.startswith(f"{file} cannot be used: {reason}")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_serve_takes_the_title_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself has no title of its own that would win."""
    seen = []

    class Stop(Exception):
        pass

    def create(settings: Settings) -> None:
        seen.append(settings.title)
        raise Stop

    monkeypatch.setattr("cogen_registry.app.create_app", create)
    root = fresh_root(tmp_path / "root")
    file = tmp_path / "settings.toml"
    file.write_text('title = "Tidal models"\n')
    with pytest.raises(Stop):
        main(["serve", "--root", str(root), "--port", "0", "--settings", str(file)])
    assert seen == ["Tidal models"]
