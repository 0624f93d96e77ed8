"""What the commands share: where a registry is, and how to open it beside a running service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.untrusted.printable import escape_json, one_line, printable
from cogen_registry.errors import Refused

if TYPE_CHECKING:
    from cogen_registry.database.sessions import Session, Sessions
    from cogen_registry.database.tables import Publisher
    from cogen_registry.service import Service

Root = Annotated[Path, typer.Option("--root", envvar="COGEN_REGISTRY_ROOT", help="Data folder of the registry.")]
Database = Annotated[
    str | None, typer.Option(envvar="COGEN_REGISTRY_DATABASE", help="URL, such as postgresql+psycopg://…")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Reason = Annotated[str, typer.Option(help="One line; it is kept in the audit log.")]


def sessions(root: Path, database: str | None) -> Sessions:
    """Beside a running service: the database alone, not the lock of the root."""
    from cogen_registry.database.sessions import Sessions, connect, migrate
    from cogen_registry.metadata.attach import attach
    from cogen_registry.settings import Settings

    root.mkdir(parents=True, exist_ok=True)
    settings = Settings(root=root, database=database)
    engine = connect(settings.database_url)
    migrate(engine)
    found = Sessions(engine)
    attach(found, settings.keys_folder, required=False)
    return found


def publisher_named(session: Session, name: str) -> Publisher:
    """:raises Refused: 404"""
    from sqlalchemy import select

    from cogen_registry.database.tables import Publisher

    found = session.scalar(select(Publisher).where(Publisher.name == name))
    if found is None:
        raise Refused(404, f"there is no publisher {name!r}", hint=f"cogen-registry publisher add {name}")
    return found


@contextmanager
def opened(root: Path, database: str | None, blobs: str | None = None) -> Iterator[Service]:
    """The registry beside its service, to change rows of it; nothing is migrated, locked or cleaned up."""
    from cogen_registry.metadata.attach import attach
    from cogen_registry.readonly import open_readonly
    from cogen_registry.settings import Settings

    with open_readonly(Settings(root=root, database=database, blobs=blobs, embedder="none")) as service:
        attach(service.sessions, service.settings.keys_folder, required=False)
        yield service


def settle() -> None:
    """Wait until a running service has seen what was just written: what a command hid is hidden when it returns."""
    import time

    from cogen_registry.news import PULSE

    time.sleep(2 * PULSE)


def echo(text: object, err: bool = False) -> None:
    """Whatever this command line prints: what others wrote is in most of it, and a terminal obeys nothing of that."""
    typer.echo(printable(text), err=err)


def show(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Rows on stdout: one JSON document, or cells that tabs part."""
    found = list(rows)
    if as_json:
        typer.echo(escape_json(json.dumps(found, indent=2, ensure_ascii=False, default=str)))
        return
    for row in found:
        typer.echo("\t".join(_cell(value) for value in row.values()))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_cell, value)) or "-"
    return one_line("-" if value in (None, "") else value)
