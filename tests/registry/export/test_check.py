"""`cogen-registry check`: what is whole is called whole, and everything that can be damaged is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select
from support.shelf import open_service
from support.stock import fill, keep, repository, stock

from cogen_registry.check import CheckResult, check
from cogen_registry.cli import main
from cogen_registry.database.tables import Evaluation, Expert, Release
from cogen_registry.readonly import open_readonly
from cogen_registry.service import Service
from cogen_registry.settings import Settings


def looked(root: Path, quick: bool = False) -> CheckResult:
    with open_readonly(Settings(root=root, embedder="none")) as service:
        return check(service, quick=quick)


@pytest.fixture
def root(settings: Settings, tmp_path: Path) -> Path:
    """A copy of the stocked registry, to be damaged."""
    return Path(shutil.copytree(settings.root, tmp_path / "root"))


def test_what_is_whole(settings: Settings) -> None:
    found = looked(settings.root)
    assert found.damage == []
    assert found.unnamed == 0
    assert found.blobs > 60
    assert found.bytes == sum(path.stat().st_size for path in settings.root.glob("blobs/??/*"))


def blob(service: Service, statement: object) -> Path:
    with service.sessions.read() as session:
        name = session.scalar(statement)  # type: ignore[call-overload]
    return Path(service.settings.root / "blobs" / name[:2] / name)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


WHEEL = select(Release.sha256).where(Release.filename.startswith("cogen_plugin_clinical"))
NAMED = "the wheel cogen_plugin_clinical-1.0-py3-none-any.whl"
SQL = Callable[[Service], None]


def run(*statements: str) -> SQL:
    def damage(service: Service) -> None:
        with closing(sqlite3.connect(service.settings.root / "registry.sqlite")) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount, statement
            connection.commit()

    return damage


@pytest.mark.parametrize(
    ("damage", "output"),
    [
        (lambda s: flip(blob(s, WHEEL)), f"{NAMED} is damaged: its SHA-256"),
        (lambda s: blob(s, WHEEL).unlink(), f"{NAMED} is missing"),
        (lambda s: blob(s, WHEEL).write_bytes(b"x"), f"{NAMED} has 1 bytes"),
        (lambda s: flip(blob(s, select(Evaluation.evidence).limit(1))), "the evidence of evaluation"),
        (lambda s: flip(blob(s, select(Release.metadata_sha256).limit(1))), "the METADATA of"),
        (run("UPDATE entries SET size = 7 WHERE path = 'config.json'"), "the file config.json has 2 bytes, not 7"),
        (run("DELETE FROM possessions"), "config.json of hospital/weights names bytes that its publisher never sent"),
        (run("UPDATE \"references\" SET oid = 'gone'"), "main of hospital/weights names the commit gone"),
        (run("UPDATE commits SET parent = 'gone'"), "has a parent that is not there"),
        (run("UPDATE experts SET current = 1 WHERE expert = 'secret'"), "secret is shown in a version that is"),
        (run("UPDATE experts SET current = 0 WHERE expert = 'clinical'"), "clinical is not shown in its newest"),
        (run("UPDATE experts SET licence = 'MIT' WHERE expert = 'clinical'"), "says something else than its manifest"),
        (run("UPDATE experts SET spec = '{}' WHERE expert = 'clinical'"), "the manifest of clinical in"),
        (run("UPDATE evaluations SET value = 9 WHERE id = 1"), "evaluation 1 is not what its evidence says"),
        (run("UPDATE releases SET state = 'odd' WHERE filename LIKE '%secret%'"), "has the state 'odd'"),
        (
            run("UPDATE releases SET bundle = '{}', statement = '{}', key = 'none' WHERE filename LIKE '%clinical%'"),
            "the signature of cogen-plugin-clinical 1.0 does not hold: its key is not known",
        ),
        (run("UPDATE composites SET lock = json_set(lock, '$.scale', 'x')"), "composite gridworks/both 1: "),
        (run("DELETE FROM publishers WHERE name = 'mallory'"), "of projects names a row of publishers"),
    ],
)
def test_damage_is_found(root: Path, damage: SQL, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each on stdout, and the exit code is 1; nothing is changed by looking."""
    with open_readonly(Settings(root=root, embedder="none")) as service:
        damage(service)
    before = {path: path.stat().st_mtime_ns for path in root.glob("blobs/??/*")}
    assert main(["check", "--root", str(root)]) == 1
    reported = capsys.readouterr()
    assert [line for line in reported.out.splitlines() if output in line], reported.out
    assert "damaged" in reported.err
    assert {path: path.stat().st_mtime_ns for path in root.glob("blobs/??/*")} == before


def test_a_signature_over_another_file_is_found(root: Path, tmp_path: Path) -> None:
    """One that was made rightly and lies at the wrong release."""
    from cogen.trust import fingerprint, sign_statement
    from cogen.trust.keys import new_key
    from cogen_registry.admission.signatures import expected
    from cogen_registry.database.tables import Key

    public = new_key(tmp_path / "key.pem")
    with open_readonly(Settings(root=root, embedder="none")) as service, service.sessions.write() as session:
        one, other = session.scalars(
            select(Release).where(Release.filename.contains("power")).order_by(Release.id)
        ).all()
        session.add(Key(publisher_id=one.project.publisher_id, fingerprint=fingerprint(public), pem=public))
        statement = expected(one) | {"signed": "2026-01-01T00:00:00Z"}
        one.statement, one.bundle, one.key = (
            statement,
            sign_statement(statement, tmp_path / "key.pem"),
            fingerprint(public),
        )
    assert looked(root).damage == []
    with open_readonly(Settings(root=root, embedder="none")) as service, service.sessions.write() as session:
        one, other = session.scalars(
            select(Release).where(Release.filename.contains("power")).order_by(Release.id)
        ).all()
        other.statement, other.bundle, other.key = one.statement, one.bundle, one.key
    assert looked(root).damage == ["the signature of cogen-plugin-power 1.0 does not hold: it is about something else"]


def test_quick_believes_sizes(root: Path) -> None:
    with open_readonly(Settings(root=root, embedder="none")) as service:
        flip(blob(service, WHEEL))
    assert looked(root, quick=True).damage == []
    assert len(looked(root).damage) == 1


def test_a_blob_that_nothing_names_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is an upload that was cut off: the next start removes it."""
    service = open_service(tmp_path / "root")
    stock(service, "power")
    keep(service, b"left over")
    service.close()
    assert main(["check", "--root", str(tmp_path / "root")]) == 0
    assert "3 blobs, 1 of them named by nothing" in capsys.readouterr().err


def test_a_registry_of_another_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = open_service(tmp_path / "root")
    run("UPDATE alembic_version SET version_num = '0001'")(service)
    service.close()
    for verb in (["check"], ["export", str(tmp_path / "mirror")]):
        assert main([*verb, "--root", str(tmp_path / "root")]) == 1
        assert "start `cogen-registry serve` of this version once" in capsys.readouterr().err


def test_what_signs_nothing_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every client would refuse the mirror; what to do is said before anything is written."""
    root = tmp_path / "root"
    assert main(["publisher", "add", "team", "--root", str(root)]) == 0
    for command in (["export", str(tmp_path / "mirror")], ["status"], ["renew", "--keys", str(tmp_path)], ["serve"]):
        capsys.readouterr()
        assert main([*command, "--root", str(root)]) == 1
        output = capsys.readouterr().err
        assert f"hint: cogen-registry init --root {root}" in output or command[0] == "renew"
    assert not (tmp_path / "mirror").exists()


def test_real_uploads_are_whole(tmp_path: Path) -> None:
    """What the service itself stores has nothing to complain of."""
    service = open_service(tmp_path / "root")
    fill(service)
    repository(service, "gridworks", "more", {"a.json": b"{}"})
    with service.sessions.read() as session:
        assert session.scalar(select(Expert.id).limit(1))
    service.close()
    assert looked(tmp_path / "root").damage == []
