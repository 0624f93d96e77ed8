"""From a URL to sessions: SQLite with a write-ahead log by default, PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker


def connect(url: str) -> Engine:
    """An engine whose SQLite connections check foreign keys and sync every commit to the disk."""
    sqlite = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": 30} if sqlite else {}, pool_size=20, max_overflow=20)
    if sqlite:

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # begin() below, so that a transaction really is one
            # 4 MB a connection: every thread has one, and the system keeps the file in its own cache anyway.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-4096"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            # A reader that turns writer fails at once where another writes; who says that it will write waits.
            mode = connection.get_execution_options().get("sqlite_begin", "")
            connection.exec_driver_sql(f"BEGIN {mode}".strip())

    return engine


class Sessions:
    """``with sessions.read() as s`` and ``with sessions.write() as s`` (committed at the end, or rolled back)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.read = sessionmaker(engine, expire_on_commit=False)
        #: Where listeners to transactions that write are added.
        self.writing = sessionmaker(engine.execution_options(sqlite_begin="IMMEDIATE"), expire_on_commit=False)

    def write(self) -> Any:
        """A transaction: whole or not at all. Writers wait for each other."""
        return self.writing.begin()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision; an empty one gets all tables."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


__all__ = ["Session", "Sessions", "connect", "migrate"]
