"""A registry opened to be read, beside the process that serves it or without one: nothing is locked or cleaned up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.errors import Refused
from cogen_registry.service import Service, open_blobs
from cogen_registry.settings import Settings


@contextmanager
def open_readonly(settings: Settings) -> Iterator[Service]:
    """:raises Refused: 404, there is no registry; 409, its database is of another version of this program."""
    if settings.database is None and not (settings.root / "registry.sqlite").is_file():
        raise Refused(404, f"{settings.root} has no registry in it", hint="--root is the folder that `serve` was given")
    engine = connect(settings.database_url)
    try:
        _check_revision(engine)
        yield Service(settings, Sessions(engine), open_blobs(settings))
    finally:
        engine.dispose()


def _check_revision(engine: object) -> None:
    from alembic.script import ScriptDirectory
    from sqlalchemy import Engine

    assert isinstance(engine, Engine)
    folder = Path(__file__).parent / "database" / "migrations"
    newest = ScriptDirectory(str(folder)).get_current_head()
    try:
        with engine.connect() as connection:
            known = inspect(connection).has_table("alembic_version")
            found = connection.scalar(text("SELECT version_num FROM alembic_version")) if known else None
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise Refused(400, f"the database cannot be opened: {reason}", hint="check --database") from error
    if found != newest:
        raise Refused(
            409,
            f"the database is at revision {found}, this program at {newest}",
            hint="after a backup, start `cogen-registry serve` of this version once: it migrates the database",
        )
