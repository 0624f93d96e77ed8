"""The audit log: every change of state is in it, in the same transaction, and nobody takes anything out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from support import postgres
from support.hub import file

from cogen_registry.audit import log
from cogen_registry.database.sessions import Sessions, connect, migrate
from cogen_registry.database.tables import AuditEntry, Publisher

Ids = Callable[[str], str]
WHO = log.Actor(publisher="team", token=1, address="127.0.0.1")


@pytest.fixture(params=["sqlite", "postgresql"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    if request.param == "sqlite":
        engine = connect(f"sqlite:///{tmp_path / 'registry.sqlite'}")
        migrate(engine)
        yield Sessions(engine)
        engine.dispose()
        return
    if postgres.binaries() is None or postgres.user() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("there is no PostgreSQL here")
    with postgres.cluster() as url:
        engine = connect(url)
        migrate(engine)
        yield Sessions(engine)
        engine.dispose()


def fill(sessions: Sessions, number: int = 5) -> None:
    for i in range(number):
        with sessions.write() as session:
            log.record(session, WHO, "test.done", f"thing {i}", number=i, name="Größe")


def test_a_row_is_there_with_the_change_or_not_at_all(sessions: Sessions) -> None:
    fill(sessions, 1)

    def fails_at_its_end() -> None:
        with sessions.write() as session:
            session.add(Publisher(name="never", title="", limits={}))
            log.record(session, WHO, "publisher.add", "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_at_its_end()
    fill(sessions, 1)
    with sessions.read() as session:
        assert [one.action for one in log.entries(session)] == ["test.done", "test.done"]
        assert list(log.broken(session)) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET subject = 'other'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 3", "TRUNCATE audit"],
)
def test_the_database_refuses_to_alter_it(sessions: Sessions, statement: str) -> None:
    fill(sessions)
    if statement.startswith("TRUNCATE") and sessions.engine.dialect.name == "sqlite":
        statement = "DELETE FROM audit WHERE true"
    with pytest.raises(DBAPIError, match="append-only"), sessions.write() as session:
        session.execute(text(statement))
    with sessions.read() as session:
        assert [one.subject for one in log.entries(session)] == [f"thing {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit SET subject = 'other' WHERE id = 3", ["entry 3 of the audit log was altered"]),
        ("UPDATE audit SET detail = '{}' WHERE id = 3", ["entry 3 of the audit log was altered"]),
        ("DELETE FROM audit WHERE id = 3", ["the audit log lacks entries before 4"]),
        ("DELETE FROM audit WHERE id = 1", ["the audit log lacks entries before 2"]),
    ],
)
def test_what_was_altered_in_spite_of_it_is_found(sessions: Sessions, statement: str, says: list[str]) -> None:
    fill(sessions)
    postgresql = sessions.engine.dialect.name == "postgresql"
    with sessions.write() as session:
        if postgresql:
            session.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        else:
            session.execute(text("DROP TRIGGER audit_no_update"))
            session.execute(text("DROP TRIGGER audit_no_delete"))
        session.execute(text(statement))
    with sessions.read() as session:
        assert list(log.broken(session)) == says


def test_writers_at_once_make_one_chain(sessions: Sessions) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: fill(sessions, 5), range(6)))
    with sessions.read() as session:
        assert len(list(log.entries(session))) == 30
        assert list(log.broken(session)) == []
        assert log.head(session) == session.get_one(AuditEntry, max(one.id for one in log.entries(session))).digest


def actions(desk: Any, *options: str) -> list[tuple[str, str]]:
    return [(one["action"], one["subject"]) for one in json.loads(desk.command("log", "--json", *options))]


def test_everything_that_a_publisher_and_an_operator_do(desk: Any, ids: Ids) -> None:
    team, id = ids("team"), ids("power")
    desk.command("publisher", "add", team)
    desk.command("publisher", "set", team, "--limit", "wheel=50000000")
    desk.served.tokens[team] = desk.command("token", "new", team, "--scope", "all").strip()
    desk.published(team, id)
    path = f"/api/v1/releases/cogen-plugin-{id}/1.0/yank"
    assert desk.ask("POST", path, team, json={"reason": "too old"}).status_code == 200
    assert desk.ask("DELETE", path, team).status_code == 200
    hub = desk.served.hub(team)
    repo = hub.create("model")
    head = hub.committed(repo, file("config.json", "{}"))
    assert hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"}).status_code == 200
    number = next(line.split("\t")[0] for line in desk.command("token", "list", team).splitlines())
    desk.command("token", "revoke", number)
    done = [
        ("publisher.add", team),
        ("publisher.set", team),
        ("token.new", team),
        ("release.upload", f"cogen-plugin-{id} 1.0"),
        ("release.yank", f"cogen-plugin-{id} 1.0"),
        ("release.unyank", f"cogen-plugin-{id} 1.0"),
        ("repository.create", repo),
        ("repository.commit", repo),
        ("repository.tag", repo),
        ("token.revoke", team),
    ]
    assert [one for one in actions(desk) if team in one[1] or id in one[1]] == done
    own = json.loads(desk.command("log", "--json", "--publisher", team))
    assert [one["action"] for one in own] == [
        action for action, _ in done if action.split(".")[0] in ("release", "repository")
    ]
    assert {(one["publisher"], str(one["token"]), one["address"]) for one in own} == {(team, number, "127.0.0.1")}
    commit = next(one for one in own if one["action"] == "repository.commit")
    assert commit["detail"]["commit"] == head
    assert actions(desk, "--subject", repo) == [one for one in done if one[1] == repo]
    assert actions(desk, "--since", "2999-01-01") == []
    assert len(actions(desk, "--since", "2000-01-01T00:00")) >= len(done)
    assert "is not a moment" in desk.command("log", "--since", "yesterday", code=1)
    text = desk.command("log", "--subject", repo)
    assert [line.split("\t")[4] for line in text.splitlines()] == [one[0] for one in done if one[1] == repo]
    assert desk.served.tokens[team] not in json.dumps(json.loads(desk.command("log", "--json")))


def test_every_command_that_signs_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the registry and of publishers: whoever changes them is in the log, with the new root."""
    from cogen_registry.cli import main

    monkeypatch.setenv("COGEN_REGISTRY_ROOT", str(tmp_path / "root"))
    offline = str(tmp_path / "root" / "offline")
    gone = "sha256:" + "a" * 64
    commands = [
        ("registry.init", ["init", "--bins", "2"]),
        ("registry.sign", ["sign"]),
        ("registry.renew", ["renew", "--keys", offline]),
        ("registry.rotate-online", ["rotate-online", "--keys", offline]),
        ("registry.rotate-root", ["rotate-root", "--keys", offline, "--new", str(tmp_path / "new")]),
        ("key.revoke", ["key", "revoke", gone, "--reason", "stolen"]),
    ]
    for _, command in commands:
        assert main(command) == 0
    engine = connect(f"sqlite:///{tmp_path / 'root' / 'registry.sqlite'}")
    with Sessions(engine).read() as session:
        rows = list(log.entries(session))
        assert [row.action for row in rows] == [action for action, _ in commands]
        assert all(row.operator for row in rows)
        assert rows[-1].detail == {"key": gone, "reason": "stolen"}
        assert len({row.subject for row in rows if row.subject.startswith("sha256:")} - {gone}) == 4
        assert list(log.broken(session)) == []
    engine.dispose()


def test_what_is_refused_leaves_no_row(desk: Any, ids: Ids) -> None:
    before = actions(desk)
    assert desk.upload("team", ids("a"), version="1.0", license="NOT A LICENSE").status_code == 400
    assert desk.ask("POST", "/api/v1/composites", "team", json={}).status_code == 422
    assert [one for one in actions(desk) if one not in before] == []
