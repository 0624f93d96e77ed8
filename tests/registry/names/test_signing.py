"""Whatever changes what everybody sees is signed in the same transaction, by whoever changes it."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, func, select, update
from support import shelf
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from cogen.trust import new_key, prove_possession
from cogen_registry.cli import main
from cogen_registry.database.tables import Key, Publisher, Release, SignedRole, Unsigned, now
from cogen_registry.errors import Refused
from cogen_registry.metadata import documents, setup, signer, state
from cogen_registry.names.renewal import Renewal
from cogen_registry.service import Service
from cogen_registry.settings import Settings

PROJECT = "cogen-plugin-power"


def output(service: Service, project: str = PROJECT) -> Any:
    with service.sessions.read() as session:
        data = state.read_file(session, documents.releases_path(project))
    return None if data is None else json.loads(data)


def versions(service: Service) -> dict[str, int]:
    with service.sessions.read() as session:
        rows = session.execute(select(SignedRole.role, func.max(SignedRole.version)).group_by(SignedRole.role))
        return {row[0]: row[1] for row in rows}


def test_all_of_it_holds_by_the_root(client: TestClient, service: Service) -> None:
    """As python-tuf's own classes verify it: every role by the one above it, no bin left out."""
    shelf.put(service, "power")
    root: Metadata[Root] = Metadata.from_bytes(client.get("/tuf/1.root.json").content)
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(client.get("/tuf/timestamp.json").content)
    newest = timestamp.signed.snapshot_meta.version
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(client.get(f"/tuf/{newest}.snapshot.json").content)
    named = {name: meta.version for name, meta in snapshot.signed.meta.items()}
    targets: Metadata[Targets] = Metadata.from_bytes(client.get(f"/tuf/{named['targets.json']}.targets.json").content)
    signed: dict[str, Metadata[Any]] = {"timestamp": timestamp, "snapshot": snapshot, "targets": targets}
    for role, of_role in signed.items():
        root.signed.verify_delegate(role, of_role.signed_bytes, of_role.signatures)
    assert targets.signed.delegations is not None
    bins = targets.signed.delegations.succinct_roles
    assert bins is not None
    assert set(named) == {"targets.json", *(f"{bin}.json" for bin in bins.get_roles())}
    files = {}
    for bin in bins.get_roles():
        document: Metadata[Targets] = Metadata.from_bytes(client.get(f"/tuf/{named[f'{bin}.json']}.{bin}.json").content)
        targets.signed.verify_delegate(bin, document.signed_bytes, document.signatures)
        for path, target in document.signed.targets.items():
            assert bins.get_role_for_target(path) == bin
            folder, _, name = path.rpartition("/")
            files[path] = client.get(f"/tuf/targets/{folder + '/' if folder else ''}{target.hashes['sha256']}.{name}")
            target.verify_length_and_hashes(files[path].content)
    assert set(files) == {f"projects/{PROJECT}/releases.json", "revocations.json"}
    assert files[f"projects/{PROJECT}/releases.json"].json() == output(service)


def test_what_is_said_of_a_project(service: Service) -> None:
    shelf.put(service, "power", "1.0")
    shelf.put(service, "power", "1.1", state="quarantined")
    found = output(service)
    assert (found["project"], found["publisher"]) == (PROJECT, "team")
    (release,) = found["releases"]  # what is in quarantine nobody hears of
    assert (release["version"], release["experts"], release["yanked"], release["key"]) == ("1.0", ["power"], None, None)


def test_each_way_to_change_it(service: Service) -> None:
    """Objects, statements on many rows, deletions, names of publishers: one version of snapshot and timestamp each."""
    shelf.put(service, "power", "1.0")
    shelf.put(service, "power", "1.1")

    def change(how: Any) -> Any:
        before = versions(service)
        with service.sessions.write() as session:
            how(session, session.scalars(select(Release).order_by(Release.id)).first())
        after = versions(service)
        assert {role: after[role] - before[role] for role in ("timestamp", "snapshot")} == {
            "timestamp": 1,
            "snapshot": 1,
        }
        assert sum(after[role] - before[role] for role in after if role.startswith("bins-")) == 1
        return output(service)

    assert change(lambda session, row: setattr(row, "yanked", "broken"))["releases"][0]["yanked"] == "broken"
    assert change(lambda session, row: session.execute(update(Release).values(key="sha256:1")))["releases"][1]["key"]
    renamed = change(lambda session, row: setattr(row.project.publisher, "name", "crew"))
    assert renamed["publisher"] == "crew"
    hidden = change(lambda session, row: session.execute(update(Release).where(Release.id == row.id).values(state="x")))
    assert [one["version"] for one in hidden["releases"]] == ["1.1"]
    assert change(lambda session, row: setattr(session.get(Release, row.id + 1), "state", "taken down")) is None


def test_what_is_rolled_back_is_not_signed(service: Service) -> None:
    shelf.put(service, "power")
    before = versions(service), output(service)
    with service.sessions.writing() as session:
        session.scalars(select(Release)).one().yanked = "x"
        session.flush()
        session.rollback()
    with service.sessions.write() as session:  # and not with the next transaction
        session.scalars(select(Publisher)).first().title = "New"  # type: ignore[union-attr]
    assert (versions(service), output(service)) == before


def test_what_changes_nothing_signs_nothing(service: Service) -> None:
    shelf.put(service, "power")
    before = versions(service)
    with service.sessions.write() as session:
        session.scalars(select(Release)).one().summary = "other words"
    assert versions(service) == before


def test_a_command_beside_without_keys(service: Service, tmp_path: Path) -> None:
    """Where the keys are not, the change is written down; the service signs it."""
    from cogen_registry.database.sessions import Sessions, connect
    from cogen_registry.metadata.attach import attach

    shelf.put(service, "power")
    sessions = Sessions(connect(service.settings.database_url))
    with pytest.raises(Refused, match="keys cannot be used"):
        attach(sessions, tmp_path / "none")
    assert attach(sessions, tmp_path / "none", required=False) is None
    with sessions.write() as session:
        session.scalars(select(Release)).one().yanked = "elsewhere"
    with sessions.read() as session:
        assert session.scalars(select(Unsigned.project)).all() == [PROJECT]
    sessions.engine.dispose()
    Renewal(service).once()
    assert output(service)["releases"][0]["yanked"] == "elsewhere"
    with service.sessions.read() as session:
        assert session.scalar(select(func.count()).select_from(Unsigned)) == 0


@pytest.mark.parametrize(
    ("role", "age", "signed"),
    [
        ("timestamp", 2 / 24, ["timestamp"]),
        ("timestamp", 0.5 / 24, []),
        ("snapshot", 4, ["snapshot", "timestamp"]),
        ("snapshot", 3, []),
        ("bins-1", 16, ["bins-1", "snapshot", "timestamp"]),
        ("bins-1", 14, []),
    ],
)
def test_what_grows_old_is_signed_again(service: Service, role: str, age: float, signed: list[str]) -> None:
    """:param age: in days."""
    _grow_old(service, role, 20)
    Renewal(service).once()  # signed now, however long ago the service of the tests was
    _grow_old(service, role, age)
    before = versions(service)
    Renewal(service).once()
    after = versions(service)
    assert sorted(one for one in after if after[one] != before[one]) == sorted(signed)


def _grow_old(service: Service, role: str, days: float) -> None:
    with service.sessions.write() as session:
        row = session.scalars(
            select(SignedRole).where(SignedRole.role == role).order_by(SignedRole.version.desc())
        ).first()
        assert row is not None
        row.expires -= datetime.timedelta(days=days)


def test_the_past_is_forgotten_but_for_roots(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "KEPT", -1.0)
    for version in ("1.0", "1.1", "1.2"):
        shelf.put(service, "power", version)
    with service.sessions.read() as session:
        counts = dict(session.execute(select(SignedRole.role, func.count()).group_by(SignedRole.role)).all())
    assert set(counts.values()) == {1}


def test_an_offline_role_that_ends_soon(
    client: TestClient, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    with service.sessions.write() as session:
        row = session.scalars(select(SignedRole).where(SignedRole.role == "targets")).one()
        row.expires = now() + setup.WARN - datetime.timedelta(hours=1)
    renewal = service.components.get(Renewal)
    assert renewal is not None
    renewal.once()
    renewal.once()
    reported = capsys.readouterr().err
    assert reported.count("the metadata role targets ends on") == 1  # not every five seconds
    assert "cogen-registry renew --keys" in reported
    (line,) = client.get("/healthz").json()["expiring"]
    assert line.startswith("targets ends on")
    assert line.endswith("in 41 days")


def test_keys_that_are_exchanged_beside_the_service(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on with the new ones, without a restart; and never signs with those that nobody believes any more."""
    shelf.put(service, "power")
    root, keys = str(service.settings.root), str(shelf.offline())
    assert main(["rotate-online", "--root", root, "--keys", keys]) == 0
    shelf.put(service, "power", "1.1")
    with service.sessions.read() as session:
        named = state.newest(session, "root")
        stamp = state.newest(session, "timestamp")
        assert named is not None
        assert stamp is not None
        named.signed.verify_delegate("timestamp", stamp.signed_bytes, stamp.signatures)
    assert main(["rotate-online", "--root", root, "--keys", keys]) == 0
    shutil.rmtree(service.settings.root / "keys")
    with pytest.raises(Refused, match="keys cannot be used"):
        shelf.put(service, "power", "1.2")
    assert [one["version"] for one in output(service)["releases"]] == ["1.0", "1.1"]


class TestOperator:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main(list(arguments)) == code, capsys.readouterr().err
        reported = capsys.readouterr()
        return reported.out, reported.err

    def test_init_makes_keys_and_says_what_to_take_offline(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "store"
        out, err = self.run(capsys, "init", "--root", str(root), "--bins", "2")
        assert out.startswith("sha256:")
        assert "3 keys, 2 of which sign" in err
        assert [path.name for path in sorted((root / "offline").glob("*.pem"))] == [
            "root-1.pem",
            "root-2.pem",
            "root-3.pem",
        ]
        assert {path.stat().st_mode & 0o777 for path in root.glob("*/*.pem")} == {0o600}
        reported, _ = self.run(capsys, "status", "--root", str(root))
        assert reported.splitlines()[0] == f"root\t{out.strip()}"
        assert "projects\t0 of 0" in reported
        assert [line.split("\t")[4] for line in reported.splitlines() if line.startswith("timestamp")] == [
            "the service renews it"
        ]
        _, err = self.run(capsys, "init", "--root", str(root), code=1)
        assert "initialised already" in err
        _, err = self.run(capsys, "renew", "--root", str(root), "--keys", str(root / "offline" / "root-1.pem"), code=1)
        assert "not 2 of the root's keys" in err
        self.run(capsys, "renew", "--root", str(root), "--keys", str(root / "offline"))
        reported, _ = self.run(capsys, "status", "--root", str(root))
        assert "root\tversion 2" in reported

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (["--threshold", "4"], "can't sign"),
            (["--bins", "3"], "not a power of two"),
            (["--root-keys", "0"], "greater than or equal to 1"),
        ],
    )
    def test_what_init_refuses(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str
    ) -> None:
        _, err = self.run(capsys, "init", "--root", str(tmp_path / "store"), *options, code=1)
        assert word in err
        assert not list(tmp_path.rglob("*.pem"))

    def test_init_overwrites_no_key(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "x").write_text("needed")
        _, err = self.run(capsys, "init", "--root", str(tmp_path / "s"), "--online", str(tmp_path / "keys"), code=1)
        assert "exists already" in err
        assert (tmp_path / "keys" / "x").read_text() == "needed"

    def test_a_store_of_before_is_not_served_without_keys(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What was published before gets signed by init."""
        root = tmp_path / "root"
        service = Service.open(Settings(root=root, embedder="none"))
        shelf.put(service, "power")
        service.close()
        _, err = self.run(capsys, "serve", "--root", str(root), code=1)
        assert f"hint: cogen-registry init --root {root}" in err
        self.run(capsys, "init", "--root", str(root), "--bins", "2")
        service = Service.open(Settings(root=root, embedder="none"))
        assert output(service)["releases"][0]["version"] == "1.0"
        service.close()

    def test_a_key_is_revoked(
        self, client: TestClient, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pem = new_key(tmp_path / "a.pem")
        headers = shelf.token(service, "team")
        new = {"pem": pem, "proof": prove_possession(tmp_path / "a.pem", "team")}
        name = client.post("/api/v1/keys", json=new, headers=headers).json()["fingerprint"]
        root = str(service.settings.root)
        _, err = self.run(capsys, "key", "revoke", name, "--root", root, "--reason", "found\non the street")
        assert f"revoked {name} of team" in err
        with service.sessions.read() as session:
            assert session.scalars(select(Key)).one().revoked is not None
            assert signer.revoked(session) == {name}
            (entry,) = json.loads(state.read_file(session, documents.REVOCATIONS) or b"")["keys"]
        assert (entry["by"], entry["publisher"], entry["reason"]) == ("operator", "team", "found on the street")
        _, err = self.run(capsys, "key", "revoke", "sha256:1", "--root", root, code=1)
        assert "is not a fingerprint" in err
        # a publisher's own revocation is signed by itself
        pem = new_key(tmp_path / "b.pem")
        new = {"pem": pem, "proof": prove_possession(tmp_path / "b.pem", "team")}
        second = client.post("/api/v1/keys", json=new, headers=headers).json()["fingerprint"]
        client.post(f"/api/v1/keys/{second}/revoke", headers=headers)
        with service.sessions.write() as session:
            session.execute(delete(Key))  # and stays, whatever becomes of the table
        with service.sessions.read() as session:
            assert signer.revoked(session) == {name, second}

    def test_only_a_signed_project_is_recovered(self, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
        shelf.put(service, "power")
        root = str(service.settings.root)
        _, err = self.run(capsys, "project", "recover", PROJECT, "--root", root, "--reason", "x", code=1)
        assert "can lose its keys" in err
