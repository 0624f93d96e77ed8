"""Data or code: computed from the wheel, stored, and said wherever an expert is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from support.wheels import build

from cogen_registry.admission.code import fill
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Release
from cogen_registry.errors import Refused
from cogen_registry.experts.find import detail
from cogen_registry.experts.find import find as cards
from cogen_registry.search.index import Query
from cogen_registry.service import Service

CODE = "cogen_plugin_power"
HOOKS = {f"{CODE}/hooks.py": b"import os\n"}


@pytest.mark.parametrize(("extra", "code"), [({}, False), (HOOKS, True)])
def test_it_is_said_everywhere(
    service: Service,
    publisher: Callable[..., Principal],
    upload: Callable[..., Release],
    tmp_path: Path,
    extra: dict[str, bytes],
    code: bool,
) -> None:
    assert upload(publisher(), build(tmp_path, extra=extra)).code is code
    (card,) = cards(service, Query()).items
    assert card.code is code
    assert detail(service, "power").code is code


def test_releases_of_before_are_looked_up_in_their_wheels(
    service: Service, publisher: Callable[..., Principal], upload: Callable[..., Release], tmp_path: Path
) -> None:
    team = publisher()
    ids = {
        upload(team, build(tmp_path)).id: False,
        upload(team, build(tmp_path, "wind", extra={"cogen_plugin_wind/x.py": b"1\n"})).id: True,
    }
    with service.sessions.write() as session:
        session.execute(update(Release).values(code=None))
    assert detail(service, "power").code is None
    before = service.serial
    assert fill(service) == 2
    assert service.serial > before
    assert fill(service) == 0
    with service.sessions.read() as session:
        assert {one.id: one.code for one in session.query(Release)} == ids
    assert list(service.settings.root.glob("cogen-code-*")) == []


def test_a_wheel_that_is_gone_stays_unknown(
    service: Service, publisher: Callable[..., Principal], upload: Callable[..., Release], tmp_path: Path
) -> None:
    release = upload(publisher(), build(tmp_path))
    with service.sessions.write() as session:
        session.execute(update(Release).values(code=None))
    service.blobs.delete(release.sha256)
    assert fill(service) == 0
    assert detail(service, "power").code is None


def test_the_column_of_an_older_database(tmp_path: Path) -> None:
    """Rows of before the migration are unknown, not data."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    from cogen_registry.database import sessions

    engine = sessions.connect(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(Path(sessions.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text("INSERT INTO publishers (id, name, title, created, limits) VALUES (1, 'a', '', '2026-01-01', '{}')")
        )
        connection.execute(
            text("INSERT INTO projects (id, name, look, publisher_id, created) VALUES (1, 'p', 'p', 1, '2026-01-01')")
        )
        connection.execute(
            text(
                "INSERT INTO releases (id, project_id, version, same, state, created, filename, sha256, size,"
                " metadata_sha256, summary) VALUES (1, 1, '1.0', '1', 'released', '2026-01-01', 'f', 's', 1, 'm', '')"
            )
        )
    sessions.migrate(engine)
    with sessions.Sessions(engine).read() as session:
        assert session.query(Release).one().code is None
    engine.dispose()


def needs(*names: str) -> dict[str, Any]:
    head = "Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: 1.0\n"
    return {"metadata": head + "".join(f"Requires-Dist: {one}\n" for one in ("cogen-core>=0.1", *names))}


def test_an_operator_allows_dependencies_by_name(
    service: Service, publisher: Callable[..., Principal], upload: Callable[..., Release], tmp_path: Path
) -> None:
    team = publisher()
    path = build(tmp_path, **needs("numpy>=1.26"))
    with pytest.raises(Refused, match="it requires numpy, and a plugin requires cogen-core alone") as refused:
        upload(team, path)
    assert refused.value.status == 400
    allowed = service.settings.limits.model_copy(update={"allow_dependencies": ("NumPy",)})
    service.settings = service.settings.model_copy(update={"limits": allowed})
    assert upload(team, path).state == "released"
