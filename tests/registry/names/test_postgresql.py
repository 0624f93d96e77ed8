"""Several processes sign one PostgreSQL database: one after the other, and what they sign holds together."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select
from support import postgres, shelf
from tuf.api.metadata import Metadata

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Base, Project, Publisher, Release, SignedRole
from cogen_registry.metadata import documents, state
from cogen_registry.metadata.attach import attach

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
]
_EACH = 8


def test_signing_side_by_side(tmp_path: Path) -> None:
    with postgres.cluster() as url:
        shelf.initialise(tmp_path / "root", url)
        everybody = [Sessions(connect(url)) for _ in range(3)]
        for sessions in everybody:
            assert attach(sessions, tmp_path / "root" / "keys") is not None
        problems: list[BaseException] = []

        def publish(sessions: Sessions, who: int) -> None:
            try:
                with sessions.write() as session:
                    session.add(Publisher(name=f"team-{who}", title="", limits={}))
                for number in range(_EACH):
                    with sessions.write() as session:
                        owner = session.scalars(select(Publisher).where(Publisher.name == f"team-{who}")).one()
                        name = f"cogen-plugin-e{who}-{number}"
                        project = Project(name=name, look=name, publisher_id=owner.id)
                        session.add(project)
                        session.flush()
                        session.add(_release(project))
            except BaseException as error:  # noqa: BLE001 - told by the thread that waits
                problems.append(error)

        threads = [threading.Thread(target=publish, args=(one, who)) for who, one in enumerate(everybody)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        with everybody[0].read() as session:
            assert _holds(session) == 3 * _EACH
            versions = session.scalars(select(SignedRole.version).where(SignedRole.role == "timestamp")).all()
            assert sorted(versions) == list(range(1, len(versions) + 1))  # nobody signed one version twice
            columns = {one["name"] for one in inspect(session.get_bind()).get_columns("signed_roles")}
            assert columns == {column.name for column in Base.metadata.tables["signed_roles"].columns}
        for sessions in everybody:
            sessions.engine.dispose()


def _release(project: Project) -> Release:
    return Release(
        project_id=project.id,
        version="1.0",
        same="1",
        state="released",
        filename=f"{project.name}.whl",
        sha256="0" * 64,
        size=1,
        metadata_sha256="0" * 64,
    )


def _holds(session: Any) -> int:
    """How many projects the current metadata names; every part of it is the one that the part above names."""
    stamp, snapshot, targets = (state.newest(session, role) for role in ("timestamp", "snapshot", "targets"))
    assert stamp is not None
    assert snapshot is not None
    assert targets is not None
    assert stamp.signed.snapshot_meta.version == snapshot.signed.version
    found = set()
    for bin in targets.signed.delegations.succinct_roles.get_roles():
        newest = state.newest(session, bin)
        assert newest is not None
        document: Metadata[Any] = newest
        assert snapshot.signed.meta[f"{bin}.json"].version == document.signed.version
        for path, target in document.signed.targets.items():
            data = state.read_file(session, path)
            assert data is not None
            target.verify_length_and_hashes(data)
            found.add(path)
    return len(found - {documents.REVOCATIONS})
